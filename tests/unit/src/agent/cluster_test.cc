#include "src/agent/cluster.h"

#include <gtest/gtest.h>

#include "src/net/listen.h"
#include "tests/unit/src/agent/fake_cluster.h"

namespace kraken::agent::testing {
namespace {

template <class T>
Result<T> run(net::Loops& loops, net::Task<T> task) {
  return net::block_on(loops.at(0).executor(), std::move(task));
}

TEST(Hosts, BeginWhereTheKeyFallsAndAskThoseThatFailedLast) {
  net::Loops loops(1, "test");
  Hosts hosts({{"a", 1}, {"b", 2}, {"c", 3}});
  const auto names = [&](std::size_t key) {
    std::string out;
    for (const auto& host : run(loops, hosts.in_order(key)).value()) out += host.host;
    return out;
  };
  EXPECT_EQ(names(0), "abc");
  EXPECT_EQ(names(4), "bca");
  hosts.failed({"b", 2});
  EXPECT_EQ(names(4), "cab");
  hosts.worked({"b", 2});
  EXPECT_EQ(names(4), "bca");
}

struct Frozen {
  Frozen() {
    // Accepted by the kernel, never answered: what a stopped process looks like.
    auto listening = net::listen("127.0.0.1", 0);
    if (!listening) std::abort();
    acceptor = *std::move(listening);
  }
  net::HostPort address() const { return {"127.0.0.1", acceptor.port()}; }
  net::Acceptor acceptor;
};

struct Client {
  explicit Client(ClusterHosts hosts, bool stale = false) : cluster(http, std::move(hosts), stale) {}
  ~Client() { loops.stop(); }
  net::Loops loops{1, "test"};
  net::FilePool pool{1, 16};
  http::Client http{pool};
  Cluster cluster;
};

TEST(Cluster, AFrozenTrackerDelaysAnAnnounceByAboutASecond) {
  FakeCluster fake;
  Frozen frozen;
  const Digest digest = fake.put(std::string(100000, 'x'));
  Client client(fake.hosts(true, {frozen.address()}));
  const auto start = std::chrono::steady_clock::now();
  const PeerInfo self{random_peer_id(), "127.0.0.1", 1, false, false};
  // The key falls on the frozen one for even prefixes; ask for both kinds.
  for (const Digest& one : {digest, Digest::of("0"), Digest::of("1")}) {
    auto reply = run(client.loops, client.cluster.announce(InfoHash(), one, self));
    ASSERT_TRUE(reply) << reply.error().to_string();
    EXPECT_EQ(reply->interval, 1s);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

TEST(Cluster, ATagIsReadFromTheNextHostWhenOneIsFrozen) {
  FakeCluster fake;
  Frozen frozen;
  const Digest digest = fake.put("manifest");
  fake.tag("library/app:v1", digest);
  Client client(fake.hosts(true, {frozen.address()}));
  auto value = run(client.loops, client.cluster.tag(QualifiedTag::parse("library/app:v1").value()));
  ASSERT_TRUE(value) << value.error().to_string();
  EXPECT_EQ(value->digest, digest);
  EXPECT_FALSE(value->stale);
  auto missing = run(client.loops, client.cluster.tag(QualifiedTag::parse("library/app:v2").value()));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
}

TEST(Cluster, WithoutAQuorumATagIsStaleOnlyWhereThatIsAllowed) {
  FakeCluster fake;
  const Digest digest = fake.put("manifest");
  fake.tag("library/app:v1", digest);
  fake.no_quorum = true;
  const auto name = QualifiedTag::parse("library/app:v1").value();
  Client strict(fake.hosts());
  const auto refused = run(strict.loops, strict.cluster.tag(name));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  Client lenient(fake.hosts(), true);
  const auto stale = run(lenient.loops, lenient.cluster.tag(name));
  ASSERT_TRUE(stale) << stale.error().to_string();
  EXPECT_EQ(stale->digest, digest);
  ASSERT_TRUE(stale->stale && stale->stale->age);
  EXPECT_EQ(*stale->stale->age, 12'500ms);
  EXPECT_EQ(stale->stale->index, 7U);
  const auto missing = run(lenient.loops, lenient.cluster.tag(QualifiedTag::parse("library/app:v2").value()));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kUnavailable) << "a replica that lacks it proves nothing";
  fake.no_quorum = false;
  EXPECT_FALSE(run(lenient.loops, lenient.cluster.tag(name)).value().stale) << "with a quorum it is not used";
}

TEST(Cluster, ABlobThatANodeGivesWrongIsRefused) {
  FakeCluster fake;
  const Digest digest = fake.put("right");
  fake.blobs[digest] = "wrong";
  Client client(fake.hosts());
  auto blob = run(client.loops, client.cluster.blob("ns", digest, 1000));
  ASSERT_FALSE(blob);
  EXPECT_EQ(blob.error().code, Code::kDigestMismatch);
}

TEST(Cluster, ABlobLargerThanWantedIsTooLarge) {
  FakeCluster fake;
  const Digest digest = fake.put(std::string(5000, 'x'));
  Client client(fake.hosts());
  auto blob = run(client.loops, client.cluster.blob("ns", digest, 1000));
  ASSERT_FALSE(blob);
  EXPECT_EQ(blob.error().code, Code::kTooLarge);
}

TEST(Cluster, AnnouncesThatReachNobodyAreCounted) {
  FakeCluster fake;
  Client client(fake.hosts());
  fake.server->stop(0ms);
  const PeerInfo self{random_peer_id(), "127.0.0.1", 1, false, true};
  EXPECT_FALSE(run(client.loops, client.cluster.announce(InfoHash(), Digest::of("x"), self)));
  EXPECT_EQ(client.cluster.announces_lost(), 1U);
}

}  // namespace
}  // namespace kraken::agent::testing
