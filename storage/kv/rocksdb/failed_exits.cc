#include "storage/kv/rocksdb/failed_exits.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "src/base/clock.h"

namespace kraken::kv {
namespace {

constexpr std::size_t kSlots = 8;
constexpr std::size_t kSlotBytes = 512;

std::filesystem::path path_in(const std::filesystem::path& folder) { return folder / "FAILED_EXITS"; }

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::seconds>(system_clock().wall().time_since_epoch()).count();
}

/// "<unix seconds> <why>", filled up with blanks, the last byte a newline.
std::string slot_of(const FailedExit& exit) {
  std::string text = fmt::format("{} {}", exit.unix_seconds, exit.why);
  std::ranges::replace(text, '\n', ' ');
  text.resize(kSlotBytes - 1, ' ');
  return text + '\n';
}

struct Slots {
  std::vector<FailedExit> exits;  // oldest first
  std::size_t next = 0;           // behind the newest
};

Slots parse(std::string_view text) {
  Slots slots;
  std::vector<std::pair<std::size_t, FailedExit>> found;
  std::int64_t newest = 0;
  for (std::size_t i = 0; i < kSlots && text.size() >= (i + 1) * kSlotBytes; ++i) {
    std::string_view slot = text.substr(i * kSlotBytes, kSlotBytes);
    FailedExit exit;
    const auto [end, error] = std::from_chars(slot.data(), slot.data() + slot.size(), exit.unix_seconds);
    if (error != std::errc() || exit.unix_seconds <= 0) continue;
    slot.remove_prefix(static_cast<std::size_t>(end - slot.data()));
    const std::size_t begin = slot.find_first_not_of(" \n");
    if (begin != std::string_view::npos) exit.why = slot.substr(begin, slot.find_last_not_of(" \n") + 1 - begin);
    if (exit.unix_seconds >= newest) {
      newest = exit.unix_seconds;
      slots.next = (i + 1) % kSlots;
    }
    found.emplace_back(i, std::move(exit));
  }
  std::ranges::sort(found, {}, [&](const auto& slot) { return (slot.first + kSlots - slots.next) % kSlots; });
  for (auto& [slot, exit] : found) slots.exits.push_back(std::move(exit));
  return slots;
}

Result<Slots> read(const std::filesystem::path& folder) {
  auto text = file::read_all(path_in(folder), kSlots * kSlotBytes);
  if (!text) {
    if (text.error().code == Code::kNotFound || text.error().code == Code::kTooLarge) return Slots{};
    return std::unexpected(std::move(text).error());
  }
  return parse(*text);
}

}  // namespace

Result<std::vector<FailedExit>> read_failed_exits(const std::filesystem::path& folder) {
  KR_TRY(Slots slots, read(folder));
  return std::move(slots.exits);
}

Result<> check_failed_exits(const std::filesystem::path& folder) {
  KR_TRY(const std::vector<FailedExit> exits, read_failed_exits(folder));
  if (exits.size() < kFailedExitsMax) return {};
  const FailedExit& last = exits.back();
  const std::int64_t apart = last.unix_seconds - exits[exits.size() - kFailedExitsMax].unix_seconds;
  if (apart > kFailedExitsSeconds) return {};
  return fail(Code::kIo,
              "the disk under {} has ended this process {} times within {} seconds, so it stays down; the last time: {}. Look at "
              "the disk (dmesg, smartctl, free space); then `kraken repair --start-again --data {}`",
              folder.string(), kFailedExitsMax, apart, last.why, folder.string());
}

Result<> forget_failed_exits(const std::filesystem::path& folder) {
  if (::unlink(path_in(folder).c_str()) != 0 && errno != ENOENT)
    return fail_errno(errno, fmt::format("remove {}", path_in(folder).string()));
  return file::sync_folder(folder);
}

Result<std::unique_ptr<FailedExits>> FailedExits::open(const std::filesystem::path& folder) {
  KR_TRY(const Slots slots, read(folder));
  KR_TRY(UniqueFd fd, file::open(path_in(folder), O_RDWR | O_CREAT, 0600));
  KR_TRY(const std::uint64_t size, file::size(fd.get()));
  if (size < kSlots * kSlotBytes) KR_CHECK(file::write_at(fd.get(), std::string(kSlots * kSlotBytes, ' '), 0));
  return std::unique_ptr<FailedExits>(new FailedExits(std::move(fd), slots.next));
}

void FailedExits::clear() noexcept {
  const std::string blank(kSlots * kSlotBytes, ' ');
  const ssize_t written = ::pwrite(fd_.get(), blank.data(), blank.size(), 0);
  static_cast<void>(written);
  next_ = 0;
}

void FailedExits::note(std::string_view why) const noexcept {
  // No sync: the disk may not come back. What the kernel has survives the process, if not the machine.
  const std::string slot = slot_of({.unix_seconds = now(), .why = std::string(why)});
  const ssize_t written = ::pwrite(fd_.get(), slot.data(), slot.size(), static_cast<off_t>(next_ * kSlotBytes));
  static_cast<void>(written);
}

}  // namespace kraken::kv
