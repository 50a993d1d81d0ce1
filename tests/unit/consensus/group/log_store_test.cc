#include "consensus/group/log_store.h"

#include <gtest/gtest.h>

#include "src/base/hex.h"
#include "storage/kv/memory/memory_store.h"

namespace kraken::group {
namespace {

using kv::Family;
using raft::Index;
using raft::ReplicaId;
using raft::Term;

constexpr ShardId kShard{5};

raft::Entry entry(std::uint64_t index, std::uint64_t term, std::string data = "x") {
  return {.term = Term{term}, .index = Index{index}, .kind = raft::Kind::kData, .data = std::make_shared<const std::string>(std::move(data))};
}

/// A shard whose log is [4, 8], compacted to 3, with entries up to 6 applied.
class LogStore : public ::testing::Test {
 protected:
  void SetUp() override {
    raft::SnapMeta snap{.index = Index{3}, .term = Term{2}, .conf = {}, .snap_id = 0};
    snap.conf.voters = {ReplicaId{1}, ReplicaId{2}, ReplicaId{3}};
    put(Family::kRaft, snap_meta_key(kShard), encode_snap_meta(kShard, snap));
    put(Family::kRaft, hard_state_key(kShard), encode_hard_state(kShard, {.term = Term{4}, .vote = ReplicaId{2}}));
    for (std::uint64_t i = 4; i <= 8; ++i) put(Family::kRaft, entry_key(kShard, Index{i}), encode_entry(kShard, entry(i, i < 7 ? 2 : 4)));
    put(Family::kSession, applied_key(kShard), encode_applied({.index = Index{6}, .term = Term{2}, .now = Duration(9)}));
  }
  void put(Family family, std::string key, std::string value) {
    kv::Batch batch;
    batch.put(family, std::move(key), std::move(value));
    ASSERT_TRUE(store_.write(batch, kv::Durability::kSynced));
  }
  void erase(Family family, std::string key) {
    kv::Batch batch;
    batch.erase(family, std::move(key));
    ASSERT_TRUE(store_.write(batch, kv::Durability::kSynced));
  }
  void expect_refused(std::string_view why) {
    const auto loaded = load_log(store_, kShard);
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().code, Code::kCorrupt);
    EXPECT_NE(loaded.error().detail.find(why), std::string::npos) << loaded.error().detail;
    EXPECT_NE(loaded.error().detail.find("kraken repair --set-aside"), std::string::npos);
  }
  kv::MemoryStore store_;
};

TEST_F(LogStore, AGoodLogIsLoaded) {
  const auto loaded = load_log(store_, kShard);
  ASSERT_TRUE(loaded) << loaded.error().to_string();
  EXPECT_EQ(loaded->boot.first, Index{4});
  EXPECT_EQ(loaded->boot.last, Index{8});
  EXPECT_EQ(loaded->boot.snap_term, Term{2});
  EXPECT_EQ(loaded->boot.hs.vote, ReplicaId{2});
  EXPECT_EQ(loaded->boot.applied, Index{6});
  EXPECT_EQ(loaded->applied.now, Duration(9));
  const LoadedTerms terms(*loaded);
  EXPECT_EQ(terms.term_at(Index{8}), Term{4});
  EXPECT_EQ(terms.term_at(Index{9}), std::nullopt);
  EXPECT_EQ(terms.term_at(Index{3}), std::nullopt);
}

TEST_F(LogStore, AHoleIsRefused) {
  erase(Family::kRaft, entry_key(kShard, Index{5}));
  expect_refused("index 5");
}

TEST_F(LogStore, ALogThatBeginsTooLateIsRefused) {
  erase(Family::kRaft, entry_key(kShard, Index{4}));
  expect_refused("index 4");
}

TEST_F(LogStore, ALostTailBelowWhatIsAppliedIsRefused) {
  for (std::uint64_t i = 6; i <= 8; ++i) erase(Family::kRaft, entry_key(kShard, Index{i}));
  expect_refused("applied is 6");
}

TEST_F(LogStore, ATermThatGoesBackIsRefused) {
  put(Family::kRaft, entry_key(kShard, Index{8}), encode_entry(kShard, entry(8, 3)));
  expect_refused("term goes back");
}

TEST_F(LogStore, ATermAboveTheHardStatesIsRefused) {
  put(Family::kRaft, entry_key(kShard, Index{8}), encode_entry(kShard, entry(8, 9)));
  expect_refused("hard state");
}

// ClickHouse#111454, #113654: the state file was lost in a crash, and the node voted again from term 0.
TEST_F(LogStore, ALostHardStateIsRefused) {
  erase(Family::kRaft, hard_state_key(kShard));
  expect_refused("hard state");
}

// Found by the fuzzer: with a log that is compacted to its end, the beginning alone says that the hard state must be there.
TEST_F(LogStore, ALostHardStateIsRefusedBesideAnEmptyLog) {
  for (std::uint64_t i = 4; i <= 8; ++i) erase(Family::kRaft, entry_key(kShard, Index{i}));
  put(Family::kSession, applied_key(kShard), encode_applied({.index = Index{3}, .term = Term{2}, .now = Duration(9)}));
  EXPECT_TRUE(load_log(store_, kShard));
  erase(Family::kRaft, hard_state_key(kShard));
  expect_refused("hard state");
}

TEST_F(LogStore, AMissingBeginningIsRefused) {
  erase(Family::kRaft, snap_meta_key(kShard));
  expect_refused("missing");
}

TEST_F(LogStore, AnyFlippedBitOfARecordIsFound) {
  for (const std::string& key : {entry_key(kShard, Index{7}), hard_state_key(kShard), snap_meta_key(kShard)}) {
    const std::string good = *store_.get(Family::kRaft, key).value();
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
      put(Family::kRaft, key, bad);
      ASSERT_EQ(load_log(store_, kShard).error().code, Code::kCorrupt) << bit;
    }
    put(Family::kRaft, key, good);
  }
  EXPECT_TRUE(load_log(store_, kShard));
}

// RocksDB's own checksums do not bind a value to its key.
TEST_F(LogStore, ARecordInAnothersPlaceIsFound) {
  EXPECT_FALSE(decode_entry(kShard, Index{5}, encode_entry(kShard, entry(4, 2))));
  EXPECT_FALSE(decode_entry(ShardId{6}, Index{4}, encode_entry(kShard, entry(4, 2))));
  EXPECT_TRUE(decode_entry(kShard, Index{4}, encode_entry(kShard, entry(4, 2))));
  EXPECT_FALSE(decode_hard_state(ShardId{6}, encode_hard_state(kShard, {.term = Term{4}, .vote = std::nullopt})));
}

TEST_F(LogStore, EntriesAreReadInPiecesOfAtLeastOne) {
  EXPECT_EQ(read_entries(store_, kShard, Index{4}, Index{8}, 1 << 20)->size(), 5U);
  EXPECT_EQ(read_entries(store_, kShard, Index{5}, Index{6}, 1 << 20)->size(), 2U);
  EXPECT_EQ(read_entries(store_, kShard, Index{5}, Index{8}, 1)->size(), 1U);
  EXPECT_EQ(read_entries(store_, kShard, Index{9}, Index{12}, 1).error().code, Code::kCorrupt);
}

// The examples of docs/formats/raft_log.md.
TEST_F(LogStore, KeysAndRecordsLookAsDocumented) {
  EXPECT_EQ(to_hex(entry_key(kShard, Index{258})), "0005010000000000000102");
  EXPECT_EQ(to_hex(hard_state_key(kShard)), "00050068");
  EXPECT_EQ(to_hex(snap_meta_key(kShard)), "00050073");
  EXPECT_EQ(to_hex(applied_key(kShard)), "00050061");
  const std::string record = encode_entry(kShard, entry(258, 2, "hi"));
  EXPECT_EQ(to_hex(record).substr(16), "010000000000000002016869");
}

}  // namespace
}  // namespace kraken::group
