#pragma once
// The build-index over a fake metadata and blobs in memory, behind a real server.

#include <memory>

#include "http/health.h"
#include "http/router.h"
#include "src/build_index/routes.h"
#include "src/build_index/store.h"
#include "tests/unit/src/registry/http_harness.h"
#include "tests/unit/src/registry/recorded_blobs.h"

namespace kraken::build_index::test {

class BuildIndexTest : public ::testing::Test {
 protected:
  BuildIndexTest() {
    http::Router router;
    add_routes(router, {&tags_, "127.0.0.1:15030"});
    http::add_health(router, {});
    http_ = std::make_unique<kraken::test::HttpHarness>(std::move(router));
  }
  net::Executor executor() { return http_->loops().at(0).executor(); }
  /// An image of one layer that differs by `seed`.
  Digest push_image(const std::string& seed) {
    const auto config = blobs_.push(executor(), "{\"seed\":\"" + seed + "\"}");
    const auto layer = blobs_.push(executor(), "layer " + seed);
    return blobs_.push(executor(), manifest(config, layer));
  }
  static std::string manifest(const Digest& config, const Digest& layer) {
    return R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":)"
           R"("application/vnd.oci.image.config.v1+json","size":1,"digest":")" +
           config.str() + R"("},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":1,"digest":")" +
           layer.str() + "\"}]}";
  }

  metadata::test::FakePort port_;
  metadata::Client metadata_{port_, port_.shards()};
  registry::test::RecordedBlobs blobs_{metadata_};
  ClusterTags tags_{metadata_, blobs_};
  std::unique_ptr<kraken::test::HttpHarness> http_;
};

}  // namespace kraken::build_index::test
