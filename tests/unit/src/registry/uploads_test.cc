#include "tests/unit/src/registry/fixture.h"

namespace kraken::registry::test {
namespace {

class Uploads : public RegistryTest {
 protected:
  std::string begin() {
    const auto reply = http_->post("/v2/test/alpine/blobs/uploads/");
    EXPECT_EQ(reply.status, 202);
    EXPECT_EQ(reply.header("Range"), "0-0");
    EXPECT_EQ(reply.content_length, 0U);
    const auto location = reply.header("Location");
    EXPECT_TRUE(location.ends_with(reply.header("Docker-Upload-Uuid")));
    EXPECT_FALSE(reply.header("Docker-Upload-Uuid").empty());
    return location;
  }
};

TEST_F(Uploads, InOnePost) {
  const std::string content = "the whole blob";
  const auto digest = Digest::of(content);
  const auto reply = http_->post("/v2/test/alpine/blobs/uploads/?digest=" + digest.str(), content);
  EXPECT_EQ(reply.status, 201);
  EXPECT_EQ(reply.header("Location"), "/v2/test/alpine/blobs/" + digest.str());
  EXPECT_EQ(reply.header("Docker-Content-Digest"), digest.str());
  EXPECT_EQ(http_->get(reply.header("Location")).body, content);
}

TEST_F(Uploads, InOnePut) {
  const std::string content = "the whole blob";
  const auto digest = Digest::of(content);
  const auto reply = http_->put(begin() + "?digest=sha256%3A" + digest.hex(), content);
  EXPECT_EQ(reply.status, 201);
  EXPECT_TRUE(blobs_.has(digest));
}

TEST_F(Uploads, InChunksWithContentRange) {
  const auto location = begin();
  const auto first = http_->patch(location, "01234", {{"Content-Range", "0-4"}});
  EXPECT_EQ(first.status, 202);
  EXPECT_EQ(first.header("Range"), "0-4");
  EXPECT_EQ(first.header("Location"), location);
  EXPECT_EQ(http_->patch(location, "567", {{"Content-Range", "5-7"}}).header("Range"), "0-7");
  const auto status = http_->get(location);
  EXPECT_EQ(status.status, 204);
  EXPECT_EQ(status.header("Range"), "0-7");
  const auto digest = Digest::of("0123456789");
  EXPECT_EQ(http_->put(location + "?digest=" + digest.str(), "89", {{"Content-Range", "8-9"}}).status, 201);
  EXPECT_TRUE(blobs_.has(digest));
}

TEST_F(Uploads, InChunksWithoutContentRangeAsDockerSendsThem) {
  const auto location = begin();
  EXPECT_EQ(http_->ask_chunked(http::Method::kPatch, location, "01234").header("Range"), "0-4");
  EXPECT_EQ(http_->ask_chunked(http::Method::kPatch, location, "56789").header("Range"), "0-9");
  EXPECT_EQ(http_->put(location + "?digest=" + Digest::of("0123456789").str()).status, 201);
}

TEST_F(Uploads, AChunkOutOfOrderIs416AndTellsWhereTheSessionStands) {
  const auto location = begin();
  EXPECT_EQ(http_->patch(location, "01234", {{"Content-Range", "0-4"}}).status, 202);
  const auto reply = http_->patch(location, "89", {{"Content-Range", "8-9"}});
  EXPECT_EQ(reply.status, 416);
  EXPECT_EQ(reply.header("Range"), "0-4");
  EXPECT_EQ(reply.header("Location"), location);
  EXPECT_EQ(http_->put(location + "?digest=" + Digest::of("01234").str()).status, 201);
}

TEST_F(Uploads, AContentRangeThatIsNoneOrDisagreesWithTheLengthIs400) {
  const auto location = begin();
  for (const char* range : {"x-4", "4", "4-0", "0-18446744073709551615", "0-9"}) {
    const auto reply = http_->patch(location, "01234", {{"Content-Range", range}});
    EXPECT_EQ(reply.status, 400) << range;
    EXPECT_EQ(code_of(reply), "BLOB_UPLOAD_INVALID") << range;
  }
}

TEST_F(Uploads, WrongBytesAreRefusedAndNothingIsStored) {
  const auto reply = http_->put(begin() + "?digest=" + Digest::of("other").str(), "content");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(code_of(reply), "DIGEST_INVALID");
  EXPECT_EQ(http_->post("/v2/a/blobs/uploads/?digest=" + Digest::of("other").str(), "content").status, 400);
  EXPECT_EQ(blobs_.size(), 0U);
  EXPECT_EQ(blobs_.sessions(), 0U);
}

TEST_F(Uploads, AMissingOrMalformedDigestIs400) {
  const auto location = begin();
  for (const auto& query : std::vector<std::string>{"", "?digest=", "?digest=sha256:12", "?digest=md5:" + hex('a'),
                                                    "?digest=..%2F..%2Fetc"}) {
    const auto reply = http_->put(location + query, "content");
    EXPECT_EQ(reply.status, 400) << query;
    EXPECT_EQ(code_of(reply), "DIGEST_INVALID") << query;
  }
}

TEST_F(Uploads, AMountOfWhatIsThereIs201AndOfWhatIsNotAPlainUpload) {
  const auto digest = blobs_.keep("content");
  for (const auto& from : std::vector<std::string>{"&from=test/other", "&from=", ""}) {
    const auto reply = http_->post("/v2/test/alpine/blobs/uploads/?mount=" + digest.str() + from);
    EXPECT_EQ(reply.status, 201) << from;
    EXPECT_EQ(reply.header("Location"), "/v2/test/alpine/blobs/" + digest.str());
  }
  const auto reply =
      http_->post("/v2/test/alpine/blobs/uploads/?mount=" + Digest::of("absent").str() + "&from=test/other");
  EXPECT_EQ(reply.status, 202);
  EXPECT_FALSE(reply.header("Docker-Upload-Uuid").empty());
}

TEST_F(Uploads, ACancelledSessionIsGone) {
  const auto location = begin();
  EXPECT_EQ(http_->remove(location).status, 204);
  for (const auto& reply : {http_->remove(location), http_->get(location), http_->patch(location, "x"),
                            http_->put(location + "?digest=" + Digest::of("x").str(), "x")}) {
    EXPECT_EQ(reply.status, 404);
    if (!reply.body.empty()) EXPECT_EQ(code_of(reply), "BLOB_UPLOAD_UNKNOWN");
  }
}

TEST_F(Uploads, AnIdThatIsNoneIs404) {
  const auto reply = http_->patch("/v2/test/alpine/blobs/uploads/..%2F..%2Fpasswd", "x");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(code_of(reply), "BLOB_UPLOAD_UNKNOWN");
}

TEST_F(Uploads, ASessionWhoseNodeIsGoneIsUnknownSoThatClientsBeginAgain) {
  const auto location = begin();
  blobs_.elsewhere = true;
  const auto reply = http_->patch(location, "content");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(code_of(reply), "BLOB_UPLOAD_UNKNOWN");
}

TEST_F(Uploads, AFullDiskIs507AndABusyNode429) {
  blobs_.fails = Error{Code::kDiskFull, "node origin0 is below its reserve"};
  EXPECT_EQ(http_->post("/v2/a/blobs/uploads/").status, 507);
  blobs_.fails = Error{Code::kOverloaded, "512 uploads run"};
  EXPECT_EQ(http_->post("/v2/a/blobs/uploads/").status, 429);
}

TEST_F(Uploads, APushWhoseOutcomeIsUnknownSaysSo) {
  const auto location = begin();
  EXPECT_EQ(http_->patch(location, "content").status, 202);
  blobs_.fails = Error{Code::kOutcomeUnknown, "outcome unknown"};
  EXPECT_EQ(http_->put(location + "?digest=" + Digest::of("content").str()).status, 504);
}

}  // namespace
}  // namespace kraken::registry::test
