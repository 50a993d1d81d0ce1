// The development backend, as stock's clients speak to it (facts §1.8).

#include "tools/testfs.h"

#include <cstdlib>

#include "tests/unit/http/http_fixture.h"

namespace kraken::tools {
namespace {

class TestFsTest : public http::ServerTest {
 protected:
  TestFsTest() {
    std::string pattern = testing::TempDir() + "kraken_testfs_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    add_testfs_routes(router, folder_, pool);
    serve();
  }
  ~TestFsTest() override { std::filesystem::remove_all(folder_); }

  http::RawClient::Reply get(const std::string& path) { return ask("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }
  int post(const std::string& path, const std::string& body) {
    return ask(fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}", path, body.size(), body)).status;
  }
  std::filesystem::path folder_;
};

TEST_F(TestFsTest, WhatIsPostedIsThere) {
  EXPECT_EQ(200, post("/files/a/b", "hello"));
  EXPECT_EQ("hello", get("/files/a/b").body);
  const auto head = ask("HEAD /files/a/b HTTP/1.1\r\nHost: x\r\n\r\n", true);
  EXPECT_EQ(200, head.status);
  EXPECT_EQ("5", head.header("Size"));
  EXPECT_EQ(200, post("/files/a/b", "again"));
  EXPECT_EQ("again", get("/files/a/b").body);
}

TEST_F(TestFsTest, AColonIsASlash) {
  EXPECT_EQ(200, post("/files/library/app:v1", "x"));
  EXPECT_EQ("x", get("/files/library/app/v1").body);
}

TEST_F(TestFsTest, ListsWhatIsBelow) {
  post("/files/r/tags/v2", "x");
  post("/files/r/tags/v1", "x");
  post("/files/other", "x");
  EXPECT_EQ("[\"v1\",\"v2\"]\n", get("/list/r/tags").body);
  EXPECT_EQ("[\"other\",\"r/tags/v1\",\"r/tags/v2\"]\n", get("/list/").body);
  EXPECT_EQ("[]\n", get("/list/nothing").body);
}

TEST_F(TestFsTest, WhatIsNotThereIs404AndNothingLeavesTheFolder) {
  EXPECT_EQ(404, get("/files/nothing").status);
  EXPECT_EQ(404, get("/files/a").status);
  EXPECT_EQ(400, get("/files/..%2F..%2Fetc%2Fpasswd").status);
  EXPECT_EQ(400, post("/files/x:..:..:..:tmp:y", "x"));
  EXPECT_EQ("OK\n", get("/health").body);
}

}  // namespace
}  // namespace kraken::tools
