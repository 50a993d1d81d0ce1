// One simulated node: the production core, a disk, and the driver's duties towards both (consensus/raft/core.h says which).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "consensus/raft/core.h"
#include "tests/sim/disk.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/invariants.h"
#include "tests/sim/network.h"
#include "tests/sim/options.h"
#include "tests/sim/random.h"

namespace kraken::sim {

/// What all nodes of a run share.
struct World {
  World(const RunOptions& o, uint64_t seed) : options(o), random(seed), invariants(o.nodes) {}

  RunOptions options;
  EventQueue events;
  Random random;
  std::unique_ptr<Network> network;
  Invariants invariants;
  ClientHistory clients;
  std::vector<const Disk*> disks;
  std::map<uint64_t, State> snapshots;  // by snap_id; the bytes that travel outside the core
  uint64_t next_snap_id = 1;
  uint64_t trace = 0;                   // hash over everything that happened
  uint64_t steps = 0;
  bool verbose = false;

  Time delay(Time max) { return Time{static_cast<int64_t>(random.below(static_cast<uint64_t>(max.count()) + 1))}; }
};

class Node {
 public:
  Node(World& world, size_t number, const raft::ConfState& initial);

  raft::ReplicaId id() const { return raft::ReplicaId{number_ + 1}; }
  bool up() const { return core_ != nullptr; }
  bool frozen() const { return world_.events.now() < frozen_until_; }
  const raft::Core& core() const { return *core_; }
  const State& state() const { return state_; }
  const Disk& disk() const { return disk_; }

  void start();
  void crash();
  /// The process does nothing until then; what arrives waits.
  void freeze(Time until);
  /// Power goes at a chosen moment: right after the next step that writes, or right after the next sync, before anyone hears of it.
  /// `then` runs when it has happened.
  enum class CrashPoint : uint8_t { kNone, kAfterWrite, kAfterSync };
  void crash_at(CrashPoint point, std::function<void()> then) {
    crash_point_ = point;
    crashed_ = std::move(then);
  }
  void stall_disk(Time until) { disk_stalled_until_ = until; }

  void deliver(raft::Input input);

  using WriteDone = std::function<void(std::optional<raft::Reject>, raft::Index)>;
  void write(Command c, WriteDone done);
  /// Answers with the state once it is at least as new as now, or with a refusal and who leads.
  using ReadDone = std::function<void(const State*, raft::Reject, std::optional<raft::ReplicaId>)>;
  void read(ReadDone done);
  /// The same, but only the index: for another node that will serve the read itself.
  using IndexDone = std::function<void(std::optional<raft::Index>)>;
  void read_index(IndexDone done);
  void when_applied(raft::Index at, std::function<void(const State&)> then);

 private:
  struct BootLog : raft::LogView {
    explicit BootLog(const Image& image) : im(image) {}
    std::optional<raft::Term> term_at(raft::Index i) const override { return im.term_at(i); }
    raft::Index first() const override { return im.first(); }
    const Image& im;
  };

  void step(raft::Input input);
  void perform(raft::Output& out);
  void answer_clients(raft::Output& out);
  void send(const raft::Message& m);
  void start_sync();
  void sync_done(size_t count);
  void start_apply();
  void apply_some();
  void serve_reads();
  void fetch(const raft::Output::Fetch& f);
  void make_snapshot(raft::ReplicaId peer);
  void install(const raft::Output::Install& in);
  void maybe_compact();
  void arm_timer();
  void crash_here();
  /// Runs `f` later unless the process has ended by then; waits while it is frozen.
  void later(Time delay, std::function<void()> f);

  World& world_;
  size_t number_;
  Disk disk_;
  std::unique_ptr<raft::Core> core_;
  uint64_t boot_ = 0;  // counts starts; what belongs to an earlier one is dropped
  Time frozen_until_{}, disk_stalled_until_{};
  CrashPoint crash_point_ = CrashPoint::kNone;
  std::function<void()> crashed_;
  std::deque<std::function<void()>> backlog_;  // while frozen

  raft::Output out_;
  bool stepping_ = false;
  std::deque<raft::Input> inbox_;
  std::deque<raft::Output::Gated> gated_;
  Time timer_at_{};
  bool syncing_ = false, applying_ = false, sick_told_ = false;
  State state_;
  raft::Index apply_to_{};
  std::optional<raft::SnapMeta> installing_;
  raft::Index pin_{};
  Time pinned_until_{};

  raft::Seq next_ticket_ = 1;
  struct Write {
    WriteDone done;
    raft::Index index{};
    raft::Term term{};
  };
  std::map<raft::Seq, Write> writes_;
  std::map<raft::Index, raft::Seq> accepted_;
  struct Read {
    ReadDone done;
    IndexDone index_done;
  };
  std::map<raft::Seq, Read> reads_;
  std::vector<std::pair<raft::Index, std::function<void(const State&)>>> waiting_;
};

}  // namespace kraken::sim
