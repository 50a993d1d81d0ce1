#include "http/range.h"

#include <gtest/gtest.h>

namespace kraken::http {
namespace {

struct Row {
  const char* header;
  std::optional<Range> expected;  // nullopt: the whole
};

TEST(Range, OneRangeIsTakenAndWhatCannotBeReadIsIgnored) {
  const Row rows[] = {
      {"bytes=0-99", Range{0, 100}},
      {"bytes=0-0", Range{0, 1}},
      {"bytes=100-", Range{100, 900}},
      {"bytes=-100", Range{900, 100}},
      {"bytes=-5000", Range{0, 1000}},
      {"bytes=990-5000", Range{990, 10}},
      {"bytes=0-99999999999999999999999", Range{0, 1000}},
      {"BYTES = 1-2", std::nullopt},
      {"Bytes=1-2", Range{1, 2}},
      {"bytes= 1 - 2 ", Range{1, 2}},
      {"", std::nullopt},
      {"bytes=", std::nullopt},
      {"bytes=-", std::nullopt},
      {"bytes=a-b", std::nullopt},
      {"bytes=5-4", std::nullopt},
      {"bytes=0-1,5-6", std::nullopt},
      {"bytes=+1-2", std::nullopt},
      {"items=0-1", std::nullopt},
  };
  for (const auto& row : rows) {
    auto parsed = parse_range(row.header, 1000);
    ASSERT_TRUE(parsed) << row.header;
    EXPECT_EQ(row.expected, *parsed) << row.header;
  }
}

TEST(Range, WhatLiesBehindTheEndIsNotSatisfiable) {
  for (const auto* header : {"bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=99999999999999999999999-"}) {
    auto parsed = parse_range(header, 1000);
    ASSERT_FALSE(parsed) << header;
    EXPECT_EQ(Code::kRangeNotSatisfiable, parsed.error().code);
  }
  EXPECT_FALSE(parse_range("bytes=0-", 0));
}

TEST(Range, ContentRangeGoesBothWays) {
  EXPECT_EQ("bytes 100-999/1000", content_range({100, 900}, 1000));
  EXPECT_EQ("bytes */1000", unsatisfied(1000));
  auto parsed = parse_content_range("bytes 100-999/1000");
  ASSERT_TRUE(parsed);
  EXPECT_EQ((Range{100, 900}), parsed->range);
  EXPECT_EQ(1000u, parsed->size);
  EXPECT_EQ(std::nullopt, parse_content_range("bytes 0-1/*")->size);
  for (const auto* bad : {"", "bytes", "bytes 1-0/5", "bytes 0-5/5", "bytes 0-/5", "bytes */5", "bytes 0-1", "0-5"})
    EXPECT_FALSE(parse_content_range(bad)) << bad;
}

}  // namespace
}  // namespace kraken::http
