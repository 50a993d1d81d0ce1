#pragma once
// When group 0's leader makes a new hashstate the ring (consensus §1.6): a pure decision over what the nodes report of themselves.
//
// During a rolling restart old and new hashstates stand side by side and nothing moves. The new one is adopted once
//   (i)   every live node that it lists reports it (the nodes it adds must be among them, or their data folder is unknown);
//   (ii)  they are a majority of the nodes it lists, and of group 0's voters that it does not drop;
//   (iii) all have reported it for `stable_for` without a break;
//   (iv)  at most one node leaves, and every shard has a quorum of live voters both before and after;
//   (v)   every shard has satisfied the ring before.
// A leader whom the new ring does not have keeps the old hashstate and refuses those whom the new one adds; so it lets one lead who has
// the new one, and can hear them.
// `force` waives (iii) to (v). Wrong decisions could cost availability, never data: the quorum of a shard is in its own log.
// Threads: pure functions.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "consensus/group/system_state.h"
#include "src/base/clock.h"

namespace kraken::group {

/// What a node says of itself; that it is among the reports at all means that it is live.
struct NodeReport {
  std::string label;
  Incarnation incarnation;
  std::vector<WishNode> wish;  // its hashstate
  Duration since{};            // for how long it has reported this wish to us without a break
};

struct AdoptionView {
  const SystemState& state;
  std::string leader;  // group 0's, who asks
  std::vector<NodeReport> reports;
  std::vector<std::uint32_t> system_voters;  // member numbers: group 0's configuration in force
  Duration stable_for = std::chrono::seconds(30);
  bool force = false;
};

struct Adoption {
  std::optional<AdoptRing> command;
  /// What a ring that somebody wishes for waits for; empty if nobody wishes for another one, or if there is a command.
  std::string waits_for;
  /// If not empty: who shall lead group 0 instead, for the new ring's sake.
  std::string hand_over_to{};
};

Adoption decide_adoption(const AdoptionView& view, const Order& order);

}  // namespace kraken::group
