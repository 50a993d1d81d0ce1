#pragma once
// The proxy over a fake metadata and blobs in memory, behind a real server.

#include <memory>
#include <nlohmann/json.hpp>

#include "http/health.h"
#include "http/router.h"
#include "src/proxy/cluster_manifests.h"
#include "src/proxy/routes.h"
#include "tests/unit/src/registry/http_harness.h"
#include "tests/unit/src/registry/recorded_blobs.h"

namespace kraken::proxy::test {

using nlohmann::json;

/// A manifest of one config and one layer, of either kind.
inline std::string image(std::string_view media_type, const Digest& config, const Digest& layer) {
  json body;
  body["schemaVersion"] = 2;
  body["mediaType"] = media_type;
  body["config"] = {{"mediaType", "application/vnd.oci.image.config.v1+json"}, {"size", 2}, {"digest", config.str()}};
  body["layers"] =
      json::array({{{"mediaType", "application/vnd.oci.image.layer.v1.tar"}, {"size", 5}, {"digest", layer.str()}}});
  return body.dump();
}
inline std::string index(std::string_view media_type, const std::vector<Digest>& children) {
  json body;
  body["schemaVersion"] = 2;
  body["mediaType"] = media_type;
  body["manifests"] = json::array();
  for (const auto& child : children) {
    body["manifests"].push_back({{"mediaType", media_type::kOciManifest},
                                 {"size", 1},
                                 {"digest", child.str()},
                                 {"platform", {{"os", "linux"}, {"architecture", "amd64"}}}});
  }
  return body.dump();
}

class ProxyTest : public ::testing::Test {
 protected:
  ProxyTest() {
    http::Router router;
    Deps deps;
    deps.registry = {&blobs_, &blobs_, &manifests_, &manifests_};
    add_routes(router, std::move(deps));
    http::add_health(router, {});
    http_ = std::make_unique<kraken::test::HttpHarness>(std::move(router));
  }
  Digest push_blob(const std::string& repository, const std::string& content) {
    const auto digest = Digest::of(content);
    const auto reply = http_->post("/v2/" + repository + "/blobs/uploads/?digest=" + digest.str(), content);
    EXPECT_EQ(reply.status, 201) << reply.body;
    return digest;
  }
  kraken::test::Reply push_manifest(const std::string& repository, const std::string& reference,
                                    const std::string& body, std::string_view type, http::Headers headers = {}) {
    headers.add("Content-Type", std::string(type));
    return http_->put("/v2/" + repository + "/manifests/" + reference, body, std::move(headers));
  }
  /// Config, layer and manifest of an image that `seed` tells from others; the manifest's digest.
  Digest push_image(const std::string& repository, const std::string& tag, const std::string& seed) {
    const auto config = push_blob(repository, "config " + seed);
    const auto layer = push_blob(repository, "layer " + seed);
    const auto body = image(media_type::kOciManifest, config, layer);
    const auto reply = push_manifest(repository, tag, body, media_type::kOciManifest);
    EXPECT_EQ(reply.status, 201) << reply.body;
    return Digest::of(body);
  }

  metadata::test::FakePort port_;
  metadata::Client metadata_{port_, port_.shards()};
  registry::test::RecordedBlobs blobs_{metadata_};
  ClusterManifests manifests_{metadata_, blobs_, blobs_};
  std::unique_ptr<kraken::test::HttpHarness> http_;
};

}  // namespace kraken::proxy::test
