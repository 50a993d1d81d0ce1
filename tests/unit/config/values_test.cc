#include "config/values.h"

#include <gtest/gtest.h>

namespace kraken::config {
namespace {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;

// datasize vectors of stock Kraken: docs of appendix A.
TEST(Values, SizesAreStocksDatasize) {
  struct Row {
    const char* text;
    std::uint64_t bytes;
  };
  for (const Row& row : {Row{"4MB", 4194304}, Row{"4M", 4194304}, Row{"50G", 53687091200}, Row{"1 GB", 1073741824}, Row{"10", 10},
                         Row{"512kb", 524288}, Row{"0", 0}, Row{"7B", 7}, Row{"1.5MB", 1572864}}) {
    const auto parsed = parse_bytes(row.text);
    ASSERT_TRUE(parsed) << row.text;
    EXPECT_EQ(*parsed, row.bytes) << row.text;
  }
  for (const char* bad : {"", "MB", "4X", "4MBB", "-1", "4 4", "99999999999999999999", "9999999999GB"}) {
    EXPECT_FALSE(parse_bytes(bad)) << bad;
  }
}

TEST(Values, TimesAreGosAndBareIntegersAreNanoseconds) {
  EXPECT_EQ(*parse_duration("5s"), 5s);
  EXPECT_EQ(*parse_duration("300ms"), 300ms);
  EXPECT_EQ(*parse_duration("1h30m"), 90min);
  EXPECT_EQ(*parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(*parse_duration("3000000000"), 3s);
  EXPECT_EQ(*parse_duration("0"), 0s);
  for (const char* bad : {"", "s", "5x", "-5s", "5s5", "300000h0", "99999999999h"}) EXPECT_FALSE(parse_duration(bad)) << bad;
}

TEST(Values, RatesArePowersOfAThousand) {
  EXPECT_EQ(*parse_bits("200Mbit"), 200'000'000u);
  EXPECT_EQ(*parse_bits("10Gbit"), 10'000'000'000u);
  EXPECT_EQ(*parse_bits("12345"), 12345u);
  EXPECT_FALSE(parse_bits("fast"));
}

TEST(Values, WhatIsPrintedReadsBackAsItWas) {
  for (const std::uint64_t bytes : {0ULL, 1ULL, 1023ULL, 1024ULL, 4194304ULL, 53687091200ULL, 1099511627777ULL}) {
    EXPECT_EQ(*parse_bytes(format_bytes(bytes)), bytes);
  }
  for (const std::int64_t ns : {0LL, 1LL, 999LL, 1'500'000'000LL, 5'400'000'000'000LL, 3'600'000'000'001LL}) {
    EXPECT_EQ(parse_duration(format_duration(Duration(ns)))->count(), ns);
  }
  for (const std::uint64_t bits : {0ULL, 999ULL, 1000ULL, 2'000'000'000ULL}) EXPECT_EQ(*parse_bits(format_bits(bits)), bits);
}

TEST(Values, EditDistanceCountsChanges) {
  EXPECT_EQ(edit_distance("hashring", "hashring"), 0u);
  EXPECT_EQ(edit_distance("hashrng", "hashring"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
}

}  // namespace
}  // namespace kraken::config
