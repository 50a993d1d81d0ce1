#include <algorithm>

#include "src/base/log.h"
#include "src/blobs/impl.h"
#include "src/net/deadline.h"

namespace kraken::blobs {
namespace {

// Checked and handed out at a time: big enough that the hop to the pool costs nothing, small enough that the first bytes
// of a large blob leave at once.
constexpr std::uint64_t kWindowBytes = 8u << 20;

// Longer than an election takes; after it, what a replica knows of the blob is asked for. Agents wait 2 s for a holder.
constexpr Duration kQuorumPatience = std::chrono::milliseconds(1500);

bool may_be_lacking(Code code) { return code == Code::kUnavailable || code == Code::kDeadlineExceeded || code == Code::kOverloaded; }

class Reading final : public Source {
 public:
  Reading(std::shared_ptr<Service::Impl> impl, std::shared_ptr<const CachedMetaInfo> metainfo)
      : impl_(std::move(impl)), metainfo_(std::move(metainfo)) {}

  /// From the local file, if there is a good one. Its first window is checked, so that damage is known before the head of an
  /// answer is sent.
  net::Task<void> open_local() {
    const Digest digest = metainfo_->metainfo.digest;
    auto* impl = impl_.get();
    KR_CO_TRY(auto blob, co_await impl->file_pool_.run([impl, digest] { return impl->store_.open_blob(digest); }));
    local_.emplace(std::move(blob));
    checked_ = offset;
    auto good = co_await check();
    if (!good) local_.reset();
    co_return good;
  }

  /// From one of `candidates`, in order.
  net::Task<void> open_remote(std::vector<std::string> candidates) {
    candidates_ = std::move(candidates);
    auto opened = co_await next_stream();
    co_return opened;
  }
  void may_turn_to(std::vector<std::string> candidates) { candidates_ = std::move(candidates); }

  net::Task<Slice> next(std::span<char> buffer) override {
    const std::uint64_t left = length - given_;
    if (left == 0) co_return Slice{};
    if (local_) {
      auto good = co_await check();
      if (good) {
        const Slice slice{.fd = local_->fd.get(), .offset = offset + given_, .bytes = std::min(left, checked_ - offset - given_)};
        given_ += slice.bytes;
        co_return slice;
      }
      aside_ = std::move(local_);  // the caller may still send from it
      local_.reset();
      if (candidates_.empty()) co_return std::unexpected(std::move(good).error());
    }
    for (;;) {
      if (!stream_) KR_CO_CHECK(co_await next_stream());
      auto got = co_await stream_->read(buffer.first(std::min<std::uint64_t>(buffer.size(), left)));
      if (got && *got > 0) {
        given_ += *got;
        co_return Slice{.fd = -1, .offset = 0, .bytes = *got};
      }
      if (!got && got.error().code == Code::kCancelled) co_return std::unexpected(std::move(got).error());
      stream_.reset();  // the holder went, or its file ended early: on from here with another one
    }
  }

 private:
  /// Checks the next window of the local file, unless it is.
  net::Task<void> check() {
    const std::uint64_t at = offset + given_;
    if (checked_ > at || length == 0) co_return Result<>();
    const std::uint64_t bytes = std::min(kWindowBytes, length - given_);
    auto* impl = impl_.get();
    auto* self = this;
    auto good = co_await impl->file_pool_.run([impl, self, at, bytes] {
      return impl->store_.verify(*self->local_, self->metainfo_->metainfo, at, bytes);
    });
    if (good) checked_ = at + bytes;
    if (!good && good.error().code == Code::kCorrupt) impl->damaged(metainfo_->metainfo.digest);
    co_return good;
  }

  net::Task<void> next_stream() {
    Error last{Code::kUnavailable, fmt::format("blob {}: none of its holders answers", metainfo_->metainfo.digest.str())};
    while (!candidates_.empty()) {
      const std::string label = candidates_.front();
      candidates_.erase(candidates_.begin());
      auto opened = co_await impl_->peers_.open(label, metainfo_->metainfo.digest, offset + given_, length - given_);
      if (opened) {
        stream_ = *std::move(opened);
        co_return Result<>();
      }
      if (opened.error().code == Code::kCancelled) co_return std::unexpected(std::move(opened).error());
      last.detail += fmt::format("; {}: {}", label, opened.error().detail);
    }
    co_return std::unexpected(std::move(last));
  }

  std::shared_ptr<Service::Impl> impl_;
  std::shared_ptr<const CachedMetaInfo> metainfo_;
  std::optional<blob::Blob> local_;
  std::optional<blob::Blob> aside_;
  std::uint64_t checked_ = 0;  // [offset, checked_) of the local file is good
  std::uint64_t given_ = 0;
  std::vector<std::string> candidates_;
  std::unique_ptr<Stream> stream_;
};

Result<> select(Source& source, const MetaInfo& metainfo, std::uint64_t offset, std::optional<std::uint64_t> length) {
  if (offset > metainfo.length || length.value_or(0) > metainfo.length - offset) {
    return fail(Code::kRangeNotSatisfiable, "blob {} has {} bytes", metainfo.digest.str(), metainfo.length);
  }
  source.blob_bytes = metainfo.length;
  source.offset = offset;
  source.length = length.value_or(metainfo.length - offset);
  return {};
}

}  // namespace

net::Task<metadata::BlobRow> Service::Impl::record(Digest digest) {
  auto found = co_await net::with_deadline(kQuorumPatience, metadata_.get_blob(digest), "blob record");
  if (!found && may_be_lacking(found.error().code)) {
    // Without a quorum what a replica knows will do where it says that the blob is there: the digest is checked anyway.
    auto stale = co_await metadata_.get_blob(digest, false, metadata::Read::kLocal);
    if (stale && stale->readable()) {
      found = std::move(stale);
    } else {
      found = co_await metadata_.get_blob(digest);
    }
  }
  if (!found) co_return std::unexpected(std::move(found).error());
  if (!found->readable()) co_return fail(Code::kNotFound, "no blob {}", digest.str());
  co_return *std::move(found->row);
}

net::Task<std::shared_ptr<const CachedMetaInfo>> Service::Impl::metainfo(Digest digest) {
  if (auto cached = metainfo_cache_.get(digest)) co_return cached;
  KR_CO_TRY(auto found, co_await metadata_.get_metainfo(digest));
  co_return metainfo_cache_.put(std::move(found));
}

std::vector<std::string> Service::Impl::candidates(const Digest& digest, const metadata::BlobRow& row) const {
  std::vector<std::string> labels;
  const auto add = [&](const std::string& label) {
    if (label != options_.self && std::ranges::find(labels, label) == labels.end()) {
      labels.push_back(label);
    }
  };
  for (const metadata::Holder& holder : row.holders) {
    if (!holder.suspect) add(holder.label);
  }
  for (const std::string& label : owners(digest)) add(label);
  for (const metadata::Holder& holder : row.holders) add(holder.label);
  return labels;
}

net::Task<std::unique_ptr<Source>> Service::Impl::open(Digest digest, std::uint64_t offset,
                                                       std::optional<std::uint64_t> length) {
  KR_CO_TRY(auto row, co_await record(digest));
  KR_CO_TRY(auto known, co_await metainfo(digest));
  auto reading = std::make_unique<Reading>(shared_from_this(), known);
  KR_CO_CHECK(select(*reading, known->metainfo, offset, length));
  const bool is_holder = row.holder(store_.id()) != nullptr;
  auto local = co_await reading->open_local();
  if (local) {
    reading->may_turn_to(candidates(digest, row));
    co_return std::unique_ptr<Source>(std::move(reading));
  }
  // The record names this store, and the file is gone: no less damage than a wrong byte.
  if (is_holder && local.error().code == Code::kNotFound) damaged(digest);
  KR_CO_CHECK(co_await reading->open_remote(candidates(digest, row)));
  co_return std::unique_ptr<Source>(std::move(reading));
}

net::Task<std::unique_ptr<Source>> Service::Impl::open_local(Digest digest, std::uint64_t offset,
                                                             std::optional<std::uint64_t> length) {
  if (!store_.has(digest)) co_return fail(Code::kNotFound, "no file of blob {} on this node", digest.str());
  KR_CO_TRY(auto known, co_await metainfo(digest));
  auto reading = std::make_unique<Reading>(shared_from_this(), known);
  KR_CO_CHECK(select(*reading, known->metainfo, offset, length));
  auto local = co_await reading->open_local();
  if (!local && local.error().code == Code::kCorrupt) co_return fail(Code::kNotFound, "{}", local.error().detail);
  if (!local) co_return std::unexpected(std::move(local).error());
  co_return std::unique_ptr<Source>(std::move(reading));
}

}  // namespace kraken::blobs
