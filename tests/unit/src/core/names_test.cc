#include "src/core/names.h"

#include <gtest/gtest.h>

namespace kraken {
namespace {

using namespace std::string_literals;

TEST(Repository, TakesWhatTheSpecificationTakes) {
  for (const char* name : {"a", "library/alpine", "a.b_c__d-e---f/0", "a/b/c/d/e"}) EXPECT_TRUE(Repository::parse(name)) << name;
  EXPECT_TRUE(Repository::parse(std::string(255, 'a')));
}

TEST(Repository, RefusesEverythingElse) {
  for (const std::string& name : {""s, "A"s, "a//b"s, "/a"s, "a/"s, "../a"s, "a/../b"s, "a/.."s, "."s, "a..b"s, "a___b"s, "a._b"s, "-a"s,
                                  "a-"s, "a b"s, "a\0b"s, "a\\b"s, "a:b"s, "a@b"s, "é"s, std::string(256, 'a')}) {
    const auto parsed = Repository::parse(name);
    ASSERT_FALSE(parsed) << name;
    EXPECT_EQ(parsed.error().detail.find('\0'), std::string::npos);
  }
}

TEST(TagName, TakesAndRefuses) {
  for (const std::string& tag : {"latest"s, "_x"s, "v1.2-3"s, "A"s, std::string(128, 'a')}) EXPECT_TRUE(TagName::parse(tag)) << tag;
  for (const std::string& tag : {""s, ".a"s, "-a"s, "../x"s, "a/b"s, "a:b"s, "a\0"s, std::string(129, 'a')}) EXPECT_FALSE(TagName::parse(tag)) << tag;
}

TEST(QualifiedTag, SplitsAtTheLastColon) {
  const auto tag = QualifiedTag::parse("test/alpine:latest");
  ASSERT_TRUE(tag);
  EXPECT_EQ(tag->repository.str(), "test/alpine");
  EXPECT_EQ(tag->tag.str(), "latest");
  EXPECT_FALSE(QualifiedTag::parse("test/alpine"));
  EXPECT_FALSE(QualifiedTag::parse("a:b:c"));
}

TEST(Namespace, RefusesClimbingAndUnprintable) {
  for (const std::string& name : {"test/alpine"s, "library/x:v1"s, "TODO"s, "a..b"s}) EXPECT_TRUE(Namespace::parse(name)) << name;
  for (const std::string& name : {""s, ".."s, "../a"s, "a/../b"s, "a/.."s, "a\0"s, "a\\b"s, "a b"s, std::string(256, 'a')}) {
    EXPECT_FALSE(Namespace::parse(name)) << name;
  }
}

TEST(UploadId, NamesTheNodeThatHoldsTheSession) {
  const UploadId id = UploadId::make("origin1", std::string(12, '\xff'));
  EXPECT_TRUE(id.belongs_to("origin1"));
  EXPECT_FALSE(id.belongs_to("origin2"));
  EXPECT_EQ(id.str().size(), 36u);
  EXPECT_EQ(id.str()[14], '8') << "UUID version 8";
  const auto parsed = UploadId::parse(id.str());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, id);
}

TEST(UploadId, RefusesWhatIsNoUuid) {
  for (const std::string& text : {""s, "x"s, "../../etc/passwd"s, "0f1bf67e5d574331862dc1adf0fbcd77"s, "0f1bf67e-5d57-4331-862d-c1adf0fbcd7"s,
                                  "0f1bf67e-5d57-4331-862d-c1adf0fbcd777"s, "0f1bf67e-5d57-4331-862d-c1adf0fbcd7g"s}) {
    EXPECT_FALSE(UploadId::parse(text)) << text;
  }
}

}  // namespace
}  // namespace kraken
