#include "consensus/group/log_writer.h"

#include <future>

#include <gtest/gtest.h>

#include "storage/kv/keys.h"
#include "storage/kv/memory/memory_store.h"
#include "tests/unit/consensus/group/cluster.h"
#include "tests/unit/consensus/group/stall_store.h"

namespace kraken::group::test {
namespace {

constexpr ShardId kShard{1};

/// Stands still until it is told.
class HandClock final : public Clock {
 public:
  MonotonicTime monotonic() const override { return MonotonicTime(at_.load()); }
  WallTime wall() const override { return {}; }
  void pass(Duration some) { at_ += some.count(); }

 private:
  std::atomic<std::int64_t> at_{Duration(1h).count()};
};

kv::Batch row(const std::string& name) {
  kv::Batch batch;
  batch.put(kv::Family::kRaft, kv::shard_prefix(kShard) + name, name);
  return batch;
}

class Writer : public ::testing::Test {
 protected:
  void TearDown() override { store_.stall(false); }
  bool there(const std::string& name) const { return store_.get(kv::Family::kRaft, kv::shard_prefix(kShard) + name).value().has_value(); }
  /// The writer sits in a sync that does not come back.
  void stall() {
    store_.stall(true);
    writer_.put(row("stalled"), {});
    ASSERT_TRUE(Cluster::eventually([&] { return store_.waiting(); }));
  }
  void drain() {
    std::promise<void> done;
    writer_.run([&] { done.set_value(); });
    done.get_future().wait();
    EXPECT_TRUE(Cluster::eventually([&] {
      clock_.pass(1ns);  // or one that is still busy looks idle
      return writer_.outstanding() == Duration::zero();
    }));
  }

  StallStore store_{std::make_unique<kv::MemoryStore>()};
  HandClock clock_;
  std::vector<std::vector<std::pair<ShardId, raft::Seq>>> persisted_;  // the writer's thread's, until drain()
  LogWriter writer_{store_, clock_, [this](std::vector<std::pair<ShardId, raft::Seq>> durable) { persisted_.push_back(std::move(durable)); }};
};

// Beats are held back while a sync is outstanding for too long (Engine::watch_disk); a writer that has nothing to do must not count as one.
TEST_F(Writer, IsBusyForAsLongAsASyncTakesAndNotWhileItIdles) {
  writer_.put(row("a"), {});
  drain();
  clock_.pass(1h);
  EXPECT_EQ(writer_.outstanding(), Duration::zero());
  stall();
  EXPECT_EQ(writer_.outstanding(), Duration::zero()) << "it has only begun";
  clock_.pass(3s);
  EXPECT_EQ(writer_.outstanding(), Duration(3s));
  store_.stall(false);
  drain();
  clock_.pass(1h);
  EXPECT_EQ(writer_.outstanding(), Duration::zero());
}

TEST_F(Writer, WhatComesWhileItSyncsIsOneBatchAndItsHighestNumberIsSaid) {
  stall();
  const std::uint64_t before = writer_.syncs();
  for (raft::Seq seq = 1; seq <= 50; ++seq)
    writer_.submit({{.shard = kShard, .seq = seq, .hard_state = raft::HardState{.term = raft::Term{seq}, .vote = {}}, .truncate_from = {}, .append = {}}});
  store_.stall(false);
  drain();
  EXPECT_EQ(writer_.syncs() - before, 2U) << "the one that stalled, and one for all that came meanwhile";
  ASSERT_EQ(persisted_.size(), 1U);
  EXPECT_EQ(persisted_[0], (std::vector<std::pair<ShardId, raft::Seq>>{{kShard, 50}}));
}

TEST_F(Writer, AJobSeesWhatWasBeforeItAndNothingOfWhatCameAfter) {
  stall();
  std::vector<bool> seen;
  writer_.put(row("before"), {});
  writer_.run([&] { seen = {there("before"), there("after")}; });
  writer_.put(row("after"), {});
  store_.stall(false);
  drain();
  EXPECT_EQ(seen, (std::vector<bool>{true, false}));
  EXPECT_TRUE(there("after"));
}

TEST_F(Writer, StopWritesWhatIsQueuedAndDropDoesNot) {
  for (const bool drop : {false, true}) {
    store_.stall(true);
    LogWriter writer(store_, clock_, [](auto) {});
    writer.put(row("first"), {});
    ASSERT_TRUE(Cluster::eventually([&] { return store_.waiting(); }));
    const std::string name = drop ? "dropped" : "kept";
    writer.put(row(name), {});
    std::thread stopper([&] { writer.stop(drop); });
    // The queue is closed before the sync in flight comes back.
    EXPECT_TRUE(Cluster::eventually([&] {
      const std::size_t queued = writer.queued();
      writer.put(row("late"), {});
      return writer.queued() == queued;
    }));
    store_.stall(false);
    stopper.join();
    EXPECT_EQ(there(name), !drop);
  }
}

}  // namespace
}  // namespace kraken::group::test
