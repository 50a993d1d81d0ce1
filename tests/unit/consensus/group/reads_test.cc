// Reads: how many share a round, how stale a replica says it is; and the time that entries carry.

#include <atomic>
#include <thread>

#include "src/base/metrics.h"
#include "src/net/scope.h"
#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

constexpr ShardId kShard{1};

net::Task<void> read_one(Cluster* cluster, std::size_t node, std::atomic<int>* left) {
  auto got = co_await cluster->node(node).query(kShard, "get k", Read::kLinearizable, 30s);
  if (!got || *got != "v") ADD_FAILURE() << (got ? *got : got.error().to_string());
  --*left;
  co_return Result<>{};
}

TEST(Reads, ManyShareARoundOnEveryNode) {
  Cluster cluster;
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, kShard, "put k v"));
  metrics::Counter& reads = metrics::counter("kr_raft_reads_total", "");
  metrics::Counter& rounds = metrics::counter("kr_raft_read_rounds_total", "");
  const double reads_before = reads.value(), rounds_before = rounds.value();
  const auto before = cluster.node(cluster.leader(kShard)).status(kShard);
  constexpr int kReads = 3000;
  std::atomic<int> left = kReads;
  net::Scope scope(cluster.clients().at(0).executor());
  for (std::size_t i = 0; i < kReads; ++i) scope.spawn("read", read_one(&cluster, i % 3, &left));
  EXPECT_TRUE(Cluster::eventually([&] { return left == 0; }));
  scope.stop_and_wait();
  const double took = rounds.value() - rounds_before;
  RecordProperty("rounds", static_cast<int>(took));
  EXPECT_GE(reads.value() - reads_before, kReads);
  EXPECT_GT(took, 0);
  EXPECT_LT(took, kReads / 3.0);  // 50 to 350 where much else runs
  // A new leader begins its term with one; on a slow machine there may be some.
  const auto after = cluster.node(cluster.leader(kShard)).status(kShard);
  EXPECT_LE(after.last - before.last, after.term - before.term) << "no read is an entry";
}

Result<StaleAnswer> stale(Cluster& cluster, std::size_t i, std::string query) {
  return net::block_on(cluster.clients().next().executor(), cluster.node(i).query_stale(kShard, std::move(query), 20s));
}

TEST(Reads, AStaleAnswerSaysHowOldItIsWithAndWithoutAQuorum) {
  Cluster cluster;
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, kShard, "put k v"));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(Cluster::eventually([&] { return stale(cluster, i, "get k").value().result == "v"; }));
    const auto fresh = stale(cluster, i, "get k").value();
    EXPECT_LT(fresh.age, 5s) << i;
    EXPECT_GT(fresh.index, 0U);
  }
  // The one that is left is the leader first, then none: its age must not begin anew when it steps down.
  const std::size_t alone = cluster.leader(kShard);
  cluster.kill((alone + 1) % 3);
  cluster.kill((alone + 2) % 3);
  const MonotonicTime dead = system_clock().monotonic();
  EXPECT_TRUE(Cluster::eventually([&] { return !cluster.node(alone).status(kShard).is_leader; }));
  EXPECT_TRUE(Cluster::eventually([&] { return stale(cluster, alone, "get k").value().age > 2s; }));
  const Duration since = system_clock().monotonic() - dead;
  const auto old = stale(cluster, alone, "get k").value();
  EXPECT_EQ(old.result, "v");
  EXPECT_GE(old.age, since - 1s) << "not younger than the last word of a quorum";
  EXPECT_LE(old.age, system_clock().monotonic() - dead + 5s);
  EXPECT_FALSE(cluster.query(alone, kShard, "get k", Read::kLinearizable, 500ms));
  // After a restart nobody can say.
  cluster.stop(alone);
  ASSERT_TRUE(cluster.start(alone));
  const auto unknown = stale(cluster, alone, "get k");
  ASSERT_TRUE(unknown) << unknown.error().to_string();
  EXPECT_EQ(unknown->result, "v");
  EXPECT_EQ(unknown->age, Duration::max());
}

TEST(Reads, ANodeWithoutAReplicaGetsAStaleAnswerFromAnother) {
  Cluster cluster({.nodes = 5, .shards = 8});
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, kShard, "put k v"));
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(Cluster::eventually([&] { return stale(cluster, i, "get k").value().result == "v"; }));
    EXPECT_LT(stale(cluster, i, "get k").value().age, 5s) << i;
  }
}

// ---- time

/// A host whose clock began elsewhere, as that of each host does. What people's clocks say is nobody's business here.
class HostClock final : public Clock {
 public:
  explicit HostClock(Duration since) : since_(since) {}
  MonotonicTime monotonic() const override { return system_clock().monotonic() + since_; }
  WallTime wall() const override {
    ADD_FAILURE() << "the wall clock was looked at";
    return {};
  }

 private:
  const Duration since_;
};

TEST(Time, PassesAsOnEachLeadersOwnClockAndStandsStillBetweenLeaders) {
  const HostClock young(0s), old(24h * 1000), other(24h * 3);
  Cluster cluster({.clocks = {&young, &old, &other}});
  const MonotonicTime began = system_clock().monotonic();
  cluster.start_all();
  std::int64_t last = 0;
  std::set<std::size_t> led;
  for (int turn = 0; turn < 6; ++turn) {
    const std::size_t leader = cluster.leader(kShard);
    led.insert(leader);
    for (int i = 0; i < 5; ++i) {
      const auto now = cluster.propose(static_cast<std::size_t>(i % 3), kShard, "now");
      ASSERT_TRUE(now) << now.error().to_string();
      EXPECT_GE(std::stoll(*now), last);
      last = std::stoll(*now);
      EXPECT_LE(last, (system_clock().monotonic() - began).count()) << "not a moment of another host's clock";
    }
    cluster.node(leader).transfer(kShard, cluster.members()[(leader + 1) % 3].label);
    EXPECT_TRUE(Cluster::eventually([&] { return !cluster.node(leader).status(kShard).is_leader; }));
  }
  EXPECT_EQ(led.size(), 3U);
  // With nobody to lead no time passes.
  for (std::size_t i = 0; i < 3; ++i) cluster.kill(i);
  std::this_thread::sleep_for(2s);
  const MonotonicTime again = system_clock().monotonic();
  cluster.start_all();
  const std::int64_t now = std::stoll(cluster.propose(0, kShard, "now").value());
  EXPECT_GE(now, last);
  EXPECT_LE(now - last, (system_clock().monotonic() - again).count());
}

}  // namespace
}  // namespace kraken::group::test
