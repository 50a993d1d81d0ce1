#include "src/registry/answers.h"
#include "tests/unit/src/registry/fixture.h"

namespace kraken::registry::test {
namespace {

const char* const kManifest =
    R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)"
    R"("config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,)"
    R"("digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]})";

class ManifestHandlers : public RegistryTest {};

TEST_F(ManifestHandlers, APutHandsOverTheBytesAsTheyCame) {
  manifests_.put_outcome.revision = 17;
  const std::string body = kManifest;
  const auto digest = Digest::of(body);
  const auto reply = http_->put("/v2/test/alpine/manifests/v1", body,
                                {{"Content-Type", std::string(media_type::kOciManifest) + "; charset=utf-8"}});
  EXPECT_EQ(reply.status, 201);
  EXPECT_EQ(reply.header("Location"), "/v2/test/alpine/manifests/" + digest.str());
  EXPECT_EQ(reply.header("Docker-Content-Digest"), digest.str());
  EXPECT_EQ(reply.header("Kraken-Tag-Revision"), "17");
  ASSERT_TRUE(manifests_.last_put);
  EXPECT_EQ(manifests_.last_put->body, body);
  EXPECT_EQ(manifests_.last_put->digest, digest);
  EXPECT_EQ(manifests_.last_put->tags.at(0).str(), "v1");
  EXPECT_EQ(manifests_.last_put->manifest.references.size(), 1U);
  EXPECT_FALSE(manifests_.last_put->precondition.any());
}

TEST_F(ManifestHandlers, APutByDigestMayNameTagsToo) {
  const auto digest = Digest::of(kManifest);
  const auto reply = http_->put("/v2/test/alpine/manifests/" + digest.str() + "?tag=v2", kManifest);
  EXPECT_EQ(reply.status, 201);
  EXPECT_EQ(reply.header("OCI-Tag"), "v2");
  EXPECT_EQ(manifests_.last_put->tags.at(0).str(), "v2");
  EXPECT_EQ(http_->put("/v2/test/alpine/manifests/" + digest.str(), kManifest).status, 201);
  EXPECT_TRUE(manifests_.last_put->tags.empty());
  const auto several = http_->put("/v2/test/alpine/manifests/" + digest.str() + "?tag=a&tag=b&tag=c", kManifest);
  EXPECT_EQ(several.header("OCI-Tag"), "a, b, c");
  EXPECT_EQ(manifests_.last_put->tags.size(), 3U);
  std::string many = "?tag=t0";
  for (int i = 1; i <= 16; ++i) many += "&tag=t" + std::to_string(i);
  EXPECT_EQ(http_->put("/v2/test/alpine/manifests/" + digest.str() + many, kManifest).status, 414);
  EXPECT_EQ(http_->put("/v2/test/alpine/manifests/" + digest.str() + "?tag=..%2Fx", kManifest).status, 400);
}

TEST_F(ManifestHandlers, AStaleReadSaysHowStaleItIs) {
  ManifestContent content;
  content.digest = Digest::of(kManifest);
  content.media_type = media_type::kOciManifest;
  content.body = kManifest;
  manifests_.contents["v1"] = content;
  manifests_.contents[content.digest.str()] = content;
  manifests_.stale = {.age = std::chrono::milliseconds(61'234), .index = 77};
  manifests_.fails = Error{Code::kUnavailable, "no quorum"};
  const auto strict = http_->get("/v2/test/alpine/manifests/v1");
  EXPECT_EQ(strict.status, 503);
  EXPECT_FALSE(strict.header("Retry-After").empty());
  EXPECT_EQ(http_->get("/v2/test/alpine/manifests/v1?stale=false").status, 503);
  const auto stale = http_->get("/v2/test/alpine/manifests/v1?stale=true");
  EXPECT_EQ(stale.status, 200);
  EXPECT_EQ(stale.body, kManifest);
  EXPECT_EQ(stale.header("Kraken-Stale"), "age=61.234, index=77");
  EXPECT_EQ(stale.header("Age"), "61");
  EXPECT_EQ(stale.header("Warning").substr(0, 3), "110");
  EXPECT_EQ(http_->get("/v2/test/alpine/manifests/v2?stale=true").status, 503) << "a replica that lacks it proves nothing";
  EXPECT_EQ(http_->get("/v2/test/alpine/manifests/v1?stale=maybe").status, 400);
  manifests_.stale = {.age = std::nullopt, .index = 77};
  const auto unknown = http_->get("/v2/test/alpine/manifests/v1?stale=true");
  EXPECT_EQ(unknown.header("Kraken-Stale"), "age=unknown, index=77");
  EXPECT_EQ(unknown.header("Age"), "");
  // What a digest names cannot be stale.
  manifests_.fails.reset();
  EXPECT_EQ(http_->get("/v2/test/alpine/manifests/" + content.digest.str() + "?stale=true").header("Kraken-Stale"), "");
}

TEST(StaleHeaders, AreReadBackOrNotAtAll) {
  for (const Staleness& stale : {Staleness{std::chrono::milliseconds(1500), 9}, Staleness{std::nullopt, 3}}) {
    http::Headers headers;
    add_stale_headers(headers, stale);
    const auto back = stale_headers(headers);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->age, stale.age);
    EXPECT_EQ(back->index, stale.index);
  }
  for (const char* text : {"", "age=1", "age=x, index=1", "age=1, index=", "age=-1, index=1", "age=1e300, index=1", "age=nan, index=1", "age=1, index=1x"}) {
    http::Headers headers;
    headers.add("Kraken-Stale", text);
    EXPECT_FALSE(stale_headers(headers)) << text;
  }
}

TEST_F(ManifestHandlers, AnotherDigestThanThePathsIs400) {
  const auto reply = http_->put("/v2/test/alpine/manifests/sha256:" + hex('a'), kManifest);
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(code_of(reply), "DIGEST_INVALID");
  EXPECT_FALSE(manifests_.last_put);
}

TEST_F(ManifestHandlers, WhatIsNoManifestIs400) {
  for (const char* body : {"", "not json", "[]", "{}", "\"text\"", R"({"schemaVersion":1})",
                           R"({"schemaVersion":2,"config":{"digest":"sha256:12","size":1},"layers":[]})"}) {
    const auto reply = http_->put("/v2/test/alpine/manifests/v1", body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(code_of(reply), "MANIFEST_INVALID") << body;
  }
  EXPECT_FALSE(manifests_.last_put);
}

TEST_F(ManifestHandlers, FiveMegabytesAre413) {
  const auto reply = http_->put("/v2/test/alpine/manifests/v1", std::string(5u << 20, ' '));
  EXPECT_EQ(reply.status, 413);
  EXPECT_EQ(code_of(reply), "MANIFEST_INVALID");
  EXPECT_FALSE(manifests_.last_put);
}

TEST_F(ManifestHandlers, EachMissingReferenceIsListed) {
  manifests_.put_outcome.what = PutOutcome::What::kReferencesMissing;
  manifests_.put_outcome.missing = {Digest::of("a"), Digest::of("b")};
  const auto reply = http_->put("/v2/test/alpine/manifests/v1", kManifest);
  EXPECT_EQ(reply.status, 400);
  const auto errors = nlohmann::json::parse(reply.body)["errors"];
  ASSERT_EQ(errors.size(), 2U);
  EXPECT_EQ(errors[0]["code"], "MANIFEST_BLOB_UNKNOWN");
  EXPECT_EQ(errors[0]["detail"]["digest"], Digest::of("a").str());
  EXPECT_EQ(errors[1]["detail"]["digest"], Digest::of("b").str());
}

TEST_F(ManifestHandlers, ALostCompareAndSwapIs412WithTheWinner) {
  manifests_.put_outcome.what = PutOutcome::What::kConflict;
  manifests_.put_outcome.winner = TagValue{Digest::of("winner"), 23};
  const auto reply = http_->put("/v2/test/alpine/manifests/v1", kManifest, {{"If-None-Match", "*"}});
  EXPECT_EQ(reply.status, 412);
  EXPECT_EQ(reply.header("Kraken-Tag-Revision"), "23");
  const auto detail = nlohmann::json::parse(reply.body)["errors"][0]["detail"];
  EXPECT_EQ(detail["digest"], Digest::of("winner").str());
  EXPECT_EQ(detail["revision"], 23);
  EXPECT_EQ(manifests_.last_put->precondition.revision, 0U);
}

TEST_F(ManifestHandlers, ConditionsAreARevisionOrADigest) {
  EXPECT_EQ(http_->put("/v2/a/manifests/v1", kManifest, {{"If-Match", "\"17\""}}).status, 201);
  EXPECT_EQ(manifests_.last_put->precondition.revision, 17U);
  EXPECT_EQ(http_->put("/v2/a/manifests/v1", kManifest, {{"If-Match", "\"" + Digest::of("x").str() + "\""}}).status,
            201);
  EXPECT_EQ(manifests_.last_put->precondition.digest, Digest::of("x"));
  EXPECT_EQ(http_->put("/v2/a/manifests/v1", kManifest, {{"If-Match", "\"abc\""}}).status, 400);
  EXPECT_EQ(http_->put("/v2/a/manifests/v1", kManifest, {{"If-None-Match", "\"17\""}}).status, 400);
}

TEST_F(ManifestHandlers, AGetKeepsTheMediaTypeWhateverTheClientAccepts) {
  const std::string body = kManifest;
  const auto digest = Digest::of(body);
  manifests_.contents["v1"] = {digest, std::string(media_type::kDockerList), body, 5};
  for (const char* accept : {"*/*", "application/vnd.docker.distribution.manifest.v2+json", "text/html"}) {
    const auto reply = http_->get("/v2/test/alpine/manifests/v1", {{"Accept", accept}});
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.header("Content-Type"), media_type::kDockerList);
    EXPECT_EQ(reply.body, body);
  }
  const auto head = http_->head("/v2/test/alpine/manifests/v1");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.content_length, body.size());
  EXPECT_EQ(head.header("Docker-Content-Digest"), digest.str());
  EXPECT_EQ(head.header("Etag"), "\"" + digest.str() + "\"");
  EXPECT_EQ(http_->get("/v2/test/alpine/manifests/v1", {{"If-None-Match", "\"" + digest.str() + "\""}}).status, 304);
}

TEST_F(ManifestHandlers, AnUnknownOneIs404AndAnUnreachableOne503) {
  const auto reply = http_->get("/v2/test/alpine/manifests/nope");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(code_of(reply), "MANIFEST_UNKNOWN");
  EXPECT_EQ(nlohmann::json::parse(reply.body)["errors"][0]["detail"]["Tag"], "nope");
  manifests_.fails = Error{Code::kUnavailable, "no quorum"};
  const auto unreachable = http_->get("/v2/test/alpine/manifests/nope");
  EXPECT_EQ(unreachable.status, 503);
  EXPECT_EQ(unreachable.header("Retry-After"), "1");
}

TEST_F(ManifestHandlers, ADeleteIs202AndAConditionalOneMayLose) {
  EXPECT_EQ(http_->remove("/v2/test/alpine/manifests/v1").status, 202);
  manifests_.remove_outcome = {true, TagValue{Digest::of("winner"), 9}};
  EXPECT_EQ(http_->remove("/v2/test/alpine/manifests/v1", {{"If-Match", "\"8\""}}).status, 412);
  EXPECT_EQ(manifests_.last_precondition.revision, 8U);
  manifests_.fails = Error{Code::kNotFound, "none"};
  EXPECT_EQ(http_->remove("/v2/test/alpine/manifests/v1").status, 404);
}

}  // namespace
}  // namespace kraken::registry::test
