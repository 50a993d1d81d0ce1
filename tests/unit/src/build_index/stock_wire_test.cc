#include "tests/unit/src/registry/stock_wire.h"

#include "tests/unit/src/build_index/fixture.h"

namespace kraken::build_index::test {
namespace {

using kraken::test::Recorded;

class StockWire : public BuildIndexTest {
 protected:
  /// The images that were in the recorded cluster: test/alpine's, whose manifest is exchange 111's body, and
  /// team/app's.
  void push_recorded_images() {
    const std::string alpine =
        R"({"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":)"
        R"("application/vnd.docker.container.image.v1+json","size":90,"digest":)"
        R"("sha256:dc570f145a7f2862c9ef3c30b8d6ae2feaceb0d364e4b2e08e67ae18815427d9"},"layers":[{"mediaType":)"
        R"("application/vnd.docker.image.rootfs.diff.tar.gzip","size":5242880,"digest":)"
        R"("sha256:16b632f11cf950dda67dc4c184a3f9e0aa1ffa4c18927bb8977e7da97ca25bca"}]})";
    ASSERT_EQ(blobs_.push(executor(), alpine).hex(),
              "a8e63e401fa30cc35d37ab4a052fea93b9e1c5c3c90e4cfd579cdcf7789716d4");
    std::string app;
    for (const auto& recorded : kraken::test::recorded_with("proxy")) {
      if (recorded.method == http::Method::kPut && recorded.target == "/v2/team/app/manifests/one") app = recorded.body;
    }
    ASSERT_EQ(blobs_.push(executor(), app).hex(), "d7621d5ebb94578adaa2aa8d4aedc82a48daf1e963b9319d92d55ad22d58b8ea");
    for (const auto& body : {alpine, app}) {
      const auto parsed = Manifest::parse(body, "");
      ASSERT_TRUE(parsed) << parsed.error().detail;
      for (const auto& reference : parsed->references) blobs_.push_record(executor(), reference.digest);
    }
    ASSERT_EQ(blobs_.push(executor(), kraken::test::recorded_blob(10)).hex(),
              "1f825aa2f0020ef7cf91dfa30da4668d791c5d4824fc8e41354b89ec05795ab3");
  }
};

TEST_F(StockWire, EachRecordedExchangeIsAnsweredAsStockDoes) {
  push_recorded_images();
  const auto recorded = kraken::test::recorded_with("build-index");
  ASSERT_EQ(recorded.size(), 32U);
  // Duplicates went to stock's other build-indexes, which tell the backend twenty minutes later; here a put is seen
  // everywhere at once, so they come behind what was listed without them.
  const auto duplicate = [](const Recorded& exchange) {
    return exchange.target.starts_with("/internal/duplicate/tags/") &&
           exchange.target.find("team") != std::string::npos;
  };
  const auto late = [](const Recorded& exchange) { return exchange.target.find("team") != std::string::npos; };
  for (const auto& exchange : recorded) {
    if (!late(exchange)) kraken::test::expect_as_recorded(*http_, exchange);
  }
  for (const auto& exchange : recorded) {
    if (late(exchange) && !duplicate(exchange)) kraken::test::expect_as_recorded(*http_, exchange);
  }
  for (const auto& exchange : recorded) {
    if (duplicate(exchange)) kraken::test::expect_as_recorded(*http_, exchange);
  }
}

}  // namespace
}  // namespace kraken::build_index::test
