#include "src/tracker/peer_index.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "src/base/rng.h"

namespace kraken::tracker {

namespace {

constexpr std::size_t kStripes = 64;
// Up to this many peers a scan is as fast as a map and takes no memory.
constexpr std::size_t kScanMax = 24;
// What a record takes in a batch beside its address: ids, port, flag, times, lengths.
constexpr std::size_t kRecordBytes = 64;

struct QueueKey {
  InfoHash infohash;
  PeerId peer_id;
  friend bool operator==(const QueueKey&, const QueueKey&) = default;
};
struct QueueKeyHash {
  std::size_t operator()(const QueueKey& key) const noexcept {
    return std::hash<InfoHash>{}(key.infohash) * 31 + std::hash<PeerId>{}(key.peer_id);
  }
};

}  // namespace

struct PeerIndex::Entry {
  PeerId peer_id;
  std::string ip;
  std::uint16_t port = 0;
  bool complete = false;
  bool logged = false;  // the log has exactly this, until logged_until
  MonotonicTime expires{};
  MonotonicTime first_announce{};
  MonotonicTime last_announce{};
  MonotonicTime logged_until{};
  MonotonicTime queued_at{};  // 0: not queued
};

struct PeerIndex::Swarm {
  std::vector<Entry> entries;
  std::unordered_map<PeerId, std::uint32_t> places;  // of entries; empty while there are at most kScanMax
  std::size_t complete = 0;

  std::size_t find(const PeerId& peer) const {
    if (!places.empty()) {
      const auto found = places.find(peer);
      return found == places.end() ? entries.size() : found->second;
    }
    std::size_t at = 0;
    while (at < entries.size() && entries[at].peer_id != peer) ++at;
    return at;
  }
};

struct PeerIndex::Stripe {
  mutable std::mutex mutex;
  std::unordered_map<InfoHash, Swarm> swarms;
  std::size_t peers = 0;
  Rng rng{random_seed()};
};

struct PeerIndex::Queue {
  std::mutex mutex;
  std::unordered_map<QueueKey, PeerRecord, QueueKeyHash> records;
};

PeerIndex::PeerIndex(PeerIndexOptions options, const Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      stripes_(std::make_unique<Stripe[]>(kStripes)),
      queues_(std::make_unique<Queue[]>(std::max<std::size_t>(options_.groups, 1))) {}

PeerIndex::~PeerIndex() = default;

PeerIndex::Stripe& PeerIndex::stripe_of(const InfoHash& infohash) const {
  return stripes_[static_cast<std::uint8_t>(infohash.raw()[0]) % kStripes];
}

PeerIndex::Entry& PeerIndex::enter(Stripe& stripe, const InfoHash& infohash, const PeerId& peer, MonotonicTime now) {
  const auto found = stripe.swarms.find(infohash);
  if (found != stripe.swarms.end()) {
    const auto at = found->second.find(peer);
    if (at < found->second.entries.size()) return found->second.entries[at];
  }
  if (stripe.peers >= std::max<std::size_t>(options_.peers_max / kStripes, 1)) make_room(stripe, now);
  auto& swarm = stripe.swarms[infohash];
  auto& entry = swarm.entries.emplace_back();
  entry.peer_id = peer;
  if (!swarm.places.empty()) {
    swarm.places.emplace(peer, static_cast<std::uint32_t>(swarm.entries.size() - 1));
  } else if (swarm.entries.size() > kScanMax) {
    for (std::size_t i = 0; i < swarm.entries.size(); ++i)
      swarm.places.emplace(swarm.entries[i].peer_id, static_cast<std::uint32_t>(i));
  }
  ++stripe.peers;
  peers_.fetch_add(1, std::memory_order_relaxed);
  return entry;
}

void PeerIndex::erase(Swarm& swarm, std::size_t at) {
  if (swarm.entries[at].complete) --swarm.complete;
  swarm.places.erase(swarm.entries[at].peer_id);
  if (at + 1 != swarm.entries.size()) {
    swarm.entries[at] = std::move(swarm.entries.back());
    if (!swarm.places.empty()) swarm.places[swarm.entries[at].peer_id] = static_cast<std::uint32_t>(at);
  }
  swarm.entries.pop_back();
  peers_.fetch_sub(1, std::memory_order_relaxed);
}

void PeerIndex::make_room(Stripe& stripe, MonotonicTime now) {
  // An eighth at once, so that the scan costs each newcomer a constant.
  const std::size_t goal = std::max<std::size_t>(stripe.peers / 8, 1);
  std::vector<MonotonicTime> leeches;
  std::vector<MonotonicTime> seeds;
  for (const auto& [infohash, swarm] : stripe.swarms) {
    for (const auto& entry : swarm.entries)
      (entry.complete ? seeds : leeches).push_back(entry.expires <= now ? MonotonicTime{} : entry.last_announce);
  }
  const auto cut = [](std::vector<MonotonicTime>& times, std::size_t count) {
    if (count == 0) return MonotonicTime::min();
    if (count >= times.size()) return MonotonicTime::max();
    std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(count - 1));
    return times[count - 1];
  };
  const std::size_t of_leeches = std::min(goal, leeches.size());
  const auto leech_cut = cut(leeches, of_leeches);
  const auto seed_cut = cut(seeds, goal - of_leeches);
  std::size_t left = goal;
  for (auto at = stripe.swarms.begin(); at != stripe.swarms.end();) {
    auto& swarm = at->second;
    for (std::size_t i = swarm.entries.size(); i-- > 0 && left > 0;) {
      const auto& entry = swarm.entries[i];
      const auto time = entry.expires <= now ? MonotonicTime{} : entry.last_announce;
      if (time > (entry.complete ? seed_cut : leech_cut)) continue;
      erase(swarm, i);
      --stripe.peers;
      --left;
    }
    at = swarm.entries.empty() ? stripe.swarms.erase(at) : std::next(at);
  }
}

bool PeerIndex::enqueue(const Digest& digest, PeerRecord record) {
  // A leecher waits for its next announce when much is queued: what matters after a restart is who seeds.
  const auto waiting = pending_.load(std::memory_order_relaxed);
  if (waiting >= options_.pending_max || (!record.complete && waiting >= options_.pending_max / 2)) return false;
  const std::size_t group = options_.group_of ? options_.group_of(digest) : 0;
  auto& queue = queues_[std::min(group, std::max<std::size_t>(options_.groups, 1) - 1)];
  const QueueKey key{record.infohash, record.peer_id};
  const std::lock_guard lock(queue.mutex);
  const auto [at, added] = queue.records.insert_or_assign(key, std::move(record));
  if (added) pending_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

Handout PeerIndex::announce(const InfoHash& infohash, const Digest& digest, const PeerInfo& peer, std::size_t count) {
  const auto now = clock_.monotonic();
  Handout handout;
  auto& stripe = stripe_of(infohash);
  const std::lock_guard lock(stripe.mutex);
  auto& entry = enter(stripe, infohash, peer.peer_id, now);
  auto& swarm = stripe.swarms.find(infohash)->second;
  if (entry.complete != peer.complete || entry.port != peer.port || entry.ip != peer.ip) {
    if (entry.complete) --swarm.complete;
    if (peer.complete) ++swarm.complete;
    entry.ip = peer.ip;
    entry.port = peer.port;
    entry.complete = peer.complete;
    entry.logged = false;
    entry.queued_at = {};
  }
  const auto ttl = ttl_of(peer.complete);
  if (entry.first_announce == MonotonicTime{}) entry.first_announce = now;
  entry.last_announce = now;
  entry.expires = std::max(entry.expires, now + ttl);

  const bool logged = entry.logged && entry.logged_until - now > ttl / 2;
  const bool queued = entry.queued_at != MonotonicTime{} && now - entry.queued_at < options_.commit_wait;
  if (!logged && !queued && enqueue(digest, PeerRecord{infohash, peer.peer_id, peer.ip, peer.port, peer.complete, ttl}))
    entry.queued_at = now;

  handout.asker_age = now - entry.first_announce;
  const std::size_t self = swarm.find(peer.peer_id);
  const std::size_t others = swarm.entries.size() - 1;
  handout.peers_known = others;
  handout.complete_known = swarm.complete - (peer.complete ? 1 : 0);
  const auto give = [&](std::size_t other) {
    const auto& chosen = swarm.entries[other < self ? other : other + 1];
    if (chosen.expires > now) handout.peers.push_back({chosen.peer_id, chosen.ip, chosen.port, false, chosen.complete});
  };
  if (count >= others) {
    handout.peers.reserve(others);
    for (std::size_t i = 0; i < others; ++i) give(i);
    if (count > 0) {
      for (std::size_t i = handout.peers.size(); i > 1; --i)
        std::swap(handout.peers[i - 1], handout.peers[stripe.rng.below(i)]);
    }
    return handout;
  }
  // Floyd's sample: `count` different ones of `others`, each subset as likely as any other, in O(count).
  std::vector<std::size_t> chosen;
  chosen.reserve(count);
  for (std::size_t i = others - count; i < others; ++i) {
    const std::size_t pick = stripe.rng.below(i + 1);
    chosen.push_back(std::ranges::find(chosen, pick) == chosen.end() ? pick : i);
  }
  handout.peers.reserve(count);
  for (const auto other : chosen) give(other);
  return handout;
}

std::vector<PeerRecord> PeerIndex::take_batch(std::size_t group, std::size_t bytes_max) {
  std::vector<PeerRecord> batch;
  auto& queue = queues_[group];
  const std::lock_guard lock(queue.mutex);
  std::size_t bytes = 0;
  while (!queue.records.empty()) {
    const auto first = queue.records.begin();
    bytes += kRecordBytes + first->second.ip.size();
    if (bytes > bytes_max && !batch.empty()) break;
    batch.push_back(std::move(first->second));
    queue.records.erase(first);
    pending_.fetch_sub(1, std::memory_order_relaxed);
  }
  return batch;
}

void PeerIndex::committed(const PeerRecord& record) {
  const auto now = clock_.monotonic();
  auto& stripe = stripe_of(record.infohash);
  const std::lock_guard lock(stripe.mutex);
  if (record.ttl <= Duration::zero()) {
    const auto found = stripe.swarms.find(record.infohash);
    if (found == stripe.swarms.end()) return;
    const auto at = found->second.find(record.peer_id);
    if (at == found->second.entries.size()) return;
    erase(found->second, at);
    --stripe.peers;
    if (found->second.entries.empty()) stripe.swarms.erase(found);
    return;
  }
  auto& entry = enter(stripe, record.infohash, record.peer_id, now);
  const bool same = entry.complete == record.complete && entry.port == record.port && entry.ip == record.ip;
  if (!same) {
    const bool newer_here = entry.queued_at != MonotonicTime{} && now - entry.queued_at < options_.commit_wait;
    if (newer_here) return;
    auto& swarm = stripe.swarms.find(record.infohash)->second;
    if (entry.complete) --swarm.complete;
    if (record.complete) ++swarm.complete;
    entry.ip = record.ip;
    entry.port = record.port;
    entry.complete = record.complete;
    entry.expires = {};
  }
  if (entry.last_announce == MonotonicTime{}) entry.last_announce = now - (ttl_of(record.complete) - record.ttl);
  entry.logged = true;
  entry.logged_until = now + record.ttl;
  entry.queued_at = {};
  entry.expires = std::max(entry.expires, now + record.ttl);
}

void PeerIndex::not_committed(const std::vector<PeerRecord>& batch) {
  for (const auto& record : batch) {
    auto& stripe = stripe_of(record.infohash);
    const std::lock_guard lock(stripe.mutex);
    const auto found = stripe.swarms.find(record.infohash);
    if (found == stripe.swarms.end()) continue;
    const auto at = found->second.find(record.peer_id);
    if (at < found->second.entries.size()) found->second.entries[at].queued_at = {};
  }
}

void PeerIndex::sweep() {
  const auto now = clock_.monotonic();
  auto& stripe = stripes_[next_sweep_.fetch_add(1, std::memory_order_relaxed) % kStripes];
  const std::lock_guard lock(stripe.mutex);
  for (auto at = stripe.swarms.begin(); at != stripe.swarms.end();) {
    auto& swarm = at->second;
    for (std::size_t i = swarm.entries.size(); i-- > 0;) {
      if (swarm.entries[i].expires > now) continue;
      erase(swarm, i);
      --stripe.peers;
    }
    at = swarm.entries.empty() ? stripe.swarms.erase(at) : std::next(at);
  }
}

std::size_t PeerIndex::torrents() const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < kStripes; ++i) {
    const std::lock_guard lock(stripes_[i].mutex);
    count += stripes_[i].swarms.size();
  }
  return count;
}

std::size_t PeerIndex::agents() const {
  std::unordered_set<PeerId> seen;
  for (std::size_t i = 0; i < kStripes; ++i) {
    const std::lock_guard lock(stripes_[i].mutex);
    for (const auto& [infohash, swarm] : stripes_[i].swarms)
      for (const Entry& entry : swarm.entries) seen.insert(entry.peer_id);
  }
  return seen.size();
}

}  // namespace kraken::tracker
