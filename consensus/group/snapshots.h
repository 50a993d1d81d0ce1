#pragma once
// Snapshots of one shard from node to node, over a connection of their own. The sender builds files from one moment of its store
// (snapshot_files.h) and streams them, all its snapshots together no faster than the configured rate; the receiver keeps what has
// come, goes on behind it after a broken connection or a restart of its own, verifies every file, and hands back an import that
// its caller ingests in one atomic step. Nothing on the receiver changes before that.
// Format: docs/formats/snapshot.md. Threads: one loop of its own, which may block on the disk; calls from any thread.

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "consensus/group/handshake.h"
#include "consensus/group/node.h"
#include "consensus/group/snapshot_files.h"
#include "src/net/event.h"
#include "src/net/loop.h"
#include "src/net/scope.h"
#include "storage/kv/store.h"

namespace kraken::group {

struct SnapshotOptions {
  std::filesystem::path folder;                             // for `out` and `in`; empty: a temporary one
  std::uint64_t rate = 0;                                   // bytes a second, of all that is sent; 0: no limit
  std::size_t file_bytes = std::size_t{4} << 20;
  std::size_t inbound = 2;                                  // fetches at once; others wait
  Duration retry = std::chrono::milliseconds(500);          // between attempts
  int attempts = 6;                                         // in a row that bring nothing
};

class Snapshots {
 public:
  Snapshots(kv::Store& store, SnapshotOptions options);
  Snapshots(const Snapshots&) = delete;
  Snapshots& operator=(const Snapshots&) = delete;
  ~Snapshots();  // stop()

  /// Keeps the snapshot for whoever asks for meta.snap_id, until withdrawn. It is built when it is first asked for.
  void offer(ShardId shard, raft::SnapMeta meta, std::unique_ptr<kv::View> view);
  void withdraw(std::uint64_t snap_id);
  std::size_t offered() const;
  /// Since something of it was last sent, or it was offered; Duration::max() if it is not offered.
  Duration idle(std::uint64_t snap_id) const;
  /// A connection past its handshake; asks for an offer.
  void serve(net::Socket socket, std::string rest);

  struct Fetch {
    ShardId shard;
    raft::SnapMeta meta;
    Member from;
    Hello hello;
  };
  /// `done` on this class's loop: rows that were verified, and end at meta.index, ready to commit.
  void fetch(Fetch fetch, std::move_only_function<void(Result<std::unique_ptr<kv::ShardImport>>)> done);
  /// What was fetched is ingested, or not wanted any more.
  void forget(ShardId shard, std::uint64_t snap_id);

  void stop();

 private:
  struct Offer {
    ShardId shard;
    raft::SnapMeta meta;
    std::filesystem::path folder;
    std::unique_ptr<kv::View> view;            // until it is built
    std::optional<SnapshotManifest> manifest;  // since it is built; the loop's
    std::atomic<std::int64_t> sent{0};         // monotonic, nanoseconds
    ~Offer();
  };
  using Done = std::move_only_function<void(Result<std::unique_ptr<kv::ShardImport>>)>;

  net::Task<void> send(int fd, bool v6, std::string rest);
  net::Task<void> stream(net::Socket& socket, std::string& buffer, std::shared_ptr<Offer> offer);
  net::Task<void> run(std::shared_ptr<Fetch> fetch, std::shared_ptr<Done> done);
  net::Task<std::unique_ptr<kv::ShardImport>> receive(std::shared_ptr<Fetch> fetch);
  net::Task<void> attempt(const Fetch& fetch, std::optional<SnapshotIntake>& intake);
  net::Task<void> take_manifest(net::Socket& socket, std::string& buffer, const Fetch& fetch, std::optional<SnapshotIntake>& intake);
  net::Task<void> take_tables(net::Socket& socket, std::string& buffer, SnapshotIntake& intake);
  std::filesystem::path inbound_folder(ShardId shard, std::uint64_t snap_id) const;
  Duration reserve(std::size_t bytes);

  kv::Store& store_;
  SnapshotOptions options_;
  bool temporary_ = false;
  mutable std::mutex mutex_;  // guards offers_
  std::map<std::uint64_t, std::shared_ptr<Offer>> offers_;
  bool stopped_ = false;
  MonotonicTime next_send_{};  // the loop's: when the rate allows more
  net::Loop loop_;
  net::Semaphore inbound_;
  net::Scope scope_;
};

}  // namespace kraken::group
