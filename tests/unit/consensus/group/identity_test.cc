#include "consensus/group/identity.h"

#include <gtest/gtest.h>

#include "consensus/group/node.h"
#include "consensus/group/replica.h"
#include "src/base/hex.h"
#include "storage/kv/keys.h"
#include "storage/kv/memory/memory_store.h"

namespace kraken::group {
namespace {

SystemState state() {
  std::vector<AdoptRing::Node> nodes;
  for (const char* label : {"a", "b", "c"})
    nodes.push_back({.node = {.label = label, .host = "h", .port = 1}, .incarnation = Incarnation::random()});
  return found_cluster(Incarnation::random(), nodes[0].incarnation, 128, 3, nodes);
}

TEST(Identity, IsReadBackAsWritten) {
  kv::MemoryStore store;
  EXPECT_FALSE(load_identity(store)->identity);
  const Identity identity{.label = "node0", .shards = 128, .incarnation = Incarnation::random(), .boot_epoch = 9, .run = 77, .earlier = {6, 5}};
  const PeerMemory peer{.incarnation = Incarnation::random(), .boot_epoch = 3, .run = 5};
  kv::Batch batch;
  batch.put(kv::Family::kRaft, identity_key(), encode(identity));
  batch.put(kv::Family::kRaft, system_copy_key(), encode(state()));
  batch.put(kv::Family::kRaft, peer_key("node1"), encode(peer));
  batch.put(kv::Family::kRaft, pledge_key(), std::string(peer.incarnation.view()));
  ASSERT_TRUE(store.write(batch, kv::Durability::kSynced));
  const auto loaded = load_identity(store);
  ASSERT_TRUE(loaded) << loaded.error().to_string();
  EXPECT_EQ(loaded->identity->label, "node0");
  EXPECT_EQ(loaded->identity->incarnation, identity.incarnation);
  EXPECT_EQ(loaded->identity->boot_epoch, 9U);
  EXPECT_EQ(loaded->identity->run, 77U);
  EXPECT_EQ(loaded->identity->earlier, (std::vector<std::uint32_t>{6, 5}));
  EXPECT_EQ(loaded->system->nodes.size(), 3U);
  EXPECT_EQ(loaded->peers.at("node1").boot_epoch, 3U);
  EXPECT_EQ(loaded->pledge, peer.incarnation);
}

TEST(Identity, TheNewerOfTheCopyAndGroupZerosRowsCounts) {
  kv::MemoryStore store;
  SystemState newer = state();
  kv::Batch batch;
  batch.put(kv::Family::kRaft, system_copy_key(), encode(newer));
  ASSERT_EQ(newer.apply(Replace{"b", newer.active("b")->incarnation, Incarnation::random()}), SystemOutcome::kDone);
  batch.put(kv::Family::kSession, system_state_key(), encode(newer));
  ASSERT_TRUE(store.write(batch, kv::Durability::kSynced));
  EXPECT_EQ(load_identity(store)->system->epoch, 2U);
  kv::Batch later;
  ASSERT_EQ(newer.apply(Replace{"c", newer.active("c")->incarnation, Incarnation::random()}), SystemOutcome::kDone);
  later.put(kv::Family::kRaft, system_copy_key(), encode(newer));
  ASSERT_TRUE(store.write(later, kv::Durability::kSynced));
  EXPECT_EQ(load_identity(store)->system->epoch, 3U);
}

PeerMemory memory_of(const Identity& identity) {
  return {.incarnation = identity.incarnation, .boot_epoch = identity.boot_epoch, .run = identity.run};
}

// A counter of starts alone is overtaken by whoever restarts what was refused (kraken_sim 3489).
TEST(Starts, ACopyIsToldFromTheFolderHoweverOftenItIsStarted) {
  Identity folder{.label = "a", .shards = 1, .incarnation = Incarnation::random()};
  begin_start(folder, 0x1'0000'0001);
  Identity copy = folder;
  begin_start(folder, 2);
  const PeerMemory met = memory_of(folder);
  EXPECT_EQ(judge_start(met, met, folder.earlier), Start::kSame);
  EXPECT_EQ(judge_start(met, memory_of(copy), copy.earlier), Start::kOlder);
  begin_start(copy, 3);
  EXPECT_EQ(judge_start(met, memory_of(copy), copy.earlier), Start::kTwin);
  for (std::uint64_t run = 4; run < 40; ++run) {
    begin_start(copy, run);
    EXPECT_EQ(judge_start(met, memory_of(copy), copy.earlier), Start::kForked) << run;
    begin_start(folder, 100 + run);
    EXPECT_EQ(judge_start(met, memory_of(folder), folder.earlier), Start::kLater) << run;
  }
}

TEST(Starts, WhatLiesTooFarBackIsNotGuessed) {
  Identity folder{.label = "a", .shards = 1, .incarnation = Incarnation::random()};
  begin_start(folder, 1);
  const PeerMemory met = memory_of(folder);
  for (std::uint64_t run = 2; run < 2 + kEarlierRunsMax; ++run) begin_start(folder, run);
  EXPECT_EQ(judge_start(met, memory_of(folder), folder.earlier), Start::kLater);
  begin_start(folder, 9);
  EXPECT_EQ(folder.earlier.size(), kEarlierRunsMax);
  EXPECT_EQ(judge_start(met, memory_of(folder), folder.earlier), Start::kUnknown);
  EXPECT_TRUE(decode_identity(encode(folder)));
}

TEST(Replica, ItsRecordsAreBoundToTheirShard) {
  kv::MemoryStore store;
  kv::Batch batch;
  batch.put(kv::Family::kRaft, replica_key(ShardId{5}), encode_replica(ShardId{5}, raft::replica_id(3, 9)));
  batch.put(kv::Family::kRaft, replica_key(ShardId{6}), encode_replica(ShardId{5}, raft::replica_id(3, 9)));
  ASSERT_TRUE(store.write(batch, kv::Durability::kSynced));
  EXPECT_EQ(*load_replica(store, ShardId{5}), raft::replica_id(3, 9));
  EXPECT_FALSE(load_replica(store, ShardId{6}));
  EXPECT_EQ(*load_replica(store, ShardId{7}), std::nullopt);
  EXPECT_EQ(*load_tombstone(store, ShardId{5}), 1U);
}

TEST(Replica, DestroyingLeavesTheTombstoneAloneAndOtherShardsUntouched) {
  kv::MemoryStore store;
  kv::Batch batch;
  for (const ShardId shard : {ShardId{4}, ShardId{5}, ShardId{6}}) {
    batch.put(kv::Family::kRaft, replica_key(shard), encode_replica(shard, raft::replica_id(3, 9)));
    batch.put(kv::Family::kTag, kv::shard_prefix(shard) + "\1x", "v");
  }
  ASSERT_TRUE(store.write(batch, kv::Durability::kSynced));
  ASSERT_TRUE(store.write(destroy_rows(ShardId{5}, 10), kv::Durability::kSynced));
  EXPECT_EQ(*load_replica(store, ShardId{5}), std::nullopt);
  EXPECT_EQ(*load_tombstone(store, ShardId{5}), 10U);
  for (const ShardId shard : {ShardId{4}, ShardId{5}, ShardId{6}})
    EXPECT_EQ(store.get(kv::Family::kTag, kv::shard_prefix(shard) + "\1x")->has_value(), shard != ShardId{5});
}

TEST(Shards, AreTheTopBitsPlusOne) {
  EXPECT_EQ(shard_of(std::uint16_t{0x0000}, 128), ShardId{1});
  EXPECT_EQ(shard_of(std::uint16_t{0xffff}, 128), ShardId{128});
  EXPECT_EQ(shard_of(std::uint16_t{0x0200}, 128), ShardId{2});
  EXPECT_EQ(shard_of(std::uint16_t{0xffff}, 1), ShardId{1});
}

}  // namespace
}  // namespace kraken::group
