#pragma once
// The ring that counts: the one adopted in the system group (shard 0), as opposed to what a hashstate file wishes for
// (consensus §1.6). Everything that is placed by label (voters of shards, owners of blobs) is placed over its active nodes.
// Threads: plain values; shared ones are immutable.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/envelope.h"

namespace kraken::group {

/// One node of the cluster, as the hashstate (or cluster.static) has it.
struct Member {
  std::string label;
  std::string host;  // name or address, resolved at each dial
  std::uint16_t port = 14001;
  double weight = 100;
  friend bool operator==(const Member&, const Member&) = default;
};

/// Labels best first for a key: weighted HRW (src/ring), handed in because this layer stands below the ring. The same on every
/// node. Empty: in order of label.
using Order = std::function<std::vector<std::string>(std::span<const Member>, std::string_view key)>;

/// Stored and sent: do not renumber.
enum class NodeState : std::uint8_t {
  kActive = 1,   // in the ring: things are placed on it
  kLeaving = 2,  // no longer in the ring, but may still hold what the current ring has not taken over yet
  kDead = 3,     // holds nothing that counts, and never will under this incarnation
};

struct RingNode {
  std::string label;
  std::string host;        // name or address
  std::uint16_t port = 0;  // node to node
  double weight = 100;
  Incarnation incarnation;
  NodeState state = NodeState::kActive;
  std::uint32_t member = 0;  // allocated by the system group, one per incarnation, never reused

  bool active() const { return state == NodeState::kActive; }
  friend bool operator==(const RingNode&, const RingNode&) = default;
};

struct AdoptedRing {
  /// Grows by one with each change of the ring: a node added, removed, replaced, another weight or host. 0: no cluster yet.
  std::uint64_t epoch = 0;
  /// Active and leaving nodes, in order of label; a label may be there twice: its new incarnation (active) and its old (leaving).
  std::vector<RingNode> nodes;
  /// Every shard has satisfied this epoch: replicas and records are where the active nodes say, nobody is leaving.
  bool settled = false;
};

}  // namespace kraken::group
