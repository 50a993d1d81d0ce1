#pragma once
// The node's blobs as torrents: read-only and whole. A piece's sum is checked before it is first given (the disk may have
// decayed since), and a bad one sends the file back to be fetched again (blobs::Service). Threads: any.
// Lifetime: service and store outlive the torrents.

#include "src/blobs/service.h"
#include "src/net/file_pool.h"
#include "src/p2p/piece_store.h"
#include "storage/blob/store.h"

namespace kraken::node {

class OriginPieces final : public p2p::PieceStore {
 public:
  OriginPieces(blobs::Service& blobs, blob::Store& store, net::FilePool& pool) : blobs_(blobs), store_(store), pool_(pool) {}

  net::Task<std::shared_ptr<p2p::Torrent>> find(Digest digest, std::string ns) override;
  net::Task<std::shared_ptr<p2p::Torrent>> create(MetaInfo metainfo) override;

 private:
  blobs::Service& blobs_;
  blob::Store& store_;
  net::FilePool& pool_;
};

}  // namespace kraken::node
