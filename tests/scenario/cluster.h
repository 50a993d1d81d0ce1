// Replicas whose disks, links and clocks move only when a scenario says so. Everything that a core wants is written, in words, to
// a trace; what must hold in every scenario (election safety, log matching, state machine safety) is checked after each step.
//
// Each replica has a clock of its own: only differences at one replica mean anything to the core.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "consensus/raft/core.h"

namespace kraken::scenario {

/// A command that makes no sense, or a broken invariant.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a disk holds for certain.
struct Image {
  raft::HardState hs;
  raft::SnapMeta snap;
  std::vector<raft::Entry> log;  // from snap.index + 1 on
  raft::Index applied{};

  raft::Index last() const { return snap.index + log.size(); }
  void truncate(raft::Index from) {
    while (!log.empty() && log.back().index >= from) log.pop_back();
  }
};

struct Replica {
  raft::ReplicaId id{};
  Image disk;
  struct Write {
    raft::Seq seq;
    std::optional<raft::HardState> hs;
    std::optional<raft::Index> truncate_from;
    std::vector<raft::Entry> append;
  };
  std::deque<Write> writes;                      // submitted, not durable
  std::deque<raft::Output::Gated> held;          // messages that wait for them
  std::vector<raft::Output::Fetch> fetches;
  std::vector<raft::ReplicaId> wants_snapshot;   // peers to make one for
  std::optional<raft::Output::Install> install;
  std::vector<raft::Entry> log;                  // disk.log with all writes done; from disk.snap.index + 1 on
  raft::Time now{std::chrono::seconds(1)};
  raft::Index applied{};
  std::unique_ptr<raft::Core> core;              // null while crashed

  bool up() const { return core != nullptr; }
};

class Cluster {
 public:
  Cluster(std::vector<Image> images, const raft::Options& options);

  /// What happened since the last call, a line each.
  std::vector<std::string> take_trace() { return std::exchange(trace_, {}); }
  void say(std::string line) {
    while (line.ends_with(' ')) line.pop_back();
    trace_.push_back(std::move(line));
  }

  size_t size() const { return replicas_.size(); }
  /// Failure if there is no such replica; with `must_be_up`, also if it is down.
  Replica& at(uint64_t id, bool must_be_up = true);
  std::deque<raft::Message>& in_flight() { return in_flight_; }

  void step(Replica& r, raft::Input input);
  /// Its clock moves on; the timer fires each time it is due.
  void pass(Replica& r, raft::Time t);
  /// Its clock jumps to its next deadline.
  void timeout(Replica& r);
  /// The oldest `count` writes become durable, and the core hears of the last of them.
  void persist(Replica& r, size_t count);
  void deliver(const raft::Message& m);
  void answer_fetches(Replica& r);
  void make_snapshots(Replica& r, bool ok);
  void install(Replica& r, bool ok);
  void compact(Replica& r, raft::Index upto);
  /// `durable`: how many of its writes reach the disk first, unnoticed.
  void crash(Replica& r, size_t durable);
  void restart(Replica& r);
  /// Sides that hear only themselves; empty: all hear all. Messages on their way across are lost.
  void partition(std::vector<std::vector<uint64_t>> sides);
  /// Persist, deliver, fetch, make and install snapshots among `ids` until nothing of that is left to do.
  void stabilize(const std::vector<uint64_t>& ids);

 private:
  void boot(Replica& r);
  void report(Replica& r, const raft::Core::View& before);
  void report_output(Replica& r);
  void send(raft::Message m);
  bool connected(raft::ReplicaId a, raft::ReplicaId b) const;
  void take_writes(Replica& r);
  void check_leader(const Replica& r);
  void check_log(const Replica& r);
  void apply(Replica& r);

  raft::Options options_;
  std::vector<Replica> replicas_;
  std::deque<raft::Message> in_flight_;
  std::vector<std::vector<uint64_t>> sides_;
  std::vector<std::string> trace_;
  raft::Output out_;
  uint64_t next_snapshot_ = 1;

  std::map<raft::Term, raft::ReplicaId> leaders_;
  struct Committed {
    std::string entry;  // in words
    raft::Term in{};    // the term of the replica that first applied it
  };
  std::map<raft::Index, Committed> committed_;
  std::map<std::pair<raft::Index, raft::Term>, std::string> histories_;    // the entry and the one before it
};

}  // namespace kraken::scenario
