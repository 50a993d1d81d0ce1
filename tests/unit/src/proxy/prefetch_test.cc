#include "tests/unit/src/proxy/fixture.h"

namespace kraken::proxy::test {
namespace {

class PrefetchCalls : public ProxyTest {
 protected:
  kraken::test::Reply prefetch(const std::string& tag, const char* version = "v1") {
    return http_->post(std::string("/proxy/") + version + "/registry/prefetch",
                       json{{"tag", tag}, {"trace_id", "t1"}}.dump());
  }
};

TEST_F(PrefetchCalls, WhatTheClusterHasIsDoneAtOnce) {
  push_image("test/alpine", "v1", "x");
  for (const char* version : {"v1", "v2"}) {
    const auto reply = prefetch("registry.example/test/alpine:v1", version);
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body,
              "{\"tag\":\"registry.example/test/alpine:v1\",\"prefetched\":true,\"status\":\"success\","
              "\"message\":\"prefetching initiated successfully\",\"trace_id\":\"t1\"}");
    EXPECT_EQ(reply.header("Content-Type"), "application/json");
  }
}

TEST_F(PrefetchCalls, ADeeperRepositoryAndAnIndexToo) {
  const auto child = push_image("team/group/app", "amd64", "x");
  EXPECT_EQ(
      push_manifest("team/group/app", "multi", index(media_type::kOciIndex, {child}), media_type::kOciIndex).status,
      201);
  EXPECT_EQ(prefetch("host/team/group/app:multi").status, 200);
}

TEST_F(PrefetchCalls, ABadTagIsAnsweredAsStockDoes) {
  const auto reply = prefetch("test/alpine:v1");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(json::parse(reply.body)["prefetched"], false);
  EXPECT_EQ(http_->post("/proxy/v1/registry/prefetch", "nonsense").status, 400);
}

TEST_F(PrefetchCalls, AnUnknownImageFails) {
  const auto reply = prefetch("host/test/alpine:nope");
  EXPECT_EQ(reply.status, 500);
  EXPECT_EQ(json::parse(reply.body)["status"], "failure");
}

TEST_F(PrefetchCalls, NotificationsAreTaken) {
  EXPECT_EQ(http_->post("/registry/notifications", "{\"events\":[]}").status, 200);
  EXPECT_EQ(http_->post("/registry/notifications", "nonsense").status, 400);
  EXPECT_EQ(http_->get("/health").body, "OK\n");
  EXPECT_EQ(http_->get("/readiness").body, "OK\n");
}

}  // namespace
}  // namespace kraken::proxy::test
