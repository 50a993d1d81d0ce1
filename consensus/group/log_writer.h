#pragma once
// The one thread that writes the log: it takes everything that is queued, of all groups, writes it as ONE batch with ONE sync,
// and says what became durable. While it syncs, the next batch collects, so the batch grows with the load (consensus §1.8).
// A failed write ends the process: its outcome is unknown (the store sees to that).

#include <atomic>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "consensus/group/batch_queue.h"
#include "consensus/group/log_store.h"
#include "consensus/raft/types.h"
#include "src/base/clock.h"
#include "storage/kv/store.h"

namespace kraken::group {

class LogWriter {
 public:
  struct Write {
    ShardId shard;
    raft::Seq seq = 0;  // 0: nobody waits for it by number
    std::optional<raft::HardState> hard_state;
    std::optional<raft::Index> truncate_from;
    std::vector<raft::Entry> append;
  };
  struct Compaction {
    ShardId shard;
    raft::Index first{};   // the log begins here afterwards
    raft::SnapMeta meta;   // of first - 1
  };
  /// (shard, highest seq) of what has just become durable. On the writer's thread.
  using Persisted = std::function<void(std::vector<std::pair<ShardId, raft::Seq>>)>;

  LogWriter(kv::Store& store, const Clock& clock, Persisted persisted);
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;
  ~LogWriter();  // stop()

  // All from any thread; in the order of the calls of one thread.
  void submit(std::vector<Write> writes);
  /// `done` runs on the writer's thread once the compaction is durable.
  void compact(Compaction compaction, std::function<void()> done);
  /// Any other rows of the raft family, synced with what else is due; then `done`.
  void put(kv::Batch batch, std::function<void()> done);
  /// Runs between two batches, after everything submitted before is durable.
  void run(std::move_only_function<void()> job);

  /// For how long the writer has been busy with one batch or job; zero if it is idle.
  Duration outstanding() const;
  /// Syncs so far, and what waits.
  std::uint64_t syncs() const { return syncs_.load(std::memory_order_relaxed); }
  std::size_t queued() const { return queue_.size(); }

  /// Writes what is queued, then joins. With `drop`, nothing more is written (tests: a power cut).
  void stop(bool drop = false);

 private:
  struct Item {
    std::optional<Write> write;
    std::optional<Compaction> compaction;
    kv::Batch batch;
    std::move_only_function<void()> after;  // once the batch it is in is durable
    bool alone = false;                     // `after` is a job: runs between batches
  };
  void work();
  void write(std::vector<Item>& items);

  kv::Store& store_;
  const Clock& clock_;
  const Persisted persisted_;
  std::atomic<std::int64_t> began_{0};  // with what it is busy with; 0: idle
  std::atomic<std::uint64_t> syncs_{0};

  BatchQueue<Item> queue_;
  std::thread thread_;
};

}  // namespace kraken::group
