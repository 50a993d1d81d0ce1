#pragma once
// Who has or fetches which torrent: infohash -> peers, in memory on every node that may be asked. Announces change it
// at once; what they say is also queued for the log (`take_batch`), and what the log applied comes back (`committed`),
// so that a node that restarts knows the seeders that never announce again (consensus §4.1).
//
// Expiry is by the local clock: a committed record's remaining time is given when it is fed. A seeder counts
// `seed_ttl`, a leecher `leech_ttl` from its last announce. Bounds    peers_max in memory: when full, an eighth is
// dropped, the leechers longest silent first, then seeders;
//           pending_max records wait for the log: when full, leechers are not queued, then nothing is.
// Cost      an announce and its handout are O(k) for k peers handed out.
// Threads   any: the index is shared by all loops and the apply thread; it is striped by infohash, each stripe behind a
//           mutex that is held for a microsecond and never across a wait.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/core/digest.h"
#include "src/core/peer.h"

namespace kraken::tracker {

struct PeerIndexOptions {
  Duration seed_ttl = std::chrono::hours(5);
  Duration leech_ttl = std::chrono::minutes(2);
  /// A batch that was handed out and not fed back after this long is queued again by the next announce.
  Duration commit_wait = std::chrono::seconds(10);
  std::size_t peers_max = 400'000;
  std::size_t pending_max = 100'000;
  std::size_t groups = 1;
  std::function<std::size_t(const Digest&)> group_of;  // < groups; empty: always 0
};

/// One peer of one torrent, as the log keeps it.
struct PeerRecord {
  InfoHash infohash;
  PeerId peer_id;
  std::string ip;
  std::uint16_t port = 0;
  bool complete = false;
  Duration ttl{};  // remaining, from now
  friend bool operator==(const PeerRecord&, const PeerRecord&) = default;
};

/// A random choice of peers, never the one that asks, and what the policies look at.
struct Handout {
  std::vector<PeerInfo> peers;
  std::size_t peers_known = 0;  // without the one that asks; expired ones may still be counted
  std::size_t complete_known = 0;
  Duration asker_age{};  // since the asker's first announce of this torrent
};

class PeerIndex {
 public:
  explicit PeerIndex(PeerIndexOptions options, const Clock& clock = system_clock());
  ~PeerIndex();
  PeerIndex(const PeerIndex&) = delete;
  PeerIndex& operator=(const PeerIndex&) = delete;

  /// Enters the peer and hands out up to `count` others (none if count is 0). `peer.origin` is not kept: holders come
  /// from the HolderDirectory. The record is queued for the log unless an identical one is there with more than half
  /// its time.
  Handout announce(const InfoHash& infohash, const Digest& digest, const PeerInfo& peer, std::size_t count);

  /// Queued records of one group, together no more than about `bytes_max` in the log; a peer of a torrent is queued
  /// once however often it announced. Groups are numbered by Options::group_of: the metadata's shards.
  std::vector<PeerRecord> take_batch(std::size_t group, std::size_t bytes_max);
  std::size_t groups() const { return options_.groups; }
  /// Whether anything waits; cheap, for the tick.
  bool has_pending() const { return pending_.load(std::memory_order_relaxed) != 0; }

  /// What apply wrote, or what a restored shard contains. Where this node has heard something else since and has it
  /// queued, that stays. A record whose `ttl` is not above 0 removes the peer.
  void committed(const PeerRecord& record);
  /// The log did not take this batch: the next announce queues it again.
  void not_committed(const std::vector<PeerRecord>& batch);

  /// Removes expired peers of one stripe after the other; called by the tick, one stripe a call.
  void sweep();

  std::size_t peers() const { return peers_.load(std::memory_order_relaxed); }
  std::size_t torrents() const;
  /// Distinct peers over all torrents. Walks everything: for status pages.
  std::size_t agents() const;

 private:
  struct Stripe;
  struct Swarm;
  struct Entry;
  struct Queue;
  Stripe& stripe_of(const InfoHash& infohash) const;
  Entry& enter(Stripe& stripe, const InfoHash& infohash, const PeerId& peer, MonotonicTime now);
  void erase(Swarm& swarm, std::size_t at);
  void make_room(Stripe& stripe, MonotonicTime now);
  bool enqueue(const Digest& digest, PeerRecord record);
  Duration ttl_of(bool complete) const { return complete ? options_.seed_ttl : options_.leech_ttl; }

  const PeerIndexOptions options_;
  const Clock& clock_;
  std::unique_ptr<Stripe[]> stripes_;
  std::unique_ptr<Queue[]> queues_;  // one a group
  std::atomic<std::size_t> peers_{0};
  std::atomic<std::size_t> pending_{0};
  std::atomic<std::size_t> next_sweep_{0};
};

}  // namespace kraken::tracker
