#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include <gtest/gtest.h>

#include "src/base/codec.h"
#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/hex.h"
#include "src/base/metrics.h"
#include "src/base/rng.h"
#include "src/base/strong.h"

namespace kraken {
namespace {

TEST(Error, EveryCodeHasItsOwnNameAndUnknownOnesAreInternal) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(Code::kPending); ++code) names.insert(info(static_cast<Code>(code)).name);
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Code::kPending) + 1);
  EXPECT_EQ(info(static_cast<Code>(200)).name, "internal");
}

TEST(Error, AWriteOfUnknownOutcomeIsNotRetryable) {
  EXPECT_FALSE(info(Code::kOutcomeUnknown).retryable);
  EXPECT_EQ(info(Code::kOutcomeUnknown).effect, Effect::kUnknown);
  EXPECT_EQ(info(Code::kUnavailable).effect, Effect::kNone);
}

Result<int> half(int value) {
  if (value % 2 != 0) return fail(Code::kInvalidArgument, "{} is odd", value);
  return value / 2;
}

Result<int> quarter(int value) {
  KR_TRY(const int once, half(value));
  KR_TRY(const int twice, half(once));
  return twice;
}

TEST(Error, TryGivesTheValueOrReturnsTheError) {
  EXPECT_EQ(quarter(8).value(), 2);
  const auto failed = quarter(6);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().to_string(), "invalid_argument: 3 is odd");
}

TEST(Error, FullDisksAreTold) {
  EXPECT_EQ(fail_errno(ENOSPC, "x").error().code, Code::kDiskFull);
  EXPECT_EQ(fail_errno(EIO, "x").error().code, Code::kIo);
}

TEST(Codec, WhatIsWrittenIsRead) {
  const std::string bytes = Writer().u8(1).u16(2).u32(3).u64(4).i64(-5).boolean(true).bytes("six").raw("7").take();
  Reader reader(bytes);
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u16(), 2);
  EXPECT_EQ(reader.u32(), 3u);
  EXPECT_EQ(reader.u64(), 4u);
  EXPECT_EQ(reader.i64(), -5);
  EXPECT_TRUE(reader.boolean());
  EXPECT_EQ(reader.bytes(), "six");
  EXPECT_EQ(reader.raw(1), "7");
  EXPECT_TRUE(reader.finish("test"));
}

TEST(Codec, OrderOfBytesIsOrderOfValues) {
  Rng rng(1);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t a = rng.next() >> rng.below(64);
    const std::uint64_t b = rng.next() >> rng.below(64);
    EXPECT_EQ(a < b, Writer().u64(a).str() < Writer().u64(b).str());
  }
}

TEST(Codec, EveryCutGivesAnErrorAndNeverReadsBeyond) {
  const std::string whole = Writer().u32(7).bytes("hello").u64(9).take();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Reader reader(std::string_view(whole).substr(0, size));
    reader.u32();
    reader.bytes();
    reader.u64();
    EXPECT_FALSE(reader.finish("test")) << size;
  }
}

TEST(Codec, CountsThatCannotFitAreRefusedBeforeAnythingIsReserved) {
  const std::string bytes = Writer().u32(0xffffffff).raw("abcd").take();
  Reader reader(bytes);
  EXPECT_EQ(reader.count(8), 0u);
  EXPECT_FALSE(reader.ok());
}

TEST(Hex, RoundTripAndRefusal) {
  EXPECT_EQ(to_hex(std::string_view("\x00\xff\x10", 3)), "00ff10");
  EXPECT_EQ(from_hex("00FF10"), std::string("\x00\xff\x10", 3));
  EXPECT_FALSE(from_hex("0"));
  EXPECT_FALSE(from_hex("0g"));
}

TEST(Rng, SameSeedSameNumbersWithinBounds) {
  Rng a(42);
  Rng b(42);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t value = a.below(7);
    EXPECT_EQ(value, b.below(7));
    EXPECT_LT(value, 7u);
  }
}

TEST(Strong, IdsOfDifferentKindsAreDifferentTypes) {
  using A = Strong<int, struct ATag>;
  using B = Strong<int, struct BTag>;
  static_assert(!std::is_convertible_v<A, B> && !std::is_convertible_v<int, A>);
  EXPECT_LT(A(1), A(2));
}

TEST(File, ReplaceLeavesTheOldContentOrTheNew) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / fmt::format("kraken-base-test-{}", ::getpid());
  ASSERT_TRUE(file::make_folders(folder));
  const auto path = folder / "x";
  ASSERT_TRUE(file::replace(path, "one"));
  ASSERT_TRUE(file::replace(path, "two"));
  EXPECT_EQ(file::read_all(path, 100).value(), "two");
  EXPECT_EQ(file::read_all(path, 2).error().code, Code::kTooLarge);
  EXPECT_EQ(file::read_all(folder / "absent", 2).error().code, Code::kNotFound);
  std::filesystem::remove_all(folder);
}

TEST(Metrics, SameNameAndLabelsAreTheSameCounter) {
  metrics::counter("kr_test_things_total", "Things.", {{"kind", "a"}}).add(2);
  metrics::counter("kr_test_things_total", "Things.", {{"kind", "a"}}).add();
  EXPECT_EQ(metrics::counter("kr_test_things_total", "Things.", {{"kind", "a"}}).value(), 3);
  EXPECT_NE(metrics::scrape().find("kr_test_things_total{kind=\"a\"} 3"), std::string::npos);
}

}  // namespace
}  // namespace kraken
