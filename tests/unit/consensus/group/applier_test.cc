// What was applied and the store: it gets many turns at once, and always before somebody reads it or could miss it.

#include "consensus/group/applier.h"

#include <future>

#include <gtest/gtest.h>

#include "storage/kv/memory/memory_store.h"
#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

constexpr ShardId kShard{1}, kOther{2};

class Applying : public ::testing::Test {
 protected:
  Applying() {
    applier_.restore(kShard, {});
    applier_.restore(kOther, {});
  }
  /// Entries (from, to] without a payload: each moves the applied index alone.
  void apply(std::uint64_t from, std::uint64_t to, ShardId shard = kShard) {
    Applier::Job job{.shard = shard, .from = raft::Index{from + 1}, .to = raft::Index{to}, .entries = {}, .waiting = {}};
    for (std::uint64_t i = from + 1; i <= to; ++i) job.entries.push_back({.term = raft::Term{1}, .index = raft::Index{i}, .kind = raft::Kind::kNoop, .data = {}});
    std::vector<Applier::Job> jobs;
    jobs.push_back(std::move(job));
    applier_.submit(std::move(jobs));
    ASSERT_TRUE(Cluster::eventually([&] { return applier_.applied(shard) == raft::Index{to}; }));
  }
  std::uint64_t in_store(ShardId shard = kShard) const { return raft::raw(load_applied(store_, shard).value().index); }
  std::uint64_t stored(ShardId shard = kShard) const { return raft::raw(applier_.stored(shard)); }

  kv::MemoryStore store_;
  Toy machine_;
  Applier applier_{store_, machine_, 2, [](std::vector<Applier::Done>) {}};
};

TEST_F(Applying, WhoReadsHasEverythingThatWasShown) {
  apply(0, 3);
  EXPECT_EQ(raft::raw(load_applied(*applier_.view(), kShard).value().index), 3U);
  EXPECT_EQ(stored(), 3U);
  apply(3, 5);
  apply(0, 2, kOther);
  const auto view = applier_.view();
  EXPECT_EQ(raft::raw(load_applied(*view, kShard).value().index), 5U);
  EXPECT_EQ(raft::raw(load_applied(*view, kOther).value().index), 2U);
  EXPECT_EQ(applier_.view(), view) << "one moment, until the next turn";
}

// Compaction goes by stored(): an entry that left the log before the store had what it did would be lost with the process.
TEST_F(Applying, StoredIsNeverAheadOfTheStore) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    apply(i, i + 1);
    if (i % 7 == 0) applier_.flush();
    const std::uint64_t said = stored();
    ASSERT_LE(said, in_store());
    ASSERT_LE(said, i + 1);
    if (i % 7 == 0) ASSERT_EQ(said, i + 1);
  }
}

TEST_F(Applying, WhatWaitsReachesTheStoreByItselfSoonAfterTheLastTurn) {
  apply(0, 3);
  EXPECT_TRUE(Cluster::eventually([&] { return in_store() == 3 && stored() == 3; }));
}

TEST_F(Applying, AJobSeesAllThatWasAppliedBeforeIt) {
  apply(0, 3);
  std::promise<std::uint64_t> seen;
  applier_.run([&] { seen.set_value(in_store()); });
  EXPECT_EQ(seen.get_future().get(), 3U);
  // What a job changes counts.
  std::promise<void> restored;
  applier_.run([&] {
    kv::Batch batch;
    batch.put(kv::Family::kSession, applied_key(kShard), encode_applied({.index = raft::Index{9}, .term = raft::Term{1}, .now = {}}));
    EXPECT_TRUE(store_.write(batch, kv::Durability::kBuffered));
  });
  applier_.restore(kShard, [&] { restored.set_value(); });
  restored.get_future().wait();
  EXPECT_EQ(raft::raw(applier_.applied(kShard)), 9U);
  EXPECT_EQ(stored(), 9U);
  apply(9, 10);
  EXPECT_EQ(raft::raw(load_applied(*applier_.view(), kShard).value().index), 10U);
}

TEST_F(Applying, AStopGivesTheStoreEverything) {
  apply(0, 3);
  applier_.stop();
  EXPECT_EQ(in_store(), 3U);
}

}  // namespace
}  // namespace kraken::group::test
