#include "storage/kv/disk_guard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "src/base/file.h"
#include "src/base/log.h"

namespace kraken::kv {

bool DiskGuard::has_ballast() const {
  std::error_code ec;
  return std::filesystem::exists(ballast(), ec);
}

Result<> DiskGuard::lay_ballast(std::uint64_t bytes) const {
  const auto beside = ballast().string() + ".new";
  const Result<> made = [&]() -> Result<> {
    KR_TRY(const UniqueFd fd, file::open(beside, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    // Writes zeros where the file system has no call for it.
    if (const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0)
      return fail_errno(error, "lay down " + ballast().string());
    if (::rename(beside.c_str(), ballast().c_str()) != 0) return fail_errno(errno, "rename " + beside);
    return {};
  }();
  if (!made) ::unlink(beside.c_str());
  return made;
}

Result<> DiskGuard::make_room() {
  if (options_.reserve_bytes == 0 || !has_ballast()) return {};
  KR_TRY(const file::DiskSpace space, file::disk_space(options_.folder));
  if (space.available_bytes >= options_.reserve_bytes / 2) return {};
  log::warn("disk.ballast", "given up: {} bytes are free under {}", space.available_bytes, options_.folder.string());
  if (::unlink(ballast().c_str()) != 0) return fail_errno(errno, "remove " + ballast().string());
  return {};
}

Result<DiskGuard::State> DiskGuard::look() {
  if (options_.reserve_bytes == 0) return State{};
  KR_CHECK(make_room());
  KR_TRY(file::DiskSpace space, file::disk_space(options_.folder));
  const std::uint64_t wanted = std::min(options_.ballast_bytes, space.total_bytes / 50);
  State now{.full = false, .critical = false, .ballast = has_ballast(), .available_bytes = 0};
  // An eighth more than where it stopped, so that it does not go to and fro.
  const std::uint64_t mark = options_.reserve_bytes + (last_.full ? options_.reserve_bytes / 8 : 0);
  if (wanted > 0 && !now.ballast && space.available_bytes >= mark + wanted) {
    KR_CHECK(lay_ballast(wanted));
    KR_TRY(space, file::disk_space(options_.folder));
    now.ballast = true;
  }
  now.available_bytes = space.available_bytes;
  now.full = space.available_bytes < mark + (now.ballast ? 0 : wanted);
  now.critical = !now.ballast && space.available_bytes < options_.reserve_bytes / 4;
  last_ = now;
  return now;
}

}  // namespace kraken::kv
