#include <nlohmann/json.hpp>

#include "tests/unit/src/build_index/fixture.h"

namespace kraken::build_index::test {
namespace {

using nlohmann::json;

class Tags : public BuildIndexTest {
 protected:
  std::string url(const std::string& tag) { return "/tags/" + tag; }
  std::string put_url(const std::string& tag, const Digest& digest) { return url(tag) + "/digest/" + digest.str(); }
};

TEST_F(Tags, TheLastAcknowledgedPutWins) {
  const auto a = push_image("a");
  const auto b = push_image("b");
  EXPECT_EQ(http_->get(url("test%2Falpine:v1")).status, 404);
  EXPECT_EQ(http_->put(put_url("test%2Falpine:v1", a)).status, 200);
  EXPECT_EQ(http_->get(url("test%2Falpine:v1")).body, a.str());
  EXPECT_EQ(http_->put(put_url("test%2Falpine:v1", b)).status, 200);
  EXPECT_EQ(http_->get(url("test%2Falpine:v1")).body, b.str());
  EXPECT_EQ(http_->put(put_url("test%2Falpine:v1", a)).status, 200);
  EXPECT_EQ(http_->get(url("test%2Falpine:v1")).body, a.str());
}

TEST_F(Tags, WithoutAQuorumAStaleReadAnswersAndSaysHowStale) {
  const auto a = push_image("a");
  EXPECT_EQ(http_->put(put_url("test%2Falpine:v1", a)).status, 200);
  port_.set_stale(41, std::chrono::milliseconds(7'500));
  port_.set_down(true);
  const auto strict = http_->get(url("test%2Falpine:v1"));
  EXPECT_EQ(strict.status, 503);
  EXPECT_FALSE(strict.header("Retry-After").empty());
  const auto stale = http_->get(url("test%2Falpine:v1") + "?stale=true");
  EXPECT_EQ(stale.status, 200);
  EXPECT_EQ(stale.body, a.str());
  EXPECT_EQ(stale.header("Kraken-Stale"), "age=7.500, index=41");
  EXPECT_EQ(stale.header("Age"), "7");
  EXPECT_FALSE(stale.header("Warning").empty());
  const auto missing = http_->get(url("test%2Falpine:v2") + "?stale=true");
  EXPECT_EQ(missing.status, 404);
  EXPECT_FALSE(missing.header("Warning").empty()) << "agents ask the next host";
  EXPECT_EQ(http_->get(url("test%2Falpine:v1") + "?stale=yes").status, 400);
  port_.set_stale(0, Duration::max());
  EXPECT_EQ(http_->get(url("test%2Falpine:v1") + "?stale=true").header("Kraken-Stale"), "age=unknown, index=0");
}

TEST_F(Tags, ARepeatedPutIsOneProposal) {
  const auto a = push_image("a");
  EXPECT_EQ(http_->put(put_url("test%2Falpine:v1", a)).status, 200);
  const auto before = port_.proposals();
  EXPECT_EQ(http_->put(put_url("test%2Falpine:v2", a)).status, 200);
  EXPECT_EQ(port_.proposals(), before + 1);
}

TEST_F(Tags, ConditionalPutsTellTheWinner) {
  const auto a = push_image("a");
  const auto b = push_image("b");
  const auto first = http_->put(put_url("a:v1", a), "", {{"If-None-Match", "*"}});
  EXPECT_EQ(first.status, 200);
  const auto revision = http_->get(url("a:v1")).header("Kraken-Tag-Revision");
  EXPECT_EQ(first.header("Kraken-Tag-Revision"), revision);

  const auto absent = http_->put(put_url("a:v1", b), "", {{"If-None-Match", "*"}});
  EXPECT_EQ(absent.status, 409);
  EXPECT_EQ(absent.body, a.str());
  EXPECT_EQ(absent.header("Kraken-Tag-Revision"), revision);

  EXPECT_EQ(http_->put(put_url("a:v1", b), "", {{"If-Match", "\"" + revision + "\""}}).status, 200);
  const auto stale = http_->put(put_url("a:v1", a), "", {{"If-Match", "\"" + revision + "\""}});
  EXPECT_EQ(stale.status, 412);
  EXPECT_EQ(stale.body, b.str());

  EXPECT_EQ(http_->put(put_url("a:v1", a), "", {{"If-Match", "\"" + b.str() + "\""}}).status, 200);
  EXPECT_EQ(http_->put(put_url("a:v1", a), "", {{"If-Match", "\"" + b.str() + "\""}}).status, 412);
  const auto nothing = http_->put(put_url("a:none", a), "", {{"If-Match", "\"" + b.str() + "\""}});
  EXPECT_EQ(nothing.status, 412);
  EXPECT_EQ(nothing.body, "");
  EXPECT_EQ(http_->put(put_url("a:v1", a), "", {{"If-Match", "\"abc\""}}).status, 400);
}

TEST_F(Tags, ATagIsDeletedForEverybody) {
  const auto a = push_image("a");
  EXPECT_EQ(http_->remove(url("a:v1")).status, 404);
  EXPECT_EQ(http_->put(put_url("a:v1", a)).status, 200);
  EXPECT_EQ(http_->remove(url("a:v1"), {{"If-Match", "\"99999\""}}).status, 412);
  EXPECT_EQ(http_->remove(url("a:v1")).status, 202);
  EXPECT_EQ(http_->get(url("a:v1")).status, 404);
  EXPECT_EQ(http_->put(put_url("a:v1", a)).status, 200);
  EXPECT_EQ(http_->get(url("a:v1")).status, 200);
}

TEST_F(Tags, APutThatWasRefusedCannotBeReadAfterwards) {
  const auto config = blobs_.push(executor(), "config");
  const auto missing = Digest::of("no such layer");
  const auto image = blobs_.push(executor(), manifest(config, missing));
  const auto reply = http_->put(put_url("a:v1", image));
  EXPECT_EQ(reply.status, 500);
  EXPECT_EQ(reply.body, "cannot upload tag, missing dependency " + missing.str());
  const auto nothing = http_->put(put_url("a:v1", Digest::of("nothing")));
  EXPECT_EQ(nothing.status, 500);
  EXPECT_TRUE(nothing.body.starts_with("resolve dependencies: download manifest: ")) << nothing.body;
  EXPECT_EQ(http_->get(url("a:v1")).status, 404);
  const auto whole = push_image("a");
  port_.fail_next(Code::kUnavailable);
  EXPECT_EQ(http_->put(put_url("a:v1", whole)).status, 503);
  EXPECT_EQ(http_->get(url("a:v1")).status, 404);
}

TEST_F(Tags, WithoutAQuorumNothingIsNotFound) {
  const auto a = push_image("a");
  EXPECT_EQ(http_->put(put_url("a:v1", a)).status, 200);
  port_.set_down(true);
  for (const auto& reply : {http_->get(url("a:v1")), http_->get(url("a:none")), http_->put(put_url("a:v1", a))}) {
    EXPECT_EQ(reply.status, 503);
    EXPECT_EQ(reply.header("Retry-After"), "1");
  }
  port_.set_down(false);
  port_.lose_next_answer();
  EXPECT_EQ(http_->put(put_url("a:v1", a)).status, 504);
}

TEST_F(Tags, BadNamesAreRefusedAndNothingIsStored) {
  const auto a = push_image("a");
  const auto before = port_.proposals();
  for (const std::string tag :
       {"..%2F..%2Fetc:v1", "a%00b:v1", "Upper:v1", "a:..%2Fx", "a:%00", "a", ":", "a:", "a%252F..%252Fb:v1"}) {
    EXPECT_EQ(http_->put(put_url(tag, a)).status, 400) << tag;
    EXPECT_EQ(http_->get(url(tag)).status, 400) << tag;
  }
  for (const std::string digest : {"sha256:12", "..%2Fx", "md5:1"})
    EXPECT_EQ(http_->put(url("a:v1") + "/digest/" + digest).status, 400) << digest;
  EXPECT_EQ(port_.proposals(), before);
}

TEST_F(Tags, ADuplicateThatStandsAlreadyWritesNothing) {
  const auto a = push_image("a");
  const std::string duplicate = "/internal/duplicate/tags/a:v1/digest/" + a.str();
  EXPECT_EQ(http_->put(duplicate, "{\"delay\":1200000000000}").status, 200);
  EXPECT_EQ(http_->get(url("a:v1")).body, a.str());
  const auto before = port_.proposals();
  EXPECT_EQ(http_->put(duplicate, "{\"delay\":0}").status, 200);
  EXPECT_EQ(port_.proposals(), before);
  EXPECT_EQ(http_->put(duplicate, "nonsense").status, 400);
  EXPECT_EQ(http_->post("/internal/duplicate/remotes/tags/a:v1/digest/" + a.str(), "{\"dependencies\":[],\"delay\":0}")
                .status,
            200);
}

class Listings : public Tags {
 protected:
  void SetUp() override {
    const auto a = push_image("a");
    for (const char* tag :
         {"test%2Falpine:v1", "test%2Falpine:v2", "test%2Falpine:v3", "test%2Fredis:x", "team%2Fapp:one"})
      ASSERT_EQ(http_->put(put_url(tag, a)).status, 200) << tag;
  }
  /// Follows the links; fails the test if a page is larger than the limit.
  std::vector<std::string> walk(std::string target, std::size_t limit) {
    std::vector<std::string> seen;
    for (int pages = 0; !target.empty() && pages < 20; ++pages) {
      const auto page = json::parse(http_->get(target).body);
      EXPECT_LE(page["size"].get<std::size_t>(), limit);
      if (page["result"].is_array()) {
        for (const auto& name : page["result"]) seen.push_back(name);
      }
      target = page["Links"]["next"];
    }
    return seen;
  }
};

TEST_F(Listings, OfARepositoryOfEverythingAndOfAFolder) {
  using Names = std::vector<std::string>;
  const Names alpine{"test/alpine:v1", "test/alpine:v2", "test/alpine:v3"};
  const auto names = [this](const std::string& target) {
    return json::parse(http_->get(target).body)["result"].get<Names>();
  };
  EXPECT_EQ(names("/list/test%2Falpine%2F_manifests%2Ftags"), alpine);
  EXPECT_EQ(names("/list//test/alpine/_manifests/tags"), alpine);
  EXPECT_EQ(names("/list/test/alpine"), alpine);
  EXPECT_EQ(names("/list/"),
            (Names{"team/app:one", "test/alpine:v1", "test/alpine:v2", "test/alpine:v3", "test/redis:x"}));
  EXPECT_EQ(names("/list/test"), (Names{"test/alpine:v1", "test/alpine:v2", "test/alpine:v3", "test/redis:x"}));
  EXPECT_EQ(names("/repositories/test%2Falpine/tags"), (Names{"v1", "v2", "v3"}));
}

TEST_F(Listings, NothingIsNull) {
  const auto reply = http_->get("/list/none%2F_manifests%2Ftags");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body,
            "{\"Links\":{\"next\":\"\",\"self\":\"/list/none%2F_manifests%2Ftags\"},\"size\":0,\"result\":null}\n");
}

TEST_F(Listings, PagesHoldEveryNameOnce) {
  using Names = std::vector<std::string>;
  const Names all{"team/app:one", "test/alpine:v1", "test/alpine:v2", "test/alpine:v3", "test/redis:x"};
  for (std::size_t limit = 1; limit <= 6; ++limit)
    EXPECT_EQ(walk("/list/?limit=" + std::to_string(limit), limit), all) << limit;
  EXPECT_EQ(walk("/list/test?limit=3", 3), (Names{all.begin() + 1, all.end()}));
  EXPECT_EQ(walk("/repositories/test%2Falpine/tags?limit=2", 2), (Names{"v1", "v2", "v3"}));
  EXPECT_EQ(walk("/list/test%2Falpine%2F_manifests%2Ftags?limit=2", 2), (Names{all.begin() + 1, all.begin() + 4}));
}

TEST_F(Listings, OtherQueriesAre400) {
  for (const char* query : {"?limit=0", "?limit=x", "?n=1", "?limit=1&limit=2"})
    EXPECT_EQ(http_->get(std::string("/list/") + query).status, 400) << query;
}

}  // namespace
}  // namespace kraken::build_index::test
