#include "src/tracker/cluster.h"

#include <algorithm>

#include "src/blobs/service.h"
#include "src/net/deadline.h"

namespace kraken::tracker {

ClusterHolders::ClusterHolders(Options options, const ring::CurrentRing& ring, ring::Addresses addresses,
                               metadata::Client& metadata, std::function<bool(const std::string& label)> healthy,
                               const Clock& clock)
    : options_(options), ring_(ring), addresses_(std::move(addresses)), metadata_(metadata), healthy_(std::move(healthy)),
      clock_(clock) {}

std::vector<PeerInfo> ClusterHolders::peers_of(const std::vector<std::string>& labels) const {
  std::vector<PeerInfo> peers;
  for (const bool only_healthy : {true, false}) {
    for (const auto& label : labels) {
      const auto at = addresses_(label);
      if (!at || (only_healthy && healthy_ && !healthy_(label))) continue;
      peers.push_back(PeerInfo{peer_id_of_address(at->host, at->port), at->host, at->port, true, true});
    }
    // Nobody seems up: this node may be the one that is cut off, so whoever asks may try.
    if (!peers.empty()) break;
  }
  return peers;
}

net::Task<std::vector<PeerInfo>> ClusterHolders::holders(Digest digest) {
  const auto now = clock_.monotonic();
  {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(digest);
    if (found != known_.end() && found->second.until > now) co_return peers_of(found->second.labels);
  }
  Known known;
  known.until = now + options_.keep;
  auto reading = metadata_.get_blob(digest, false, metadata::Read::kLocal);
  const auto record = co_await net::with_deadline(options_.read_deadline, std::move(reading), "holders");
  if (record && record->readable()) {
    for (const auto& label : ring_.get()->order(digest.shard_id())) {
      const bool holds = std::ranges::any_of(
          record->row->holders, [&label](const auto& holder) { return holder.label == label && !holder.suspect; });
      if (holds) known.labels.push_back(label);
    }
  }
  if (known.labels.empty()) known.labels = ring_.get()->owners(digest, options_.max_replica);
  auto peers = peers_of(known.labels);
  const std::lock_guard lock(mutex_);
  if (known_.size() >= options_.entries_max) known_.clear();  // refilled by what is asked for
  known_.insert_or_assign(digest, std::move(known));
  co_return peers;
}

ClusterMetaInfo::ClusterMetaInfo(blobs::Service& blobs, std::size_t bytes_max) : blobs_(blobs), bytes_max_(bytes_max) {}

net::Task<std::shared_ptr<const CachedMetaInfo>> ClusterMetaInfo::metainfo(Namespace, Digest digest) {
  auto& stripe = stripes_[digest.prefix() % kStripes];
  {
    const std::lock_guard lock(stripe.mutex);
    const auto found = stripe.places.find(digest);
    if (found != stripe.places.end()) {
      stripe.recent.splice(stripe.recent.begin(), stripe.recent, found->second);
      co_return stripe.recent.front();
    }
  }
  KR_CO_TRY(const auto metainfo, co_await blobs_.metainfo(digest));
  auto kept = std::make_shared<CachedMetaInfo>();
  kept->metainfo = *metainfo;
  kept->infohash = metainfo->infohash();
  kept->json = metainfo->json();
  const auto bytes_of = [](const Kept& one) {
    return sizeof(CachedMetaInfo) + one->json.size() + 4 * one->metainfo.piece_sums.size() + 128;
  };
  const std::lock_guard lock(stripe.mutex);
  if (stripe.places.contains(digest)) co_return kept;
  stripe.recent.push_front(kept);
  stripe.places.emplace(digest, stripe.recent.begin());
  stripe.bytes += bytes_of(kept);
  while (stripe.bytes > bytes_max_ / kStripes && stripe.recent.size() > 1) {
    stripe.bytes -= bytes_of(stripe.recent.back());
    stripe.places.erase(stripe.recent.back()->metainfo.digest);
    stripe.recent.pop_back();
  }
  co_return kept;
}

}  // namespace kraken::tracker
