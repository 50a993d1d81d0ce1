// kraken push and pull against a registry that remembers: an image goes in and comes out the same.

#include <fstream>
#include <map>
#include <sstream>

#include <CLI/CLI.hpp>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/digest.h"
#include "src/core/manifest.h"
#include "tests/unit/http/http_fixture.h"
#include "tools/command.h"

namespace kraken::tools {
namespace {

namespace fs = std::filesystem;

class ImageTest : public http::ServerTest {
 protected:
  ImageTest() {
    std::string pattern = testing::TempDir() + "kraken_image_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    using http::Method;
    router.add(Method::kHead, "/v2/library/app/blobs/<digest>", [this](http::Exchange& exchange) { return exchange.reply(blobs_.contains(exchange.param(0)) ? 200 : 404); });
    router.add(Method::kGet, "/v2/library/app/blobs/<digest>", [this](http::Exchange& exchange) { return give(exchange); });
    router.add(Method::kPost, "/v2/library/app/blobs/uploads/", [](http::Exchange& exchange) { return exchange.reply(202, {{"Location", "/v2/library/app/blobs/uploads/1?state=x"}}, ""); });
    router.add(Method::kPut, "/v2/library/app/blobs/uploads/<id>", [this](http::Exchange& exchange) { return take_blob(exchange); });
    router.add(Method::kPut, "/v2/library/app/manifests/<reference>", [this](http::Exchange& exchange) { return take_manifest(exchange); });
    router.add(Method::kGet, "/v2/library/app/manifests/<reference>", [this](http::Exchange& exchange) { return give_manifest(exchange); });
    serve();
  }
  ~ImageTest() override { fs::remove_all(folder_); }

  net::Task<void> give(http::Exchange& exchange) {
    std::string body = blobs_[exchange.param(0)];
    co_return co_await exchange.reply(200, {}, std::move(body));
  }
  net::Task<void> take_blob(http::Exchange& exchange) {
    KR_CO_TRY(std::string body, co_await exchange.read_all(1 << 20));
    blobs_[exchange.request().query("digest").value_or("")] = std::move(body);
    co_return co_await exchange.reply(201);
  }
  net::Task<void> take_manifest(http::Exchange& exchange) {
    KR_CO_TRY(manifest_, co_await exchange.read_all(1 << 20));
    reference_ = exchange.param(0);
    co_return co_await exchange.reply(201);
  }
  net::Task<void> give_manifest(http::Exchange& exchange) {
    http::Headers headers{{"Content-Type", std::string(media_type::kOciManifest)}};
    std::string body = manifest_;
    co_return co_await exchange.reply(200, std::move(headers), std::move(body));
  }

  int run(std::vector<std::string> words) {
    CLI::App app("test", "kraken");
    Invocation invocation;
    add_push(app, invocation);
    add_pull(app, invocation);
    std::reverse(words.begin(), words.end());
    app.parse(std::move(words));
    return invocation.run();
  }
  std::string where() const { return fmt::format("127.0.0.1:{}/library/app:v1", port()); }

  static std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  nlohmann::json put(const std::string& content, std::string_view type) {
    const Digest digest = Digest::of(content);
    const fs::path path = folder_ / "in/blobs/sha256" / digest.hex();
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return {{"mediaType", type}, {"digest", digest.str()}, {"size", content.size()}};
  }
  void make_layout() {
    const nlohmann::json manifest{{"schemaVersion", 2},
                                  {"mediaType", media_type::kOciManifest},
                                  {"config", put("{}", "application/vnd.oci.image.config.v1+json")},
                                  {"layers", {put(std::string(300'000, 'x'), "application/vnd.oci.image.layer.v1.tar"), put("small", "application/vnd.oci.image.layer.v1.tar")}}};
    const nlohmann::json index{{"schemaVersion", 2}, {"manifests", {put(manifest.dump(), media_type::kOciManifest)}}};
    std::ofstream(folder_ / "in/index.json") << index.dump();
  }

  fs::path folder_;
  std::map<std::string, std::string> blobs_;
  std::string manifest_;
  std::string reference_;
};

TEST_F(ImageTest, WhatIsPushedIsPulledTheSame) {
  make_layout();
  ASSERT_EQ(kExitOk, run({"push", folder_ / "in", where()}));
  EXPECT_EQ(3u, blobs_.size());
  EXPECT_EQ("v1", reference_);
  ASSERT_EQ(kExitOk, run({"pull", where(), folder_ / "out"}));
  for (const auto& entry : fs::directory_iterator(folder_ / "in/blobs/sha256")) {
    EXPECT_EQ(read(entry.path()), read(folder_ / "out/blobs/sha256" / entry.path().filename())) << entry.path();
  }
  EXPECT_TRUE(fs::exists(folder_ / "out/oci-layout"));
}

TEST_F(ImageTest, WrongBytesAreNotKept) {
  make_layout();
  ASSERT_EQ(kExitOk, run({"push", folder_ / "in", where()}));
  const std::string digest = Digest::of("small").str();
  blobs_[digest] = "smell";
  EXPECT_EQ(kExitDamaged, run({"pull", where(), folder_ / "out"}));
  EXPECT_FALSE(fs::exists(folder_ / "out/blobs/sha256" / Digest::of("small").hex()));
  EXPECT_FALSE(fs::exists(folder_ / "out/index.json"));
}

TEST_F(ImageTest, AWrongNameIsTold) {
  EXPECT_EQ(kExitUsage, run({"pull", "nothing", folder_ / "out"}));
  EXPECT_EQ(kExitUsage, run({"pull", "127.0.0.1:1/UPPER:v1", folder_ / "out"}));
}

}  // namespace
}  // namespace kraken::tools
