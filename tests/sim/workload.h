// Clients: they write values that are never used twice, and read; at nodes of their choice, following hints to the leader.
#pragma once

#include <memory>
#include <vector>

#include "tests/sim/node.h"

namespace kraken::sim {

class Workload {
 public:
  Workload(World& world, std::vector<std::unique_ptr<Node>>& nodes) : world_(world), nodes_(nodes) {}

  /// One operation now, and the next after a random pause, until stop().
  void start();
  void stop() { stopped_ = true; }

  /// A write at this node; `done` says whether it was acknowledged.
  void write_at(size_t node, std::function<void(bool)> done);

 private:
  void one();
  void read_at(size_t node, int hops);
  void read_through(size_t leader, size_t server);

  World& world_;
  std::vector<std::unique_ptr<Node>>& nodes_;
  uint64_t next_value_ = 1;
  size_t favourite_ = 0;  // who answered last: most likely the leader
  bool stopped_ = false;
};

}  // namespace kraken::sim
