// What must hold in every run, checked after every step from outside: from outputs, views, disks and messages, never by asking the
// core whether it is right. Numbers and names are those of the replication design (election safety, log matching, ...):
//
//  1 election safety        at most one leader a term, over the whole history
//  2 leader append-only     a leader never truncates or shortens its log
//  3 log matching           (index, term) stands for one entry and one history before it
//  4 leader completeness    a new leader has every entry committed in earlier terms
//  5 state machine safety   an index is committed, and applied, with one entry only; same index, same state
//  6 monotonicity           durable term and applied index never go back, commit never within a boot
//  7 one vote               a replica's durable vote of a term never changes
//  8 nothing undurable said what a vote or an acknowledgement promises is on the sender's disk when it leaves
//  9 commit rule            a leader commits its own term's entries, when they are on the disks of a quorum of its configuration
// 10 configurations         at most one uncommitted change; none before the leader committed in its term; consecutive quorums meet
// 14 linearizable reads     a read sees every write acknowledged, and every value read, before it began
// 15 durability             an acknowledged write stays; a refused one never happens
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "consensus/raft/core.h"
#include "tests/sim/disk.h"
#include "tests/sim/violation.h"

namespace kraken::sim {

/// The history before each index of one log, as a chain of hashes: the checker's own copy of what a node's log is.
class Chain {
 public:
  void rebuild(raft::Index base, uint64_t base_hash, const std::vector<raft::Entry>& entries);
  void truncate(raft::Index from);
  uint64_t append(const raft::Entry& e);
  raft::Index base() const { return base_; }
  raft::Index last() const { return base_ + (hashes_.size() - 1); }
  uint64_t at(raft::Index i) const { return hashes_.at(raft::distance(base_, i)); }
  bool covers(raft::Index i) const { return i >= base_ && i <= last(); }

 private:
  raft::Index base_{};
  std::vector<uint64_t> hashes_{0};  // [0] is that of base_
};

class Invariants {
 public:
  explicit Invariants(size_t nodes) : nodes_(nodes) {}

  /// A node starts (again) from what its disk kept.
  void booted(size_t node, const Image& image, const raft::Core& core);
  /// After each step. `disks` are everybody's, for the commit rule.
  void stepped(size_t node, const raft::Input& input, const raft::Output& out, const raft::Core& core, const std::vector<const Disk*>& disks);
  void installed(size_t node, const raft::SnapMeta& meta);
  void synced(size_t node, const Image& durable);
  void sent(size_t node, const raft::Message& m, const Image& durable);
  void applied(size_t node, const raft::Entry& e, const State& state);

  raft::Index committed_to() const { return raft::Index{committed_.size()}; }
  /// The value of a committed write's entry, at most once per value.
  bool value_committed(uint64_t value) const { return values_.contains(value); }
  uint64_t elections() const { return leaders_.size(); }

 private:
  struct Node {
    Chain chain;
    bool leader = false;
    raft::Term leader_term{}, durable_term{};
    raft::Index last{}, commit{}, durable_applied{};
    std::map<raft::Term, raft::ReplicaId> votes;
  };
  struct Committed {
    uint64_t chain;
    raft::Term by;  // the leader's that first committed it
  };

  void check_roles(size_t i, Node& n, const raft::Core::View& v, const raft::Output& out);
  void check_log(Node& n, const raft::Output& out);
  void check_commit(size_t i, Node& n, const raft::Core& core, const raft::Core::View& v, const std::vector<const Disk*>& disks);
  void check_match(size_t i, const raft::Core& core, const std::vector<const Disk*>& disks);
  void check_conf(const raft::Core& core, const raft::Core::View& v, const raft::Output& out);
  void check_pre_vote(const raft::Input& input, const raft::Output& out, const raft::Core::View& v) const;
  void remember(raft::Index index, raft::Term term, uint64_t chain);

  std::vector<Node> nodes_;
  std::map<raft::Term, size_t> leaders_;
  std::map<std::pair<raft::Index, raft::Term>, uint64_t> chains_;  // (index, term) -> the history that ends there
  std::vector<Committed> committed_;  // [i] is index i + 1
  std::vector<uint64_t> states_;      // digest after applying index i + 1
  std::map<uint64_t, raft::Index> values_;
};

/// Reads and writes as clients saw them.
class ClientHistory {
 public:
  struct Floor {
    raft::Index index{};
  };
  /// What a read of `key` that begins now must at least see.
  Floor begin_read(size_t key) const { return {seen_[key]}; }
  void acknowledged(size_t key, uint64_t value, raft::Index at);
  void refused(uint64_t value) { refused_.push_back(value); }
  void read(size_t key, Floor floor, const State::Cell& cell);
  /// At the end: nothing acknowledged is gone, nothing refused came about.
  void settle(const Invariants& committed) const;

  uint64_t writes() const { return acknowledged_.size(); }
  uint64_t reads() const { return reads_; }

 private:
  std::array<raft::Index, kKeys> seen_{};
  std::vector<uint64_t> acknowledged_, refused_;
  uint64_t reads_ = 0;
};

}  // namespace kraken::sim
