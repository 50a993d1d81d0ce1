// One run: nodes, clients and faults from one seed. First faults, with the invariants checked after every step (safety); then
// everything is repaired, and within bounded time a leader must serve, all nodes converge and the term must rest (liveness).
#pragma once

#include <memory>
#include <vector>

#include "tests/sim/node.h"
#include "tests/sim/workload.h"

namespace kraken::sim {

struct RunResult {
  uint64_t trace = 0;
  uint64_t steps = 0, events = 0, elections = 0, commits = 0, writes = 0, reads = 0, snapshots = 0;
};

class Cluster {
 public:
  Cluster(uint64_t seed, bool verbose);
  /// Throws Violation (or raft::AssertionFailed) if anything that must hold does not.
  RunResult run();

 private:
  void fault();
  void partition();
  void crash_some();
  void crashed(size_t node);
  void change_membership();
  void calm();
  void must_converge();
  Node* leader();
  raft::ConfState first_conf() const;

  World world_;
  std::vector<std::unique_ptr<Node>> nodes_;
  Workload workload_;
  bool calm_ = false;
  uint64_t events_ = 0;
};

}  // namespace kraken::sim
