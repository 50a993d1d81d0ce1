// Golden vectors: facts appendix A, produced by stock Kraken's own code.
#include "src/ring/hrw.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "src/base/codec.h"
#include "src/base/hex.h"
#include "src/ring/ring.h"

namespace kraken::ring {
namespace {

struct Placed {
  std::string_view label;
  std::uint64_t hash;
  double score;
};

struct Golden {
  std::string_view key_hex;
  std::vector<Placed> order;
};

const Golden kGolden[] = {
    {"0000",
     {{"10.0.0.4:15002", 0x3a5f14ca3b90e2ec, 3432.6019269739513},
      {"origin3:15002", 0x41f7583725e8b1ba, 317.08728870037061},
      {"origin1:15002", 0x5d29fa600c5c5e32, 85.811098841251777},
      {"10.0.0.5:15002", 0xdd09c6c840005d09, 84.334448981940469},
      {"origin2:15002", 0xd661a013268baa53, 33.556503332027866}}},
    {"07ab",
     {{"origin3:15002", 0xf35f9196c4292a52, 7369.4328503864972},
      {"origin1:15002", 0xbbdecbeae48de7e4, 2608.7090163253065},
      {"10.0.0.5:15002", 0x37f8706ecca38888, 370.99159682070854},
      {"10.0.0.4:15002", 0x8951b92822f89ebb, 169.24554236296109},
      {"origin2:15002", 0xa6a857b2cccb8159, 74.384597361278097}}},
    {"ffff",
     {{"10.0.0.5:15002", 0x8f1944e3107e1972, 423.45248589582485},
      {"10.0.0.4:15002", 0x8232506a8c0d8226, 179.19116113864442},
      {"origin2:15002", 0x7b0c4c624ef388e0, 104.57311212459496},
      {"origin3:15002", 0x36c84c87cdb0a226, 74.095630972555611},
      {"origin1:15002", 0x0fa6789d8ecc392a, 62.563289544224503}}},
    {"e3b0",
     {{"10.0.0.5:15002", 0xe75fb34ad774faaf, 10629.430114568802},
      {"origin1:15002", 0xda9f8b23cfa57be0, 6959.971053173942},
      {"10.0.0.4:15002", 0xf0f6fe1ec832b589, 302.5160347801401},
      {"origin2:15002", 0xfd750121849b247d, 237.52793044648013},
      {"origin3:15002", 0xf4e7c19497df9b5c, 70.559341695630309}}},
};

const std::vector<Node> kNodes{{"origin1:15002", 100}, {"origin2:15002", 100}, {"origin3:15002", 100}, {"10.0.0.4:15002", 100}, {"10.0.0.5:15002", 100}};

/// 100,000 keys that are spread as ShardIDs are not: four bytes, so that each is its own.
std::string key_of(std::uint32_t i) { return Writer().u32(i * 2654435761U).str(); }

TEST(Murmur3, Golden) {
  EXPECT_EQ(murmur3_64(""), 0u);
  EXPECT_EQ(murmur3_64("hello"), 0xcbd8a7b341bd9b02u);
}

TEST(Hrw, GoldenHashesScoresAndOrder) {
  for (const Golden& golden : kGolden) {
    const std::string key = *from_hex(golden.key_hex);
    const auto indexes = order(kNodes, key);
    ASSERT_EQ(indexes.size(), golden.order.size());
    for (std::size_t rank = 0; rank < indexes.size(); ++rank) {
      const Placed& placed = golden.order[rank];
      EXPECT_EQ(kNodes[indexes[rank]].label, placed.label) << golden.key_hex << " rank " << rank;
      EXPECT_EQ(murmur3_64(key + std::string(placed.label)), placed.hash);
      EXPECT_DOUBLE_EQ(score({std::string(placed.label), 100}, key), placed.score);
    }
  }
}

// The whole hash as a big-endian integer, rounded to double, times 2^-bits: computed here another way, as an exact sum of
// bytes in extended precision where the hash's leading bytes are what decides.
TEST(Hrw, Sha256AndMd5UseTheWholeHash) {
  const auto expected = [](std::span<const std::uint8_t> bytes) {
    long double unit = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) unit = (unit + static_cast<long double>(bytes[i])) / 256;
    return -100.0 / std::log(static_cast<double>(unit));
  };
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const std::string key = key_of(i);
    const Digest digest = Digest::of(key + "n");
    EXPECT_DOUBLE_EQ(score({"n", 100}, key, Hash::kSha256),
                     expected(std::span(reinterpret_cast<const std::uint8_t*>(digest.raw().data()), 32)));
    const auto of_md5 = md5(key + "n");
    EXPECT_DOUBLE_EQ(score({"n", 100}, key, Hash::kMd5), expected(of_md5));
  }
}

TEST(Hrw, FourthEqualNodeTakesAQuarterOfTheFirstOwnersAndMovesNoOther) {
  for (const Hash hash : {Hash::kMurmur3, Hash::kSha256, Hash::kMd5}) {
    const std::vector<Node> three{{"origin0", 100}, {"origin1", 100}, {"origin2", 100}};
    std::vector<Node> four = three;
    four.push_back({"origin3", 100});
    std::uint32_t moved = 0;
    for (std::uint32_t i = 0; i < 100000; ++i) {
      const std::string before = three[order(three, key_of(i), hash)[0]].label;
      const std::string after = four[order(four, key_of(i), hash)[0]].label;
      if (before == after) continue;
      ++moved;
      ASSERT_EQ(after, "origin3") << "a key moved between the old nodes";
    }
    EXPECT_NEAR(moved / 1000.0, 25.0, 1.0);
  }
}

TEST(Hrw, WeightsGiveTheirShares) {
  for (const Hash hash : {Hash::kMurmur3, Hash::kSha256, Hash::kMd5}) {
    const std::vector<Node> nodes{{"origin0", 100}, {"origin1", 200}, {"origin2", 400}};
    std::map<std::string, std::uint32_t> first;
    for (std::uint32_t i = 0; i < 100000; ++i) ++first[nodes[order(nodes, key_of(i), hash)[0]].label];
    EXPECT_NEAR(first["origin0"] / 1000.0, 100.0 / 7, 1.0);
    EXPECT_NEAR(first["origin1"] / 1000.0, 200.0 / 7, 1.0);
    EXPECT_NEAR(first["origin2"] / 1000.0, 400.0 / 7, 1.0);
  }
}

std::vector<Member> three_members() { return {{"h0", "origin0", 100}, {"h1", "origin1", 100}, {"h2", "origin2", 100}}; }

TEST(Ring, OwnersAreTheTopOfTheOrderAndNeverMoreThanThereAre) {
  const auto ring = Ring::make(three_members());
  ASSERT_TRUE(ring);
  const Digest digest = Digest::of("x");
  const auto all = ring->order(digest.shard_id());
  EXPECT_EQ(ring->owners(digest, 2), std::vector<std::string>(all.begin(), all.begin() + 2));
  EXPECT_EQ(ring->owners(digest, 5), all);
}

TEST(Ring, LocationsAreHealthyOwnersElseTheNextHealthyElseTheFirst) {
  const auto ring = Ring::make(three_members());
  const Digest digest = Digest::of("x");
  const auto all = ring->order(digest.shard_id());
  const auto with_down = [&](std::vector<std::string> down) {
    return ring->locations(digest, 2, [&](const std::string& label) { return std::ranges::find(down, label) == down.end(); });
  };
  EXPECT_EQ(with_down({}), (std::vector<std::string>{all[0], all[1]}));
  EXPECT_EQ(with_down({all[0]}), (std::vector<std::string>{all[1]}));
  EXPECT_EQ(with_down({all[0], all[1]}), (std::vector<std::string>{all[2]}));
  EXPECT_EQ(with_down(all), (std::vector<std::string>{all[0]}));
}

TEST(Ring, RefusesHashstatesThatCannotBe) {
  const auto refused = [](std::vector<Member> members, std::string_view word) {
    const auto ring = Ring::make(std::move(members));
    ASSERT_FALSE(ring);
    EXPECT_NE(ring.error().detail.find(word), std::string::npos) << ring.error().detail;
  };
  refused({}, "no member");
  refused({{"h0", "origin0", 0}}, "weight 0");
  refused({{"h0", "origin0", -1}}, "weight -1");
  refused({{"h0", "origin0", std::nan("")}}, "weight nan");
  refused({{"h0", "origin0", 1}, {"h1", "origin0", 1}}, "two members have the label origin0");
  refused({{"h0", "origin0", 1}, {"h0", "origin1", 1}}, "named twice");
  refused({{"h0", "", 1}}, "no label");
}

}  // namespace
}  // namespace kraken::ring
