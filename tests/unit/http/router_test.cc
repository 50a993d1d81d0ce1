#include "http/router.h"

#include <gtest/gtest.h>

namespace kraken::http {
namespace {

using Params = std::vector<std::string>;

class RouterTest : public ::testing::Test {
 protected:
  void add(Method method, std::string pattern) {
    router.add(method, std::move(pattern), [](Exchange&) -> net::Task<void> { co_return Result<>{}; });
  }
  /// "<pattern> [param] [param]", or why not.
  std::string find(Method method, std::string_view path) {
    auto match = router.find(method, path);
    if (!match.error.empty()) return "400 " + match.error;
    if (!match.allow.empty()) return "405 " + match.allow;
    if (match.handler == nullptr) return "404";
    std::string out(match.pattern);
    for (const auto& param : match.params) out += " [" + param + "]";
    return out;
  }
  Router router;
};

TEST_F(RouterTest, NamesMayHaveManySegments) {
  add(Method::kGet, "/v2/");
  add(Method::kGet, "/v2/_catalog");
  add(Method::kGet, "/v2/<name...>/tags/list");
  add(Method::kGet, "/v2/<name...>/blobs/<digest>");
  add(Method::kPost, "/v2/<name...>/blobs/uploads/");
  add(Method::kPatch, "/v2/<name...>/blobs/uploads/<id>");
  EXPECT_EQ("/v2/", find(Method::kGet, "/v2/"));
  EXPECT_EQ("404", find(Method::kGet, "/v2"));
  EXPECT_EQ("/v2/_catalog", find(Method::kGet, "/v2/_catalog"));
  EXPECT_EQ("/v2/<name...>/tags/list [a]", find(Method::kGet, "/v2/a/tags/list"));
  EXPECT_EQ("/v2/<name...>/tags/list [a/b/c]", find(Method::kGet, "/v2/a/b/c/tags/list"));
  EXPECT_EQ("/v2/<name...>/tags/list [tags/list]", find(Method::kGet, "/v2/tags/list/tags/list"));
  EXPECT_EQ("/v2/<name...>/blobs/<digest> [a/b] [sha256:0]", find(Method::kGet, "/v2/a/b/blobs/sha256:0"));
  EXPECT_EQ("/v2/<name...>/blobs/uploads/ [a/b]", find(Method::kPost, "/v2/a/b/blobs/uploads/"));
  EXPECT_EQ("/v2/<name...>/blobs/uploads/<id> [a] [1]", find(Method::kPatch, "/v2/a/blobs/uploads/1"));
  EXPECT_EQ("404", find(Method::kGet, "/v2/a/manifests"));
}

TEST_F(RouterTest, AnEncodedSlashNeverSplits) {
  add(Method::kGet, "/tags/<tag>");
  add(Method::kGet, "/namespace/<ns>/blobs/<digest>");
  EXPECT_EQ("/tags/<tag> [test/alpine:latest]", find(Method::kGet, "/tags/test%2Falpine:latest"));
  EXPECT_EQ("/tags/<tag> [test/alpine:latest]", find(Method::kGet, "/tags/test%252Falpine%253Alatest"));
  EXPECT_EQ("404", find(Method::kGet, "/tags/test/alpine:latest"));
  EXPECT_EQ("/namespace/<ns>/blobs/<digest> [a/b] [c]", find(Method::kGet, "/namespace/a%2fb/blobs/c"));
  EXPECT_EQ(std::string("/tags/<tag> [../\0]", 18), find(Method::kGet, "/tags/..%2F%00"));
}

TEST_F(RouterTest, LiteralSegmentsWinOverCaptures) {
  add(Method::kGet, "/blobs/<digest>");
  add(Method::kGet, "/blobs/list");
  EXPECT_EQ("/blobs/list", find(Method::kGet, "/blobs/list"));
  EXPECT_EQ("/blobs/<digest> [x]", find(Method::kGet, "/blobs/x"));
}

TEST_F(RouterTest, AWrongMethodIsToldFromAnUnknownPath) {
  add(Method::kGet, "/a/<x>");
  add(Method::kPut, "/a/<x>");
  add(Method::kPost, "/a/special");
  EXPECT_EQ("405 GET, PUT", find(Method::kDelete, "/a/b"));
  EXPECT_EQ("405 GET, PUT", find(Method::kHead, "/a/b"));
  EXPECT_EQ("405 GET, PUT", find(Method::kOther, "/a/b"));
  EXPECT_EQ("/a/<x> [special]", find(Method::kGet, "/a/special"));
  EXPECT_EQ("404", find(Method::kDelete, "/b"));
  EXPECT_EQ("404", find(Method::kGet, ""));
  EXPECT_EQ("404", find(Method::kGet, "/" + std::string(1000, '/')));
}

TEST_F(RouterTest, EmptyAndUndecodableCapturesAreErrors) {
  add(Method::kGet, "/a/<name>/b");
  add(Method::kGet, "/v2/<name...>/c");
  EXPECT_EQ("400 param name is required", find(Method::kGet, "/a//b"));
  EXPECT_EQ("400 param name is required", find(Method::kGet, "/v2//c"));
  EXPECT_TRUE(find(Method::kGet, "/a/%g0/b").starts_with("400 path unescape name: "));
}

TEST_F(RouterTest, MergingKeepsWhatIsThereFirst) {
  add(Method::kGet, "/health");
  Router other;
  other.add(Method::kGet, "/health", [](Exchange&) -> net::Task<void> { co_return Result<>{}; });
  other.add(Method::kGet, "/tags/<tag>", [](Exchange&) -> net::Task<void> { co_return Result<>{}; });
  router.merge(other);
  EXPECT_EQ("/health", find(Method::kGet, "/health"));
  EXPECT_EQ("/tags/<tag> [x]", find(Method::kGet, "/tags/x"));
}

}  // namespace
}  // namespace kraken::http
