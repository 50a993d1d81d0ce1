// One run of whole nodes from one seed. First faults, with the invariants checked all along (safety). Then everything that is left
// is repaired (a node may stay dead for good, where the others suffice), and within bounded time every request has ended, every
// shard is where it should be, all replicas are equal and the terms rest (liveness).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tests/sim/whole/handlers.h"
#include "tests/sim/whole/node.h"
#include "tests/sim/whole/operator.h"

namespace kraken::sim::whole {

struct RunResult {
  uint64_t trace = 0;
  uint64_t rings = 0, configurations = 0;
  uint64_t steps = 0, events = 0, elections = 0, commits = 0, writes = 0, reads = 0, snapshots = 0, faults = 0, unknown = 0, searched = 0, compared = 0, altered = 0;
  Time ended{};
};

class Cluster {
 public:
  Cluster(uint64_t seed, const Reduction& reduction, bool verbose);
  /// Throws Violation (or raft::AssertionFailed) if anything that must hold does not.
  RunResult run();
  Time now() const { return world_.events.now(); }
  uint64_t faults() const { return faults_; }
  const Options& options() const { return world_.options; }

 private:
  void client(size_t which);
  void fault();
  void inject(Fault f);
  void partition();
  void crash_some();
  void hold_back();
  void crashed(size_t node);
  void restart(size_t node, Time max);
  void restart_later(size_t node, Time max);
  bool expendable(size_t node);
  bool nothing_lost();
  void lose(size_t node);
  void wipe(size_t node);
  void rot(size_t node);
  void restore_old(size_t node);
  void calm();
  std::string what_is_missing();
  std::string what_shard_lacks(ShardId shard);
  void print_replicas();
  void must_converge();
  Node* leader(ShardId shard);
  Node& any();
  ShardId any_shard() { return ShardId{static_cast<uint16_t>(world_.fault_random.below(world_.groups()))}; }

  std::shared_ptr<VirtualLoop> loop_;  // outlives what waits on it
  World world_;
  Handlers handlers_;
  Operator operator_;
  Reduction reduction_;
  std::vector<bool> lost_;                // disk damaged, old or gone: not to be counted on until it is replaced
  std::optional<size_t> dead_;            // for good, in the calm
  struct Image {
    Rows rows;
    Incarnation incarnation;
    uint64_t boot_epoch = 0;
  };
  std::vector<std::optional<Image>> images_;
  std::vector<size_t> favourite_;         // of each client
  uint64_t faults_ = 0, events_ = 0;
};

}  // namespace kraken::sim::whole
