#pragma once
// Owned file descriptors and the few file operations everybody needs, with errors as values.
// Threads: any; a descriptor has one owner. All of these may block: off the loops only.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "src/base/error.h"

namespace kraken {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

namespace file {

/// open(2) with O_CLOEXEC added.
Result<UniqueFd> open(const std::filesystem::path& path, int flags, unsigned mode = 0644);
Result<std::uint64_t> size(int fd);
/// Reads up to out's length at `offset`, short only at the end of the file; returns how many bytes.
Result<std::size_t> read_at(int fd, std::span<char> out, std::uint64_t offset);
Result<> write_at(int fd, std::string_view bytes, std::uint64_t offset);
Result<> sync(int fd);
/// fsync of a folder, so that names made, renamed or removed in it are durable.
Result<> sync_folder(const std::filesystem::path& folder);
Result<std::string> read_all(const std::filesystem::path& path, std::uint64_t bytes_max);
/// Writes beside the target, syncs, renames over it, syncs the folder: the old content or the new, never a mixture.
Result<> replace(const std::filesystem::path& path, std::string_view content, unsigned mode = 0644);
Result<> make_folders(const std::filesystem::path& folder);

struct DiskSpace {
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;
};
Result<DiskSpace> disk_space(const std::filesystem::path& path);

}  // namespace file
}  // namespace kraken
