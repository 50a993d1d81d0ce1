#include "tests/unit/src/registry/fixture.h"

namespace kraken::registry::test {
namespace {

using kraken::test::Reply;

class Blobs : public RegistryTest {
 protected:
  std::string url(const Digest& digest) { return "/v2/test/alpine/blobs/" + digest.str(); }
};

TEST_F(Blobs, AWholeBlobComesWithTheHeadersThatStockSends) {
  const auto digest = blobs_.keep("0123456789");
  const auto reply = http_->get(url(digest));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "0123456789");
  EXPECT_EQ(reply.header("Content-Type"), "application/octet-stream");
  EXPECT_EQ(reply.header("Accept-Ranges"), "bytes");
  EXPECT_EQ(reply.header("Cache-Control"), "max-age=31536000");
  EXPECT_EQ(reply.header("Docker-Content-Digest"), digest.str());
  EXPECT_EQ(reply.header("Etag"), "\"" + digest.str() + "\"");
  EXPECT_EQ(reply.header("Docker-Distribution-Api-Version"), "registry/2.0");
}

TEST_F(Blobs, HeadTellsTheSizeAndSendsNoBody) {
  const auto digest = blobs_.keep(std::string(1000, 'x'));
  const auto reply = http_->head(url(digest));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.content_length, 1000U);
  EXPECT_EQ(reply.body, "");
  EXPECT_EQ(reply.header("Docker-Content-Digest"), digest.str());
}

TEST_F(Blobs, ARangeIsAnsweredWith206AndOnlyItsBytes) {
  const auto digest = blobs_.keep("0123456789");
  struct Row {
    const char* range;
    int status;
    const char* body;
    const char* content_range;
  };
  for (const auto& row :
       {Row{"bytes=2-5", 206, "2345", "bytes 2-5/10"}, Row{"bytes=7-", 206, "789", "bytes 7-9/10"},
        Row{"bytes=-3", 206, "789", "bytes 7-9/10"}, Row{"bytes=0-99", 206, "0123456789", "bytes 0-9/10"},
        Row{"lines=1-2", 200, "0123456789", ""}}) {
    const auto reply = http_->get(url(digest), {{"Range", row.range}});
    EXPECT_EQ(reply.status, row.status) << row.range;
    EXPECT_EQ(reply.body, row.body) << row.range;
    EXPECT_EQ(reply.header("Content-Range"), row.content_range) << row.range;
  }
}

TEST_F(Blobs, ARangeBehindTheEndIs416WithTheSize) {
  const auto digest = blobs_.keep("0123456789");
  const auto reply = http_->get(url(digest), {{"Range", "bytes=10-11"}});
  EXPECT_EQ(reply.status, 416);
  EXPECT_EQ(reply.header("Content-Range"), "bytes */10");
}

TEST_F(Blobs, IfRangeWithAnotherEntityTagGetsTheWhole) {
  const auto digest = blobs_.keep("0123456789");
  EXPECT_EQ(http_->get(url(digest), {{"Range", "bytes=2-5"}, {"If-Range", "\"sha256:other\""}}).status, 200);
  EXPECT_EQ(http_->get(url(digest), {{"Range", "bytes=2-5"}, {"If-Range", "\"" + digest.str() + "\""}}).status, 206);
}

TEST_F(Blobs, IfNoneMatchSaves304) {
  const auto digest = blobs_.keep("0123456789");
  const auto reply = http_->get(url(digest), {{"If-None-Match", "\"" + digest.str() + "\""}});
  EXPECT_EQ(reply.status, 304);
  EXPECT_EQ(reply.body, "");
}

TEST_F(Blobs, AnEmptyBlobIsWhole) {
  const auto digest = blobs_.keep("");
  const auto reply = http_->get(url(digest));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.content_length, 0U);
  EXPECT_EQ(http_->get(url(digest), {{"Range", "bytes=0-0"}}).status, 416);
}

TEST_F(Blobs, ABlobComesInWhateverStepsItsSourceGives) {
  blobs_.step = 7;
  std::string content;
  for (int i = 0; i < 1000; ++i) content += static_cast<char>(i % 251);
  const auto digest = blobs_.keep(content);
  EXPECT_EQ(http_->get(url(digest)).body, content);
}

TEST_F(Blobs, ABlobWhoseRestCannotBeHadNeverLooksWhole) {
  blobs_.step = 100;
  blobs_.fail_after = 500;
  const auto digest = blobs_.keep(std::string(1000, 'x'));
  const auto reply = http_->get(url(digest));
  EXPECT_EQ(reply.status, 200);
  ASSERT_TRUE(reply.broken);
  EXPECT_EQ(reply.broken->code, Code::kClosed);
}

TEST_F(Blobs, ABlobThatFailsBeforeItsFirstByteIsAnError) {
  blobs_.fail_after = 0;
  const auto digest = blobs_.keep(std::string(1000, 'x'));
  const auto reply = http_->get(url(digest));
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.header("Retry-After"), "1");
}

TEST_F(Blobs, WhatIsNotThereIs404) {
  const auto digest = Digest::of("absent");
  const auto reply = http_->get(url(digest));
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(code_of(reply), "BLOB_UNKNOWN");
  const auto head = http_->head(url(digest));
  EXPECT_EQ(head.status, 404);
  EXPECT_EQ(head.body, "");
}

TEST_F(Blobs, ErrorsHaveTheStatusThatTheirAnswerPromises) {
  const auto digest = blobs_.keep("content");
  struct Row {
    Code code;
    int status;
    const char* oci;
  };
  for (const auto& row :
       {Row{Code::kUnavailable, 503, "UNAVAILABLE"}, Row{Code::kDeadlineExceeded, 503, "UNAVAILABLE"},
        Row{Code::kOverloaded, 429, "TOOMANYREQUESTS"}, Row{Code::kOutcomeUnknown, 504, "UNAVAILABLE"},
        Row{Code::kDiskFull, 507, "UNAVAILABLE"}, Row{Code::kTooLarge, 413, "SIZE_INVALID"},
        Row{Code::kClosed, 503, "UNAVAILABLE"}, Row{Code::kInternal, 500, "UNKNOWN"},
        Row{Code::kConflict, 409, "CONFLICT"}, Row{Code::kUnsupported, 405, "UNSUPPORTED"}}) {
    blobs_.fails = Error{row.code, "it went wrong"};
    const auto reply = http_->get(url(digest));
    EXPECT_EQ(reply.status, row.status) << row.oci;
    EXPECT_EQ(code_of(reply), row.oci);
    EXPECT_EQ(reply.header("Retry-After"), row.status == 503 || row.status == 429 ? "1" : "");
  }
}

TEST_F(Blobs, ADeletedBlobIsGone) {
  const auto digest = blobs_.keep("content");
  EXPECT_EQ(http_->remove(url(digest)).status, 202);
  EXPECT_EQ(http_->remove(url(digest)).status, 404);
  EXPECT_EQ(http_->get(url(digest)).status, 404);
}

TEST_F(Blobs, VersionAnswersGetAndHead) {
  const auto reply = http_->get("/v2/");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "{}");
  EXPECT_EQ(reply.header("Content-Type"), "application/json");
  EXPECT_EQ(reply.header("Docker-Distribution-Api-Version"), "registry/2.0");
  EXPECT_EQ(http_->head("/v2/").content_length, 2U);
  EXPECT_EQ(http_->get("/v2").status, 200);
}

class PullOnly : public RegistryTest {
 protected:
  PullOnly() : RegistryTest(Mode::kPullOnly) {}
};

TEST_F(PullOnly, WritesAre405AndSayWhereToPush) {
  const auto digest = blobs_.keep("content");
  EXPECT_EQ(http_->get("/v2/a/blobs/" + digest.str()).status, 200);
  for (const auto& reply : {http_->post("/v2/a/blobs/uploads/"), http_->put("/v2/a/manifests/v1", "{}"),
                            http_->remove("/v2/a/blobs/" + digest.str())}) {
    EXPECT_EQ(reply.status, 405);
    EXPECT_EQ(code_of(reply), "UNSUPPORTED");
    EXPECT_EQ(reply.header("Allow"), "GET, HEAD");
  }
}

}  // namespace
}  // namespace kraken::registry::test
