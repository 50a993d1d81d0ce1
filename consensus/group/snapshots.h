#pragma once
// Snapshots of one shard from node to node, over a connection of their own: the sender pins one moment of its store and streams
// the shard's rows in checksummed chunks of at most 1 MB; the receiver builds one sorted table a family and hands back an import
// that its caller ingests in one atomic step. Nothing on the receiver changes before that.
// Format: docs/formats/node_frames.md. Threads: one loop of its own, which may block on the disk; calls from any thread.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "consensus/group/handshake.h"
#include "consensus/group/log_store.h"
#include "consensus/group/node.h"
#include "src/net/event.h"
#include "src/net/loop.h"
#include "src/net/scope.h"
#include "storage/kv/store.h"

namespace kraken::group {

class Snapshots {
 public:
  explicit Snapshots(kv::Store& store);
  Snapshots(const Snapshots&) = delete;
  Snapshots& operator=(const Snapshots&) = delete;
  ~Snapshots();  // stop()

  /// Keeps `view` for whoever asks for `snap_id`, until withdrawn.
  void offer(std::uint64_t snap_id, ShardId shard, std::unique_ptr<kv::View> view);
  void withdraw(std::uint64_t snap_id);
  std::size_t offered() const;
  /// A connection past its handshake; asks for an offer.
  void serve(net::Socket socket, std::string rest);

  struct Fetch {
    ShardId shard;
    raft::SnapMeta meta;
    Member from;
    Hello hello;
  };
  /// One at a time, others wait. `done` on this class's loop: rows that were verified, and end at meta.index, ready to commit.
  void fetch(Fetch fetch, std::move_only_function<void(Result<std::unique_ptr<kv::ShardImport>>)> done);

  void stop();

 private:
  struct Offer {
    ShardId shard;
    std::shared_ptr<const kv::View> view;
  };
  net::Task<void> send(int fd, bool v6, std::string rest);
  net::Task<void> stream(net::Socket& socket, const Offer& offer);
  net::Task<void> run(std::shared_ptr<Fetch> fetch,
                      std::shared_ptr<std::move_only_function<void(Result<std::unique_ptr<kv::ShardImport>>)>> done);
  net::Task<std::unique_ptr<kv::ShardImport>> receive(std::shared_ptr<Fetch> fetch);

  kv::Store& store_;
  mutable std::mutex mutex_;  // guards offers_
  std::map<std::uint64_t, Offer> offers_;
  bool stopped_ = false;
  net::Loop loop_;
  net::Semaphore one_;
  net::Scope scope_;
};

}  // namespace kraken::group
