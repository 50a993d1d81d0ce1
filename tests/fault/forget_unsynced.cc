// A preloaded library that lets a test take back what a killed process had not synced, as a power cut would:
//   LD_PRELOAD=libforget_unsynced.so FORGET_ROOT=/data FORGET_LOG=/elsewhere/undo kraken node ...
// Before each write, truncation, creation, rename and unlink below FORGET_ROOT it appends to FORGET_LOG how to undo that; each
// fsync and fdatasync appends that the file, or the folder, is durable. After the kill, tests/fault/apply_undo.py takes back,
// in reverse order, all that no later sync covers. Names are durable only when their folder is synced (POSIX; stricter than
// ext4, which also orders them with the file's data).
//
// A record: {u8 kind, u64 device, u64 inode, u64 a, u64 b, u32 length, bytes}, native byte order. What is not seen: mmap'ed
// writes, stdio inside libc, io_uring. One lock orders an operation with its record, so runs are slower, not different.
// Not with sanitizer builds: they intercept the same calls.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

namespace {

enum Kind : std::uint8_t {
  kWrite = 1,     // inode's bytes at a were `bytes`, its size was b
  kTruncate = 2,  // as kWrite: the bytes from a on that were cut, and the size b
  kCreate = 3,    // in folder inode: `bytes` (a path) was not there
  kRename = 4,    // in folder inode: `bytes` = from \0 to \0 grave of what `to` was, or ""
  kUnlink = 5,    // in folder inode: `bytes` = path \0 grave
  kSync = 6,      // all so far of inode is durable
};

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

std::recursive_mutex& lock() {
  static std::recursive_mutex mutex;
  return mutex;
}

struct Undo {
  std::string root;
  std::string graves;
  int fd = -1;
  std::uint64_t buried = 0;

  Undo() {
    const char* folder = std::getenv("FORGET_ROOT");
    const char* log = std::getenv("FORGET_LOG");
    if (folder == nullptr || log == nullptr) return;
    root = std::string(folder) + "/";
    graves = std::string(log) + ".graves";
    next<int (*)(const char*, mode_t)>("mkdir")(graves.c_str(), 0700);
    fd = next<int (*)(const char*, int, ...)>("open")(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    buried = static_cast<std::uint64_t>(::getpid()) << 32;
  }
};

Undo& undo() {
  static auto* instance = new Undo;
  return *instance;
}

void record(Kind kind, const struct stat& of, std::uint64_t a, std::uint64_t b, const std::string& bytes) {
  std::string out(1, static_cast<char>(kind));
  const std::uint64_t numbers[] = {of.st_dev, of.st_ino, a, b};
  out.append(reinterpret_cast<const char*>(numbers), sizeof(numbers));
  const auto length = static_cast<std::uint32_t>(bytes.size());
  out.append(reinterpret_cast<const char*>(&length), sizeof(length));
  out += bytes;
  const ssize_t put = next<ssize_t (*)(int, const void*, std::size_t)>("write")(undo().fd, out.data(), out.size());
  if (put != static_cast<ssize_t>(out.size())) std::abort();
}

std::string absolute(int folder, const char* path) {
  if (path[0] == '/') return path;
  char base[PATH_MAX];
  ssize_t length = 0;
  if (folder == AT_FDCWD) {
    if (::getcwd(base, sizeof(base)) == nullptr) return path;
    length = static_cast<ssize_t>(std::strlen(base));
  } else {
    length = ::readlink(("/proc/self/fd/" + std::to_string(folder)).c_str(), base, sizeof(base));
    if (length < 0) return path;
  }
  return std::string(base, static_cast<std::size_t>(length)) + "/" + path;
}

bool tracked(const std::string& path) { return undo().fd >= 0 && path.starts_with(undo().root); }

bool tracked(int fd) {
  if (undo().fd < 0) return false;
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  char path[PATH_MAX];
  const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof(path));
  return length > 0 && tracked(std::string(path, static_cast<std::size_t>(length)));
}

bool stat_folder_of(const std::string& path, struct stat& status) { return ::stat(path.substr(0, path.rfind('/')).c_str(), &status) == 0; }

/// A second name for what is about to lose its own. "" if there is nothing there.
std::string bury(const std::string& path) {
  const std::string grave = undo().graves + "/" + std::to_string(undo().buried++);
  return next<int (*)(const char*, const char*)>("link")(path.c_str(), grave.c_str()) == 0 ? grave : "";
}

std::string bytes_at(int fd, std::uint64_t offset, std::uint64_t size) {
  const int readable = next<int (*)(const char*, int, ...)>("open")(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
  std::string bytes(size, '\0');
  const ssize_t got = readable < 0 ? 0 : ::pread(readable, bytes.data(), size, static_cast<off_t>(offset));
  if (readable >= 0) ::close(readable);
  bytes.resize(static_cast<std::size_t>(got < 0 ? 0 : got));
  return bytes;
}

void before_write(int fd, std::uint64_t offset, std::uint64_t size) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return;
  const auto length = static_cast<std::uint64_t>(status.st_size);
  record(kWrite, status, offset, length, offset < length ? bytes_at(fd, offset, std::min(size, length - offset)) : "");
}

std::uint64_t position_of(int fd) {
  if ((::fcntl(fd, F_GETFL) & O_APPEND) != 0) return static_cast<std::uint64_t>(::lseek(fd, 0, SEEK_END));
  return static_cast<std::uint64_t>(::lseek(fd, 0, SEEK_CUR));
}

void before_truncate(int fd, std::uint64_t size) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return;
  const auto length = static_cast<std::uint64_t>(status.st_size);
  record(kTruncate, status, size, length, size < length ? bytes_at(fd, size, length - size) : "");
}

int open_at(const char* symbol, int folder, const char* path, int flags, mode_t mode) {
  const auto real = next<int (*)(int, const char*, int, ...)>(symbol);
  const std::string full = absolute(folder, path);
  if ((flags & (O_CREAT | O_TRUNC)) == 0 || !tracked(full)) return real(folder, path, flags, mode);
  const std::scoped_lock guard(lock());
  struct stat status {};
  if (::stat(full.c_str(), &status) != 0) {
    struct stat parent {};
    if (stat_folder_of(full, parent)) record(kCreate, parent, 0, 0, full);
  } else if ((flags & O_TRUNC) != 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    const int fd = next<int (*)(const char*, int, ...)>("open")(full.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
      before_truncate(fd, 0);
      ::close(fd);
    }
  }
  return real(folder, path, flags, mode);
}

int synced(const char* symbol, int fd) {
  const int result = next<int (*)(int)>(symbol)(fd);
  if (result != 0 || undo().fd < 0) return result;
  // Recorded after the sync came back: what is written meanwhile by another thread would count as covered, so the lock is
  // not needed for truth, only the record's place; both errors are on the side of forgetting less.
  const std::scoped_lock guard(lock());
  struct stat status {};
  if (::fstat(fd, &status) == 0) record(kSync, status, 0, 0, "");
  return result;
}

int rename_at(int from_folder, const char* from, int to_folder, const char* to) {
  const auto real = next<int (*)(int, const char*, int, const char*)>("renameat");
  const std::string source = absolute(from_folder, from);
  const std::string target = absolute(to_folder, to);
  if (!tracked(source) && !tracked(target)) return real(from_folder, from, to_folder, to);
  const std::scoped_lock guard(lock());
  struct stat parent {};
  if (stat_folder_of(target, parent)) record(kRename, parent, 0, 0, source + '\0' + target + '\0' + bury(target));
  return real(from_folder, from, to_folder, to);
}

int unlink_at(int folder, const char* path, int flags) {
  const auto real = next<int (*)(int, const char*, int)>("unlinkat");
  const std::string full = absolute(folder, path);
  if (!tracked(full) || (flags & AT_REMOVEDIR) != 0) return real(folder, path, flags);
  const std::scoped_lock guard(lock());
  struct stat parent {};
  const std::string grave = bury(full);
  if (!grave.empty() && stat_folder_of(full, parent)) record(kUnlink, parent, 0, 0, full + '\0' + grave);
  return real(folder, path, flags);
}

mode_t mode_of(int flags, va_list words) { return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(words, mode_t) : 0; }

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list words;
  va_start(words, flags);
  const mode_t mode = mode_of(flags, words);
  va_end(words);
  return open_at("openat", AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list words;
  va_start(words, flags);
  const mode_t mode = mode_of(flags, words);
  va_end(words);
  return open_at("openat", AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  va_list words;
  va_start(words, flags);
  const mode_t mode = mode_of(flags, words);
  va_end(words);
  return open_at("openat", folder, path, flags, mode);
}
int openat64(int folder, const char* path, int flags, ...) {
  va_list words;
  va_start(words, flags);
  const mode_t mode = mode_of(flags, words);
  va_end(words);
  return open_at("openat", folder, path, flags, mode);
}

ssize_t write(int fd, const void* bytes, std::size_t size) {
  const auto real = next<ssize_t (*)(int, const void*, std::size_t)>("write");
  if (!tracked(fd)) return real(fd, bytes, size);
  const std::scoped_lock guard(lock());
  before_write(fd, position_of(fd), size);
  return real(fd, bytes, size);
}
ssize_t writev(int fd, const struct iovec* parts, int count) {
  const auto real = next<ssize_t (*)(int, const struct iovec*, int)>("writev");
  if (!tracked(fd)) return real(fd, parts, count);
  const std::scoped_lock guard(lock());
  std::size_t size = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  before_write(fd, position_of(fd), size);
  return real(fd, parts, count);
}
ssize_t pwrite(int fd, const void* bytes, std::size_t size, off_t offset) {
  const auto real = next<ssize_t (*)(int, const void*, std::size_t, off_t)>("pwrite");
  if (!tracked(fd)) return real(fd, bytes, size, offset);
  const std::scoped_lock guard(lock());
  before_write(fd, static_cast<std::uint64_t>(offset), size);
  return real(fd, bytes, size, offset);
}
ssize_t pwrite64(int fd, const void* bytes, std::size_t size, off64_t offset) { return pwrite(fd, bytes, size, offset); }

int ftruncate(int fd, off_t size) noexcept {
  const auto real = next<int (*)(int, off_t)>("ftruncate");
  if (!tracked(fd)) return real(fd, size);
  const std::scoped_lock guard(lock());
  before_truncate(fd, static_cast<std::uint64_t>(size));
  return real(fd, size);
}
int ftruncate64(int fd, off64_t size) noexcept { return ftruncate(fd, size); }

int mkdir(const char* path, mode_t mode) noexcept {
  const auto real = next<int (*)(const char*, mode_t)>("mkdir");
  const std::string full = absolute(AT_FDCWD, path);
  if (!tracked(full)) return real(path, mode);
  const std::scoped_lock guard(lock());
  struct stat status {};
  struct stat parent {};
  if (::stat(full.c_str(), &status) != 0 && stat_folder_of(full, parent)) record(kCreate, parent, 0, 0, full);
  return real(path, mode);
}

int rename(const char* from, const char* to) noexcept { return rename_at(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept { return rename_at(from_folder, from, to_folder, to); }
int unlink(const char* path) noexcept { return unlink_at(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char* path, int flags) noexcept { return unlink_at(folder, path, flags); }
int remove(const char* path) noexcept {
  struct stat status {};
  if (::lstat(path, &status) == 0 && S_ISDIR(status.st_mode)) return next<int (*)(const char*)>("rmdir")(path);
  return unlink_at(AT_FDCWD, path, 0);
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

}  // extern "C"
