// The steps of the OCI conformance suite (pull, push, content discovery, content management) against the proxy.

#include "tests/unit/src/proxy/fixture.h"

namespace kraken::proxy::test {
namespace {

class OciWalk : public ProxyTest {};

TEST_F(OciWalk, PullFindsWhatWasPushedByTagAndByDigest) {
  for (const auto type : {media_type::kOciManifest, media_type::kDockerManifest}) {
    const auto config = push_blob("conformance/app", "{}");
    const auto layer = push_blob("conformance/app", "layer");
    const auto body = image(type, config, layer);
    const auto digest = Digest::of(body);
    const auto pushed = push_manifest("conformance/app", "v1", body, type);
    ASSERT_EQ(pushed.status, 201) << pushed.body;
    EXPECT_EQ(pushed.header("Location"), "/v2/conformance/app/manifests/" + digest.str());
    for (const auto& reference : {std::string("v1"), digest.str()}) {
      const auto reply = http_->get("/v2/conformance/app/manifests/" + reference);
      EXPECT_EQ(reply.status, 200);
      EXPECT_EQ(reply.body, body);
      EXPECT_EQ(reply.header("Content-Type"), type);
      EXPECT_EQ(reply.header("Docker-Content-Digest"), digest.str());
      const auto head = http_->head("/v2/conformance/app/manifests/" + reference);
      EXPECT_EQ(head.status, 200);
      EXPECT_EQ(head.content_length, body.size());
    }
    EXPECT_EQ(http_->get("/v2/conformance/app/blobs/" + layer.str()).body, "layer");
  }
}

TEST_F(OciWalk, AManifestIsOneRepositorysAndABlobEverybodys) {
  const auto digest = push_image("a", "v1", "x");
  EXPECT_EQ(http_->get("/v2/b/manifests/" + digest.str()).status, 404);
  EXPECT_EQ(http_->get("/v2/b/blobs/" + Digest::of("layer x").str()).status, 200);
}

TEST_F(OciWalk, IndexesOfBothKindsNeedTheirChildren) {
  const auto child = push_image("a", "amd64", "x");
  for (const auto type : {media_type::kOciIndex, media_type::kDockerList}) {
    const auto body = index(type, {child});
    EXPECT_EQ(push_manifest("a", "multi", body, type).status, 201);
    const auto reply =
        http_->get("/v2/a/manifests/multi", {{"Accept", "application/vnd.docker.distribution.manifest.v2+json"}});
    EXPECT_EQ(reply.body, body);
    EXPECT_EQ(reply.header("Content-Type"), type);
  }
  const auto missing = Digest::of("no such child");
  const auto reply =
      push_manifest("a", "broken", index(media_type::kOciIndex, {child, missing}), media_type::kOciIndex);
  EXPECT_EQ(reply.status, 400);
  const auto errors = json::parse(reply.body)["errors"];
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors[0]["code"], "MANIFEST_BLOB_UNKNOWN");
  EXPECT_EQ(errors[0]["detail"]["digest"], missing.str());
  EXPECT_EQ(http_->get("/v2/a/manifests/broken").status, 404);
}

TEST_F(OciWalk, EveryMissingReferenceIsNamedAndNothingIsVisible) {
  const auto body = image(media_type::kOciManifest, Digest::of("no config"), Digest::of("no layer"));
  const auto reply = push_manifest("a", "v1", body, media_type::kOciManifest);
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(json::parse(reply.body)["errors"].size(), 2U);
  EXPECT_EQ(http_->get("/v2/a/manifests/v1").status, 404);
  EXPECT_EQ(http_->get("/v2/a/manifests/" + Digest::of(body).str()).status, 404);
  EXPECT_EQ(http_->get("/v2/a/tags/list").status, 404);
}

TEST_F(OciWalk, ASubjectNeedsNotExist) {
  const auto config = push_blob("a", "{}");
  const auto layer = push_blob("a", "layer");
  auto body = json::parse(image(media_type::kOciManifest, config, layer));
  body["subject"] = {{"mediaType", media_type::kOciManifest}, {"size", 7}, {"digest", Digest::of("nobody").str()}};
  EXPECT_EQ(push_manifest("a", "signature", body.dump(), media_type::kOciManifest).status, 201);
}

TEST_F(OciWalk, ATagFollowsTheLastPush) {
  const auto first = push_image("a", "v1", "x");
  const auto second = push_image("a", "v1", "y");
  EXPECT_EQ(http_->head("/v2/a/manifests/v1").header("Docker-Content-Digest"), second.str());
  EXPECT_EQ(http_->get("/v2/a/manifests/" + first.str()).status, 200);
  push_image("a", "v1", "x");
  EXPECT_EQ(http_->head("/v2/a/manifests/v1").header("Docker-Content-Digest"), first.str());
}

TEST_F(OciWalk, ConditionalPushesSwap) {
  const auto first = push_image("a", "v1", "x");
  const auto stood = http_->head("/v2/a/manifests/v1");
  const auto config = push_blob("a", "config z");
  const auto layer = push_blob("a", "layer z");
  const auto body = image(media_type::kOciManifest, config, layer);
  const auto lost = push_manifest("a", "v1", body, media_type::kOciManifest, {{"If-None-Match", "*"}});
  EXPECT_EQ(lost.status, 412);
  EXPECT_EQ(json::parse(lost.body)["errors"][0]["detail"]["digest"], first.str());
  const auto won = push_manifest("a", "v1", body, media_type::kOciManifest, {{"If-Match", stood.header("Etag")}});
  EXPECT_EQ(won.status, 201) << won.body;
  EXPECT_EQ(push_manifest("a", "v1", body, media_type::kOciManifest, {{"If-Match", stood.header("Etag")}}).status, 412);
  const std::string revision = "\"" + won.header("Kraken-Tag-Revision") + "\"";
  EXPECT_EQ(push_manifest("a", "v1", body, media_type::kOciManifest, {{"If-Match", revision}}).status, 201);
  EXPECT_EQ(push_manifest("a", "v1", body, media_type::kOciManifest, {{"If-Match", revision}}).status, 412);
}

TEST_F(OciWalk, TagsAreListedInPagesAndTheCatalogToo) {
  for (const char* tag : {"v3", "v1", "latest", "v2"}) push_image("team/app", tag, "x");
  push_image("library/redis", "7", "y");
  EXPECT_EQ(json::parse(http_->get("/v2/team/app/tags/list").body)["tags"], json({"latest", "v1", "v2", "v3"}));
  const auto page = http_->get("/v2/team/app/tags/list?n=2");
  EXPECT_EQ(json::parse(page.body)["tags"], json({"latest", "v1"}));
  EXPECT_EQ(page.header("Link"), "</v2/team/app/tags/list?n=2&last=v1>; rel=\"next\"");
  const auto rest = http_->get("/v2/team/app/tags/list?n=2&last=v1");
  EXPECT_EQ(json::parse(rest.body)["tags"], json({"v2", "v3"}));
  EXPECT_EQ(rest.header("Link"), "");
  EXPECT_EQ(json::parse(http_->get("/v2/_catalog").body)["repositories"], json({"library/redis", "team/app"}));
  const auto first = http_->get("/v2/_catalog?n=1");
  EXPECT_EQ(json::parse(first.body)["repositories"], json({"library/redis"}));
  EXPECT_EQ(first.header("Link"), "</v2/_catalog?n=1&last=library%2Fredis>; rel=\"next\"");
  EXPECT_EQ(http_->get("/v2/nobody/tags/list").status, 404);
}

TEST_F(OciWalk, ADeletedTagLeavesTheManifestADeletedManifestTakesItsTags) {
  const auto digest = push_image("a", "v1", "x");
  push_image("a", "v2", "x");
  EXPECT_EQ(http_->remove("/v2/a/manifests/v1").status, 202);
  EXPECT_EQ(http_->get("/v2/a/manifests/v1").status, 404);
  EXPECT_EQ(http_->get("/v2/a/manifests/" + digest.str()).status, 200);
  EXPECT_EQ(http_->remove("/v2/a/manifests/v1").status, 404);
  EXPECT_EQ(http_->remove("/v2/a/manifests/" + digest.str()).status, 202);
  EXPECT_EQ(http_->get("/v2/a/manifests/v2").status, 404);
  EXPECT_EQ(http_->get("/v2/a/manifests/" + digest.str()).status, 404);
  EXPECT_EQ(http_->remove("/v2/a/manifests/" + digest.str()).status, 404);
  EXPECT_EQ(http_->get("/v2/a/blobs/" + Digest::of("layer x").str()).status, 200);
  EXPECT_EQ(http_->head("/v2/a/manifests/" + push_image("a", "v1", "x").str()).status, 200)
      << "and may be pushed again";
}

TEST_F(OciWalk, WithoutAQuorumNothingIsNotFound) {
  const auto digest = push_image("a", "v1", "x");
  port_.set_down(true);
  for (const auto& reply : {http_->get("/v2/a/manifests/v1"), http_->get("/v2/a/manifests/nope"),
                            http_->get("/v2/a/manifests/" + digest.str()), http_->get("/v2/a/tags/list"),
                            http_->get("/v2/_catalog"), http_->remove("/v2/a/manifests/v1")}) {
    EXPECT_EQ(reply.status, 503) << reply.body;
    EXPECT_EQ(reply.header("Retry-After"), "1");
  }
}

TEST_F(OciWalk, AManifestWhoseRowStandsButWhoseBytesAreGoneIsTroubleNot404) {
  const auto digest = push_image("a", "v1", "x");
  blobs_.fails = Error{Code::kNotFound, "lost"};
  EXPECT_EQ(http_->get("/v2/a/manifests/" + digest.str()).status, 503);
}

}  // namespace
}  // namespace kraken::proxy::test
