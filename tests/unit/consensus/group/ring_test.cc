// The ring changes under a writer: nodes come, go, are replaced and weigh otherwise. Whatever was acknowledged is there at the end, on
// every node, and hardly anything is refused.

#include "src/base/rng.h"
#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

ClusterOptions options(std::size_t nodes, Kind kind = Kind::kMemory) {
  ClusterOptions made{.nodes = nodes, .shards = 8, .kind = kind};
  made.timings.adopt_after = 300ms;
  made.timings.orphan = 3s;
  return made;
}

/// Writes through the nodes it is told of, in turn, until stopped; a write that fails is tried once more.
class Writer {
 public:
  Writer(Cluster& cluster, std::vector<std::size_t> through) : cluster_(cluster), through_(std::move(through)), thread_([this] { run(); }) {}
  ~Writer() { stop(); }
  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  /// How many were acknowledged, once it has stopped and every one of them was found through every node of `from`.
  std::size_t verify(const std::vector<std::size_t>& from) {
    stop();
    for (const std::size_t i : from)
      for (const auto& [name, value] : written_) {
        const auto found = cluster_.query(i, shard(name), "get " + name);
        EXPECT_TRUE(found) << found.error().to_string();
        if (found) EXPECT_EQ(*found, value) << name << " through node" << i;
      }
    return written_.size();
  }
  std::size_t failed() const { return failed_; }
  std::size_t acknowledged() const { return count_; }
  Duration slowest() const { return slowest_; }

 private:
  static ShardId shard(const std::string& name) { return ShardId{static_cast<std::uint16_t>(std::stoul(name.substr(1)) % 8 + 1)}; }
  void run() {
    for (std::uint64_t i = 0; !stopping_; ++i) {
      const std::string name = "k" + std::to_string(i % 64), value = std::to_string(i);
      const MonotonicTime began = system_clock().monotonic();
      bool done = false;
      for (int tries = 0; tries < 2 && !done; ++tries)
        done = cluster_.propose(through_[(i + static_cast<std::uint64_t>(tries)) % through_.size()], shard(name), "put " + name + " " + value, 10s).has_value();
      slowest_ = std::max(slowest_, system_clock().monotonic() - began);
      if (done) {
        written_[name] = value;
        ++count_;
      } else {
        written_.erase(name);  // one or the other
        ++failed_;
      }
    }
  }
  Cluster& cluster_;
  const std::vector<std::size_t> through_;
  std::map<std::string, std::string> written_;
  std::atomic<std::size_t> failed_{0}, count_{0};
  Duration slowest_{};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

std::set<std::string> replicas_of(Cluster& cluster, ShardId shard) {
  const ShardStatus status = cluster.node(cluster.leader(shard)).status(shard);
  std::set<std::string> labels(status.voters.begin(), status.voters.end());
  labels.insert(status.learners.begin(), status.learners.end());
  return labels;
}

/// Each data shard has exactly the voters that every node says it should, and nobody else has a replica of it.
void expect_in_place(Cluster& cluster) {
  for (std::uint16_t s = 1; s <= 8; ++s) {
    const auto wanted = cluster.node(cluster.leader(ShardId{s})).voters(ShardId{s});
    EXPECT_EQ(replicas_of(cluster, ShardId{s}), std::set<std::string>(wanted.begin(), wanted.end())) << "shard " << s;
    for (std::size_t i = 0; i < cluster.size(); ++i) {
      if (!cluster.running(i)) continue;
      const bool should = std::ranges::find(wanted, cluster.label(i)) != wanted.end();
      EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(i).local(ShardId{s}) == should; })) << "shard " << s << " on " << cluster.label(i);
    }
  }
}

TEST(Ring, AFourthNodeIsTakenInWhileWritesGoOn) {
  Cluster cluster(options(3));
  cluster.start_all();
  EXPECT_EQ(cluster.node(0).ring()->epoch, 1U);
  Writer writer(cluster, {0});
  const std::size_t fourth = cluster.add_member();
  ASSERT_TRUE(cluster.start(fourth));
  EXPECT_FALSE(cluster.node(fourth).ready());
  cluster.roll({1, 2});
  EXPECT_EQ(cluster.node(1).ring()->epoch, 1U) << "two of four are not all that are live";
  writer.stop();
  cluster.stop(0);
  ASSERT_TRUE(cluster.start(0));
  Writer more(cluster, {1, 2});
  ASSERT_TRUE(cluster.settled(2));
  cluster.wait_ready(fourth);
  EXPECT_EQ(more.failed(), 0U);
  EXPECT_GT(more.acknowledged(), 0U);
  expect_in_place(cluster);
  EXPECT_GT(more.verify({0, 1, 2, fourth}), 0U);
  std::size_t here = 0;
  for (std::uint16_t s = 1; s <= 8; ++s) here += cluster.node(fourth).local(ShardId{s});
  EXPECT_GT(here, 0U) << "the new node has its part";
}

TEST(Ring, ANodeIsTakenOutAndSaysWhenItIsSafeToStop) {
  Cluster cluster(options(4));
  cluster.start_all();
  Writer writer(cluster, {0, 1});
  cluster.drop_member(3);
  writer.stop();
  cluster.roll({0, 1, 2});
  Writer more(cluster, {0, 1});
  ASSERT_TRUE(Cluster::eventually([&] { return cluster.node(3).membership().standing.find("safe to stop") != std::string::npos; }, 120s))
      << cluster.node(3).membership().standing;
  EXPECT_EQ(cluster.node(3).membership().replicas, 0U);
  cluster.stop(3);
  ASSERT_TRUE(cluster.settled(2));
  EXPECT_EQ(cluster.node(0).ring()->nodes.size(), 3U);
  EXPECT_EQ(more.failed(), 0U);
  expect_in_place(cluster);
  more.verify({0, 1, 2});
}

// Who leaves keeps the old hashstate, and refuses who comes. When it leads group 0 it lets another one lead, who hears both.
TEST(Ring, OneNodeComesAndOneGoesAtOnceAlsoWhenWhoGoesLeadsGroupZero) {
  Cluster cluster(options(3));
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, ShardId{1}, "put k0 1"));
  // Where the ring prefers it to be, so that it comes back there, too.
  const std::string preferred = cluster.node(0).voters(kSystemShard).front();
  std::size_t leaver = 0;
  while (cluster.label(leaver) != preferred) ++leaver;
  const auto leads = [&] { return cluster.node(leaver).status(kSystemShard).serving; };
  const std::size_t newcomer = cluster.add_member();
  cluster.drop_member(leaver);
  ASSERT_TRUE(cluster.start(newcomer));
  cluster.roll({(leaver + 1) % 3, (leaver + 2) % 3});
  Writer writer(cluster, {(leaver + 1) % 3, (leaver + 2) % 3});
  cluster.node(cluster.leader(kSystemShard)).transfer(kSystemShard, preferred);
  EXPECT_TRUE(Cluster::eventually([&] { return leads() || cluster.node((leaver + 1) % 3).ring()->epoch == 2; }));
  ASSERT_TRUE(cluster.settled(2));
  cluster.wait_ready(newcomer);
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(leaver).membership().standing.find("safe to stop") != std::string::npos; }));
  cluster.stop(leaver);
  EXPECT_EQ(writer.failed(), 0U);
  EXPECT_GT(writer.verify({(leaver + 1) % 3, (leaver + 2) % 3, newcomer}), 0U);
}

TEST(Ring, ADiskThatIsGoneIsReplacedAndTheOldFolderNeverVotesAgain) {
  Cluster cluster(options(3));
  cluster.start_all();
  Writer writer(cluster, {0, 1});
  EXPECT_EQ(net::block_on(cluster.clients().next().executor(), cluster.node(0).replace("node2")).error().code, Code::kConflict) << "it is up";
  EXPECT_EQ(net::block_on(cluster.clients().next().executor(), cluster.node(0).replace("nobody")).error().code, Code::kNotFound);
  cluster.kill(2);
  auto old = cluster.take_store(2);
  ASSERT_TRUE(cluster.start(2));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(2).not_ready().find("repair replace node2") != std::string::npos; }));
  EXPECT_EQ(cluster.node(0).ring()->epoch, 1U) << "not unless the operator says so";
  ASSERT_TRUE(Cluster::eventually([&] {
    return net::block_on(cluster.clients().next().executor(), cluster.node(0).replace("node2")).has_value();
  }));
  ASSERT_TRUE(cluster.settled(2));
  cluster.wait_ready(2);
  EXPECT_EQ(writer.failed(), 0U);
  expect_in_place(cluster);
  // Now the new folder counts: with it and one other there is a quorum.
  writer.verify({0, 1, 2});
  cluster.stop(1);
  EXPECT_TRUE(cluster.propose(0, ShardId{1}, "put x 1"));
  ASSERT_TRUE(cluster.start(1));
  cluster.wait_ready(1);
  // The old folder comes back: it is a stranger.
  cluster.stop(2);
  cluster.put_store(2, std::move(old));
  ASSERT_TRUE(cluster.start(2));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(2).not_ready().find("must not vote") != std::string::npos; })) << cluster.node(2).not_ready();
  cluster.kill(1);
  EXPECT_FALSE(cluster.propose(0, ShardId{1}, "put x 2", 1500ms)) << "one member and one stranger are no quorum";
}

TEST(Ring, ANodeStartedToReplaceIsTakenWithoutFurtherWord) {
  Cluster cluster(options(3));
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, ShardId{1}, "put x 1"));
  cluster.kill(1);
  cluster.wipe(1);
  NodeOptions made = cluster.node_options(1);
  made.replace = true;
  ASSERT_TRUE(cluster.start(1, made));
  ASSERT_TRUE(cluster.settled(2));
  cluster.wait_ready(1);
  EXPECT_EQ(*cluster.query(1, ShardId{1}, "get x"), "1");
}

// Nobody is left whose folder it knows. It would refuse them all, if they did not show it the ring first.
TEST(Ring, ANodeThatWasAwayWhileAllOthersWereReplacedHearsOfItFromThem) {
  Cluster cluster({.nodes = 4, .shards = 1});
  // By label: node3 has no vote, which would be missed while it is away.
  const auto start = [&](std::size_t i, bool replace) {
    NodeOptions made = cluster.node_options(i);
    made.replace = replace;
    made.order = [](std::span<const Member> members, std::string_view) {
      std::vector<std::string> labels;
      for (const Member& member : members) labels.push_back(member.label);
      std::ranges::sort(labels);
      return labels;
    };
    return cluster.start(i, made);
  };
  for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(start(i, false));
  for (std::size_t i = 0; i < 4; ++i) cluster.wait_ready(i);
  ASSERT_TRUE(cluster.propose(0, ShardId{1}, "put x 1"));
  cluster.kill(3);
  for (std::size_t i = 0; i < 3; ++i) {
    cluster.kill(i);
    cluster.wipe(i);
    ASSERT_TRUE(start(i, true));
    ASSERT_TRUE(cluster.settled(i + 2));
    cluster.wait_ready(i);
  }
  ASSERT_TRUE(start(3, false));
  cluster.wait_ready(3);
  EXPECT_EQ(cluster.node(3).ring()->epoch, 4U);
  EXPECT_TRUE(cluster.propose(3, ShardId{1}, "put y 2"));
  EXPECT_EQ(*cluster.query(3, ShardId{1}, "get x"), "1");
}

TEST(Ring, AnotherWeightMovesShards) {
  Cluster cluster(options(4));
  cluster.start_all();
  Writer writer(cluster, {0});
  std::vector<std::set<std::string>> before;
  for (std::uint16_t s = 1; s <= 8; ++s) before.push_back(replicas_of(cluster, ShardId{s}));
  cluster.members()[3].weight = 7;
  cluster.roll({1, 2, 3});
  writer.stop();
  cluster.roll({0});
  ASSERT_TRUE(cluster.settled(2));
  expect_in_place(cluster);
  std::size_t moved = 0;
  for (std::uint16_t s = 1; s <= 8; ++s) moved += before[s - 1u] != replicas_of(cluster, ShardId{s});
  EXPECT_GT(moved, 0U);
  EXPECT_EQ(writer.failed(), 0U);
  writer.verify({0, 1, 2, 3});
}

TEST(Ring, ANodeThatDiesWhileItIsTakenInHoldsNothingUpAndComesBack) {
  Cluster cluster(options(3));
  cluster.start_all();
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(cluster.propose(0, ShardId{static_cast<std::uint16_t>(i + 1)}, "put x " + std::to_string(i)));
  const std::size_t fourth = cluster.add_member();
  cluster.roll({0, 1, 2});
  Writer writer(cluster, {0, 1});
  ASSERT_TRUE(cluster.start(fourth));
  ASSERT_TRUE(Cluster::eventually([&] { return cluster.node(0).ring()->epoch == 2; }));
  cluster.kill(fourth);
  for (int i = 0; i < 30; ++i) EXPECT_TRUE(cluster.propose(0, ShardId{static_cast<std::uint16_t>(i % 8 + 1)}, "put y 1"));
  ASSERT_TRUE(cluster.start(fourth));
  ASSERT_TRUE(cluster.settled(2));
  cluster.wait_ready(fourth);
  EXPECT_EQ(writer.failed(), 0U);
  expect_in_place(cluster);
  writer.verify({0, 1, 2, fourth});
}

TEST(Ring, ANodeThatLeftComesBackWithItsFolderUnderNewReplicas) {
  Cluster cluster(options(4, Kind::kRocks));
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, ShardId{1}, "put x 1"));
  cluster.drop_member(3);
  cluster.roll({0, 1, 2});
  ASSERT_TRUE(Cluster::eventually([&] { return cluster.node(3).membership().standing.find("safe to stop") != std::string::npos; }, 120s));
  cluster.stop(3);
  ASSERT_TRUE(cluster.settled(2));
  ASSERT_TRUE(cluster.propose(0, ShardId{1}, "put x 2"));
  cluster.list_member(3);
  ASSERT_TRUE(cluster.start(3));
  cluster.roll({0, 1, 2});
  ASSERT_TRUE(cluster.settled(3));
  cluster.wait_ready(3);
  expect_in_place(cluster);
  EXPECT_EQ(cluster.node(0).ring()->nodes.back().member, 4U) << "one number per folder";
  EXPECT_EQ(*cluster.query(3, ShardId{1}, "get x"), "2");
}

TEST(Ring, AnEmptyNodeThatReachesAClusterNeverFoundsAnother) {
  Cluster cluster(options(3));
  cluster.start_all();
  // Its hashstate has itself and one of them: were that one empty too, the two would be a cluster.
  kv::MemoryStore store;
  Toy machine;
  NodeOptions made = cluster.node_options(0);
  made.label = "node9";
  made.listen_host = cluster.host(9);
  made.members = {made.members[0], {.label = "node9", .host = cluster.host(9), .port = 14001}};
  auto lonely = Node::open(made, machine, store);
  ASSERT_TRUE(lonely) << lonely.error().to_string();
  EXPECT_TRUE(Cluster::eventually([&] { return (*lonely)->not_ready().find("not in the hashstate of node0") != std::string::npos; })) << (*lonely)->not_ready();
  EXPECT_EQ((*lonely)->ring()->epoch, 0U);
  (*lonely)->stop();
}

TEST(Ring, AClusterGrowsFromOneNodeToThree) {
  Cluster cluster(options(1));
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, ShardId{2}, "put x 1"));
  for (std::uint64_t epoch = 2; epoch <= 3; ++epoch) {
    const std::size_t added = cluster.add_member();
    ASSERT_TRUE(cluster.start(added));
    std::vector<std::size_t> others;
    for (std::size_t i = 0; i < added; ++i) others.push_back(i);
    cluster.roll(others);
    ASSERT_TRUE(cluster.settled(epoch));
    cluster.wait_ready(added);
  }
  expect_in_place(cluster);
  cluster.kill(0);
  EXPECT_EQ(*cluster.query(2, ShardId{2}, "get x"), "1") << "the first node's disk is not the only one any more";
}

TEST(Ring, GroupZeroHasThreeVotersOfFourNodesAndFiveOfFiveWithTheRestAsLearners) {
  for (const std::size_t nodes : {std::size_t{4}, std::size_t{5}}) {
    Cluster cluster(options(nodes));
    cluster.start_all();
    const ShardStatus status = cluster.node(cluster.leader(kSystemShard)).status(kSystemShard);
    EXPECT_EQ(status.voters.size(), nodes == 4 ? 3U : 5U);
    EXPECT_EQ(status.voters.size() + status.learners.size(), nodes);
    for (std::size_t i = 0; i < nodes; ++i) {
      EXPECT_TRUE(cluster.node(i).local(kSystemShard));
      EXPECT_EQ(cluster.node(i).ring()->nodes.size(), nodes);
    }
  }
}

/// The shards that the ring gives the node.
std::set<std::uint16_t> wanted_on(Cluster& cluster, std::size_t node) {
  std::set<std::uint16_t> shards;
  for (std::uint16_t s = 1; s <= 8; ++s)
    if (std::ranges::count(cluster.node(0).voters(ShardId{s}), cluster.label(node)) > 0) shards.insert(s);
  return shards;
}

/// It has those, and one of group 0, and no other.
bool lets_go(Cluster& cluster, std::size_t node) {
  return Cluster::eventually([&] { return cluster.node(node).membership().replicas == wanted_on(cluster, node).size() + 1; });
}

/// While node3 is stopped the ring takes shards from it, and whoever removed its replicas is restarted and so forgets it.
void remove_unheard(Cluster& cluster) {
  cluster.start_all();
  const auto before = wanted_on(cluster, 3);
  cluster.stop(3);
  // A weight with which it loses one.
  const auto order = cluster.node_options(0).order;
  const auto keeps = [&](std::uint16_t s) {
    auto voters = order(cluster.members(), fmt::format("shard/{}", s - 1));
    voters.resize(3);
    return std::ranges::count(voters, "node3") > 0;
  };
  while (std::ranges::all_of(before, keeps)) ++cluster.members()[3].weight;
  cluster.roll({0, 1, 2});
  // Four listed, three live: they are a majority; shards that leave node3 are moved without it.
  ASSERT_TRUE(Cluster::eventually([&] { return cluster.node(0).ring()->epoch == 2; }));
  const auto gone_from_three = [&] {
    for (std::uint16_t s = 1; s <= 8; ++s) {
      const auto wanted = cluster.node(0).voters(ShardId{s});
      if (std::ranges::find(wanted, "node3") != wanted.end()) continue;
      if (replicas_of(cluster, ShardId{s}).contains("node3")) return false;
    }
    return true;
  };
  ASSERT_TRUE(Cluster::eventually(gone_from_three, 120s));
  const auto after = wanted_on(cluster, 3);
  ASSERT_FALSE(std::ranges::includes(after, before)) << "a shard has left node3";
  cluster.roll({0, 1, 2});
}

TEST(Ring, AVoterThatWasRemovedUnheardIsToldWhenItAsksForVotes) {
  ClusterOptions made = options(4);
  made.timings.orphan = 10min;
  Cluster cluster(made);
  remove_unheard(cluster);
  ASSERT_TRUE(cluster.start(3));
  EXPECT_TRUE(lets_go(cluster, 3)) << cluster.node(3).membership().replicas;
  ASSERT_TRUE(cluster.settled(2));
  expect_in_place(cluster);
}

TEST(Ring, AReplicaThatWasRemovedUnheardAndNeverStandsAsks) {
  Cluster cluster(options(4));
  remove_unheard(cluster);
  NodeOptions made = cluster.node_options(3);
  made.timings.election_min = 10min;
  made.timings.election_max = 20min;
  ASSERT_TRUE(cluster.start(3, made));
  EXPECT_TRUE(lets_go(cluster, 3)) << cluster.node(3).membership().replicas;
}

}  // namespace
}  // namespace kraken::group::test
