// The people behind the cluster: who is in the hashstate that each node is started with. During the faults they change their minds
// (a node more, a node less, another weight, one for another, not the same everywhere); in the calm they want one ring and go
// there step by step, as the operational guide says. What the nodes make of it is theirs.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/whole/node.h"

namespace kraken::sim::whole {

class Operator {
 public:
  /// restart(node, max): stops it, and starts it within `max`, unless it is not to run any more.
  /// whole(): no disk is gone. Only then may a ring become one of two nodes, which needs both.
  Operator(World& world, std::function<void(size_t, Time)> restart, std::function<bool()> whole)
      : world_(world), restart_(std::move(restart)), whole_(std::move(whole)) {}

  /// As formation leaves it: the first `founders` nodes are members, the others have empty disks and wait outside.
  void form();
  /// Another hashstate, rolled out over a while.
  void change();
  /// What is wanted in the end. `dead`: never comes back.
  void calm(std::optional<size_t> dead);
  /// The next step towards it.
  void steer();
  /// What the ring lacks; empty: it is the wanted one, and satisfied.
  std::string missing() const;

 private:
  using Ring = std::map<size_t, double>;  // node -> weight
  static std::vector<WishNode> hashstate(const Ring& ring);
  Ring adopted() const;
  std::optional<size_t> outside(const Ring& ring) const;
  static size_t any_of(const Ring& ring, Random& r);

  World& world_;
  std::function<void(size_t, Time)> restart_;
  std::function<bool()> whole_;
  Ring wanted_;
  std::optional<size_t> dead_;
  Time stuck_since_{};
};

}  // namespace kraken::sim::whole
