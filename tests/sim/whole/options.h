// What kind of run a seed is, drawn once, and by how much a run is reduced when somebody looks for the cause of a failure.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string_view>

#include "consensus/raft/core.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/random.h"

namespace kraken::sim::whole {

/// One bit each in Reduction::without; the names are what `--without` takes.
enum class Fault : uint8_t {
  kPartition,     // isolate one, halves, bridge, ring of majorities, one that does not hear, one that is not heard
  kClog,          // a link stops for seconds, then everything comes at once
  kDropKind,      // one kind of message is lost between all nodes
  kCrash,         // at once, or at a boundary of storage, apply, network or installation
  kFreeze,        // the process does nothing for a while; also all at once
  kJump,          // a node's clock jumps forward
  kSlowDisk,      // syncs take up to a second
  kSyncFails,     // the process dies and nobody knows what of the write is there
  kDiskFull,      // proposals are refused until somebody makes room
  kRot,           // a bit of a log record flips, or the record lies where another belongs
  kWipe,          // an empty disk
  kRestore,       // an older copy of the disk
  kSlowApply,
  kTransfer,      // leadership is handed over
  kMembership,    // nodes are started with another hashstate: one more, one less, another weight
  kHold,          // what a process said arrives after its next start was heard
  kCount,
};
inline constexpr std::array<std::string_view, static_cast<size_t>(Fault::kCount)> kFaultNames{
    "partition", "clog", "drop_kind", "crash", "freeze", "jump", "slow_disk", "sync_fails",
    "disk_full", "rot", "wipe", "restore", "slow_apply", "transfer", "membership", "hold"};

struct Reduction {
  uint64_t faults_max = std::numeric_limits<uint64_t>::max();  // no more are injected; also skipped ones count
  uint32_t without = 0;                                        // bits of Fault
  size_t nodes_max = std::numeric_limits<size_t>::max();
  size_t shards_max = std::numeric_limits<size_t>::max();
  uint64_t until_ms = 0;                                       // length of the faulty phase, 0: the run's own
  bool without_fault(Fault f) const { return (without >> static_cast<uint32_t>(f) & 1) != 0; }
};

struct Link {
  Time delay_min = us(100), delay_max = us(500);
  double loss = 0, repeat = 0, corrupt = 0;
  double slow = 0;
  Time slow_max = ms(300);
  bool connections = false;  // as TCP: nothing overtakes or is lost, but connections break; beats travel as differences
};

struct Options {
  size_t nodes = 3;              // in the ring or waiting outside
  size_t founders = 3;           // in the first ring
  size_t replicas = 3;           // voters of a data shard, at most
  size_t shards = 2;             // data shards: 1, 2 or 4; and group 0
  bool membership = false;       // the ring changes
  Time adopt_after = ms(500);    // how long nodes must have wished for a ring
  Time move_patience = ms(4'000);     // with a learner that gets nowhere
  raft::Options raft;
  Link link;
  double drift = 0;              // of clocks, at most this to either side
  Time late_timer = us(100);
  Time sync_min = us(50), sync_max = ms(2);
  double sync_stall = 0;
  Time apply_max = ms(1);
  Time disk_stall = ms(300);     // a sync that is out for longer makes the node hand over
  uint64_t compact_every = 0, compact_keep = 0;
  size_t inbox_max = 4'000;      // frames
  size_t in_flight_max = 64;     // proposals of a node to a shard
  size_t clients = 4;
  size_t repositories = 2, tags = 3;
  Time client_gap = ms(30);
  Time client_patience = ms(3'000);
  Time fault_gap = ms(500);
  std::array<uint32_t, static_cast<size_t>(Fault::kCount)> weight{};  // of each kind of fault
  Time faults_until = ms(8'000);
  Time calm_for = ms(14'000);

  static Options draw(Random& r, const Reduction& reduction);
};

inline Options Options::draw(Random& r, const Reduction& reduction) {
  Options o;
  const uint64_t size = r.below(100);
  o.founders = std::min<size_t>(size < 4 ? 1 : size < 8 ? 2 : size < 72 ? 3 : size < 82 ? 4 : 5, reduction.nodes_max);
  const uint64_t spread = r.below(100);
  o.shards = std::min<size_t>(spread < 55 ? 1 : spread < 90 ? 2 : 4, reduction.shards_max);
  o.membership = r.chance(0.6);
  o.nodes = std::min(o.founders + (o.membership ? r.below(3) : 0), std::max(o.founders, std::min<size_t>(reduction.nodes_max, 6)));
  o.adopt_after = ms(r.between(100, 800));
  if (r.chance(0.3)) o.move_patience = ms(r.between(700, 3'000));
  o.link.delay_max = us(r.chance(0.3) ? 20'000 : 800);
  o.link.connections = r.chance(0.5);
  o.link.loss = r.chance(0.5) ? 0 : static_cast<double>(r.below(30)) / 100;
  if (o.link.connections) o.link.loss /= 30;  // each costs a connection
  o.link.repeat = r.chance(0.5) ? 0 : static_cast<double>(r.below(50)) / 100;
  o.link.corrupt = r.chance(0.6) ? 0 : 0.002;
  o.link.slow = r.chance(0.5) ? 0 : static_cast<double>(r.below(15)) / 100;
  if (r.chance(0.5)) o.link.slow_max = ms(2'000);
  o.drift = r.chance(0.5) ? 0 : 0.1;
  o.late_timer = r.chance(0.3) ? ms(60) : us(100);
  o.sync_max = r.chance(0.3) ? ms(30) : ms(2);
  o.sync_stall = r.chance(0.7) ? 0 : 0.01;
  o.apply_max = r.chance(0.2) ? ms(150) : ms(1);
  o.compact_every = r.chance(0.25) ? 0 : r.between(5, 60);
  o.compact_keep = r.chance(0.5) ? 0 : r.below(40);
  if (r.chance(0.1)) o.inbox_max = 20;
  if (r.chance(0.3)) o.in_flight_max = r.between(1, 4);
  o.clients = r.between(2, 8);
  o.repositories = r.between(1, 4);
  o.tags = r.between(1, 5);
  o.client_gap = ms(r.chance(0.3) ? 8 : 40);
  o.client_patience = ms(r.chance(0.3) ? 400 : 3'000);
  o.fault_gap = ms(r.chance(0.3) ? 200 : 500);
  for (uint32_t& w : o.weight) w = r.chance(0.45) ? static_cast<uint32_t>(r.between(1, 8)) : 0;
  o.weight[static_cast<size_t>(Fault::kCrash)] += 2;
  o.weight[static_cast<size_t>(Fault::kMembership)] = o.membership ? std::max<uint32_t>(o.weight[static_cast<size_t>(Fault::kMembership)], 3) : 0;
  for (size_t f = 0; f < o.weight.size(); f++)
    if (reduction.without_fault(static_cast<Fault>(f))) o.weight[f] = 0;
  if (reduction.until_ms != 0) o.faults_until = ms(reduction.until_ms);
  // Small limits reach the code that big ones never enter.
  if (r.chance(0.3)) o.raft.max_append_bytes = r.between(1, 600);
  if (r.chance(0.3)) o.raft.max_inflight_msgs = static_cast<uint32_t>(r.between(1, 4));
  if (r.chance(0.2)) o.raft.max_inflight_bytes = r.between(1, 1'000);
  if (r.chance(0.2)) o.raft.max_uncommitted_bytes = r.between(1'000, 4'000);
  if (r.chance(0.4)) o.raft.keep_tail_bytes = o.raft.max_tail_bytes = 0;
  if (r.chance(0.1)) o.raft.max_pending_reads = 2;
  if (r.chance(0.1)) o.raft.election_rank_step = Time{};
  return o;
}

}  // namespace kraken::sim::whole
