#include "consensus/group/envelope.h"

#include <gtest/gtest.h>

#include "src/base/hex.h"

namespace kraken::group {
namespace {

Envelope example() {
  Envelope envelope;
  envelope.advance = Duration(1'000'000);
  for (std::size_t i = 0; i < 16; ++i) envelope.stamp.incarnation.bytes[i] = static_cast<std::uint8_t>(i + 1);
  envelope.stamp.boot_epoch = 3;
  envelope.stamp.session = 17;
  envelope.stamp.sequence = 5;
  envelope.stamp.low = 4;
  envelope.command = "cmd";
  return envelope;
}

// The example of docs/formats/raft_log.md.
TEST(Envelope, LooksAsDocumented) {
  EXPECT_EQ(to_hex(encode(example())),
            "010100000000000f42400102030405060708090a0b0c0d0e0f10"
            "0000000000000003000000000000001100000000000000050000000000000004636d64");
}

TEST(Envelope, WhatIsEncodedIsDecoded) {
  const std::string bytes = encode(example());
  const auto decoded = decode_envelope(bytes);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->stamp, example().stamp);
  EXPECT_EQ(decoded->advance, example().advance);
  EXPECT_EQ(decoded->command, "cmd");
}

TEST(Envelope, WhatIsShortOrUnknownIsAnError) {
  const std::string bytes = encode(example());
  for (std::size_t i = 0; i + 3 < bytes.size(); ++i) EXPECT_FALSE(decode_envelope(bytes.substr(0, i))) << i;
  std::string other = bytes;
  other[0] = 2;
  EXPECT_EQ(decode_envelope(other).error().code, Code::kUnsupported);
  other = bytes;
  other[1] = 9;
  EXPECT_EQ(decode_envelope(other).error().code, Code::kUnsupported);
  other = bytes;
  other[2] = static_cast<char>(0xff);  // time that would go back
  EXPECT_EQ(decode_envelope(other).error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace kraken::group
