#include "tests/unit/src/registry/fixture.h"

namespace kraken::registry::test {
namespace {

class TagLists : public RegistryTest {};

TEST_F(TagLists, AllTagsInOrder) {
  manifests_.names = {"v1", "v2", "v3"};
  const auto reply = http_->get("/v2/test/alpine/tags/list");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "{\"name\":\"test/alpine\",\"tags\":[\"v1\",\"v2\",\"v3\"]}\n");
  EXPECT_EQ(reply.header("Content-Type"), "application/json");
  EXPECT_EQ(reply.header("Link"), "");
}

TEST_F(TagLists, PagesAreLinkedUntilTheLast) {
  manifests_.names = {"v1", "v2", "v3", "v4", "v5"};
  std::vector<std::string> seen;
  std::string target = "/v2/test/alpine/tags/list?n=2";
  int pages = 0;
  while (!target.empty() && pages < 10) {
    const auto reply = http_->get(target);
    ASSERT_EQ(reply.status, 200);
    const auto json = nlohmann::json::parse(reply.body);
    for (const auto& tag : json["tags"]) seen.push_back(tag);
    ++pages;
    const auto link = reply.header("Link");
    target = link.empty() ? "" : link.substr(1, link.find('>') - 1);
    if (!link.empty()) EXPECT_TRUE(link.ends_with(">; rel=\"next\"")) << link;
  }
  EXPECT_EQ(seen, manifests_.names);
  EXPECT_EQ(pages, 3);
}

TEST_F(TagLists, LastNeedsNotExistAndCountsAreChecked) {
  manifests_.names = {"v1", "v3"};
  EXPECT_EQ(nlohmann::json::parse(http_->get("/v2/a/tags/list?last=v2").body)["tags"], nlohmann::json({"v3"}));
  EXPECT_EQ(nlohmann::json::parse(http_->get("/v2/a/tags/list?n=0").body)["tags"], nlohmann::json::array());
  EXPECT_EQ(http_->get("/v2/a/tags/list?n=99999999999999999999").status, 200);
  for (const char* n : {"-1", "x", "", "1.5"}) {
    const auto reply = http_->get(std::string("/v2/a/tags/list?n=") + n);
    EXPECT_EQ(reply.status, 400) << n;
    EXPECT_EQ(code_of(reply), "PAGINATION_NUMBER_INVALID") << n;
  }
}

TEST_F(TagLists, CountsAreClamped) {
  for (int i = 0; i < 1500; ++i) manifests_.names.push_back(fmt::format("v{:04}", i));
  const auto reply = http_->get("/v2/a/tags/list?n=5000");
  EXPECT_EQ(nlohmann::json::parse(reply.body)["tags"].size(), kPageMax);
  EXPECT_EQ(reply.header("Link"), "</v2/a/tags/list?n=1000&last=v0999>; rel=\"next\"");
}

TEST_F(TagLists, AnUnknownRepositoryIs404) {
  manifests_.fails = Error{Code::kNotFound, "no repository a"};
  const auto reply = http_->get("/v2/a/tags/list");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(code_of(reply), "NAME_UNKNOWN");
}

TEST_F(TagLists, TheCatalogIsPagedTheSameWay) {
  manifests_.names = {"library/redis", "team/app", "test/alpine"};
  const auto reply = http_->get("/v2/_catalog?n=2");
  EXPECT_EQ(reply.body, "{\"repositories\":[\"library/redis\",\"team/app\"]}\n");
  EXPECT_EQ(reply.header("Link"), "</v2/_catalog?n=2&last=team%2Fapp>; rel=\"next\"");
  EXPECT_EQ(nlohmann::json::parse(http_->get("/v2/_catalog?n=2&last=team%2Fapp").body)["repositories"],
            nlohmann::json({"test/alpine"}));
}

TEST_F(TagLists, ListsAnswerGetAlone) {
  for (const char* path : {"/v2/test/alpine/tags/list", "/v2/_catalog"}) {
    const auto reply = http_->head(path);
    EXPECT_EQ(reply.status, 405) << path;
    EXPECT_EQ(reply.header("Allow"), "GET") << path;
  }
}

}  // namespace
}  // namespace kraken::registry::test
