#include "tests/unit/consensus/group/cluster.h"

#include <atomic>
#include <mutex>

#include "src/net/deadline.h"
#include "src/net/scope.h"

namespace kraken::group::test {
namespace {

constexpr ShardId kShard{1};

TEST(Cluster, OneNodeAloneServes) {
  Cluster cluster({.nodes = 1});
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, kShard, "put a 1"));
  EXPECT_EQ(cluster.query(0, kShard, "get a").value(), "1");
}

TEST(Cluster, AnyNodeTakesAProposalAndReadsItBack) {
  Cluster cluster;
  cluster.start_all();
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::uint16_t shard = 0; shard <= 4; ++shard) {
      const auto put = cluster.propose(i, ShardId{shard}, fmt::format("put key{} value{}", i, i));
      ASSERT_TRUE(put) << put.error().to_string();
      for (std::size_t j = 0; j < 3; ++j) {
        const auto got = cluster.query(j, ShardId{shard}, fmt::format("get key{}", i));
        ASSERT_TRUE(got) << got.error().to_string();
        EXPECT_EQ(*got, fmt::format("value{}", i));
      }
    }
  }
}

TEST(Cluster, ANodeWithoutAReplicaServesToo) {
  Cluster cluster({.nodes = 5, .shards = 8});
  cluster.start_all();
  int elsewhere = 0;
  for (std::uint16_t shard = 1; shard <= 8; ++shard) {
    EXPECT_EQ(cluster.node(0).voters(ShardId{shard}).size(), 3U);
    for (std::size_t i = 0; i < 5; ++i) {
      elsewhere += cluster.node(i).local(ShardId{shard}) ? 0 : 1;
      const auto put = cluster.propose(i, ShardId{shard}, fmt::format("put k v{}", i));
      ASSERT_TRUE(put) << put.error().to_string();
      const auto got = cluster.query((i + 1) % 5, ShardId{shard}, "get k");
      ASSERT_TRUE(got) << got.error().to_string();
      EXPECT_EQ(*got, fmt::format("v{}", i));
      EXPECT_TRUE(cluster.query(i, ShardId{shard}, "get k", Read::kLocal));
    }
  }
  EXPECT_EQ(elsewhere, 8 * 2);
}

class Stores : public ::testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Both, Stores, ::testing::Values(Kind::kMemory, Kind::kRocks),
                         [](const auto& kind) { return kind.param == Kind::kMemory ? "Memory" : "RocksDB"; });

TEST_P(Stores, WhenTheLeaderDiesTheOthersGoOnAndItCatchesUp) {
  Cluster cluster({.kind = GetParam()});
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, kShard, "put a 1"));
  const std::size_t dead = cluster.leader(kShard);
  cluster.kill(dead);
  const std::size_t other = (dead + 1) % 3;
  const MonotonicTime began = system_clock().monotonic();
  const auto put = cluster.propose(other, kShard, "put b 2");
  ASSERT_TRUE(put) << put.error().to_string();
  RecordProperty("failover_ms", static_cast<int>((system_clock().monotonic() - began) / 1ms));
  EXPECT_EQ(cluster.query(other, kShard, "get a").value(), "1");
  ASSERT_TRUE(cluster.start(dead));
  cluster.wait_ready(dead);
  EXPECT_EQ(cluster.query(dead, kShard, "get b").value(), "2");
}

TEST_P(Stores, WhatWasAcknowledgedIsThereAfterAllWereKilled) {
  Cluster cluster({.kind = GetParam()});
  cluster.start_all();
  for (int i = 0; i < 50; ++i)
    ASSERT_TRUE(cluster.propose(static_cast<std::size_t>(i % 3), ShardId{static_cast<std::uint16_t>(i % 5)}, fmt::format("put k{} {}", i, i)));
  for (std::size_t i = 0; i < 3; ++i) cluster.kill(i);
  cluster.start_all();
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(cluster.query(static_cast<std::size_t>(i % 2), ShardId{static_cast<std::uint16_t>(i % 5)}, fmt::format("get k{}", i)).value(), std::to_string(i));
}

TEST(Cluster, WithoutAQuorumNothingIsPromised) {
  Cluster cluster;
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, kShard, "put a 1"));
  ASSERT_TRUE(cluster.query(0, kShard, "get a"));
  cluster.kill(1);
  cluster.kill(2);
  const auto put = cluster.propose(0, kShard, "put a 2", 1s);
  ASSERT_FALSE(put);
  EXPECT_TRUE(put.error().code == Code::kOutcomeUnknown || put.error().code == Code::kUnavailable) << put.error().to_string();
  const auto got = cluster.query(0, kShard, "get a", Read::kLinearizable, 1s);
  ASSERT_FALSE(got);
  EXPECT_TRUE(got.error().code == Code::kUnavailable || got.error().code == Code::kDeadlineExceeded) << got.error().to_string();
  EXPECT_EQ(cluster.query(0, kShard, "get a", Read::kLocal).value(), "1");
}

/// Clients that add to counters until they are told to stop.
class Adders {
 public:
  Adders(Cluster& cluster, int clients, std::vector<std::size_t> nodes) : cluster_(cluster), nodes_(std::move(nodes)) {
    for (int i = 0; i < clients; ++i) threads_.emplace_back([this, i] { run(i); });
  }
  void stop() {
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  std::atomic<int> acknowledged{0}, unknown{0}, refused{0};
  std::mutex mutex;
  std::multiset<int> results;

 private:
  void run(int me) {
    for (std::size_t turn = 0; !done_; ++turn) {
      const std::size_t at = nodes_[(static_cast<std::size_t>(me) + turn) % nodes_.size()];
      const auto added = cluster_.propose(at, kShard, "add n");
      if (added) {
        ++acknowledged;
        const std::scoped_lock lock(mutex);
        results.insert(std::stoi(*added));
      } else if (added.error().code == Code::kOutcomeUnknown) {
        ++unknown;
      } else {
        ++refused;
      }
    }
  }
  Cluster& cluster_;
  std::vector<std::size_t> nodes_;
  std::atomic<bool> done_{false};
  std::vector<std::thread> threads_;
};

// Leadership moves to and fro under load, so that proposals are aborted, forwarded and sent again; each must count once.
TEST(Cluster, AProposalThatIsSentAgainIsAppliedOnce) {
  Cluster cluster;
  cluster.start_all();
  Adders adders(cluster, 6, {0, 1, 2});
  for (int round = 0; round < 6; ++round) {
    const int before = adders.acknowledged;
    const std::size_t leader = cluster.leader(kShard);
    cluster.node(leader).transfer(kShard, cluster.members()[(leader + 1) % 3].label);
    EXPECT_TRUE(Cluster::eventually([&] { return adders.acknowledged > before + 100; }));
  }
  adders.stop();
  EXPECT_EQ(adders.unknown, 0);
  EXPECT_EQ(adders.refused, 0);
  EXPECT_EQ(cluster.query(0, kShard, "get n").value(), std::to_string(adders.acknowledged));
  // No two callers were told the same count.
  EXPECT_EQ(std::set<int>(adders.results.begin(), adders.results.end()).size(), adders.results.size());
}

TEST_P(Stores, ALeaderThatIsKilledUnderLoadLosesAndRepeatsNothing) {
  Cluster cluster({.kind = GetParam()});
  cluster.start_all();
  const std::size_t dead = cluster.leader(kShard);
  Adders adders(cluster, 4, {(dead + 1) % 3, (dead + 2) % 3});
  EXPECT_TRUE(Cluster::eventually([&] { return adders.acknowledged > 100; }));
  cluster.kill(dead);
  const int before = adders.acknowledged;
  EXPECT_TRUE(Cluster::eventually([&] { return adders.acknowledged > before + 200; }));
  ASSERT_TRUE(cluster.start(dead));
  cluster.wait_ready(dead);
  adders.stop();
  EXPECT_EQ(adders.unknown, 0);
  EXPECT_EQ(cluster.query(dead, kShard, "get n").value(), std::to_string(adders.acknowledged));
  EXPECT_EQ(std::set<int>(adders.results.begin(), adders.results.end()).size(), adders.results.size());
}

// A read that begins after a write was acknowledged sees it, whichever nodes the two were sent to.
TEST(Cluster, ReadsSeeEveryAcknowledgedWrite) {
  Cluster cluster;
  cluster.start_all();
  std::atomic<int> acknowledged{0};
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 1; !done; ++i) {
      const auto put = cluster.propose(static_cast<std::size_t>(i % 3), kShard, fmt::format("put r {}", i));
      ASSERT_TRUE(put) << put.error().to_string();
      acknowledged = i;
    }
  });
  std::vector<std::thread> readers;
  std::atomic<int> reads{0};
  for (std::size_t r = 0; r < 3; ++r) {
    readers.emplace_back([&, r] {
      int last = 0;
      while (!done) {
        const int floor = acknowledged;
        const auto got = cluster.query(r, kShard, "get r");
        ASSERT_TRUE(got) << got.error().to_string();
        const int seen = got->empty() ? 0 : std::stoi(*got);
        EXPECT_GE(seen, floor);
        EXPECT_GE(seen, last);
        last = seen;
        ++reads;
      }
    });
  }
  EXPECT_TRUE(Cluster::eventually([&] { return reads > 600 && acknowledged > 200; }));
  const std::size_t leader = cluster.leader(kShard);
  cluster.node(leader).transfer(kShard, "");
  const int before = reads;
  EXPECT_TRUE(Cluster::eventually([&] { return reads > before + 300; }));
  done = true;
  writer.join();
  for (std::thread& reader : readers) reader.join();
}

net::Task<void> count_down(Cluster* cluster, ShardId shard, std::string command, std::atomic<int>* left) {
  auto done = co_await cluster->node(0).propose(shard, std::move(command), 30s);
  if (!done) ADD_FAILURE() << done.error().to_string();
  --*left;
  co_return Result<>{};
}

TEST(Cluster, ManyProposalsShareFewSyncs) {
  Cluster cluster({.shards = 8});
  cluster.start_all();
  for (std::uint16_t shard = 1; shard <= 8; ++shard) ASSERT_TRUE(cluster.propose(0, ShardId{shard}, "put warm up"));
  constexpr int kProposals = 2000;
  std::vector<std::uint64_t> before;
  for (std::size_t i = 0; i < 3; ++i) before.push_back(cluster.store(i).statistics().syncs);
  std::atomic<int> left = kProposals;
  net::Scope scope(cluster.clients().at(0).executor());
  for (int i = 0; i < kProposals; ++i)
    scope.spawn("propose", count_down(&cluster, ShardId{static_cast<std::uint16_t>(1 + i % 8)}, fmt::format("put k{} v", i), &left));
  EXPECT_TRUE(Cluster::eventually([&] { return left == 0; }));
  scope.stop_and_wait();
  for (std::size_t i = 0; i < 3; ++i) {
    const std::uint64_t syncs = cluster.store(i).statistics().syncs - before[i];
    EXPECT_GT(syncs, 0U);
    EXPECT_LT(syncs, kProposals / 4U) << "node " << i;
  }
}

// A busy leader holds a shard's proposals back while others of the shard are in flight (Engine::held_back). Those that wait when it dies,
// or when it has no quorum for a while, are answered like all others, each once.
TEST(Cluster, WhatIsHeldBackWhenTheLeaderDiesIsAppliedOnceByTheNext) {
  Cluster cluster;
  cluster.start_all();
  std::size_t leader = 0;
  ASSERT_TRUE(Cluster::eventually([&] {
    leader = cluster.leader(kShard);
    if (leader == 0) cluster.node(0).transfer(kShard, cluster.label(1));
    return leader != 0;
  }));
  constexpr int kProposals = 3000;
  std::atomic<int> left = kProposals;
  net::Scope scope(cluster.clients().at(0).executor());
  for (int i = 0; i < kProposals; ++i) scope.spawn("propose", count_down(&cluster, kShard, "add n", &left));
  ASSERT_TRUE(Cluster::eventually([&] { return left < kProposals; }));
  cluster.kill(leader);
  EXPECT_TRUE(Cluster::eventually([&] { return left == 0; }));
  scope.stop_and_wait();
  EXPECT_EQ(cluster.query(0, kShard, "get n").value(), std::to_string(kProposals));
}

TEST(Cluster, AnIdleClusterDoesNotSync) {
  Cluster cluster({.shards = 16});
  cluster.start_all();
  for (std::uint16_t shard = 0; shard <= 16; ++shard) cluster.leader(ShardId{shard});
  // Until elections and their no-ops are over everywhere.
  EXPECT_TRUE(Cluster::eventually([&] {
    for (std::size_t i = 0; i < 3; ++i)
      for (const ShardStatus& status : cluster.node(i).status())
        if (status.applied == 0 || status.applied != status.last) return false;
    return true;
  }));
  // A whole second without a sync on any node. Not the first one necessarily: on a slow machine an election may still fall
  // into it, and preferred leaders take over after some seconds.
  const auto syncs = [&] {
    std::vector<std::uint64_t> each;
    for (std::size_t i = 0; i < 3; ++i) each.push_back(cluster.store(i).statistics().syncs);
    return each;
  };
  std::vector<std::uint64_t> before = syncs();
  MonotonicTime since = system_clock().monotonic();
  EXPECT_TRUE(Cluster::eventually([&] {
    if (std::vector<std::uint64_t> seen = syncs(); seen != before) {
      before = std::move(seen);
      since = system_clock().monotonic();
    }
    return system_clock().monotonic() - since > 1s;
  }));
}

TEST_P(Stores, A128ShardsStartSoon) {
  Cluster cluster({.shards = 128, .kind = GetParam()});
  const MonotonicTime began = system_clock().monotonic();
  cluster.start_all();
  for (std::uint16_t shard = 0; shard <= 128; ++shard) cluster.leader(ShardId{shard});
  const auto took = system_clock().monotonic() - began;
  RecordProperty("start_ms", static_cast<int>(took / 1ms));
  EXPECT_LT(took, 30s);
  // Leaders come to where the ring prefers them.
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(Cluster::eventually([&] {
      for (const ShardStatus& status : cluster.node(i).status())
        if (status.voters.front() == cluster.members()[i].label && !status.serving) return false;
      return true;
    }));
  }
  ASSERT_TRUE(cluster.propose(1, ShardId{128}, "put z 9"));
  EXPECT_EQ(cluster.query(2, ShardId{128}, "get z").value(), "9");
}

TEST(Cluster, ReplicatedTimeNeverRunsAheadNorBack) {
  Cluster cluster;
  const MonotonicTime began = system_clock().monotonic();
  cluster.start_all();
  std::int64_t last = 0;
  for (int i = 0; i < 30; ++i) {
    const std::int64_t now = std::stoll(cluster.propose(static_cast<std::size_t>(i % 3), kShard, "now").value());
    EXPECT_GE(now, last);
    EXPECT_LE(now, (system_clock().monotonic() - began).count());
    last = now;
    if (i % 10 == 5) {
      const std::size_t leader = cluster.leader(kShard);
      cluster.node(leader).transfer(kShard, "");
      EXPECT_TRUE(Cluster::eventually([&] { return !cluster.node(leader).status(kShard).is_leader; }));
    }
  }
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(std::stoll(cluster.query(i, kShard, "now").value()), last);
}

TEST(Cluster, ACancelledWaiterReturnsAtOnce) {
  Cluster cluster;
  cluster.start_all();
  cluster.kill(1);
  cluster.kill(2);
  const MonotonicTime began = system_clock().monotonic();
  const auto result = net::block_on(cluster.clients().next().executor(),
                                    net::with_deadline(200ms, cluster.node(0).propose(kShard, "put a 1", 60s)));
  EXPECT_FALSE(result);
  EXPECT_LT(system_clock().monotonic() - began, 20s);
}

TEST(Cluster, ACommandThatIsTooLargeIsRefused) {
  Cluster cluster({.nodes = 1});
  cluster.start_all();
  EXPECT_EQ(cluster.propose(0, kShard, std::string((4U << 20) + 1, 'x')).error().code, Code::kTooLarge);
  EXPECT_TRUE(cluster.propose(0, kShard, "put big " + std::string(3U << 20, 'x')));
}

TEST(Cluster, LeadershipIsReportedWhenServingBeginsAndEnds) {
  std::atomic<int> ended{0};  // outlives the cluster, whose loops call back until they have stopped
  Cluster cluster;
  cluster.start_all();
  const std::size_t leader = cluster.leader(kShard);
  cluster.node(leader).on_leadership([&](ShardId shard, bool leads) {
    if (shard == kShard && !leads) ++ended;
  });
  cluster.node(leader).transfer(kShard, "");
  EXPECT_TRUE(Cluster::eventually([&] { return ended >= 1; }));
  EXPECT_NE(cluster.leader(kShard), leader);
}

}  // namespace
}  // namespace kraken::group::test
