// A quorum that is lost for good: what the survivors' folders say, and what goes on from them.

#include "consensus/group/recovery.h"

#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

constexpr ShardId kShard{1};

class Recovery : public ::testing::Test {
 protected:
  Recovery() : cluster_({.shards = 2, .kind = Kind::kRocks}) {}

  std::filesystem::path folder(std::size_t i) { return cluster_.folder() / fmt::format("node{}", i); }
  void destroy(std::size_t i) { std::filesystem::remove_all(folder(i)); }
  /// The stopped nodes' stores, open.
  std::vector<Survivor> survivors(const std::vector<std::size_t>& nodes) {
    stores_.clear();
    std::vector<Survivor> all;
    for (const std::size_t i : nodes) {
      stores_.push_back(kv::open_rocksdb(folder(i), {}).value());
      all.push_back({.folder = folder(i).string(), .store = stores_.back().get()});
    }
    return all;
  }

  Cluster cluster_;
  std::vector<std::unique_ptr<kv::Store>> stores_;
};

TEST_F(Recovery, OneOfThreeGoesOnAloneAndTheOthersAreRefused) {
  cluster_.start_all();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(cluster_.propose(0, kShard, fmt::format("put k{} {}", i, i)));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster_.node(2).status(kShard).applied == cluster_.node(0).status(kShard).applied; }));
  for (std::size_t i = 0; i < 3; ++i) cluster_.kill(i);
  destroy(1);

  const auto given = survivors({2});
  const RecoveryPlan plan = plan_recovery(given).value();
  EXPECT_TRUE(plan.needed());
  EXPECT_EQ(plan.epoch, 1U);
  ASSERT_EQ(plan.shards.size(), 3U);
  for (const ShardPlan& shard : plan.shards) {
    EXPECT_EQ(shard.kind, ShardPlan::Kind::kRecovers);
    EXPECT_EQ(shard.missing, (std::vector<std::string>{"node0", "node1"}));
  }
  EXPECT_NE(describe(plan).find("missing node0, node1"), std::string::npos) << describe(plan);
  // One of the missing answers: with it there is a majority.
  EXPECT_EQ(check_majority_lost(plan, {"node0"}).error().code, Code::kConflict);
  EXPECT_TRUE(check_majority_lost(plan, {}));
  ASSERT_TRUE(carry_out(plan, given));
  stores_.clear();

  ASSERT_TRUE(cluster_.start(2));
  cluster_.wait_ready(2);
  EXPECT_EQ(cluster_.query(2, kShard, "get k19").value(), "19");
  EXPECT_TRUE(cluster_.propose(2, kShard, "put after 1"));
  // A lost one comes back with what it had: it is refused, and told what to do.
  ASSERT_TRUE(cluster_.start(0));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster_.node(0).not_ready().find("kraken repair --set-aside") != std::string::npos; }))
      << cluster_.node(0).not_ready();
  EXPECT_TRUE(cluster_.propose(2, kShard, "put later 2"));
  EXPECT_FALSE(cluster_.query(0, kShard, "get k19", Read::kLinearizable, 1s));
}

// The ring's state may come over the other's connection, before any of its own has been welcomed: it belongs to what came after the
// recovery all the same.
TEST_F(Recovery, WhoIsTakenInOverTheOthersConnectionIsTakenAtItsNextStartToo) {
  cluster_.start_all();
  ASSERT_TRUE(cluster_.propose(0, kShard, "put k 1"));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster_.node(2).status(kShard).applied == cluster_.node(0).status(kShard).applied; }));
  for (std::size_t i = 0; i < 3; ++i) cluster_.kill(i);
  destroy(0);
  destroy(1);
  const auto given = survivors({2});
  ASSERT_TRUE(carry_out(plan_recovery(given).value(), given));
  stores_.clear();
  ASSERT_TRUE(cluster_.start(2));
  cluster_.wait_ready(2);

  ASSERT_TRUE(cluster_.start(0));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster_.node(0).not_ready().find("repair replace node0") != std::string::npos; }))
      << cluster_.node(0).not_ready();
  cluster_.stop(0);
  ASSERT_TRUE(Cluster::eventually([&] { return net::block_on(cluster_.clients().next().executor(), cluster_.node(2).replace("node0")).has_value(); }));
  NodeOptions astray = cluster_.node_options(0);
  astray.members[2].port = 9;  // nobody: it reaches node2 only where the ring says it is, and hears of the ring from node2 alone
  ASSERT_TRUE(cluster_.start(0, astray));
  cluster_.wait_ready(0);
  cluster_.stop(0);
  ASSERT_TRUE(cluster_.start(0));
  cluster_.wait_ready(0);
  EXPECT_EQ(cluster_.query(0, kShard, "get k").value(), "1");
}

TEST_F(Recovery, TheLongestLogOfTheSurvivorsGoesOn) {
  Cluster five({.nodes = 5, .shards = 1, .kind = Kind::kRocks});
  // Three replicas of five nodes: whoever they are, two of them are lost with the other nodes, and one is left.
  five.start_all();
  const auto voters = five.node(0).voters(kShard);
  ASSERT_EQ(voters.size(), 3U);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(five.propose(0, kShard, fmt::format("put k{} {}", i, i)));
  for (std::size_t i = 0; i < 5; ++i) five.kill(i);
  std::vector<Survivor> given;
  for (std::size_t i = 0; i < 5; ++i) {
    const std::string label = fmt::format("node{}", i);
    if (label == voters[1] || label == voters[2]) continue;
    stores_.push_back(kv::open_rocksdb(five.folder() / label, {}).value());
    given.push_back({.folder = label, .store = stores_.back().get()});
  }
  const RecoveryPlan plan = plan_recovery(given).value();
  const ShardPlan& shard = plan.shards[1];
  ASSERT_EQ(shard.kind, ShardPlan::Kind::kRecovers);
  ASSERT_EQ(shard.copies.size(), 1U);
  EXPECT_EQ(plan.labels[shard.copies[0].survivor], voters[0]);
}

TEST_F(Recovery, WithAMajorityNothingIsWritten) {
  cluster_.start_all();
  ASSERT_TRUE(cluster_.propose(0, kShard, "put k 1"));
  for (std::size_t i = 0; i < 3; ++i) cluster_.kill(i);
  const RecoveryPlan plan = plan_recovery(survivors({0, 2})).value();
  EXPECT_FALSE(plan.needed());
}

TEST_F(Recovery, ALongerLogWinsAndATermBeatsALength) {
  cluster_.start_all();
  for (std::size_t i = 0; i < 3; ++i) cluster_.kill(i);
  auto given = survivors({0, 1, 2});
  // As if node 1 had one entry more of an old term, node 2 one of a later term.
  const auto append = [&](std::size_t at, std::uint64_t term_more) {
    const LoadedLog log = load_log(*given[at].store, kShard).value();
    const raft::Entry entry{.term = log.boot.hs.term + term_more, .index = log.boot.last + 1, .kind = raft::Kind::kNoop, .data = nullptr};
    kv::Batch batch;
    batch.put(kv::Family::kRaft, hard_state_key(kShard), encode_hard_state(kShard, {.term = entry.term, .vote = std::nullopt}));
    batch.put(kv::Family::kRaft, entry_key(kShard, entry.index), encode_entry(kShard, entry));
    EXPECT_TRUE(given[at].store->write(batch, kv::Durability::kSynced));
  };
  for (int i = 0; i < 3; ++i) append(1, 0);
  const auto best = [&](std::vector<Survivor> some) { return plan_recovery(some).value().shards[1].copies.front(); };
  EXPECT_EQ(best({given[0], given[1]}).survivor, 1U);
  append(0, 5);
  EXPECT_EQ(best({given[0], given[1]}).survivor, 0U);
}

TEST_F(Recovery, FoldersThatDoNotBelongTogetherAreRefused) {
  cluster_.start_all();
  for (std::size_t i = 0; i < 3; ++i) cluster_.kill(i);
  auto given = survivors({0});
  given.push_back(given[0]);
  EXPECT_EQ(plan_recovery(given).error().code, Code::kConflict);
  kv::MemoryStore empty;
  EXPECT_EQ(plan_recovery({{.folder = "empty", .store = &empty}}).error().code, Code::kInvalidArgument);
  EXPECT_EQ(plan_recovery({}).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace kraken::group::test
