#include "src/node/origin_pieces.h"

namespace kraken::node {
namespace {

class OriginTorrent final : public p2p::Torrent {
 public:
  OriginTorrent(blob::Blob blob, std::shared_ptr<const MetaInfo> metainfo, blobs::Service& blobs)
      : blob_(std::move(blob)), metainfo_(std::move(metainfo)), infohash_(metainfo_->infohash()), blobs_(blobs) {}

  const MetaInfo& metainfo() const override { return *metainfo_; }
  const InfoHash& infohash() const override { return infohash_; }
  int fd() const override { return blob_.fd.get(); }
  Bitfield have() const override { return Bitfield(metainfo_->piece_count(), true); }
  bool finished() const override { return true; }
  bool check_before_giving() const override { return true; }
  void damaged(std::uint32_t) override { blobs_.damaged(blob_.digest); }

  Result<> mark(std::uint32_t) override { return fail(Code::kUnsupported, "a node's blobs are complete"); }
  Result<> finish() override { return fail(Code::kUnsupported, "a node's blobs are complete"); }
  void discard() override {}

 private:
  const blob::Blob blob_;
  const std::shared_ptr<const MetaInfo> metainfo_;
  const InfoHash infohash_;
  blobs::Service& blobs_;
};

}  // namespace

net::Task<std::shared_ptr<p2p::Torrent>> OriginPieces::find(Digest digest, std::string) {
  KR_CO_TRY(auto metainfo, co_await blobs_.metainfo(digest));
  auto opened = co_await pool_.run([this, &digest] { return store_.open_blob(digest); });
  if (!opened) co_return std::unexpected(std::move(opened).error());
  if (opened->bytes != metainfo->length) {
    blobs_.damaged(digest);
    co_return fail(Code::kNotFound, "{} has {} bytes here, its record says {}", digest.str(), opened->bytes, metainfo->length);
  }
  co_return std::make_shared<OriginTorrent>(*std::move(opened), std::move(metainfo), blobs_);
}

net::Task<std::shared_ptr<p2p::Torrent>> OriginPieces::create(MetaInfo) {
  co_return fail(Code::kUnsupported, "a node's blobs come by push and copy, not from the swarm");
}

}  // namespace kraken::node
