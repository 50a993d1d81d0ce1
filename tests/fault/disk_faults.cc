// A preloaded library that makes the disk below a running process fail, slow down or fill up:
//   LD_PRELOAD=libdisk_faults.so FAULT_CONTROL=/elsewhere/faults FAULT_LOG=/elsewhere/fired kraken node ...
// FAULT_CONTROL names a file of one fault a line, read again whenever it changes (replace it by rename), so a running process can
// be switched; an absent or empty file is no fault. PATTERN is matched against the file's whole path (fnmatch, `*` also
// matches '/'); counts begin when the file is read.
//   sync-fail PATTERN N once|always   the Nth fsync or fdatasync from now fails with EIO, alone or with all after it
//   sync-slow PATTERN MILLISECONDS    each sync takes so much longer
//   write-full PATTERN BYTES          after so many more bytes writes fail with ENOSPC; the one on the border is short
//   write-short PATTERN N             every Nth write takes only half of what it was given, as write(2) may
//   write-fail PATTERN N              the Nth write fails with EIO
// Each fault that fires appends its line and the path to FAULT_LOG, so that a test can tell that it did.
// What is not seen: mmap'ed writes, stdio inside libc, io_uring, sync_file_range. Not with sanitizer builds.
#include <dlfcn.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace {

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

struct Fault {
  std::string kind, pattern, line;
  std::uint64_t number = 0;
  bool always = false;
  std::uint64_t seen = 0;  // syncs, writes or bytes so far
};

struct Faults {
  std::mutex mutex;
  std::string control, log;
  std::vector<Fault> all;
  ino_t inode = 0;
  timespec changed{};

  Faults() {
    if (const char* path = std::getenv("FAULT_CONTROL")) control = path;
    if (const char* path = std::getenv("FAULT_LOG")) log = path;
  }

  // Under the mutex, all below.
  void refresh() {
    struct stat status {};
    if (::stat(control.c_str(), &status) != 0) {
      all.clear();
      inode = 0;
      return;
    }
    if (status.st_ino == inode && status.st_mtim.tv_sec == changed.tv_sec && status.st_mtim.tv_nsec == changed.tv_nsec) return;
    inode = status.st_ino;
    changed = status.st_mtim;
    all.clear();
    std::string text;
    const int fd = ::open(control.c_str(), O_RDONLY | O_CLOEXEC);
    char piece[4096];
    for (ssize_t got = 0; fd >= 0 && (got = ::read(fd, piece, sizeof(piece))) > 0;) text.append(piece, static_cast<std::size_t>(got));
    if (fd >= 0) ::close(fd);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      Fault fault;
      std::string how;
      words >> fault.kind >> fault.pattern >> fault.number >> how;
      fault.always = how == "always";
      fault.line = line;
      if (!fault.kind.empty()) all.push_back(fault);
    }
  }

  void fired(const Fault& fault, const std::string& path) const {
    if (log.empty()) return;
    const std::string line = fault.line + " " + path + "\n";
    const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    const ssize_t put = next<ssize_t (*)(int, const void*, std::size_t)>("write")(fd, line.data(), line.size());
    static_cast<void>(put);
    ::close(fd);
  }
};

Faults& faults() {
  static auto* instance = new Faults;
  return *instance;
}

/// Empty for what is no regular file, or where no control file was named.
std::string path_of(int fd) {
  if (faults().control.empty()) return {};
  struct stat status {};
  if (::fstat(fd, &status) != 0 || (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))) return {};
  char path[PATH_MAX];
  const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof(path));
  return length > 0 ? std::string(path, static_cast<std::size_t>(length)) : std::string();
}

bool matches(const Fault& fault, const std::string& path) { return ::fnmatch(fault.pattern.c_str(), path.c_str(), 0) == 0; }

int sync(const char* symbol, int fd) {
  const std::string path = path_of(fd);
  std::uint64_t milliseconds = 0;
  bool fails = false;
  if (!path.empty()) {
    const std::scoped_lock guard(faults().mutex);
    faults().refresh();
    for (Fault& fault : faults().all) {
      if (!matches(fault, path)) continue;
      if (fault.kind == "sync-slow") {
        milliseconds += fault.number;
        if (fault.seen++ == 0) faults().fired(fault, path);
      }
      if (fault.kind != "sync-fail" || ++fault.seen < fault.number || (fault.seen > fault.number && !fault.always)) continue;
      fails = true;
      faults().fired(fault, path);
    }
  }
  if (milliseconds > 0) {
    const timespec pause{.tv_sec = static_cast<time_t>(milliseconds / 1000), .tv_nsec = static_cast<long>(milliseconds % 1000 * 1'000'000)};
    ::nanosleep(&pause, nullptr);
  }
  if (fails) {
    errno = EIO;
    return -1;
  }
  return next<int (*)(int)>(symbol)(fd);
}

/// How many of `size` bytes may be written now; -1 with errno set for none.
ssize_t allowed(int fd, std::size_t size) {
  const std::string path = path_of(fd);
  if (path.empty() || size == 0) return static_cast<ssize_t>(size);
  const std::scoped_lock guard(faults().mutex);
  faults().refresh();
  std::size_t left = size;
  for (Fault& fault : faults().all) {
    if (!matches(fault, path)) continue;
    if (fault.kind == "write-fail" && ++fault.seen == fault.number) {
      faults().fired(fault, path);
      errno = EIO;
      return -1;
    }
    if (fault.kind == "write-short" && ++fault.seen % std::max<std::uint64_t>(fault.number, 1) == 0 && left > 1) {
      faults().fired(fault, path);
      left /= 2;
    }
    if (fault.kind == "write-full") {
      const std::uint64_t room = fault.number - std::min(fault.number, fault.seen);
      if (room < left) faults().fired(fault, path);
      left = std::min<std::uint64_t>(left, room);
      fault.seen += left;
      if (left == 0) {
        errno = ENOSPC;
        return -1;
      }
    }
  }
  return static_cast<ssize_t>(left);
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, std::size_t size) {
  const ssize_t some = allowed(fd, size);
  if (some < 0) return some;
  return next<ssize_t (*)(int, const void*, std::size_t)>("write")(fd, bytes, static_cast<std::size_t>(some));
}
ssize_t pwrite(int fd, const void* bytes, std::size_t size, off_t offset) {
  const ssize_t some = allowed(fd, size);
  if (some < 0) return some;
  return next<ssize_t (*)(int, const void*, std::size_t, off_t)>("pwrite")(fd, bytes, static_cast<std::size_t>(some), offset);
}
ssize_t pwrite64(int fd, const void* bytes, std::size_t size, off64_t offset) { return pwrite(fd, bytes, size, offset); }

int fsync(int fd) { return sync("fsync", fd); }
int fdatasync(int fd) { return sync("fdatasync", fd); }

}  // extern "C"
