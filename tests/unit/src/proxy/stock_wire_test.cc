#include "tests/unit/src/registry/stock_wire.h"

#include "tests/unit/src/proxy/fixture.h"

namespace kraken::proxy::test {
namespace {

/// What differs by design is not compared: where an upload's Location points (ours is relative, with an id of ours),
/// the texts of errors, HEAD's Content-Length of them, the catalog's media type, and what stock's nginx keeps from its
/// proxy.
class StockWire : public ProxyTest {
 protected:
  void expect_headers(const kraken::test::Reply& reply, const kraken::test::Recorded& recorded) {
    for (const char* name :
         {"Content-Type", "Content-Length", "Docker-Content-Digest", "Docker-Distribution-Api-Version", "Etag"})
      EXPECT_EQ(reply.header(name), recorded.reply_headers.get(name).value_or("")) << recorded.number << " " << name;
  }
};

TEST_F(StockWire, PullsAreAnsweredAsStockDoes) {
  std::string manifest;
  for (const auto& recorded : kraken::test::recorded_with("proxy")) {
    if (recorded.method == http::Method::kGet && recorded.target == "/v2/test/alpine/manifests/v1")
      manifest = recorded.reply_body;
  }
  const auto executor = http_->loops().at(0).executor();
  for (const auto& reference : Manifest::parse(manifest, "")->references)
    blobs_.push_record(executor, reference.digest);
  for (const char* tag : {"v1", "v2", "v3"})
    ASSERT_EQ(push_manifest("test/alpine", tag, manifest, media_type::kDockerManifest).status, 201);
  int compared = 0;
  for (const auto& recorded : kraken::test::recorded_with("proxy")) {
    const bool read = recorded.method == http::Method::kGet || recorded.method == http::Method::kHead;
    if (!read || (recorded.target.find("/test/alpine/manifests/") == std::string::npos && recorded.target != "/v2/" &&
                  recorded.target != "/v2/test/alpine/tags/list"))
      continue;
    const auto reply = http_->ask(recorded.method, recorded.target, recorded.headers);
    EXPECT_EQ(reply.status, recorded.status) << recorded.number;
    if (recorded.status == 405) continue;
    EXPECT_EQ(reply.body, recorded.reply_body) << recorded.number;
    expect_headers(reply, recorded);
    ++compared;
  }
  EXPECT_EQ(compared, 7);
}

TEST_F(StockWire, SkopeosPushIsAnsweredStepByStep) {
  // As in exchanges 148 to 158: a HEAD that misses, an upload begun, one chunk without Content-Range, a PUT without a
  // body.
  const auto push = [this](const std::string& content) {
    const auto digest = Digest::of(content);
    EXPECT_EQ(http_->head("/v2/team/app/blobs/" + digest.str()).status, 404);
    const auto begun = http_->post("/v2/team/app/blobs/uploads/");
    EXPECT_EQ(begun.status, 202);
    EXPECT_EQ(begun.header("Range"), "0-0");
    EXPECT_EQ(begun.header("Content-Length"), "0");
    const auto sent = http_->patch(begun.header("Location"), content, {{"Content-Type", "application/octet-stream"}});
    EXPECT_EQ(sent.status, 202);
    EXPECT_EQ(sent.header("Range"), "0-" + std::to_string(content.size() - 1));
    EXPECT_EQ(sent.header("Docker-Upload-Uuid"), begun.header("Docker-Upload-Uuid"));
    const auto done = http_->put(sent.header("Location") + "?digest=sha256%3A" + digest.hex());
    EXPECT_EQ(done.status, 201);
    EXPECT_EQ(done.header("Docker-Content-Digest"), digest.str());
    EXPECT_EQ(done.header("Location"), "/v2/team/app/blobs/" + digest.str());
    return digest;
  };
  const auto layer = push(kraken::test::recorded_blob(103979));
  const auto config = push("{\"architecture\":\"amd64\"}");
  const auto body = image(media_type::kOciManifest, config, layer);
  const auto reply = push_manifest("team/app", "one", body, media_type::kOciManifest);
  EXPECT_EQ(reply.status, 201);
  EXPECT_EQ(reply.header("Content-Length"), "0");
  EXPECT_EQ(reply.header("Docker-Content-Digest"), Digest::of(body).str());
}

TEST_F(StockWire, PrefetchesAreAnsweredAsStockDoes) {
  int compared = 0;
  for (const auto& recorded : kraken::test::recorded_with("proxy")) {
    if (!recorded.target.starts_with("/proxy/")) continue;
    kraken::test::expect_as_recorded(*http_, recorded);
    ++compared;
  }
  EXPECT_EQ(compared, 2);
}

}  // namespace
}  // namespace kraken::proxy::test
