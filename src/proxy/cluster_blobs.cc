#include "src/proxy/cluster_blobs.h"

#include "src/blobs/forward.h"
#include "src/blobs/service.h"

namespace kraken::proxy {

namespace {

/// Knows the size from the metainfo, which never changes and is cached; opens the blob, and so asks whether it still
/// exists, only when the range is known.
class ClusterSource final : public registry::BlobSource {
 public:
  ClusterSource(blobs::Service& blobs, Digest digest, std::uint64_t bytes)
      : blobs_(blobs), digest_(digest), bytes_(bytes), count_(bytes) {}

  std::uint64_t bytes() const override { return bytes_; }

  net::Task<> select(std::uint64_t first, std::uint64_t count) override {
    first_ = first;
    count_ = count;
    co_return Result<>{};
  }

  net::Task<registry::Slice> next(std::span<char> buffer) override {
    if (!source_) {
      auto opening = blobs_.open(digest_, first_, count_);
      KR_CO_TRY(source_, co_await std::move(opening));
    }
    KR_CO_TRY(const auto slice, co_await source_->next(buffer));
    co_return registry::Slice{slice.fd, slice.offset, slice.bytes};
  }

 private:
  blobs::Service& blobs_;
  const Digest digest_;
  const std::uint64_t bytes_;
  std::uint64_t first_ = 0;
  std::uint64_t count_;
  std::unique_ptr<blobs::Source> source_;
};

}  // namespace

net::Task<std::uint64_t> ClusterBlobs::stat(Repository, Digest digest) {
  KR_CO_TRY(const auto stat, co_await blobs_.stat(digest, true));
  co_return stat.bytes;
}

net::Task<std::unique_ptr<registry::BlobSource>> ClusterBlobs::open(Repository, Digest digest) {
  KR_CO_TRY(const auto metainfo, co_await blobs_.metainfo(digest));
  std::unique_ptr<registry::BlobSource> source = std::make_unique<ClusterSource>(blobs_, digest, metainfo->length);
  // Nothing will be asked of an empty one, so its existence is looked at here.
  if (metainfo->length == 0) KR_CO_CHECK(co_await blobs_.stat(digest, false));
  co_return source;
}

net::Task<UploadId> ClusterBlobs::start(Repository) { return blobs_.start_upload({}); }

net::Task<std::uint64_t> ClusterBlobs::status(Repository, UploadId id) { co_return blobs_.upload_bytes(id); }

net::Task<std::uint64_t> ClusterBlobs::append(Repository, UploadId id, std::optional<std::uint64_t> offset,
                                              std::optional<std::uint64_t> length, registry::BodyReader body) {
  return blobs_.append(id, offset, length, std::move(body));
}

net::Task<> ClusterBlobs::finish(Repository, UploadId id, Digest digest) {
  KR_CO_CHECK(co_await blobs_.commit(id, digest));
  co_return Result<>{};
}

net::Task<> ClusterBlobs::cancel(Repository, UploadId id) { return blobs_.cancel_upload(id); }

net::Task<bool> ClusterBlobs::mount(Repository, Digest digest, std::optional<Repository>) {
  const auto stat = co_await blobs_.stat(digest, true);
  if (!stat && stat.error().code != Code::kNotFound) co_return std::unexpected(stat.error());
  co_return stat.has_value();
}

net::Task<> ClusterBlobs::remove(Repository, Digest digest) { return blobs_.remove(digest); }

bool ClusterBlobs::is_local(UploadId id) const {
  const auto owner = blobs_.session_owner(id);
  return !owner || *owner == self_;  // nobody's is looked for here, and not found
}

net::Task<> ClusterBlobs::forward(http::Exchange& exchange, UploadId id) {
  const auto owner = blobs_.session_owner(id);
  const auto address = owner ? addresses_(*owner) : std::nullopt;
  if (!address || blobs::was_forwarded(exchange.request()))
    co_return fail(Code::kNotFound, "no node holds the upload {}", id.str());
  co_return co_await blobs::forward(exchange, client_, address->host, address->port);
}

}  // namespace kraken::proxy
