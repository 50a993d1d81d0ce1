#include "storage/kv/set_aside.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>

#include <fmt/chrono.h>

#include "src/base/clock.h"
#include "src/base/file.h"

namespace kraken::kv {
namespace {

bool holds_store(const std::filesystem::path& folder) {
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ec)) {
    const std::string name = entry.path().filename().string();
    if (name == "CURRENT" || name == "IDENTITY" || name.starts_with("MANIFEST-") || name.ends_with(".sst")) return true;
  }
  return false;
}

std::string stamp() {
  return fmt::format("{:%Y%m%dT%H%M%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(system_clock().wall())));
}

Result<std::filesystem::path> move_content(const std::filesystem::path& folder, const std::string& name) {
  const std::filesystem::path target = folder / name;
  KR_CHECK(file::make_folders(target));
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ec)) {
    if (entry.path() == target || entry.path().filename().string().find("set-aside-") != std::string::npos) continue;
    if (::rename(entry.path().c_str(), (target / entry.path().filename()).c_str()) != 0)
      return fail_errno(errno, fmt::format("move {} to {}", entry.path().string(), target.string()));
  }
  if (ec) return fail(Code::kIo, "list {}: {}", folder.string(), ec.message());
  KR_CHECK(file::sync_folder(target));
  KR_CHECK(file::sync_folder(folder));
  return target;
}

}  // namespace

Result<std::filesystem::path> find_store(const std::filesystem::path& folder) {
  // A name with a slash at its end has no last part, which the new name is made from.
  const std::filesystem::path plain = folder.has_filename() ? folder : folder.parent_path();
  for (const std::filesystem::path& one : {plain, plain / "metadata"})
    if (holds_store(one)) return one;
  return fail(Code::kNotFound, "{} holds no metadata; name the folder of metadata.path", folder.string());
}

Result<> check_unused(const std::filesystem::path& folder) {
  auto fd = file::open(folder / "LOCK", O_RDWR);
  if (!fd) {
    if (fd.error().code == Code::kNotFound) return {};
    return std::unexpected(std::move(fd).error());
  }
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd->get(), F_GETLK, &lock) != 0) return fail_errno(errno, fmt::format("lock {}", folder.string()));
  if (lock.l_type == F_UNLCK) return {};
  return fail(Code::kConflict, "{} is in use by process {}; stop it first", folder.string(), lock.l_pid);
}

Result<std::filesystem::path> set_aside(const std::filesystem::path& folder) {
  KR_CHECK(check_unused(folder));
  const std::string name = fmt::format("{}.set-aside-{}", folder.filename().string(), stamp());
  const std::filesystem::path target = folder.parent_path() / name;
  std::error_code ec;
  if (std::filesystem::exists(target, ec)) return fail(Code::kAlreadyExists, "{} exists; try again in a second", target.string());
  if (::rename(folder.c_str(), target.c_str()) != 0) {
    if (errno == EBUSY || errno == EXDEV) return move_content(folder, name);
    return fail_errno(errno, fmt::format("move {} to {}", folder.string(), target.string()));
  }
  KR_CHECK(file::sync_folder(folder.has_parent_path() ? folder.parent_path() : std::filesystem::path(".")));
  return target;
}

}  // namespace kraken::kv
