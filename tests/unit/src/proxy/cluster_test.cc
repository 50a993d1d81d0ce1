// Three nodes' proxies over their real blob services: requests that land on another node than the one that began.

#include "tests/unit/src/blobs/cluster.h"

#include "src/proxy/cluster_blobs.h"
#include "tests/unit/src/proxy/fixture.h"

namespace kraken::proxy::test {
namespace {

/// The routes are made before the ports are known, and ClusterBlobs after.
class LateBlobs final : public registry::BlobReader, public registry::BlobWriter {
 public:
  std::unique_ptr<ClusterBlobs> inner;
  net::Task<std::uint64_t> stat(Repository repository, Digest digest) override {
    return inner->stat(std::move(repository), digest);
  }
  net::Task<std::unique_ptr<registry::BlobSource>> open(Repository repository, Digest digest) override {
    return inner->open(std::move(repository), digest);
  }
  net::Task<UploadId> start(Repository repository) override { return inner->start(std::move(repository)); }
  net::Task<std::uint64_t> status(Repository repository, UploadId id) override {
    return inner->status(std::move(repository), id);
  }
  net::Task<std::uint64_t> append(Repository repository, UploadId id, std::optional<std::uint64_t> offset,
                                  std::optional<std::uint64_t> length, registry::BodyReader body) override {
    return inner->append(std::move(repository), id, offset, length, std::move(body));
  }
  net::Task<> finish(Repository repository, UploadId id, Digest digest) override {
    return inner->finish(std::move(repository), id, digest);
  }
  net::Task<> cancel(Repository repository, UploadId id) override { return inner->cancel(std::move(repository), id); }
  net::Task<bool> mount(Repository repository, Digest digest, std::optional<Repository> from) override {
    return inner->mount(std::move(repository), digest, std::move(from));
  }
  net::Task<> remove(Repository repository, Digest digest) override {
    return inner->remove(std::move(repository), digest);
  }
  bool is_local(UploadId id) const override { return inner->is_local(id); }
  net::Task<> forward(http::Exchange& exchange, UploadId id) override { return inner->forward(exchange, id); }
};

class ProxyCluster : public ::testing::Test {
 protected:
  struct Proxy {
    LateBlobs blobs;
    std::unique_ptr<ClusterManifests> manifests;
    std::unique_ptr<kraken::test::HttpHarness> http;
  };

  ProxyCluster() {
    std::map<std::string, ring::Address> addresses;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      auto proxy = std::make_unique<Proxy>();
      proxy->manifests = std::make_unique<ClusterManifests>(cluster_.metadata(), proxy->blobs, proxy->blobs);
      http::Router router;
      Deps deps;
      deps.registry = {&proxy->blobs, &proxy->blobs, proxy->manifests.get(), proxy->manifests.get()};
      add_routes(router, std::move(deps));
      proxy->http = std::make_unique<kraken::test::HttpHarness>(std::move(router));
      addresses[cluster_.node(i).label] = {"127.0.0.1", proxy->http->port()};
      proxies_.push_back(std::move(proxy));
    }
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      // Each proxy's own client: it works on the loops that the proxy's requests come in on.
      proxies_[i]->blobs.inner = std::make_unique<ClusterBlobs>(cluster_.service(i), proxies_[i]->http->client(),
                                                                cluster_.node(i).label, ring::fixed_addresses(addresses));
    }
  }
  ~ProxyCluster() override {
    for (auto& proxy : proxies_) proxy->http->stop();
    for (auto& proxy : proxies_) proxy->http.reset();
  }
  kraken::test::HttpHarness& http(std::size_t node) { return *proxies_[node]->http; }

  blobs::test::Cluster cluster_{3};
  std::vector<std::unique_ptr<Proxy>> proxies_;
};

TEST_F(ProxyCluster, EveryStepOfAPushMayGoToAnotherNode) {
  const std::string content = blobs::test::pattern(700'000);
  const auto digest = Digest::of(content);
  const auto begun = http(0).post("/v2/a/blobs/uploads/");
  ASSERT_EQ(begun.status, 202);
  const auto location = begun.header("Location");
  EXPECT_EQ(http(1).ask_chunked(http::Method::kPatch, location, content.substr(0, 300'000)).header("Range"),
            "0-299999");
  EXPECT_EQ(http(2).patch(location, content.substr(300'000), {{"Content-Range", "300000-699999"}}).header("Range"),
            "0-699999");
  const auto wrong = http(2).patch(location, "x", {{"Content-Range", "5000000-5000000"}});
  EXPECT_EQ(wrong.status, 416);
  EXPECT_EQ(wrong.header("Range"), "0-699999");
  const auto status = http(1).get(location);
  EXPECT_EQ(status.status, 204);
  EXPECT_EQ(status.header("Range"), "0-699999");
  const auto done = http(2).put(location + "?digest=" + digest.str());
  ASSERT_EQ(done.status, 201) << done.body;
  for (std::size_t node = 0; node < 3; ++node) {
    const auto reply = http(node).get("/v2/a/blobs/" + digest.str());
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body, content);
    EXPECT_EQ(http(node).get("/v2/a/blobs/" + digest.str(), {{"Range", "bytes=299990-300009"}}).body,
              content.substr(299'990, 20));
    EXPECT_EQ(http(node).head("/v2/a/blobs/" + digest.str()).content_length, content.size());
  }
}

TEST_F(ProxyCluster, ASessionIsCancelledFromAnywhereAndThenUnknownEverywhere) {
  const auto location = http(0).post("/v2/a/blobs/uploads/").header("Location");
  EXPECT_EQ(http(1).remove(location).status, 204);
  for (std::size_t node = 0; node < 3; ++node) {
    const auto reply = http(node).patch(location, "x");
    EXPECT_EQ(reply.status, 404);
    EXPECT_NE(reply.body.find("BLOB_UPLOAD_UNKNOWN"), std::string::npos);
  }
}

TEST_F(ProxyCluster, ASessionOfADeadNodeIsUnknown) {
  const auto location = http(0).post("/v2/a/blobs/uploads/").header("Location");
  proxies_[0]->http->stop();
  const auto reply = http(1).patch(location, "x");
  EXPECT_EQ(reply.status, 404);
  EXPECT_NE(reply.body.find("BLOB_UPLOAD_UNKNOWN"), std::string::npos);
}

TEST_F(ProxyCluster, ASessionThatNobodyMadeIsUnknown) {
  const auto reply = http(1).patch("/v2/a/blobs/uploads/00000000-0000-8000-8000-000000000000", "x");
  EXPECT_EQ(reply.status, 404);
}

TEST_F(ProxyCluster, AnImagePushedToOneNodeIsPulledFromTheOthers) {
  const std::string layer = blobs::test::pattern(300'000);
  for (const auto& blob : {layer, std::string("{}")}) {
    const auto reply = http(0).post("/v2/a/blobs/uploads/?digest=" + Digest::of(blob).str(), blob);
    ASSERT_EQ(reply.status, 201) << reply.body;
  }
  const auto body = image(media_type::kOciManifest, Digest::of("{}"), Digest::of(layer));
  const auto pushed =
      http(1).put("/v2/a/manifests/v1", body, {{"Content-Type", std::string(media_type::kOciManifest)}});
  ASSERT_EQ(pushed.status, 201) << pushed.body;
  EXPECT_EQ(http(2).get("/v2/a/manifests/v1").body, body);
  EXPECT_EQ(http(2).get("/v2/a/blobs/" + Digest::of(layer).str()).body, layer);
  const auto mounted = http(2).post("/v2/b/blobs/uploads/?mount=" + Digest::of(layer).str() + "&from=a");
  EXPECT_EQ(mounted.status, 201);
}

TEST_F(ProxyCluster, WrongBytesAreRefusedAndNothingIsStored) {
  const auto digest = Digest::of("other");
  const auto location = http(0).post("/v2/a/blobs/uploads/").header("Location");
  EXPECT_EQ(http(1).put(location + "?digest=" + digest.str(), "content").status, 400);
  for (std::size_t node = 0; node < 3; ++node) {
    EXPECT_EQ(http(node).head("/v2/a/blobs/" + digest.str()).status, 404);
    // The answer does not wait for the upload's file to be removed.
    EXPECT_TRUE(blobs::test::Cluster::eventually([&] { return cluster_.leftovers(node) == 0; }));
  }
}

}  // namespace
}  // namespace kraken::proxy::test
