// What kind of run a seed is: drawn once, so that seeds differ in kind and not only in luck.
#pragma once

#include "consensus/raft/core.h"
#include "tests/sim/network.h"
#include "tests/sim/random.h"

namespace kraken::sim {

struct RunOptions {
  size_t nodes = 3;              // replicas that exist; all vote unless `membership`
  bool membership = false;       // voters change during the run
  raft::Options raft;
  LinkQuality link;
  Time sync_min = us(50), sync_max = ms(2);
  double sync_stall = 0;         // chance that a sync takes up to 1.5 s
  Time apply_max = ms(1);
  uint64_t compact_every = 0;    // entries; 0 = never
  uint64_t compact_keep = 0;
  Time client_gap = ms(20);      // mean time between client operations
  Time fault_gap = ms(800);      // mean time between faults
  bool crashes = true, partitions = true, freezes = true, transfers = true;
  Time faults_until = ms(20'000);
  Time calm_until = ms(26'000);

  static RunOptions draw(Random& r) {
    RunOptions o;
    const uint64_t size = r.below(100);
    o.nodes = size < 4 ? 1 : size < 8 ? 2 : size < 70 ? 3 : size < 75 ? 4 : 5;
    o.membership = o.nodes >= 4 && r.chance(0.6);
    o.link.delay_max = us(r.chance(0.3) ? 20'000 : 800);
    o.link.ordered = r.chance(0.5);
    o.link.loss = r.chance(0.5) ? 0 : static_cast<double>(r.below(30)) / 100;
    o.link.repeat = r.chance(0.5) ? 0 : static_cast<double>(r.below(30)) / 100;
    o.link.slow = r.chance(0.5) ? 0 : static_cast<double>(r.below(15)) / 100;
    if (r.chance(0.5)) o.link.slow_max = ms(3'000);
    o.sync_max = r.chance(0.3) ? ms(40) : ms(2);
    o.sync_stall = r.chance(0.7) ? 0 : 0.01;
    o.apply_max = r.chance(0.2) ? ms(200) : ms(1);
    o.compact_every = r.chance(0.3) ? 0 : r.between(5, 60);
    o.compact_keep = r.chance(0.5) ? 0 : r.below(40);
    o.client_gap = ms(r.chance(0.3) ? 2 : 10);
    o.fault_gap = ms(r.chance(0.3) ? 250 : 800);
    o.crashes = r.chance(0.8);
    o.partitions = r.chance(0.8);
    o.freezes = r.chance(0.5);
    o.transfers = r.chance(0.5);
    // Small limits reach the code that big ones never enter.
    if (r.chance(0.3)) o.raft.max_append_bytes = r.between(1, 300);
    if (r.chance(0.3)) o.raft.max_inflight_msgs = static_cast<uint32_t>(r.between(1, 4));
    if (r.chance(0.2)) o.raft.max_inflight_bytes = r.between(1, 500);
    if (r.chance(0.2)) o.raft.max_uncommitted_bytes = r.between(100, 1000);
    if (r.chance(0.4)) o.raft.keep_tail_bytes = o.raft.max_tail_bytes = 0;
    return o;
  }
};

}  // namespace kraken::sim
