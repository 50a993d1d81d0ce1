#pragma once
// What a replica knows of another one that is not in its configuration.

#include <algorithm>

#include "consensus/group/system_state.h"
#include "consensus/raft/core.h"
#include "consensus/raft/quorum.h"

namespace kraken::group {

/// Whether a committed configuration here is without the replica for good. An id is given once, by the configuration whose next_replica
/// passes it, so one that was given and is missing never comes back (docs/consensus.md "Destroying").
inline bool is_removed(const raft::Core& core, raft::ReplicaId replica) {
  const auto view = core.view();
  const raft::ConfState& conf = core.conf();
  return view.conf_index <= view.commit && raft::sequence_of(replica) < conf.next_replica && !raft::contains(raft::members(conf), replica);
}

/// Of the system group, as a node knows it: whether it does without the votes of those that leave the ring. Before that no shard may be
/// said to be satisfied: with the last one they count as dead, and are not listened to any more. `applied`: the revision of the state that
/// the node's own replica has. A configuration from before the ring that they leave may be without them because they were still to come.
inline bool does_without_leavers(const SystemState& state, std::uint64_t applied, const raft::ConfState& conf, bool committed) {
  if (std::ranges::find(state.nodes, NodeState::kLeaving, &RingNode::state) == state.nodes.end()) return true;
  return applied >= state.revision && committed && !conf.voters.empty() && !conf.joint() && std::ranges::all_of(conf.voters, [&](raft::ReplicaId id) {
    const RingNode* row = state.member(raft::member_of(id));
    return row != nullptr && row->state != NodeState::kLeaving;
  });
}

}  // namespace kraken::group
