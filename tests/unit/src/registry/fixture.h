#pragma once
// The registry's handlers over blobs in memory and manifests that do what a test says, behind a real server.

#include <memory>
#include <nlohmann/json.hpp>

#include "http/router.h"
#include "tests/unit/src/registry/http_harness.h"
#include "tests/unit/src/registry/memory_blobs.h"

namespace kraken::registry::test {

class RegistryTest : public ::testing::Test {
 protected:
  explicit RegistryTest(Mode mode = Mode::kPushPull) {
    http::Router router;
    add_routes(router, {&blobs_, mode == Mode::kPushPull ? &blobs_ : nullptr, &manifests_, &manifests_}, mode);
    http_ = std::make_unique<kraken::test::HttpHarness>(std::move(router));
  }

  /// The code of the first error of an OCI error body; "" if it is none.
  static std::string code_of(const kraken::test::Reply& reply) {
    const auto json = nlohmann::json::parse(reply.body, nullptr, false);
    if (json.is_discarded() || !json.contains("errors") || json["errors"].empty()) return "";
    const auto& error = json["errors"][0];
    EXPECT_FALSE(error["message"].get<std::string>().empty());
    return error["code"].get<std::string>();
  }
  static std::string hex(char digit) { return std::string(64, digit); }

  MemoryBlobs blobs_;
  ScriptedManifests manifests_;
  std::unique_ptr<kraken::test::HttpHarness> http_;
};

}  // namespace kraken::registry::test
