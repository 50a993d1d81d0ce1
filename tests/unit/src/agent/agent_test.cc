#include "src/agent/agent.h"

#include <gtest/gtest.h>

#include "src/net/listen.h"
#include "tests/unit/src/agent/fake_cluster.h"

namespace kraken::agent::testing {
namespace {

using enum http::Method;
using p2p::testing::eventually;
using p2p::testing::random_blob;

TEST(Agent, ServesABlobThroughTheRegistryWhileItComesFromTheSwarm) {
  FakeCluster cluster;
  const std::string blob = random_blob(40 * 64 * 1024 + 9, 1);
  const Digest digest = cluster.put(blob);
  TestAgent agent(cluster.hosts());
  const auto got = agent.registry(kGet, "/v2/library/app/blobs/" + digest.str());
  EXPECT_EQ(got.status, 200);
  EXPECT_TRUE(got.body == blob);
  EXPECT_EQ(got.headers.get("Docker-Content-Digest"), digest.str());
  EXPECT_EQ(cluster.blob_reads, 0);
  const auto again = agent.registry(kGet, "/v2/library/app/blobs/" + digest.str());
  EXPECT_TRUE(again.body == blob);
}

TEST(Agent, AnswersARangeOfABlobThatIsNotHereYet) {
  FakeCluster cluster;
  const std::string blob = random_blob(40 * 64 * 1024, 2);
  const Digest digest = cluster.put(blob);
  TestAgent agent(cluster.hosts());
  const auto got = agent.registry(kGet, "/v2/library/app/blobs/" + digest.str(), {{"Range", "bytes=1000000-1999999"}});
  EXPECT_EQ(got.status, 206);
  EXPECT_TRUE(got.body == blob.substr(1000000, 1000000));
  const auto tail = agent.registry(kGet, "/v2/library/app/blobs/" + digest.str(), {{"Range", "bytes=-10"}});
  EXPECT_EQ(tail.status, 206);
  EXPECT_TRUE(tail.body == blob.substr(blob.size() - 10));
}

TEST(Agent, ASmallBlobComesStraightFromAHolderOnce) {
  FakeCluster cluster;
  const Digest digest = cluster.put("a small blob");
  TestAgent agent(cluster.hosts());
  for (int i = 0; i < 2; ++i) {
    const auto got = agent.registry(kGet, "/v2/library/app/blobs/" + digest.str());
    EXPECT_EQ(got.status, 200);
    EXPECT_EQ(got.body, "a small blob");
  }
  EXPECT_EQ(cluster.blob_reads, 1);
  EXPECT_EQ(cluster.origin.stats().bytes_given, 0U);
}

TEST(Agent, WithoutOriginsInItsConfigurationASmallBlobComesFromTheSwarm) {
  FakeCluster cluster;
  const Digest digest = cluster.put("a small blob");
  TestAgent agent(cluster.hosts(false));
  EXPECT_EQ(agent.registry(kGet, "/v2/library/app/blobs/" + digest.str()).body, "a small blob");
  EXPECT_EQ(cluster.blob_reads, 0);
}

TEST(Agent, ReadsAManifestByTagAndByDigest) {
  FakeCluster cluster;
  const std::string manifest =
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]})";
  const Digest digest = cluster.put(manifest);
  cluster.tag("library/app:v1", digest);
  TestAgent agent(cluster.hosts());
  for (const std::string& reference : {std::string("v1"), digest.str()}) {
    const auto got = agent.registry(kGet, "/v2/library/app/manifests/" + reference);
    EXPECT_EQ(got.status, 200) << got.body;
    EXPECT_EQ(got.body, manifest);
    EXPECT_EQ(got.headers.get("Content-Type"), "application/vnd.oci.image.manifest.v1+json");
    EXPECT_EQ(got.headers.get("Docker-Content-Digest"), digest.str());
  }
  EXPECT_EQ(agent.registry(kHead, "/v2/library/app/manifests/v1").status, 200);
  const auto unknown = agent.registry(kGet, "/v2/library/app/manifests/v9");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_NE(unknown.body.find("MANIFEST_UNKNOWN"), std::string::npos);
}

TEST(Agent, RefusesPushes) {
  FakeCluster cluster;
  TestAgent agent(cluster.hosts());
  const auto upload = agent.registry(kPost, "/v2/library/app/blobs/uploads/");
  EXPECT_EQ(upload.status, 405);
  EXPECT_NE(upload.body.find("UNSUPPORTED"), std::string::npos);
}

TEST(Agent, ListsTagsOfTheCluster) {
  FakeCluster cluster;
  TestAgent agent(cluster.hosts());
  const auto listed = agent.registry(kGet, "/v2/library/app/tags/list");
  EXPECT_EQ(listed.status, 200);
  EXPECT_NE(listed.body.find(R"(["v1","v2"])"), std::string::npos) << listed.body;
}

TEST(Agent, WhatTheClusterDoesNotHaveIsUnknown) {
  FakeCluster cluster;
  TestAgent agent(cluster.hosts());
  const std::string missing = Digest::of("nobody has it").str();
  EXPECT_EQ(agent.registry(kGet, "/v2/library/app/blobs/" + missing).status, 404);
  EXPECT_EQ(agent.api(kGet, "/namespace/library%2Fapp/blobs/" + missing).status, 404);
}

TEST(Agent, WaitsWhileTheClusterFetchesTheBlobItself) {
  FakeCluster cluster;
  cluster.pending = 3;
  const Digest digest = cluster.put(random_blob(100 * 1024, 4));
  TestAgent agent(cluster.hosts());
  EXPECT_EQ(agent.registry(kGet, "/v2/library/app/blobs/" + digest.str()).status, 200);
  EXPECT_EQ(cluster.pending, 0);
}

TEST(Agent, ADeadHostOfTheClusterOnlyCostsTheNextOne) {
  FakeCluster cluster;
  const Digest digest = cluster.put(random_blob(100 * 1024, 4));
  cluster.tag("library/app:v1", digest);
  std::uint16_t dead = 0;
  {
    auto acceptor = net::listen("127.0.0.1", 0);
    ASSERT_TRUE(acceptor);
    dead = acceptor->port();
  }
  TestAgent agent(cluster.hosts(true, {{"127.0.0.1", dead}, {"127.0.0.1", dead}}));
  EXPECT_EQ(agent.registry(kGet, "/v2/library/app/blobs/" + digest.str()).status, 200);
  EXPECT_EQ(agent.api(kGet, "/tags/library%2Fapp:v1").body, digest.str());
}

TEST(Agent, TwoAgentsFeedEachOtherWhenTheOriginIsGone) {
  FakeCluster cluster;
  const std::string blob = random_blob(10 * 64 * 1024, 5);
  const Digest digest = cluster.put(blob);
  TestAgent first(cluster.hosts());
  TestAgent second(cluster.hosts());
  EXPECT_EQ(first.api(kGet, "/namespace/library%2Fapp/blobs/" + digest.str()).status, 200);
  cluster.origin_is_a_peer = false;
  cluster.origin.stop();
  const auto got = second.api(kGet, "/namespace/library%2Fapp/blobs/" + digest.hex());
  EXPECT_EQ(got.status, 200);
  EXPECT_TRUE(got.body == blob);
}

TEST(Agent, KeepsItsCacheAcrossARestartAndForgetsWhatIsDeleted) {
  FakeCluster cluster;
  TemporaryFolder folder;
  const std::string blob = random_blob(5 * 64 * 1024, 6);
  const Digest digest = cluster.put(blob);
  {
    TestAgent agent(cluster.hosts(), folder.path());
    EXPECT_EQ(agent.api(kGet, "/namespace/ns/blobs/" + digest.str()).status, 200);
  }
  cluster.origin.stop();
  TestAgent agent(cluster.hosts(), folder.path());
  EXPECT_TRUE(agent.registry(kGet, "/v2/library/app/blobs/" + digest.str()).body == blob);
  EXPECT_EQ(agent.api(kDelete, "/blobs/" + digest.str()).status, 200);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "cache" / digest.hex().substr(0, 2) / digest.hex().substr(2, 2) / digest.hex()));
}

TEST(Agent, AnnouncesACompleteBlobAsStockDoes) {
  FakeCluster cluster;
  const Digest digest = cluster.put(random_blob(5 * 64 * 1024, 6));
  TestAgent agent(cluster.hosts());
  EXPECT_EQ(agent.api(kGet, "/namespace/ns/blobs/" + digest.str()).status, 200);
  ASSERT_TRUE(eventually([&] {
    std::scoped_lock lock(cluster.mutex);
    return !cluster.announced.empty() && cluster.announced.back().find(R"("complete":true)") != std::string::npos;
  }));
  std::scoped_lock lock(cluster.mutex);
  const std::string start = fmt::format(R"({{"name":"{}","digest":"{}","info_hash":[)", digest.hex(), digest.str());
  EXPECT_EQ(cluster.announced.front().substr(0, start.size()), start);
}

TEST(Agent, ABindBeyondLoopbackNeedsTheConfigurationsWord) {
  FakeCluster cluster;
  net::Loops loops(1, "agent");
  net::FilePool pool(1, 16);
  TemporaryFolder folder;
  config::AgentConfig config;
  config.agent.host = "0.0.0.0";
  config.store.path = folder.path().string();
  auto agent = Agent::open(config, cluster.hosts(), loops, pool);
  ASSERT_TRUE(agent);
  auto started = (*agent)->start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kDenied);
}

TEST(Agent, AnAgentThatDoesNotKnowItsClusterSaysWhatToSet) {
  net::Loops loops(1, "agent");
  net::FilePool pool(1, 16);
  auto agent = Agent::open(config::AgentConfig{}, loops, pool);
  ASSERT_FALSE(agent);
  EXPECT_NE(agent.error().detail.find("cluster.hosts"), std::string::npos);
}

}  // namespace
}  // namespace kraken::agent::testing
