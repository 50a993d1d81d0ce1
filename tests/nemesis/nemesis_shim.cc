// A preloaded library that stands between a node and its world where no privilege is at hand:
//   LD_PRELOAD=libnemesis_shim.so NEMESIS_CONTROL=FILE NEMESIS_PREFIX=127.70.1 NEMESIS_SELF=0 NEMESIS_NODES=3
// Connections to another node of the cluster (NEMESIS_PREFIX.1, .2, ..) go to the chaos proxy's address for the ordered pair
// (tests/nemesis/chaos_proxy.cc); the rest of the world is left alone.
// NEMESIS_CONTROL is a file of two 64-bit integers, mapped, so that a running process can be switched:
//   [0] seconds added to the wall clock (CLOCK_REALTIME); monotonic clocks are left alone
//   [1] 1: the disks look full (statvfs); 0: as they are
// Waits until a time of the wall clock are told the real one, but one that is under way is not moved by a jump, as it would be by
// a real one. Absent variables switch the parts off.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

// Nothing here may take a lock or allocate: clocks are read before main and inside malloc.
const volatile std::int64_t* control() {
  static const volatile std::int64_t* const mapped = [] {
    static const std::int64_t nothing[2] = {0, 0};
    const char* path = std::getenv("NEMESIS_CONTROL");
    const int fd = path != nullptr ? ::open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return static_cast<const std::int64_t*>(nothing);
    void* memory = ::mmap(nullptr, sizeof(nothing), PROT_READ, MAP_SHARED, fd, 0);
    ::close(fd);
    return memory == MAP_FAILED ? static_cast<const std::int64_t*>(nothing) : static_cast<const std::int64_t*>(memory);
  }();
  return mapped;
}

bool is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

struct Divert {
  bool on = false;
  std::uint32_t prefix = 0;  // host order, the last byte 0
  std::uint32_t self = 0, nodes = 0;
  Divert() {
    const char* prefix_text = std::getenv("NEMESIS_PREFIX");
    const char* self_text = std::getenv("NEMESIS_SELF");
    const char* nodes_text = std::getenv("NEMESIS_NODES");
    if (prefix_text == nullptr || self_text == nullptr || nodes_text == nullptr) return;
    in_addr address{};
    char text[32] = {};
    std::strncpy(text, prefix_text, sizeof(text) - 4);
    std::strcat(text, ".0");
    if (::inet_pton(AF_INET, text, &address) != 1) return;
    prefix = ntohl(address.s_addr);
    self = static_cast<std::uint32_t>(std::atoi(self_text));
    nodes = static_cast<std::uint32_t>(std::atoi(nodes_text));
    on = true;
  }
};

}  // namespace

extern "C" {

int connect(int fd, const sockaddr* address, socklen_t length) {
  static const auto real = next<int (*)(int, const sockaddr*, socklen_t)>("connect");
  static const Divert divert;
  if (divert.on && address != nullptr && address->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
    sockaddr_in to{};
    std::memcpy(&to, address, sizeof(to));
    const std::uint32_t host = ntohl(to.sin_addr.s_addr);
    const std::uint32_t peer = (host & 0xff) - 1;
    if ((host & 0xffffff00) == divert.prefix && peer < divert.nodes && peer != divert.self) {
      to.sin_addr.s_addr = htonl(divert.prefix + 100 + 10 * divert.self + peer);
      return real(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    }
  }
  return real(fd, address, length);
}

int clock_gettime(clockid_t clock, timespec* out) noexcept {
  static const auto real = next<int (*)(clockid_t, timespec*)>("clock_gettime");
  const int code = real(clock, out);
  if (code == 0 && is_wall(clock)) out->tv_sec += control()[0];
  return code;
}

int gettimeofday(timeval* out, void* zone) noexcept {
  static const auto real = next<int (*)(timeval*, void*)>("gettimeofday");
  const int code = real(out, zone);
  if (code == 0) out->tv_sec += control()[0];
  return code;
}

time_t time(time_t* out) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* until) {
  static const auto real = next<int (*)(pthread_cond_t*, pthread_mutex_t*, const timespec*)>("pthread_cond_timedwait");
  timespec moved = *until;
  moved.tv_sec -= control()[0];
  return real(condition, mutex, &moved);
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
  static const auto real =
      next<int (*)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>("pthread_cond_clockwait");
  timespec moved = *until;
  if (is_wall(clock)) moved.tv_sec -= control()[0];
  return real(condition, mutex, clock, &moved);
}

int statvfs(const char* path, struct statvfs* out) noexcept {
  static const auto real = next<int (*)(const char*, struct statvfs*)>("statvfs");
  const int code = real(path, out);
  if (code == 0 && control()[1] != 0) out->f_bfree = out->f_bavail = 0;
  return code;
}

int statvfs64(const char* path, struct statvfs64* out) noexcept {
  static const auto real = next<int (*)(const char*, struct statvfs64*)>("statvfs64");
  const int code = real(path, out);
  if (code == 0 && control()[1] != 0) out->f_bfree = out->f_bavail = 0;
  return code;
}

}  // extern "C"
