#include "consensus/group/identity.h"

#include <gtest/gtest.h>

#include "consensus/group/node.h"
#include "src/base/hex.h"
#include "storage/kv/memory/memory_store.h"

namespace kraken::group {
namespace {

MemberTable table() {
  MemberTable made{.cluster_id = Incarnation::random(), .founder = Incarnation::random(), .shards = 128, .rows = {}};
  for (const char* label : {"a", "b", "c"})
    made.rows.push_back({.label = label, .weight = 100, .incarnation = Incarnation::random(), .replica = raft::ReplicaId{made.rows.size() + 1}});
  return made;
}

TEST(Identity, IsReadBackAsWritten) {
  kv::MemoryStore store;
  EXPECT_FALSE(load_identity(store)->identity);
  const Identity identity{.label = "node0", .shards = 128, .incarnation = Incarnation::random(), .boot_epoch = 9};
  const PeerMemory peer{.incarnation = Incarnation::random(), .boot_epoch = 3, .run = 5};
  kv::Batch batch;
  batch.put(kv::Family::kRaft, identity_key(), encode(identity));
  batch.put(kv::Family::kRaft, table_key(), encode(table()));
  batch.put(kv::Family::kRaft, peer_key("node1"), encode(peer));
  batch.put(kv::Family::kRaft, pledge_key(), std::string(peer.incarnation.view()));
  ASSERT_TRUE(store.write(batch, kv::Durability::kSynced));
  const auto loaded = load_identity(store);
  ASSERT_TRUE(loaded) << loaded.error().to_string();
  EXPECT_EQ(loaded->identity->label, "node0");
  EXPECT_EQ(loaded->identity->incarnation, identity.incarnation);
  EXPECT_EQ(loaded->identity->boot_epoch, 9U);
  EXPECT_EQ(loaded->table->rows.size(), 3U);
  EXPECT_EQ(loaded->peers.at("node1").boot_epoch, 3U);
  EXPECT_EQ(loaded->pledge, peer.incarnation);
}

TEST(Identity, ATableThatMakesNoSenseIsRefused) {
  const auto refused = [](auto change) {
    MemberTable changed = table();
    change(changed);
    return !decode_table(encode(changed));
  };
  EXPECT_FALSE(refused([](MemberTable&) {}));
  EXPECT_TRUE(refused([](MemberTable& t) { t.rows.clear(); }));
  EXPECT_TRUE(refused([](MemberTable& t) { t.rows[1].replica = t.rows[0].replica; }));
  EXPECT_TRUE(refused([](MemberTable& t) { t.rows[1].replica = raft::ReplicaId{}; }));
  EXPECT_TRUE(refused([](MemberTable& t) { t.rows[1].weight = 0; }));
  EXPECT_TRUE(refused([](MemberTable& t) { t.rows[1].label = "a"; }));
  EXPECT_TRUE(refused([](MemberTable& t) { t.rows[1].incarnation = {}; }));
  const std::string bytes = encode(table());
  for (std::size_t i = 0; i < bytes.size(); ++i) EXPECT_FALSE(decode_table(bytes.substr(0, i)));
}

TEST(Shards, AreTheTopBitsPlusOne) {
  EXPECT_EQ(shard_of(std::uint16_t{0x0000}, 128), ShardId{1});
  EXPECT_EQ(shard_of(std::uint16_t{0xffff}, 128), ShardId{128});
  EXPECT_EQ(shard_of(std::uint16_t{0x0200}, 128), ShardId{2});
  EXPECT_EQ(shard_of(std::uint16_t{0xffff}, 1), ShardId{1});
}

}  // namespace
}  // namespace kraken::group
