#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "src/base/assert.h"
#include "src/base/log.h"
#include "storage/blob/store.h"
#include "storage/blob/syncer.h"

namespace kraken::blob {
namespace {

// Hashed, summed and written while they are still in the core's cache.
constexpr std::size_t kPassBytes = 128 * 1024;

}  // namespace

Upload::Upload(Store& store, std::filesystem::path path, UniqueFd fd, std::uint64_t expected_bytes)
    : store_(store),
      path_(std::move(path)),
      reserved_bytes_(expected_bytes),
      writeback_(std::make_shared<Writeback>(std::move(fd))) {}

Upload::~Upload() {
  store_.in_flight_bytes_ -= reserved_bytes_;
  if (!placed_ && ::unlink(path_.c_str()) != 0 && errno != ENOENT) {
    log::warn("blob.upload_not_removed", "path={} errno={}", path_.string(), errno);
  }
}

int Upload::fd() const { return writeback_->fd.get(); }

Result<> Upload::reserve(std::uint64_t bytes) {
  const std::uint64_t reserved = std::min(bytes, reserved_bytes_);
  if (bytes > reserved) KR_CHECK(store_.check_space(bytes - reserved));
  reserved_bytes_ -= reserved;
  store_.in_flight_bytes_ -= reserved;
  return {};
}

Result<> Upload::append(std::string_view bytes) {
  if (broken_ || digest_) return fail(Code::kConflict, "the upload has ended or failed; nothing can be appended");
  broken_ = true;  // until the end of this call
  KR_CHECK(reserve(bytes.size()));
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, kPassBytes);
    KR_CHECK(file::write_at(fd(), part, summer_.bytes()));
    sha_.update(part);
    summer_.update(part);
    bytes.remove_prefix(part.size());
    if (summer_.bytes() - handed_bytes_ >= store_.options_.window_bytes) KR_CHECK(hand_over());
  }
  broken_ = false;
  return {};
}

Result<> Upload::hand_over() {
  if (!store_.options_.sync || handed_bytes_ == summer_.bytes()) return {};
  KR_CHECK(writeback_->wait(store_.options_.windows_max - 1));
  store_.syncer_->add(writeback_, handed_bytes_, summer_.bytes() - handed_bytes_);
  handed_bytes_ = summer_.bytes();
  return {};
}

Result<> Upload::finish(const Digest& expected) {
  if (broken_) return fail(Code::kConflict, "the upload has failed");
  if (!digest_) {
    digest_ = sha_.finish();
    KR_CHECK(hand_over());
  }
  if (*digest_ != expected) {
    return fail(Code::kDigestMismatch, "computed digest {} of {} bytes doesn't match expected value {}", digest_->str(),
                bytes(), expected.str());
  }
  finished_ = expected;
  return {};
}

Result<> Upload::place() {
  KR_ASSERT(finished_);
  if (placed_) {
    if (store_.has(*finished_)) return {};
    return fail(Code::kConflict, "blob {} was placed and is gone again; begin again", finished_->str());
  }
  KR_CHECK(store_.make_folder_of(*finished_));
  if (store_.options_.sync) {
    KR_CHECK(writeback_->wait(0));
    KR_CHECK(file::sync(fd()));
  }
  const std::filesystem::path target = store_.path_of(*finished_);
  if (::rename(path_.c_str(), target.c_str()) != 0) {
    return fail_errno(errno, fmt::format("rename {} to {}", path_.string(), target.string()));
  }
  placed_ = true;
  if (store_.options_.sync) KR_CHECK(file::sync_folder(target.parent_path()));
  return {};
}

}  // namespace kraken::blob
