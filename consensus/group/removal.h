#pragma once
// What a replica knows of another one that is not in its configuration.

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

}  // namespace kraken::group
