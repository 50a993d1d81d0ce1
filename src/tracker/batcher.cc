#include "src/tracker/batcher.h"

#include <utility>

#include "src/base/log.h"
#include "src/base/metrics.h"

namespace kraken::tracker {

namespace {

metrics::Counter& batches(const char* result) {
  return metrics::counter("kr_tracker_peer_batches_total", "Batches of peers proposed to the log",
                          {{"result", result}});
}

}  // namespace

PeerIndexOptions index_options(const metadata::Shards& shards) {
  PeerIndexOptions options;
  options.groups = shards.count();
  options.group_of = [shards](const Digest& digest) {
    return static_cast<std::size_t>(shards.of(digest).value() - shards.at(0).value());
  };
  return options;
}

void PeerFeed::peers_changed(metadata::ShardId, std::span<const metadata::state::NamedPeer> peers, Duration now) {
  for (const auto& peer : peers)
    index_.committed(
        {peer.infohash, peer.peer_id, peer.row.ip, peer.row.port, peer.row.complete, peer.row.expires - now});
}

void PeerFeed::restored(metadata::ShardId shard, const kv::View&) { restored_again(shard); }

void PeerFeed::restored_again(metadata::ShardId shard) {
  const std::lock_guard lock(mutex_);
  restored_.insert(shard);
  any_restored_ = true;
}

std::vector<metadata::ShardId> PeerFeed::take_restored() {
  if (!any_restored_) return {};
  const std::lock_guard lock(mutex_);
  any_restored_ = false;
  const auto shards = std::exchange(restored_, {});
  return {shards.begin(), shards.end()};
}

Batcher::Batcher(BatcherOptions options, PeerIndex& index, PeerFeed& feed, metadata::Client& metadata,
                 net::Executor executor)
    : options_(options),
      index_(index),
      feed_(feed),
      metadata_(metadata),
      in_flight_(index.groups(), false),
      scope_(std::move(executor)) {}

void Batcher::start() { scope_.spawn("tracker.batcher", run()); }

void Batcher::stop() { scope_.stop_and_wait(); }

net::Task<> Batcher::run() {
  while (true) {
    KR_CO_CHECK(co_await net::sleep_for(options_.tick));
    tick();
  }
}

void Batcher::tick() {
  index_.sweep();
  for (const auto shard : feed_.take_restored()) scope_.spawn("tracker.reload", reload(shard));
  if (!index_.has_pending()) return;
  // In turn, so that the shards behind a full house are not always the same ones.
  const std::size_t groups = index_.groups();
  for (std::size_t i = 0; i < groups && sending_ < options_.in_flight_max; ++i) {
    const std::size_t group = (next_group_ + i) % groups;
    if (in_flight_[group]) continue;
    auto batch = index_.take_batch(group, options_.batch_bytes_max);
    if (batch.empty()) continue;
    in_flight_[group] = true;
    ++sending_;
    scope_.spawn("tracker.batch", send(group, std::move(batch)));
  }
  next_group_ = (next_group_ + 1) % groups;
}

net::Task<> Batcher::send(std::size_t group, std::vector<PeerRecord> batch) {
  metadata::state::PeerBatch command;
  command.records.reserve(batch.size());
  for (const auto& record : batch) {
    command.records.push_back({record.infohash, record.peer_id, record.ip, record.port, record.complete, record.ttl});
  }
  const auto shard = metadata_.shards().at(static_cast<std::uint32_t>(group));
  const auto done = co_await metadata_.announce(shard, std::move(command));
  in_flight_[group] = false;
  --sending_;
  batches(done ? "committed" : "failed").add();
  if (!done) {
    index_.not_committed(batch);
    log::debug("tracker.batch_failed", "shard={} records={} error=\"{}\"", shard.value(), batch.size(),
               done.error().detail);
  }
  co_return Result<>{};
}

net::Task<> Batcher::reload(metadata::ShardId shard) {
  metadata::state::ListPeers query;
  while (true) {
    const auto page = co_await metadata_.list_peers(shard, query, metadata::Read::kLocal);
    if (!page) {
      feed_.restored_again(shard);  // the next tick tries again
      co_return Result<>{};
    }
    for (const auto& peer : page->peers) {
      index_.committed(
          {peer.infohash, peer.peer_id, peer.row.ip, peer.row.port, peer.row.complete, peer.row.expires - page->now});
    }
    if (!page->more || page->peers.empty()) co_return Result<>{};
    query.after_infohash = page->peers.back().infohash;
    query.after_peer = page->peers.back().peer_id;
  }
}

net::Task<> Batcher::tick_and_wait() {
  tick();
  while (scope_.size() > 0) KR_CO_CHECK(co_await net::sleep_for(std::chrono::milliseconds(1)));
  co_return Result<>{};
}

}  // namespace kraken::tracker
