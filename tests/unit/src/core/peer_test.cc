// Golden vectors: facts appendix A.
#include "src/core/peer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/bitfield.h"

namespace kraken {
namespace {

TEST(PeerId, AddressHashGolden) {
  EXPECT_EQ(peer_id_of_address("10.0.0.1", 16001).hex(), "98c2b1164e7c9889057941fffcaa67a45f5501ba");
}

TEST(PeerInfo, JsonIsStocksByteForByte) {
  const PeerInfo peer{.peer_id = peer_id_of_address("10.0.0.1", 16001), .ip = "10.0.0.1", .port = 16001, .origin = false, .complete = false};
  EXPECT_EQ(peer.json().dump(),
            R"({"peer_id":[152,194,177,22,78,124,152,137,5,121,65,255,252,170,103,164,95,85,1,186],"ip":"10.0.0.1",)"
            R"("port":16001,"origin":false,"complete":false})");
  const auto parsed = PeerInfo::from_json(nlohmann::json::parse(peer.json().dump()));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, peer);
}

TEST(PeerInfo, RefusesHostileJson) {
  for (const char* text : {"null", "[]", "{}", R"({"peer_id":[1],"ip":"x","port":1})", R"({"peer_id":"x","ip":"x","port":1})"}) {
    EXPECT_FALSE(PeerInfo::from_json(nlohmann::json::parse(text))) << text;
  }
  nlohmann::json peer = nlohmann::json::parse(PeerInfo{.peer_id = {}, .ip = "a", .port = 1}.json().dump());
  peer["port"] = 65536;
  EXPECT_FALSE(PeerInfo::from_json(peer));
  peer["port"] = -1;
  EXPECT_FALSE(PeerInfo::from_json(peer));
  peer["port"] = 1;
  peer["peer_id"][3] = 256;
  EXPECT_FALSE(PeerInfo::from_json(peer));
}

struct BitGolden {
  std::uint32_t bits;
  std::vector<std::uint32_t> set;
  std::string_view hex;
};

std::string hex_of(const Bitfield& field) {
  std::string out;
  for (const char c : field.encode()) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

TEST(Bitfield, Golden) {
  const BitGolden goldens[] = {
      {10, {0, 3, 9}, "000000000000000a0000000000000209"},
      {64, {0, 63}, "00000000000000408000000000000001"},
      {65, {64}, "000000000000004100000000000000000000000000000001"},
      {0, {}, "0000000000000000"},
  };
  for (const BitGolden& golden : goldens) {
    Bitfield field(golden.bits);
    for (const std::uint32_t bit : golden.set) field.set(bit);
    EXPECT_EQ(hex_of(field), golden.hex);
    const auto decoded = Bitfield::decode(field.encode(), golden.bits);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, field);
  }
}

TEST(Bitfield, RefusesWrongLengthAndBitsBeyondTheEnd) {
  const std::string good = Bitfield(10, true).encode();
  EXPECT_TRUE(Bitfield::decode(good, 10));
  EXPECT_FALSE(Bitfield::decode(good, 11));
  EXPECT_FALSE(Bitfield::decode(good.substr(0, 15), 10));
  EXPECT_FALSE(Bitfield::decode(good + "x", 10));
  EXPECT_FALSE(Bitfield::decode("", 10));
  std::string beyond = good;
  beyond[14] = '\x7f';
  EXPECT_FALSE(Bitfield::decode(beyond, 10));
}

TEST(Bitfield, CountsAsItChanges) {
  Bitfield field(70);
  field.set(69);
  field.set(69);
  EXPECT_EQ(field.count(), 1u);
  field.set(69, false);
  EXPECT_EQ(field.count(), 0u);
  field.set_all();
  EXPECT_TRUE(field.all());
  EXPECT_EQ(field.count(), 70u);
}

}  // namespace
}  // namespace kraken
