#include "storage/kv/overlay.h"

#include <gtest/gtest.h>

#include "src/base/rng.h"
#include "storage/kv/keys.h"
#include "storage/kv/memory/memory_store.h"

namespace kraken::kv {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

Rows rows(const View& view, Family family, std::string_view from, std::string_view to, bool reverse, std::size_t most) {
  Rows found;
  EXPECT_TRUE(view.scan(family, from, to, reverse, [&](std::string_view key, std::string_view value) {
    found.emplace_back(key, value);
    return found.size() < most;
  }));
  return found;
}

TEST(Overlay, ReadsItsOwnWritesOverTheBase) {
  MemoryStore store;
  Batch batch;
  batch.put(Family::kTag, "a", "1");
  batch.put(Family::kTag, "b", "2");
  ASSERT_TRUE(store.write(batch, Durability::kSynced));
  Overlay overlay(store);
  overlay.put(Family::kTag, "a", "9");
  overlay.erase(Family::kTag, "b");
  overlay.put(Family::kTag, "c", "3");
  EXPECT_EQ(overlay.get(Family::kTag, "a").value(), "9");
  EXPECT_EQ(overlay.get(Family::kTag, "b").value(), std::nullopt);
  EXPECT_EQ(rows(overlay, Family::kTag, "", "", false, 10), (Rows{{"a", "9"}, {"c", "3"}}));
  EXPECT_EQ(store.get(Family::kTag, "a").value(), "1");
  EXPECT_EQ(overlay.get(Family::kBlob, "a").value(), std::nullopt);
}

// Random writes through an overlay read like the same writes on the store, at each step and after the batch is written.
TEST(Overlay, BehavesLikeTheStoreItStandsFor) {
  Rng rng(7);
  MemoryStore expected;
  MemoryStore base;
  for (int round = 0; round < 60; ++round) {
    Overlay overlay(base);
    for (int step = 0; step < 30; ++step) {
      const auto key = [&] { return std::string(1, static_cast<char>('a' + rng.below(12))); };
      Batch batch;
      switch (rng.below(4)) {
        case 0:
        case 1: {
          const std::string at = key();
          const std::string value = std::to_string(rng.below(1000));
          overlay.put(Family::kTag, at, value);
          batch.put(Family::kTag, at, value);
          break;
        }
        case 2: {
          const std::string at = key();
          overlay.erase(Family::kTag, at);
          batch.erase(Family::kTag, at);
          break;
        }
        default: {
          const std::string from = key();
          const std::string to = rng.chance(0.2) ? "" : key();
          overlay.erase_range(Family::kTag, from, to);
          batch.erase_range(Family::kTag, from, to);
        }
      }
      ASSERT_TRUE(expected.write(batch, Durability::kSynced));
      const std::string from = rng.chance(0.3) ? "" : key();
      const std::string to = rng.chance(0.3) ? "" : key();
      const bool reverse = rng.chance(0.5);
      const std::size_t most = 1 + rng.below(6);
      ASSERT_EQ(rows(overlay, Family::kTag, from, to, reverse, most), rows(expected, Family::kTag, from, to, reverse, most));
    }
    ASSERT_TRUE(base.write(overlay.take_batch(), Durability::kSynced));
    ASSERT_TRUE(overlay.empty());
    ASSERT_EQ(rows(base, Family::kTag, "", "", false, 99), rows(expected, Family::kTag, "", "", false, 99));
  }
}

TEST(Keys, ThePrefixIsBigEndianAndItsEndIsTheNextShard) {
  EXPECT_EQ(shard_prefix(ShardId{0x0102}), std::string("\x01\x02", 2));
  EXPECT_EQ(after_prefix(shard_prefix(ShardId{0x0102})), std::string("\x01\x03", 2));
  EXPECT_EQ(after_prefix(shard_prefix(ShardId{0x01ff})), std::string("\x02", 1));
  EXPECT_EQ(after_prefix("\xff\xff"), "");
  EXPECT_EQ(shard_of_key(std::string("\x01\x02z", 3)), ShardId{0x0102});
  EXPECT_EQ(shard_of_key("x"), kNodeShard);
}

}  // namespace
}  // namespace kraken::kv
