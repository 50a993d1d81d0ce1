// Followers that are behind the beginning of the log.

#include "src/base/metrics.h"
#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

constexpr ShardId kShard{1};

class Snapshot : public ::testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Both, Snapshot, ::testing::Values(Kind::kMemory, Kind::kRocks),
                         [](const auto& kind) { return kind.param == Kind::kMemory ? "Memory" : "RocksDB"; });

Limits small_log() {
  Limits limits;
  limits.log_keep_entries = 20;
  limits.log_keep_bytes = 1 << 20;
  limits.log_max_bytes = 4 << 10;
  return limits;
}

TEST_P(Snapshot, BringsAFollowerThatWasAwayTooLong) {
  Cluster cluster({.shards = 2, .kind = GetParam(), .limits = small_log()});
  cluster.start_all();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(cluster.propose(0, kShard, fmt::format("put early{} {}", i, i)));
  ASSERT_TRUE(cluster.propose(0, ShardId{2}, "put other shard"));
  cluster.kill(2);
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(cluster.propose(static_cast<std::size_t>(i % 2), kShard, fmt::format("put k{} {}", i, i)));
  // More than one chunk.
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(cluster.propose(0, kShard, fmt::format("big b{} 400000", i)));
  EXPECT_TRUE(Cluster::eventually([&] {
    return cluster.node(0).status(kShard).first > 100 && cluster.node(1).status(kShard).first > 100;
  })) << cluster.node(0).status(kShard).first;
  ASSERT_TRUE(cluster.start(2));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(2).status(kShard).first > 100; }));
  cluster.wait_ready(2);
  EXPECT_EQ(cluster.query(2, kShard, "get k299").value(), "299");
  EXPECT_EQ(cluster.query(2, kShard, "get early3").value(), "3");
  EXPECT_EQ(cluster.query(2, kShard, "count").value(), cluster.query(0, kShard, "count").value());
  EXPECT_EQ(cluster.query(2, kShard, "now").value(), cluster.query(0, kShard, "now").value());
  EXPECT_EQ(cluster.query(2, ShardId{2}, "get other").value(), "shard");
  EXPECT_GE(cluster.machine(2).restores, 4);  // three shards at start, one snapshot

  // It is a full replica: it goes on with the log, can lead, and starts again from what it has.
  ASSERT_TRUE(cluster.propose(2, kShard, "put later 1"));
  cluster.kill(2);
  ASSERT_TRUE(cluster.start(2));
  cluster.wait_ready(2);
  EXPECT_EQ(cluster.query(2, kShard, "get later").value(), "1");
  cluster.kill(0);
  const auto put = cluster.propose(2, kShard, "put after 2");
  ASSERT_TRUE(put) << put.error().to_string();
  EXPECT_EQ(cluster.query(2, kShard, "get k150").value(), "150");
}

// A retry that crosses a snapshot is still known: sessions travel with it.
TEST_P(Snapshot, CarriesTheSessions) {
  Cluster cluster({.shards = 1, .kind = GetParam(), .limits = small_log()});
  cluster.start_all();
  cluster.kill(2);
  for (int i = 1; i <= 200; ++i) ASSERT_EQ(cluster.propose(0, kShard, "add n").value(), std::to_string(i));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(0).status(kShard).first > 50 && cluster.node(1).status(kShard).first > 50; }));
  ASSERT_TRUE(cluster.start(2));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(2).status(kShard).first > 50; }));
  cluster.wait_ready(2);
  // The session that node 0 opened before is used on through a leader that has it from the snapshot alone.
  const std::size_t leader = cluster.leader(kShard);
  if (leader != 2) cluster.node(leader).transfer(kShard, "node2");
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(2).status(kShard).serving; }));
  for (int i = 201; i <= 220; ++i) ASSERT_EQ(cluster.propose(0, kShard, "add n").value(), std::to_string(i));
}

TEST_P(Snapshot, TheLogStaysShort) {
  Cluster cluster({.shards = 1, .kind = GetParam(), .limits = small_log()});
  cluster.start_all();
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(cluster.propose(0, kShard, fmt::format("put k {}", i)));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(Cluster::eventually([&] {
      const ShardStatus status = cluster.node(i).status(kShard);
      return status.last - status.first < 40;
    })) << "node " << i;
  }
  for (std::size_t i = 0; i < 3; ++i) cluster.kill(i);
  cluster.start_all();
  EXPECT_EQ(cluster.query(1, kShard, "get k").value(), "199");
}

// What is kept for a snapshot is kept while something of it is taken over, and not for ever: here the follower lives, but
// after the first bytes nothing moves.
TEST_P(Snapshot, ThePinOfASnapshotThatDoesNotMoveRunsOut) {
  Limits limits = small_log();
  limits.snapshot_rate = 1;
  Timings timings;
  timings.snapshot = 5s;
  Cluster cluster({.shards = 1, .kind = GetParam(), .limits = limits, .timings = timings});
  cluster.start_all();
  // Until leadership is where the ring has it: it takes the pin along when it moves.
  const std::string preferred = cluster.node(0).voters(kShard).front();
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(0).status(kShard).leader == preferred; }));
  cluster.kill(2);
  ASSERT_TRUE(cluster.propose(0, kShard, "big b 400000"));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(cluster.propose(0, kShard, fmt::format("put k{} {}", i, i)));
  const std::size_t leader = cluster.leader(kShard);
  const auto first = [&] { return cluster.node(leader).status(kShard).first; };
  EXPECT_TRUE(Cluster::eventually([&] { return first() > 50; })) << first();
  const auto sent = [] { return metrics::counter("kr_raft_snapshot_sent_bytes_total", "Bytes of snapshots sent").value(); };
  const double before = sent();
  ASSERT_TRUE(cluster.start(2));
  EXPECT_TRUE(Cluster::eventually([&] { return sent() > before; }));
  const std::uint64_t pinned = cluster.node(leader).status(kShard).applied;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(cluster.propose(0, kShard, fmt::format("put l{} {}", i, i)));
  const std::uint64_t kept = first();
  if (!cluster.node(leader).status(kShard).is_leader) GTEST_SKIP() << "leadership moved, on a machine that is too busy";
  EXPECT_LE(kept, pinned + 1) << "the log behind the snapshot went while it was taken over";
  EXPECT_TRUE(Cluster::eventually([&] { return first() > pinned + 50; })) << first() << " was pinned at " << pinned;
}

// The leader offers the same snapshot again, and the follower has kept what had come of it.
TEST(SnapshotOfARestartedFollower, IsGoneOnWithWhereItWas) {
  Limits limits = small_log();
  limits.snapshot_rate = 2 << 20;
  Cluster cluster({.shards = 1, .kind = Kind::kRocks, .limits = limits});
  cluster.start_all();
  cluster.kill(2);
  constexpr int kRows = 24;
  for (int i = 0; i < kRows; ++i) ASSERT_TRUE(cluster.propose(0, kShard, fmt::format("big b{} 400000", i)));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(cluster.propose(0, kShard, fmt::format("put k{} {}", i, i)));
  const std::size_t leader = cluster.leader(kShard);
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(leader).status(kShard).first > 50; }));
  const auto sent = [] { return metrics::counter("kr_raft_snapshot_sent_bytes_total", "Bytes of snapshots sent").value(); };
  const double before = sent();
  const double all = kRows * 400'000;
  ASSERT_TRUE(cluster.start(2));
  EXPECT_TRUE(Cluster::eventually([&] { return sent() > before + 0.7 * all; }));
  cluster.kill(2);
  ASSERT_TRUE(cluster.start(2));
  cluster.wait_ready(2);
  EXPECT_EQ(cluster.query(2, kShard, "get k99").value(), "99");
  EXPECT_EQ(cluster.query(2, kShard, "count").value(), cluster.query(0, kShard, "count").value());
  // One table of 4 MB, and what was on its way, may have come twice.
  EXPECT_LT(sent() - before, 1.6 * all);
  EXPECT_TRUE(Cluster::eventually([&] { return std::filesystem::is_empty(cluster.folder() / "node2" / "snapshots" / "in"); }));
}

// A follower that is gone for good does not fill the disks of the others, shard by shard or with all shards together.
TEST_P(Snapshot, ADeadFollowerDoesNotMakeTheLogsGrow) {
  Limits limits;
  limits.log_keep_bytes = 1 << 20;
  limits.log_max_bytes = 64 << 20;
  limits.log_max_node_bytes = 600 << 10;
  Cluster cluster({.shards = 4, .kind = GetParam(), .limits = limits});
  cluster.start_all();
  cluster.kill(2);
  const std::string value(8 << 10, 'v');
  const auto all_bytes = [&](std::size_t node) {
    std::uint64_t sum = 0;
    for (const ShardStatus& status : cluster.node(node).status()) sum += status.log_bytes;
    return sum;
  };
  for (int i = 0; i < 400; ++i) {
    ASSERT_TRUE(cluster.propose(0, ShardId{static_cast<std::uint16_t>(i % 4 + 1)}, fmt::format("put k{} {}", i, value)));
  }
  // 3.2 MB went in. It is looked at once a second, so what comes meanwhile is on top.
  for (const std::size_t node : {0U, 1U})
    EXPECT_TRUE(Cluster::eventually([&] { return all_bytes(node) <= limits.log_max_node_bytes; })) << all_bytes(node);
  ASSERT_TRUE(cluster.start(2));
  cluster.wait_ready(2);
  for (int i = 390; i < 400; ++i) EXPECT_EQ(cluster.query(2, ShardId{static_cast<std::uint16_t>(i % 4 + 1)}, fmt::format("get k{}", i)).value(), value);
  EXPECT_GE(cluster.machine(2).restores, 5 + 4) << "five shards at start, four snapshots";
}

}  // namespace
}  // namespace kraken::group::test
