#include "storage/kv/row_cache.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "src/base/rng.h"
#include "storage/kv/memory/memory_store.h"

namespace kraken::kv {
namespace {

/// Counts what it is asked.
class Counted final : public View {
 public:
  explicit Counted(const View& base) : base_(base) {}
  Result<std::optional<std::string>> get(Family family, std::string_view key) const override {
    ++gets;
    return base_.get(family, key);
  }
  Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const override {
    return base_.scan(family, from, to, reverse, each);
  }
  mutable int gets = 0;

 private:
  const View& base_;
};

class Rows : public ::testing::Test {
 protected:
  void write(const Batch& batch) {
    ASSERT_TRUE(store_.write(batch, Durability::kBuffered));
    cache_.wrote(batch);
  }
  void put(const std::string& key, const std::string& value, Family family = Family::kTag) {
    Batch batch;
    batch.put(family, key, value);
    write(batch);
  }
  std::optional<std::string> get(const std::string& key, Family family = Family::kTag) { return cache_.get(family, key).value(); }

  MemoryStore store_;
  Counted base_{store_};
  RowCache cache_{base_};
};

TEST_F(Rows, TheSameRowIsAskedOfTheStoreOnceAlsoWhenThereIsNone) {
  put("a", "1");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(get("a"), "1");
    EXPECT_EQ(get("none"), std::nullopt);
  }
  EXPECT_EQ(base_.gets, 2);
  EXPECT_EQ(get("a", Family::kBlob), std::nullopt) << "families are apart";
}

TEST_F(Rows, AWriteIsSeenAndSoAreAnErasureAndARange) {
  put("a", "1");
  EXPECT_EQ(get("a"), "1");
  put("a", "2");
  EXPECT_EQ(get("a"), "2");
  Batch erase;
  erase.put(Family::kTag, "a", "3");
  erase.erase(Family::kTag, "a");
  write(erase);
  EXPECT_EQ(get("a"), std::nullopt);
  put("a", "4");
  EXPECT_EQ(get("a"), "4");
  Batch range;
  range.erase_range(Family::kTag, "a", "b");
  range.put(Family::kTag, "ab", "5");
  write(range);
  EXPECT_EQ(get("a"), std::nullopt);
  EXPECT_EQ(get("ab"), "5");
}

TEST_F(Rows, WhatIsChangedPastItIsSeenOnceItIsCleared) {
  put("a", "1");
  EXPECT_EQ(get("a"), "1");
  Batch batch;
  batch.put(Family::kTag, "a", "2");
  ASSERT_TRUE(store_.write(batch, Durability::kBuffered));
  cache_.clear();
  EXPECT_EQ(get("a"), "2");
}

TEST_F(Rows, ItIsBoundedAndLargeRowsStayOut) {
  for (std::size_t i = 0; i < 3 * RowCache::kRows; ++i) get(fmt::format("key{}", i));
  EXPECT_LE(cache_.size(), RowCache::kRows);
  EXPECT_GE(cache_.size(), RowCache::kRows / 2);
  cache_.clear();
  put("large", std::string(RowCache::kRowBytes, 'x'));
  EXPECT_EQ(get("large")->size(), RowCache::kRowBytes);
  EXPECT_EQ(cache_.size(), 0U);
}

TEST_F(Rows, WhateverIsWrittenItAnswersAsTheStore) {
  Rng rng(7);
  const auto key = [&] { return fmt::format("k{:02}", rng.below(40)); };
  for (int round = 0; round < 20'000; ++round) {
    if (rng.below(4) != 0) {
      const std::string asked = key();
      ASSERT_EQ(get(asked), store_.get(Family::kTag, asked).value());
      continue;
    }
    Batch batch;
    for (std::uint64_t i = rng.below(4); i < 4; ++i) {
      const std::uint64_t what = rng.below(20);
      if (what == 0) {
        batch.erase_range(Family::kTag, key(), key());
      } else if (what < 6) {
        batch.erase(Family::kTag, key());
      } else {
        batch.put(Family::kTag, key(), fmt::format("{}", round));
      }
    }
    write(batch);
  }
}

}  // namespace
}  // namespace kraken::kv
