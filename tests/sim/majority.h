// What a majority is, counted apart from consensus/raft/quorum.h: a bug there must not hide itself from the invariants.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "consensus/raft/types.h"

namespace kraken::sim {

template <class Holds>
bool most_hold(const std::vector<raft::ReplicaId>& voters, Holds& holds) {
  return static_cast<size_t>(std::count_if(voters.begin(), voters.end(), holds)) * 2 > voters.size();
}

/// Whether a majority of the voters holds it and, in a joint configuration, of the outgoing ones as well.
template <class Holds>
bool quorum_holds(const raft::ConfState& conf, Holds holds) {
  return most_hold(conf.voters, holds) && (conf.outgoing.empty() || most_hold(conf.outgoing, holds));
}

/// Whether the step from one configuration to the other is safe without a joint one between: the same voters.
inline bool same_voters(const raft::ConfState& one, const raft::ConfState& other) {
  return std::is_permutation(one.voters.begin(), one.voters.end(), other.voters.begin(), other.voters.end());
}

}  // namespace kraken::sim
