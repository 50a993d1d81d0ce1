// Golden vectors: facts appendix A, produced by stock Kraken's own code.
#include "src/core/metainfo.h"

#include <gtest/gtest.h>

namespace kraken {
namespace {

/// Byte i is i mod 251, as in every recorded vector.
std::string pattern(std::size_t size) {
  std::string blob(size, '\0');
  for (std::size_t i = 0; i < size; ++i) blob[i] = static_cast<char>(i % 251);
  return blob;
}

struct Golden {
  std::size_t bytes;
  std::uint64_t piece_length;
  std::vector<std::uint32_t> sums;
  std::string_view infohash;
};

const Golden kGolden[] = {
    {0, 4, {}, "c83f3ccf6e952308b5fb8d66410dab6c6950219f"},
    {1, 4, {3523407757}, "6d911f1ec8fc01f2ba43c43016cf31cd2fe4046a"},
    {10, 4, {2344191507, 1624488069, 4040958035}, "674763046cb360c1fcf092bb592178acc350615a"},
    {8, 4, {2344191507, 1624488069}, "1c2bb5ce0d2ffffadeb4e8cba1dbae36ab2889df"},
    {5242880, 4194304, {2704297939, 3919086805}, "ef7646b72b1fe0215bbcbeca69f4cb7d3a569f59"},
};

TEST(MetaInfo, GoldenPatternBlobs) {
  for (const Golden& golden : kGolden) {
    const MetaInfo info = make_metainfo(pattern(golden.bytes), golden.piece_length);
    EXPECT_EQ(info.piece_sums, golden.sums) << golden.bytes;
    EXPECT_EQ(info.infohash().hex(), golden.infohash) << golden.bytes;
    EXPECT_TRUE(info.check());
  }
}

TEST(MetaInfo, GoldenOfStocksOwnTree) {
  const auto digest = Digest::from_hex("289314c356bc2a19802c3e31505506db30ea81a0bcaea4ec3e079524c8ac3cf5");
  ASSERT_TRUE(digest);
  const MetaInfo info{.digest = *digest, .length = 236, .piece_length = 4194304, .piece_sums = {2131691452}};
  EXPECT_EQ(info.infohash().hex(), "85b978c4377625b3963df406d0dd3a1da5a7d9c3");
}

TEST(MetaInfo, JsonIsStocksByteForByte) {
  const MetaInfo info = make_metainfo(pattern(10), 4);
  EXPECT_EQ(info.json(), R"({"Info":{"PieceLength":4,"PieceSums":[2344191507,1624488069,4040958035],"Name":")" + info.digest.hex() +
                             R"(","Length":10}})");
  EXPECT_EQ(make_metainfo("", 4).json(), R"({"Info":{"PieceLength":4,"PieceSums":null,"Name":")" + Digest::of("").hex() +
                                             R"(","Length":0}})");
}

TEST(MetaInfo, ParseOfJsonIsTheSameAndIgnoresUnknownKeys) {
  const MetaInfo info = make_metainfo(pattern(1000), 256);
  const auto parsed = MetaInfo::parse(info.json());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, info);
  EXPECT_TRUE(MetaInfo::parse(R"({"Announce":"x",)" + info.json().substr(1)));
}

TEST(MetaInfo, ParseRefusesWhatDoesNotAddUp) {
  const std::string hex = Digest::of("x").hex();
  for (const std::string& json : {
           std::string(""), std::string("[]"), std::string("{}"), std::string(R"({"Info":{}})"),
           R"({"Info":{"PieceLength":0,"PieceSums":null,"Name":")" + hex + R"(","Length":0}})",
           R"({"Info":{"PieceLength":4,"PieceSums":[1],"Name":")" + hex + R"(","Length":5}})",
           R"({"Info":{"PieceLength":4,"PieceSums":[-1],"Name":")" + hex + R"(","Length":4}})",
           R"({"Info":{"PieceLength":4,"PieceSums":[4294967296],"Name":")" + hex + R"(","Length":4}})",
           R"({"Info":{"PieceLength":1,"PieceSums":null,"Name":")" + hex + R"(","Length":18446744073709551615}})",
           std::string(R"({"Info":{"PieceLength":4,"PieceSums":[1],"Name":"abc","Length":4}})"),
       }) {
    EXPECT_FALSE(MetaInfo::parse(json)) << json;
  }
}

TEST(MetaInfo, MoreThanTheMostPiecesIsTooLarge) {
  MetaInfo info{.digest = Digest::of("x"), .length = kPiecesMax + 1, .piece_length = 1, .piece_sums = {}};
  info.piece_sums.resize(kPiecesMax + 1);
  const auto checked = info.check();
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, Code::kTooLarge);
}

TEST(PieceLengths, LargestEntryNotAboveTheSizeCounts) {
  const auto lengths = PieceLengths::make({{1000, 1u << 20}, {5000, 4u << 20}});
  ASSERT_TRUE(lengths);
  EXPECT_EQ(lengths->of(0), 1u << 20) << "below the smallest entry the smallest counts";
  EXPECT_EQ(lengths->of(1000), 1u << 20);
  EXPECT_EQ(lengths->of(4999), 1u << 20);
  EXPECT_EQ(lengths->of(5000), 4u << 20);
  EXPECT_FALSE(PieceLengths::make({}));
  EXPECT_FALSE(PieceLengths::make({{0, 0}}));
}

TEST(PieceSummer, AnySplitAndAnyLengthGivesThePieceSumsOfTheWhole) {
  const std::string blob = pattern(3 * PieceSummer::kUnitBytes + 12345);
  for (const std::uint64_t piece_length : {PieceSummer::kUnitBytes, 2 * PieceSummer::kUnitBytes, 16 * PieceSummer::kUnitBytes}) {
    for (const std::size_t step : {std::size_t{1000}, std::size_t{262144}, std::size_t{300001}}) {
      PieceSummer summer;
      for (std::size_t at = 0; at < blob.size(); at += step) summer.update(std::string_view(blob).substr(at, step));
      EXPECT_EQ(summer.finish(piece_length), make_metainfo(blob, piece_length).piece_sums);
    }
  }
  EXPECT_TRUE(PieceSummer().finish(4u << 20).empty());
}

}  // namespace
}  // namespace kraken
