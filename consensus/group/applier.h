#pragma once
// The one thread that applies: it takes what is queued, of all shards, runs it through the state machine over one overlay, and
// adds rows, sessions, applied index and time of the whole turn to what waits for the store. The store gets what waits as ONE
// batch, without a sync: when somebody wants to read, after kWaitsAtMost, or when it is kWaitingBytes. So under a load of writes
// a row that is written over (a result of a session, an applied index, a tag that moves) goes to RocksDB once for many times.
// The log it applies is durable already; after a crash the state is some earlier one with the applied index that belongs to
// it, and the log goes on from there (consensus §2.9). So no entry leaves the log before the store has what it did: stored().

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "consensus/group/apply_turn.h"
#include "consensus/group/batch_queue.h"
#include "consensus/group/log_store.h"
#include "consensus/group/pending.h"
#include "consensus/group/sessions.h"
#include "consensus/group/state_machine.h"
#include "storage/kv/store.h"
#include "storage/kv/write_behind.h"

namespace kraken::group {

inline constexpr std::size_t kDigestsKept = 1'024;  // per shard, 16 bytes each
inline constexpr Duration kWaitsAtMost = std::chrono::seconds(1);
inline constexpr std::size_t kWaitingBytes = std::size_t{1} << 20;

class Applier {
 public:
  struct Job {
    ShardId shard;
    raft::Index from{}, to{};
    std::vector<raft::Entry> entries;  // from `from` on, perhaps not all: the rest is read from the log
    bool want_answers = false;
    /// Who waits on a loop of this node for an entry's outcome, in order of index: told as soon as the turn is visible, not by way
    /// of the group loop. Of these `Done` has the verdict alone.
    std::vector<std::pair<raft::Index, PendingPtr>> waiting;
  };
  struct Done {
    ShardId shard;
    raft::Index upto{};
    std::vector<std::pair<raft::Index, Answer>> answers;  // of kData entries, if they were wanted
  };
  /// On the apply thread, once a turn, after its batch is visible.
  using Applied = std::function<void(std::vector<Done>)>;

  Applier(kv::Store& store, StateMachine& machine, std::uint16_t shards, Applied applied);
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;
  ~Applier();  // stop()

  // Any thread; in the order of the calls of one thread.
  void submit(std::vector<Job> jobs);
  /// Reads sessions and time of the shard from the store and tells the state machine; before any job of the shard. Then `done`.
  void restore(ShardId shard, std::move_only_function<void()> done);
  /// After everything submitted before.
  void run(std::move_only_function<void()> work);

  // Any thread, without waiting for a turn.
  raft::Index applied(ShardId shard) const { return raft::Index{states_[shard.value()].index.load(std::memory_order_acquire)}; }
  /// What the store has: never more than applied().
  raft::Index stored(ShardId shard) const { return raft::Index{states_[shard.value()].stored.load(std::memory_order_acquire)}; }
  Duration now(ShardId shard) const { return Duration(states_[shard.value()].now.load(std::memory_order_acquire)); }
  /// One moment of the store that has at least everything that applied() has shown; shared until the next turn.
  std::shared_ptr<const kv::View> view() const;
  /// The store has everything that applied() has shown.
  void flush() const;
  /// Where the shard's rows stand, and their digest there.
  std::pair<raft::Index, StateDigest> digest(ShardId shard) const;
  /// Of the rows as they were at `index`, one of the last kDigestsKept that were applied since the start; else nothing.
  std::optional<StateDigest> digest_at(ShardId shard, raft::Index index) const;
  std::size_t queued() const { return queue_.size(); }

  /// Applies what is queued, then joins. With `drop`, stops at once (tests: a power cut).
  void stop(bool drop = false);

 private:
  struct State {
    std::atomic<std::uint64_t> index{0};
    mutable std::atomic<std::uint64_t> stored{0};
    std::atomic<std::int64_t> now{0};
    raft::Term term{};  // the apply thread's
  };
  struct Item {
    std::optional<Job> job;
    std::move_only_function<void()> work;
  };
  /// The last digests of a shard: back() is at `last`.
  struct Digests {
    raft::Index last{};
    std::deque<StateDigest> kept;
  };
  struct Turn;

  void loop();
  void apply(Job& job, Turn& turn);
  void finish(Turn& turn);
  void flush_locked() const;
  std::vector<Item> next_items();
  void keep_digests(const Turn& turn);
  [[noreturn]] static void die(const std::string& what, const Error& error);

  kv::Store& store_;
  StateMachine& machine_;
  const Applied applied_;
  std::vector<State> states_;
  Sessions sessions_;
  kv::WriteBehind rows_;  // the apply thread's, but for flush()
  MonotonicTime waiting_since_{};  // the apply thread's: something may wait since then

  mutable std::mutex digests_mutex_;  // guards digests_
  std::vector<Digests> digests_;

  mutable std::mutex view_mutex_;  // guards view_, and orders flushes
  mutable std::shared_ptr<const kv::View> view_;

  BatchQueue<Item> queue_;
  std::thread thread_;
};

}  // namespace kraken::group
