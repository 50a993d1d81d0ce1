#include "consensus/group/replica.h"

#include <xxhash.h>

#include "consensus/group/log_store.h"
#include "src/base/codec.h"
#include "storage/kv/keys.h"

namespace kraken::group {
namespace {

constexpr std::uint8_t kVersion = 1;

std::string about_key(ShardId shard, char what) {
  std::string key = kv::shard_prefix(shard);
  key += '\0';
  key += what;
  return key;
}

std::uint64_t checksum(char what, ShardId shard, std::uint64_t value) {
  Writer record;
  record.u8(static_cast<std::uint8_t>(what)).u16(shard.value()).u64(value);
  return XXH3_64bits(record.str().data(), record.size());
}

std::string number(char what, ShardId shard, std::uint64_t value) {
  Writer out;
  out.u64(checksum(what, shard, value)).u8(kVersion).u64(value);
  return std::move(out).take();
}

Result<std::optional<std::uint64_t>> load(const kv::View& view, char what, ShardId shard) {
  KR_TRY(const auto bytes, view.get(kv::Family::kRaft, about_key(shard, what)));
  if (!bytes) return std::nullopt;
  Reader in(*bytes);
  const std::uint64_t sum = in.u64();
  const std::uint8_t version = in.u8();
  const std::uint64_t value = in.u64();
  KR_CHECK(in.finish("replica record"));
  if (version != kVersion) return fail(Code::kUnsupported, "replica record: version {}, known is {}", version, kVersion);
  if (sum != checksum(what, shard, value)) return fail(Code::kCorrupt, "shard {}: record '{}' fails its checksum", shard.value(), what);
  return value;
}

}  // namespace

std::string replica_key(ShardId shard) { return about_key(shard, 'r'); }
std::string encode_replica(ShardId shard, raft::ReplicaId self) { return number('r', shard, raft::raw(self)); }

Result<std::optional<raft::ReplicaId>> load_replica(const kv::View& view, ShardId shard) {
  KR_TRY(const auto value, load(view, 'r', shard));
  if (!value) return std::nullopt;
  if (*value == 0) return fail(Code::kCorrupt, "shard {}: replica 0", shard.value());
  return raft::ReplicaId{*value};
}

std::string tombstone_key(ShardId shard) { return about_key(shard, 't'); }
std::string encode_tombstone(ShardId shard, std::uint64_t min_sequence) { return number('t', shard, min_sequence); }

Result<std::uint64_t> load_tombstone(const kv::View& view, ShardId shard) {
  KR_TRY(const auto value, load(view, 't', shard));
  return value.value_or(1);
}

kv::Batch first_replicas(const SystemState& state, std::uint32_t own, const Order& order) {
  kv::Batch batch;
  for (std::uint16_t i = 0; i <= state.shards; ++i) {
    const ShardId shard{i};
    const Placement placement = place(state, shard, order);
    raft::SnapMeta meta{.index = kGenesisIndex, .term = kGenesisTerm, .conf = {}, .snap_id = 0};
    std::optional<raft::ReplicaId> self;
    meta.conf.placement_epoch = 1;
    meta.conf.next_replica = 1;
    for (const auto* list : {&placement.voters, &placement.learners}) {
      for (const std::uint32_t number : *list) {
        const raft::ReplicaId id = raft::replica_id(number, meta.conf.next_replica++);
        (list == &placement.voters ? meta.conf.voters : meta.conf.learners).push_back(id);
        if (number == own) self = id;
      }
    }
    if (!self) continue;
    batch.put(kv::Family::kRaft, replica_key(shard), encode_replica(shard, *self));
    batch.put(kv::Family::kRaft, snap_meta_key(shard), encode_snap_meta(shard, meta));
    batch.put(kv::Family::kRaft, hard_state_key(shard), encode_hard_state(shard, {.term = kGenesisTerm, .vote = std::nullopt}));
    batch.put(kv::Family::kSession, applied_key(shard),
              encode_applied({.index = kGenesisIndex, .term = kGenesisTerm, .now = {}, .digest = StateDigest::first()}));
    if (shard == kSystemShard) batch.put(kv::Family::kSession, system_state_key(), encode(state));
  }
  return batch;
}

kv::Batch destroy_rows(ShardId shard, std::uint64_t min_sequence) {
  kv::Batch batch;
  const std::string from = kv::shard_prefix(shard);
  for (std::size_t family = 0; family < kv::kFamilies; ++family) batch.erase_range(kv::family_at(family), from, kv::after_prefix(from));
  batch.put(kv::Family::kRaft, tombstone_key(shard), encode_tombstone(shard, min_sequence));
  return batch;
}

}  // namespace kraken::group
