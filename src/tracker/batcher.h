#pragma once
// Peers to the log and back (consensus §4.2). Every tick each shard with news gets one batch; a batch that fails is
// forgotten, and the next announce of its peers queues them again. What the log applied, and what a restored shard
// holds, goes into the index. Nobody waits for any of it.
// Threads: the loop of `scope`'s executor; the observer's methods on the apply thread. The references outlive stop().

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "src/metadata/client.h"
#include "src/metadata/state/machine.h"
#include "src/net/scope.h"
#include "src/tracker/peer_index.h"

namespace kraken::tracker {

struct BatcherOptions {
  Duration tick = std::chrono::milliseconds(100);
  std::size_t batch_bytes_max = 48 * 1024;  // leaves room below metadata::state::kPeerBatchBytesMax
  std::size_t in_flight_max = 32;           // shards at a time
};

/// Options of an index whose groups are the metadata's data shards.
PeerIndexOptions index_options(const metadata::Shards& shards);

/// The metadata's observer for peers: hand it to the machine, alone or behind one that tells others too.
class PeerFeed final : public metadata::state::Observer {
 public:
  explicit PeerFeed(PeerIndex& index) : index_(index) {}
  void peers_changed(metadata::ShardId shard, std::span<const metadata::state::NamedPeer> peers, Duration now) override;
  /// Notes the shard; the batcher reads it, since the apply thread must not be held up.
  void restored(metadata::ShardId shard, const kv::View& view) override;
  std::vector<metadata::ShardId> take_restored();
  void restored_again(metadata::ShardId shard);

 private:
  PeerIndex& index_;
  std::mutex mutex_;
  std::set<metadata::ShardId> restored_;
  std::atomic<bool> any_restored_{false};
};

class Batcher {
 public:
  Batcher(BatcherOptions options, PeerIndex& index, PeerFeed& feed, metadata::Client& metadata, net::Executor executor);
  void start();
  /// Not on a loop.
  void stop();
  /// One tick, and the end of all that it began; for tests.
  net::Task<> tick_and_wait();

 private:
  net::Task<> run();
  net::Task<> send(std::size_t group, std::vector<PeerRecord> batch);
  net::Task<> reload(metadata::ShardId shard);
  void tick();

  const BatcherOptions options_;
  PeerIndex& index_;
  PeerFeed& feed_;
  metadata::Client& metadata_;
  std::vector<bool> in_flight_;
  std::size_t sending_ = 0;
  std::size_t next_group_ = 0;
  net::Scope scope_;
};

}  // namespace kraken::tracker
