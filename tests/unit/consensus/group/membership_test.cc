// Who may take part: labels, incarnations, boot epochs, tokens; and bytes that are no frames.

#include <boost/asio/write.hpp>

#include "consensus/group/system_state.h"
#include "consensus/group/transport.h"
#include "src/base/rng.h"
#include "src/net/dial.h"
#include "src/net/io.h"
#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

constexpr ShardId kShard{1};

bool refused(Node& node, std::string_view why) {
  for (const PeerStatus& peer : node.peers())
    if (peer.refused.find(why) != std::string::npos) return true;
  return false;
}

TEST(Membership, AClusterFormsOnlyWhenAllMembersWereReached) {
  Cluster cluster;
  ASSERT_TRUE(cluster.start(0));
  ASSERT_TRUE(cluster.start(1));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.node(0).not_ready().find("node2") != std::string::npos; }));
  EXPECT_FALSE(cluster.propose(0, kShard, "put a 1", 300ms));
  EXPECT_TRUE(cluster.node(0).voters(kShard).empty());
  ASSERT_TRUE(cluster.start(2));
  for (std::size_t i = 0; i < 3; ++i) cluster.wait_ready(i);
  EXPECT_TRUE(cluster.propose(0, kShard, "put a 1"));
}

TEST(Membership, AFolderOfAnotherLabelOrShardCountIsRefused) {
  Cluster cluster({.nodes = 1});
  cluster.start_all();
  cluster.stop(0);
  NodeOptions options = cluster.node_options(0);
  options.shards = 8;
  auto opened = cluster.start(0, options);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kConflict);
  options = cluster.node_options(0);
  options.label = options.members[0].label = "another";
  opened = cluster.start(0, options);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kConflict);
  EXPECT_NE(opened.error().detail.find("belongs to the node node0"), std::string::npos);
  EXPECT_TRUE(cluster.start(0));
}

TEST(Membership, OptionsThatMakeNoSenseAreRefused) {
  Cluster cluster({.nodes = 1});
  NodeOptions options = cluster.node_options(0);
  options.shards = 100;
  EXPECT_EQ(cluster.start(0, options).error().code, Code::kInvalidArgument);
  options = cluster.node_options(0);
  options.members.push_back(options.members[0]);
  EXPECT_EQ(cluster.start(0, options).error().code, Code::kInvalidArgument);
  options = cluster.node_options(0);
  options.label = "stranger";
  EXPECT_EQ(cluster.start(0, options).error().code, Code::kInvalidArgument);
}

// A disk that was replaced has forgotten its votes and its log. It is told so, and the two others go on.
TEST(Membership, AWipedDiskIsRefusedAndNeverVotes) {
  Cluster cluster;
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, kShard, "put a 1"));
  cluster.kill(2);
  cluster.wipe(2);
  ASSERT_TRUE(cluster.start(2));
  EXPECT_TRUE(Cluster::eventually([&] { return refused(cluster.node(2), "must not vote"); }));
  EXPECT_NE(cluster.node(2).not_ready(), "");
  EXPECT_TRUE(cluster.node(2).voters(kShard).empty());
  ASSERT_TRUE(cluster.propose(0, kShard, "put a 2"));
  cluster.kill(1);
  // One member and one stranger are no quorum.
  EXPECT_FALSE(cluster.propose(0, kShard, "put a 3", 1500ms));
}

TEST(Membership, AnOlderCopyOfAFolderIsRefused) {
  Cluster cluster({.kind = Kind::kRocks});
  cluster.start_all();
  cluster.stop(2);
  const auto folder = cluster.folder() / "node2";
  std::filesystem::copy(folder, cluster.folder() / "backup", std::filesystem::copy_options::recursive);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(cluster.start(2));
    cluster.wait_ready(2);
    cluster.stop(2);
  }
  std::filesystem::remove_all(folder);
  std::filesystem::rename(cluster.folder() / "backup", folder);
  // However often its operator tries again: each start counts in the copy, too.
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(cluster.start(2));
    const auto why = i == 1 ? "two processes" : "older copy";  // as many starts as the original had
    EXPECT_TRUE(Cluster::eventually([&] { return refused(cluster.node(2), why); })) << i << ": " << cluster.node(2).not_ready();
    cluster.stop(2);
  }
}

TEST(Membership, TwoNodesWithOneLabelAreFoundOut) {
  Cluster cluster;
  ASSERT_TRUE(cluster.start(0));
  ASSERT_TRUE(cluster.start(1));
  ASSERT_TRUE(cluster.start(2));
  for (std::size_t i = 0; i < 3; ++i) cluster.wait_ready(i);
  // Another process, on another address, that believes to be node2.
  kv::MemoryStore store;
  Toy machine;
  NodeOptions options = cluster.node_options(2);
  options.listen_port = 14009;
  auto twin = Node::open(options, machine, store);
  ASSERT_TRUE(twin) << twin.error().to_string();
  EXPECT_TRUE(Cluster::eventually([&] { return refused(**twin, "two nodes have this label") || refused(**twin, "must not vote"); }));
  EXPECT_FALSE((*twin)->ready());
  EXPECT_TRUE(cluster.propose(2, kShard, "put a 1"));
  (*twin)->stop();
}

TEST(Membership, AnotherTokenOrHashstateIsRefused) {
  Cluster cluster({.nodes = 2});
  ASSERT_TRUE(cluster.start(0));
  NodeOptions options = cluster.node_options(1);
  options.cluster_token = "other";
  ASSERT_TRUE(cluster.start(1, options));
  EXPECT_TRUE(Cluster::eventually([&] { return refused(cluster.node(1), "token"); }));
  cluster.stop(1);
  options = cluster.node_options(1);
  options.members[0].weight = 7;
  ASSERT_TRUE(cluster.start(1, options));
  EXPECT_TRUE(Cluster::eventually([&] { return refused(cluster.node(1), "hashstate differs"); }));
  cluster.stop(1);
  ASSERT_TRUE(cluster.start(1));
  for (std::size_t i = 0; i < 2; ++i) cluster.wait_ready(i);
}

TEST(Membership, ATakenPortGivesASentence) {
  Cluster cluster({.nodes = 1});
  cluster.start_all();
  kv::MemoryStore store;
  Toy machine;
  const auto second = Node::open(cluster.node_options(0), machine, store);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kAlreadyExists);
  EXPECT_NE(second.error().detail.find("14001"), std::string::npos);
}

net::Task<void> send_bytes(std::string host, std::string bytes) {
  KR_CO_TRY(net::Socket socket, co_await net::dial(host, 14001, 2s));
  auto written = co_await net::write_all(socket, bytes);
  static_cast<void>(written);
  std::string answer(100, '\0');
  net::Watchdog watchdog(socket);
  watchdog.arm(10s);
  for (;;) KR_CO_CHECK(co_await net::read_some(socket, answer, &watchdog));
}

// Whatever comes to the port: the connection is closed, and the node goes on.
TEST(Membership, BytesThatAreNoFramesCloseTheConnectionAndNothingElse) {
  Cluster cluster({.nodes = 1});
  cluster.start_all();
  Rng rng(5);
  std::vector<std::string> inputs{"GET / HTTP/1.1\r\n\r\n", std::string("KN\1\1\xff\xff\xff\xff", 8) + std::string(8, 'x'),
                                  std::string("KN\3\1\0\0\0\1", 8) + std::string(9, 'x')};
  for (int i = 0; i < 20; ++i) {
    std::string bytes = i % 2 ? "KN\1" : "";
    while (bytes.size() < 200) bytes.push_back(static_cast<char>(rng.next()));
    inputs.push_back(bytes);
  }
  for (const std::string& input : inputs) {
    const auto closed = net::block_on(cluster.clients().next().executor(), send_bytes(cluster.members()[0].host, input));
    ASSERT_FALSE(closed);
    EXPECT_EQ(closed.error().code, Code::kClosed) << closed.error().to_string();
  }
  EXPECT_TRUE(cluster.propose(0, kShard, "put a 1"));
}

net::Task<Welcome> shake(std::string host, Hello hello) {
  KR_CO_TRY(net::Socket socket, co_await net::dial(host, 14001, 5s));
  std::string frame, rest;
  append_frame(FrameKind::kHello, encode(hello), frame);
  KR_CO_CHECK(co_await net::write_all(socket, frame));
  KR_CO_TRY(const OwnedFrame answer, co_await read_frame(socket, rest, 10s));
  KR_CO_TRY(Welcome welcome, decode_welcome(answer.payload));
  co_return welcome;
}

// What a peer shows as the ring is believed before the peer is judged, so it must be of this cluster, newer, and name both.
TEST(Membership, ARingThatIsShownIsTakenIfItIsNewerAndNamesBothSides) {
  Cluster cluster;
  cluster.start_all();
  Hello hello{.token = cluster.node_options(0).cluster_token, .from = "node1", .to = "node0", .shards = cluster.node_options(0).shards,
              .cluster_id = {}, .self = {.incarnation = Incarnation::random(), .boot_epoch = 1, .run = 1}};
  const auto say = [&](const Hello& what) { return net::block_on(cluster.clients().next().executor(), shake(cluster.members()[0].host, what)).value(); };
  const Welcome refused = say(hello);
  EXPECT_FALSE(refused.accepted);
  const SystemState now = decode_system_state(refused.ring).value();
  EXPECT_EQ(now.epoch, 1U);
  EXPECT_EQ(now.nodes.size(), 3U);
  hello.cluster_id = now.cluster_id;

  SystemState newer = now;
  ++newer.revision;
  ++newer.epoch;
  for (RingNode& row : newer.nodes)
    if (row.label == "node1") row.incarnation = hello.self.incarnation;
  const auto not_taken = [&](const SystemState& shown, std::string_view what) {
    Hello with = hello;
    with.ring = encode(shown);
    EXPECT_FALSE(say(with).accepted) << what;
    EXPECT_EQ(cluster.node(0).ring()->epoch, 1U) << what;
  };
  SystemState other = newer;
  other.cluster_id = Incarnation::random();
  not_taken(other, "of another cluster");
  other = newer;
  other.revision = now.revision;
  not_taken(other, "not newer");
  other = newer;
  for (RingNode& row : other.nodes)
    if (row.label == "node1") row.incarnation = Incarnation::random();
  not_taken(other, "without who shows it");
  other = newer;
  for (RingNode& row : other.nodes)
    if (row.label == "node0") row.incarnation = Incarnation::random();
  not_taken(other, "without who is shown it");
  Hello wrong = hello;
  wrong.ring = "what?";
  EXPECT_NE(say(wrong).reason.find("cannot be read"), std::string::npos);
  wrong.ring = encode(newer);
  wrong.recovery_epoch = 1;
  EXPECT_FALSE(say(wrong).accepted) << "of those that went on without this node";
  wrong = hello;
  wrong.token = "another";
  wrong.ring = encode(newer);
  EXPECT_TRUE(say(wrong).ring.empty()) << "nothing is shown to whoever does not know the token";
  EXPECT_EQ(cluster.node(0).ring()->epoch, 1U);

  hello.ring = encode(newer);
  EXPECT_TRUE(say(hello).accepted);
  EXPECT_EQ(cluster.node(0).ring()->epoch, 2U);
}

}  // namespace
}  // namespace kraken::group::test
