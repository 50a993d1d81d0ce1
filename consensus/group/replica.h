#pragma once
// Which replicas a node has, and which it must never have again. Family::kRaft, about the shard:
//   [shard][00]['r'] the replica here     [shard][00]['t'] tombstone: replicas below this sequence are gone for good
// A replica is made by the first message of a leader that names it, and destroyed by a committed configuration without it.
// Format: docs/formats/raft_log.md. Threads: plain values.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "consensus/group/state_machine.h"
#include "consensus/group/system_state.h"
#include "consensus/raft/types.h"
#include "src/base/error.h"
#include "storage/kv/batch.h"
#include "storage/kv/view.h"

namespace kraken::group {

/// The logs of a new cluster begin as if they had been compacted to here, at this term: so an empty replica never takes its log
/// from the beginning for a whole one, but begins with a snapshot.
inline constexpr raft::Index kGenesisIndex{5};
inline constexpr raft::Term kGenesisTerm{1};

std::string replica_key(ShardId shard);
std::string encode_replica(ShardId shard, raft::ReplicaId self);
/// Nothing: no replica here. kCorrupt.
Result<std::optional<raft::ReplicaId>> load_replica(const kv::View& view, ShardId shard);

std::string tombstone_key(ShardId shard);
std::string encode_tombstone(ShardId shard, std::uint64_t min_sequence);
/// The least sequence that a replica of the shard may have here: 1 if none was destroyed.
Result<std::uint64_t> load_tombstone(const kv::View& view, ShardId shard);

/// What member `own` of a cluster that has just formed begins with: of each shard that it is a voter or learner of, where the log
/// begins, under the first configuration, which every member derives alike. REQUIRES: state.epoch == 1.
kv::Batch first_replicas(const SystemState& state, std::uint32_t own, const Order& order);

/// One batch, so that there is never a replica without its past or a past without its tombstone: everything of the shard goes.
kv::Batch destroy_rows(ShardId shard, std::uint64_t min_sequence);

}  // namespace kraken::group
