#include "src/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace kraken {

void UniqueFd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

namespace file {

Result<UniqueFd> open(const std::filesystem::path& path, int flags, unsigned mode) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return fail_errno(errno, fmt::format("open {}", path.string()));
  return UniqueFd(fd);
}

Result<std::uint64_t> size(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno(errno, "fstat");
  return static_cast<std::uint64_t>(status.st_size);
}

Result<std::size_t> read_at(int fd, std::span<char> out, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, fmt::format("read {} bytes at {}", out.size(), offset));
    }
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

Result<> write_at(int fd, std::string_view bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, fmt::format("write {} bytes at {}", bytes.size(), offset));
    }
    bytes.remove_prefix(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return {};
}

Result<> sync(int fd) {
  // fdatasync flushes the size too where it changed, which is all that reading the bytes back needs.
  if (::fdatasync(fd) != 0) return fail_errno(errno, "fdatasync");
  return {};
}

Result<> sync_folder(const std::filesystem::path& folder) {
  KR_TRY(const UniqueFd fd, open(folder, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return fail_errno(errno, fmt::format("fsync {}", folder.string()));
  return {};
}

Result<std::string> read_all(const std::filesystem::path& path, std::uint64_t bytes_max) {
  KR_TRY(const UniqueFd fd, open(path, O_RDONLY));
  KR_TRY(const std::uint64_t length, size(fd.get()));
  if (length > bytes_max) return fail(Code::kTooLarge, "{}: {} bytes, more than {}", path.string(), length, bytes_max);
  std::string content(length, '\0');
  KR_TRY(const std::size_t got, read_at(fd.get(), content, 0));
  content.resize(got);
  return content;
}

Result<> replace(const std::filesystem::path& path, std::string_view content, unsigned mode) {
  std::filesystem::path next = path;
  next += ".next";
  {
    KR_TRY(const UniqueFd fd, open(next, O_WRONLY | O_CREAT | O_TRUNC, mode));
    KR_CHECK(write_at(fd.get(), content, 0));
    KR_CHECK(sync(fd.get()));
  }
  if (::rename(next.c_str(), path.c_str()) != 0) return fail_errno(errno, fmt::format("rename {}", next.string()));
  return sync_folder(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

Result<> make_folders(const std::filesystem::path& folder) {
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  if (ec) return fail_errno(ec.value(), fmt::format("create folder {}", folder.string()));
  return {};
}

Result<DiskSpace> disk_space(const std::filesystem::path& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) return fail_errno(errno, fmt::format("statvfs {}", path.string()));
  return DiskSpace{.total_bytes = status.f_blocks * status.f_frsize, .available_bytes = status.f_bavail * status.f_frsize};
}

}  // namespace file
}  // namespace kraken
