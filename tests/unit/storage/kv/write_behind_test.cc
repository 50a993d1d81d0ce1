#include "storage/kv/write_behind.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "src/base/rng.h"
#include "storage/kv/memory/memory_store.h"

namespace kraken::kv {
namespace {

/// Counts what it is asked and told.
class Counted final : public Store {
 public:
  explicit Counted(MemoryStore& base) : base_(base) {}
  Result<std::optional<std::string>> get(Family family, std::string_view key) const override {
    ++gets;
    return base_.get(family, key);
  }
  Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const override {
    return base_.scan(family, from, to, reverse, each);
  }
  Result<> write(const Batch& batch, Durability durability) override {
    if (refuses) return fail(Code::kIo, "the disk is gone");
    ++writes;
    rows += batch.operations().size();
    return base_.write(batch, durability);
  }
  std::unique_ptr<View> snapshot() const override { return base_.snapshot(); }
  Result<std::unique_ptr<ShardImport>> begin_import(ShardId shard) override { return base_.begin_import(shard); }
  Result<> flush() override { return base_.flush(); }
  Statistics statistics() const override { return base_.statistics(); }
  mutable int gets = 0;
  int writes = 0;
  std::size_t rows = 0;
  bool refuses = false;

 private:
  MemoryStore& base_;
};

class Rows : public ::testing::Test {
 protected:
  void put(const std::string& key, const std::string& value, Family family = Family::kTag) {
    Batch batch;
    batch.put(family, key, value);
    ASSERT_TRUE(rows_.write(std::move(batch)));
  }
  std::optional<std::string> get(const std::string& key, Family family = Family::kTag) { return rows_.get(family, key).value(); }
  std::optional<std::string> stored(const std::string& key, Family family = Family::kTag) { return memory_.get(family, key).value(); }
  std::string scanned(const View& view) {
    std::string all;
    EXPECT_TRUE(view.scan(Family::kTag, "", "", false, [&](std::string_view key, std::string_view value) {
      all += fmt::format("{}={} ", key, value);
      return true;
    }));
    return all;
  }

  MemoryStore memory_;
  Counted store_{memory_};
  WriteBehind rows_{store_};
};

TEST_F(Rows, TheSameRowIsAskedOfTheStoreOnceAlsoWhenThereIsNone) {
  Batch batch;
  batch.put(Family::kTag, "a", "1");
  ASSERT_TRUE(memory_.write(batch, Durability::kBuffered));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(get("a"), "1");
    EXPECT_EQ(get("none"), std::nullopt);
  }
  EXPECT_EQ(store_.gets, 2);
  EXPECT_EQ(get("a", Family::kBlob), std::nullopt) << "families are apart";
}

TEST_F(Rows, WhatIsWrittenIsSeenHereAtOnceAndInTheStoreOnceFlushed) {
  put("a", "1");
  put("b", "1");
  put("a", "2");
  EXPECT_EQ(get("a"), "2");
  EXPECT_EQ(stored("a"), std::nullopt);
  EXPECT_EQ(rows_.bytes(), 4U) << "two rows of two bytes";
  ASSERT_TRUE(rows_.flush());
  EXPECT_EQ(stored("a"), "2");
  EXPECT_EQ(stored("b"), "1");
  EXPECT_EQ(store_.writes, 1) << "all or nothing";
  EXPECT_EQ(store_.rows, 2U) << "what was written over was never there";
  EXPECT_EQ(rows_.bytes(), 0U);
  ASSERT_TRUE(rows_.flush());
  EXPECT_EQ(store_.writes, 1) << "nothing waited";
  EXPECT_EQ(get("a"), "2");
  EXPECT_EQ(store_.gets, 0) << "it was read while it waited";
  EXPECT_EQ(get("b"), "1");
  EXPECT_EQ(store_.gets, 1) << "it was not";
}

TEST_F(Rows, AnErasureIsARowAndARangeGoesThroughBehindWhatWaits) {
  put("a", "1");
  ASSERT_TRUE(rows_.flush());
  Batch erase;
  erase.put(Family::kTag, "a", "3");
  erase.erase(Family::kTag, "a");
  ASSERT_TRUE(rows_.write(std::move(erase)));
  EXPECT_EQ(get("a"), std::nullopt);
  EXPECT_EQ(stored("a"), "1");
  ASSERT_TRUE(rows_.flush());
  EXPECT_EQ(stored("a"), std::nullopt);
  put("a", "4");
  put("c", "4");
  EXPECT_EQ(get("a"), "4");
  Batch range;
  range.erase_range(Family::kTag, "a", "b");
  range.put(Family::kTag, "ab", "5");
  ASSERT_TRUE(rows_.write(std::move(range)));
  EXPECT_EQ(get("a"), std::nullopt);
  EXPECT_EQ(get("ab"), "5");
  EXPECT_EQ(get("c"), "4");
  EXPECT_EQ(scanned(memory_), "ab=5 c=4 ");
}

TEST_F(Rows, AScanHasWhatWaitsAndLeavesOtherFamiliesWaiting) {
  put("other", "1", Family::kSession);
  EXPECT_EQ(scanned(rows_), "");
  EXPECT_EQ(store_.writes, 0);
  put("b", "2");
  put("a", "1");
  EXPECT_EQ(scanned(rows_), "a=1 b=2 ");
  EXPECT_EQ(stored("other", Family::kSession), "1") << "one batch, as always";
}

TEST_F(Rows, WhatIsChangedPastItIsSeenOnceItIsCleared) {
  put("a", "1");
  EXPECT_EQ(get("a"), "1");
  ASSERT_TRUE(rows_.clear());
  EXPECT_EQ(stored("a"), "1");
  Batch batch;
  batch.put(Family::kTag, "a", "2");
  ASSERT_TRUE(memory_.write(batch, Durability::kBuffered));
  EXPECT_EQ(get("a"), "2");
}

TEST_F(Rows, AStoreThatRefusesIsAnError) {
  put("a", "1");
  store_.refuses = true;
  EXPECT_EQ(rows_.flush().error().code, Code::kIo);
  EXPECT_FALSE(rows_.clear());
  EXPECT_FALSE(rows_.scan(Family::kTag, "", "", false, [](std::string_view, std::string_view) { return true; }));
  Batch range;
  range.erase_range(Family::kTag, "a", "b");
  EXPECT_FALSE(rows_.write(std::move(range)));
  EXPECT_EQ(get("a"), "1") << "it still waits";
}

TEST_F(Rows, WhatWasReadIsBoundedAndLargeRowsStayOut) {
  for (std::size_t i = 0; i < 3 * WriteBehind::kRows; ++i) get(fmt::format("key{}", i));
  EXPECT_LE(rows_.size(), WriteBehind::kRows);
  EXPECT_GE(rows_.size(), WriteBehind::kRows / 2);
  ASSERT_TRUE(rows_.clear());
  put("large", std::string(WriteBehind::kRowBytes, 'x'));
  ASSERT_TRUE(rows_.flush());
  EXPECT_EQ(get("large")->size(), WriteBehind::kRowBytes);
  EXPECT_EQ(rows_.size(), 0U);
}

TEST_F(Rows, WhateverIsWrittenItAnswersAsAStoreThatGotItAtOnce) {
  Rng rng(7);
  MemoryStore plain;
  const auto key = [&] { return fmt::format("k{:02}", rng.below(40)); };
  for (int round = 0; round < 20'000; ++round) {
    const std::uint64_t act = rng.below(8);
    if (act == 0) {
      ASSERT_TRUE(rows_.flush());
      if (round % 16 == 0) ASSERT_EQ(scanned(memory_), scanned(plain));
      continue;
    }
    if (act < 6) {
      const std::string asked = key();
      ASSERT_EQ(get(asked), plain.get(Family::kTag, asked).value());
      if (round % 64 == 0) ASSERT_EQ(scanned(rows_), scanned(plain));
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
    ASSERT_TRUE(plain.write(batch, Durability::kBuffered));
    ASSERT_TRUE(rows_.write(std::move(batch)));
  }
}

}  // namespace
}  // namespace kraken::kv
