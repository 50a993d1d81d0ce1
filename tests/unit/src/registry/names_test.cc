#include "tests/unit/src/registry/fixture.h"

namespace kraken::registry::test {
namespace {

class Names : public RegistryTest {};

TEST_F(Names, ABadNameIsRefusedAndNothingIsStored) {
  const auto digest = Digest::of("content").str();
  const std::string length = std::string(256, 'a');
  for (const auto& name : std::vector<std::string>{"..", "a%2F..%2Fb", "%2E%2E%2Fetc", "a%00b", "Upper", "a%2Fb%20c",
                                                   "a//b", "%2Fa", "a..b%2F", "-a", length, "a%5Cb", "%C3%A4"}) {
    for (const auto& reply :
         {http_->get("/v2/" + name + "/blobs/" + digest), http_->get("/v2/" + name + "/manifests/v1"),
          http_->put("/v2/" + name + "/manifests/v1", "{}"), http_->post("/v2/" + name + "/blobs/uploads/"),
          http_->post("/v2/" + name + "/blobs/uploads/?digest=" + digest, "content"),
          http_->get("/v2/" + name + "/tags/list")}) {
      EXPECT_EQ(reply.status, 400) << name;
      EXPECT_EQ(code_of(reply), "NAME_INVALID") << name << reply.body;
    }
  }
  EXPECT_EQ(http_->get("/v2/../../etc/passwd").status, 400);
  EXPECT_EQ(blobs_.size(), 0U);
  EXPECT_EQ(blobs_.sessions(), 0U);
  EXPECT_FALSE(manifests_.last_put);
}

TEST_F(Names, ABadTagIsRefused) {
  const std::string length = std::string(129, 'a');
  for (const auto& tag : std::vector<std::string>{"..%2Fx", "a%00b", ".a", "-a", length, "a%20b", "a%2Fb", "%2E%2E"}) {
    for (const auto& reply : {http_->get("/v2/a/manifests/" + tag), http_->put("/v2/a/manifests/" + tag, "{}"),
                              http_->remove("/v2/a/manifests/" + tag)}) {
      EXPECT_EQ(reply.status, 400) << tag;
      EXPECT_EQ(code_of(reply), "TAG_INVALID") << tag;
    }
  }
  EXPECT_FALSE(manifests_.last_put);
}

TEST_F(Names, ABadDigestIsRefused) {
  for (const auto& digest : std::vector<std::string>{"sha256:12", "sha256:..%2F..%2Fetc",
                                                     "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256%3A%00"}) {
    for (const auto& reply : {http_->get("/v2/a/blobs/" + digest), http_->get("/v2/a/manifests/" + digest),
                              http_->remove("/v2/a/blobs/" + digest)}) {
      EXPECT_EQ(reply.status, 400) << digest;
      EXPECT_EQ(code_of(reply), "DIGEST_INVALID") << digest;
    }
  }
}

TEST_F(Names, ATraversalBehindTheNameIsNoRoute) {
  for (const char* path : {"/v2/a/manifests/../x", "/v2/a/blobs/../../x", "/v2/a/blobs/uploads/../x/y"}) {
    const auto reply = http_->get(path);
    EXPECT_EQ(reply.status, 400) << path;
    EXPECT_EQ(code_of(reply), "NAME_INVALID") << path;
  }
}

TEST_F(Names, AnUnknownEndpointIs404WithOurErrorBody) {
  const auto reply = http_->get("/v2/a/referrers/" + Digest::of("x").str());
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(code_of(reply), "UNSUPPORTED");
}

TEST_F(Names, NestedRepositoriesAreNames) {
  const auto digest = blobs_.keep("content");
  EXPECT_EQ(http_->get("/v2/a/b/c/d/blobs/" + digest.str()).status, 200);
  EXPECT_EQ(http_->get("/v2/a%2Fb/blobs/" + digest.str()).status, 200);
  EXPECT_EQ(http_->get("/v2/blobs/manifests/blobs/" + digest.str()).status, 200);
}

}  // namespace
}  // namespace kraken::registry::test
