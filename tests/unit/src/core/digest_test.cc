#include "src/core/digest.h"

#include <gtest/gtest.h>

namespace kraken {
namespace {

constexpr std::string_view kHelloHex = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

TEST(Digest, OfBytesIsTheirSha256) {
  EXPECT_EQ(Digest::of("hello").hex(), kHelloHex);
  EXPECT_EQ(Digest::of("hello").str(), "sha256:" + std::string(kHelloHex));
}

TEST(Digest, ParsesEitherCaseAndPrintsLower) {
  const auto digest = Digest::parse("sha256:2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824");
  ASSERT_TRUE(digest);
  EXPECT_EQ(digest->hex(), kHelloHex);
}

TEST(Digest, RefusesWhatIsNotExactlyOne) {
  const std::string hex(kHelloHex);
  for (const std::string& text : {std::string(), std::string("sha256:"), hex, "sha512:" + hex, "SHA256:" + hex, "sha256:" + hex + "0",
                                  "sha256:" + hex.substr(1), "sha256:" + hex.substr(1) + "g", "sha256:../" + hex.substr(3),
                                  "sha256:" + hex.substr(1) + std::string(1, '\0')}) {
    const auto digest = Digest::parse(text);
    ASSERT_FALSE(digest) << text;
    EXPECT_EQ(digest.error().code, Code::kInvalidArgument);
  }
}

TEST(Digest, ShardIdIsTheFirstTwoBytes) {
  const Digest digest = Digest::of("hello");
  EXPECT_EQ(digest.shard_id(), std::string_view("\x2c\xf2", 2));
  EXPECT_EQ(digest.prefix(), 0x2cf2);
}

TEST(Sha256, StreamInAnySplitGivesTheSameDigest) {
  const std::string text(1000, 'k');
  for (std::size_t split = 0; split <= text.size(); split += 37) {
    Sha256 hasher;
    hasher.update(text.substr(0, split));
    const Digest so_far = hasher.peek();
    EXPECT_EQ(so_far, Digest::of(text.substr(0, split)));
    hasher.update(text.substr(split));
    EXPECT_EQ(hasher.finish(), Digest::of(text));
  }
}

TEST(Crc32, IsTheOneOfEthernetAndZip) {
  EXPECT_EQ(crc32("123456789"), 0xcbf43926U);  // the check value of the catalogues
  EXPECT_EQ(crc32("6789", crc32("12345")), 0xcbf43926U);
  EXPECT_EQ(crc32(""), 0U);
}

TEST(Crc32, CombineEqualsTheWhole) {
  const std::string text = "the quick brown fox jumps over the lazy dog";
  for (std::size_t split = 0; split <= text.size(); ++split) {
    const std::string tail = text.substr(split);
    EXPECT_EQ(crc32_combine(crc32(text.substr(0, split)), crc32(tail), tail.size()), crc32(text));
  }
}

}  // namespace
}  // namespace kraken
