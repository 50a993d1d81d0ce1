#include "src/core/manifest.h"

#include <gtest/gtest.h>

namespace kraken {
namespace {

std::string descriptor(std::string_view content, std::string_view more = "") {
  return fmt::format(R"({{"mediaType":"application/octet-stream","digest":"{}","size":{}{}}})", Digest::of(content).str(), content.size(), more);
}

std::string image(std::string_view layers, std::string_view more = "") {
  return fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]{}}})", media_type::kOciManifest, descriptor("config"), layers, more);
}

TEST(Manifest, ImageReferencesConfigAndLayersEachOnce) {
  const auto manifest = Manifest::parse(image(descriptor("a") + "," + descriptor("b") + "," + descriptor("a")), "");
  ASSERT_TRUE(manifest) << manifest.error().to_string();
  EXPECT_EQ(manifest->media_type, media_type::kOciManifest);
  EXPECT_FALSE(manifest->is_index);
  ASSERT_EQ(manifest->references.size(), 3u);
  EXPECT_EQ(manifest->references[0].digest, Digest::of("config"));
  EXPECT_EQ(manifest->references[2].digest, Digest::of("b"));
}

TEST(Manifest, IndexReferencesItsManifests) {
  const auto manifest = Manifest::parse(fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})", descriptor("m")), "");
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->media_type, media_type::kOciIndex);
  EXPECT_TRUE(manifest->is_index);
  ASSERT_EQ(manifest->references.size(), 1u);
  EXPECT_TRUE(manifest->references[0].is_manifest);
}

TEST(Manifest, ForeignLayersAndSubjectNeedNotBeThere) {
  const auto manifest = Manifest::parse(image(descriptor("f", R"(,"urls":["https://example.org/f"])"), R"(,"subject":)" + descriptor("s")), "");
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->references.size(), 1u);
  ASSERT_TRUE(manifest->subject);
  EXPECT_EQ(manifest->subject->digest, Digest::of("s"));
}

TEST(Manifest, ContentTypeDecidesWhereTheBodyIsSilentAndMustAgreeWhereItSpeaks) {
  const std::string silent = fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[]}})", descriptor("config"));
  EXPECT_EQ(Manifest::parse(silent, media_type::kDockerManifest)->media_type, media_type::kDockerManifest);
  EXPECT_EQ(Manifest::parse(silent, "")->media_type, media_type::kOciManifest);
  EXPECT_FALSE(Manifest::parse(image(""), media_type::kDockerManifest));
}

TEST(Manifest, RefusesHostileInput) {
  std::string deep(100000, '[');
  for (const std::string& body : {std::string(), std::string("not json"), std::string("[]"), std::string("{}"), deep,
                                  std::string(R"({"schemaVersion":1})"), std::string(R"({"schemaVersion":2})"),
                                  std::string(R"({"schemaVersion":2,"config":{"digest":"sha256:..","size":1},"layers":[]})"),
                                  std::string(R"({"schemaVersion":2,"mediaType":"text/html","config":{},"layers":[]})")}) {
    EXPECT_FALSE(Manifest::parse(body, "")) << body.substr(0, 80);
  }
  const auto large = Manifest::parse(std::string(kManifestBytesMax + 1, ' '), "");
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, Code::kTooLarge);
}

}  // namespace
}  // namespace kraken
