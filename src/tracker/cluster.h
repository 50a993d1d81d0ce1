#pragma once
// The tracker's interfaces over the cluster: who holds a blob, and its metainfo.
// Threads: any. What is passed to the constructors outlives them.

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/metadata/client.h"
#include "src/ring/current.h"
#include "src/tracker/routes.h"

namespace kraken::blobs {
class Service;
}

namespace kraken::tracker {

/// Holders as this node's replica knows them (no quorum is asked), the healthy ones, in ring order; where it knows
/// none, the digest's healthy owners. Remembered for `keep`.
class ClusterHolders final : public HolderDirectory {
 public:
  struct Options {
    std::size_t max_replica = 3;
    Duration keep = std::chrono::seconds(2);
    Duration read_deadline = std::chrono::milliseconds(500);
    std::size_t entries_max = 8192;
  };
  /// `addresses`: of the P2P listeners; peer ids are of the address, as stock's addr_hash has them. `ring` outlives it.
  ClusterHolders(Options options, const ring::CurrentRing& ring, ring::Addresses addresses, metadata::Client& metadata,
                 std::function<bool(const std::string& label)> healthy, const Clock& clock = system_clock());
  net::Task<std::vector<PeerInfo>> holders(Digest digest) override;

 private:
  struct Known {
    std::vector<std::string> labels;  // of the record's holders, or of owners; whoever is up
    MonotonicTime until{};
  };
  std::vector<PeerInfo> peers_of(const std::vector<std::string>& labels) const;

  const Options options_;
  const ring::CurrentRing& ring_;
  const ring::Addresses addresses_;
  metadata::Client& metadata_;
  const std::function<bool(const std::string& label)> healthy_;
  const Clock& clock_;
  std::mutex mutex_;
  std::unordered_map<Digest, Known> known_;
};

/// Metainfo from the blob service, with its infohash and JSON kept: least recently used out, at most about `bytes_max`.
class ClusterMetaInfo final : public MetaInfoSource {
 public:
  explicit ClusterMetaInfo(blobs::Service& blobs, std::size_t bytes_max = 8u << 20);
  net::Task<std::shared_ptr<const CachedMetaInfo>> metainfo(Namespace ns, Digest digest) override;

 private:
  using Kept = std::shared_ptr<const CachedMetaInfo>;
  struct Stripe {
    std::mutex mutex;
    std::list<Kept> recent;  // most recently used first
    std::unordered_map<Digest, std::list<Kept>::iterator> places;
    std::size_t bytes = 0;
  };
  static constexpr std::size_t kStripes = 16;

  blobs::Service& blobs_;
  const std::size_t bytes_max_;
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace kraken::tracker
