// One replica in the search: the core, its disk, and what waits for the disk. A value: every action makes a new one.
//
// What is a free choice here, and so covered in every order: when a timer fires, when a disk finishes, when a crash comes, which message
// arrives. What is simplified, and why that hides no broken promise:
//  - Pre-votes are answered by the search itself, always with yes: they change nobody's state, so safety may not rest on them.
//  - A vote request reaches followers when they no longer shield their leader: shielding only loses requests.
//  - Reads, snapshots, transfers and configuration changes do not happen (the simulator has them).
//  - A restart applies again from the first entry.
//  - A write becomes durable with all that were submitted before it, in one action.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "consensus/raft/core.h"

namespace kraken::model {

inline constexpr size_t kReplicas = 3;

struct Limits {
  uint64_t terms = 3, entries = 4;
  uint64_t crashes = 2, beats = 2, proposals = 2;  // in one course, of all replicas together
  /// Disks finish at once: fewer actions, so deeper courses. A crash then loses only what is in memory.
  bool instant_disk = false;
};

struct Disk {
  raft::HardState hs;
  std::vector<raft::Entry> log;  // from index 1
};

class Replica {
 public:
  Replica(raft::ReplicaId id, const Disk& disk);
  /// Answers that cannot mean anything to it any more: it does not stand or lead in their term, and never will again.
  bool past(const raft::Message& m) const;
  Replica(const Replica& other);
  Replica& operator=(const Replica&) = delete;

  // ---- Actions. False: it does not apply here. `sent` gets the messages that leave. ----
  /// Its election timer fires and a majority gives it pre-votes.
  bool campaign(const Limits& limits, std::vector<raft::Message>& sent);
  /// A leader's time to beat.
  bool beat(const Limits& limits, std::vector<raft::Message>& sent);
  bool propose(const Limits& limits, std::vector<raft::Message>& sent);
  bool persist(std::vector<raft::Message>& sent);
  bool crash();
  bool deliver(const raft::Message& m, const Limits& limits, std::vector<raft::Message>& sent);

  raft::Core::View view() const { return core_.view(); }
  const Disk& disk() const { return disk_; }
  /// What the log will be when all writes are done; what the core holds.
  const std::vector<raft::Entry>& log() const { return log_; }
  bool writing() const { return !writes_.empty(); }

  void fingerprint(const std::function<raft::ReplicaId(raft::ReplicaId)>& rename, std::string& out) const;

 private:
  void step(raft::Input input, std::vector<raft::Message>& sent);
  bool done(const Limits& limits, std::vector<raft::Message>& sent);

  raft::ReplicaId id_;
  Disk disk_;
  struct Write {
    raft::Seq seq;
    std::optional<raft::HardState> hs;
    std::optional<raft::Index> truncate_from;
    std::vector<raft::Entry> append;
  };
  std::deque<Write> writes_;
  std::deque<raft::Output::Gated> held_;
  std::vector<raft::Entry> log_;
  raft::Time now_;
  raft::Seq durable_ = 0;
  raft::Core core_;
};

/// As in Core::fingerprint.
void fingerprint(const raft::Message& m, const std::function<raft::ReplicaId(raft::ReplicaId)>& rename, std::string& out);

}  // namespace kraken::model
