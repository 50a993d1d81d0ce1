// What must hold, checked from outside after every step, every sync, every message and every applied entry. Numbers are those of
// consensus §5.2; a violation names its own.
//
//  1 election safety        at most one leader a term and group, over the whole history
//  2 leader append-only     a leader never truncates or shortens its log
//  3 log matching           (index, term) stands for one entry and one history before it
//  4 leader completeness    a new leader has every entry committed in earlier terms
//  5 state machine safety   an index is committed with one entry only; an applied entry gives the reference's answer
//  6 monotonicity           durable term, applied index and boot epoch never go back, commit never within a boot
//  7 one vote               a replica's durable vote of a term never changes
//  8 nothing undurable said what a vote or an acknowledgement promises is on the sender's disk when it leaves
//  9 commit rule            a leader commits entries of its own term, when they are on the disks of a quorum of its configuration
// 10 configurations         at most one uncommitted change; none before the leader committed in its term; voters only through a joint one
// 11 replica ids            none is reused; one that was destroyed says nothing any more
// 12 snapshots              installed rows are those of the reference at that index
// 13 equal states           same shard and index, same rows, sessions included
// 14 linearizable reads     history.h
// 15 durability             history.h: what was acknowledged was executed, what was refused was not
// 16 sessions               a stamp is executed once: its later entries answer what the first did
// 17 tasks                  history.h
// 18 metainfo               history.h
// 19 placement, rings       membership.h; operator.cc: when all is quiet each shard is where it should be, no replica too many
// 20 bounds                 node.cc: queues and memory stay within their limits
// 21 local                  commit >= snapshot, last >= commit >= applied, a leader has voted for itself, followers have a timer
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "consensus/group/apply_turn.h"
#include "consensus/raft/core.h"
#include "src/metadata/machine.h"
#include "tests/sim/violation.h"
#include "tests/sim/whole/membership.h"
#include "tests/sim/whole/store.h"

namespace kraken::sim::whole {

using group::Answer;
using group::Stamp;
using raft::Core;
using raft::Entry;
using raft::Message;
using raft::Term;

/// How often the rows of a shard are compared, in entries. Turns of the applier end there.
inline constexpr uint64_t kCompareEvery = 32;

/// What is on one disk of one group, as far as the oracle was told.
struct DurableLog {
  ReplicaId self{};  // 0: no replica there
  raft::HardState hs;
  Index base{};
  Term base_term{};
  std::vector<Term> terms;

  Index last() const { return base + terms.size(); }
  std::optional<Term> term_at(Index i) const {
    if (i == base) return base_term;
    if (i < base || i > last()) return std::nullopt;
    return terms[raft::distance(base + 1, i)];
  }
  void write(const std::optional<raft::HardState>& state, std::optional<Index> truncate_from, const std::vector<Entry>& append);
  void compact(Index to, Term term);
  void install(const raft::SnapMeta& meta);
};

/// Hears of every entry once, when it is first committed anywhere, with the answer of the reference.
class CommitListener {
 public:
  virtual ~CommitListener() = default;
  virtual void committed(ShardId shard, Index index, const group::Envelope& envelope, const Answer& answer, bool first) = 0;
};

class Oracle {
 public:
  Oracle(size_t nodes, metadata::Shards shards, Directory& directory, Membership& membership, CommitListener& listener);

  /// Every shard's log begins behind group::kGenesisIndex, as the founders have it.
  void formed(const group::SystemState& state);

  void booted(size_t node, ShardId shard, ReplicaId self, const std::vector<Entry>& log, const raft::SnapMeta& snap, const Core& core);
  /// The node's process, with all its replicas, has begun anew.
  void started(size_t node, const Incarnation& incarnation, uint64_t boot_epoch);
  void stepped(size_t node, ShardId shard, const raft::Input& input, const raft::Output& out, const Core& core);
  void sent(size_t node, ShardId shard, const Message& m);
  void applied(size_t node, ShardId shard, const Entry& e, const std::optional<Answer>& answer, const group::StateDigest& digest);
  /// The rows of the shard as they are at `at`; `what` says where they come from.
  void rows(size_t node, ShardId shard, Index at, const kv::View& view, const char* what);
  void installed(size_t node, ShardId shard, const raft::SnapMeta& meta);
  /// What was applied up to here is durable.
  void applied_durable(size_t node, ShardId shard, Index at);
  /// After each change of what is durable.
  void durable(size_t node, ShardId shard);
  DurableLog& disk(size_t node, ShardId shard) { return tracks_[node][shard.value()].disk; }
  void destroyed(size_t node, ShardId shard, ReplicaId id);
  /// What the disk has after a crash: a replica of which nothing had reached it never was, one whose tombstone had is destroyed.
  void found(size_t node, ShardId shard, std::optional<ReplicaId> replica, uint64_t min_sequence);
  bool was_destroyed(ShardId shard, ReplicaId id) const { return groups_[shard.value()].destroyed.contains(id); }
  /// The disk is another one or an older one: what was known of it does not count.
  void disk_changed(size_t node);

  Index committed_to(ShardId shard) const { return Index{groups_[shard.value()].committed.size()}; }
  uint64_t elections() const;
  uint64_t commits() const;
  uint64_t compared() const { return compared_; }

 private:
  struct Track {  // of one replica
    DurableLog disk;
    Index chain_base{};
    std::vector<uint64_t> chain{0};
    bool leader = false;
    Term leader_term{}, durable_term{};
    Index last{}, commit{}, applied{}, conf_index{};
    ConfState conf;
  };
  struct Committed {
    uint64_t chain = 0;
    Term by{};
    uint64_t answer = 0;
    group::StateDigest digest;
  };
  struct Group {
    std::map<Term, ReplicaId> leaders;
    std::map<std::pair<Index, Term>, std::pair<uint64_t, Entry>> chains;
    std::vector<Committed> committed;
    std::map<Index, uint64_t> digests;
    std::map<ReplicaId, std::map<Term, ReplicaId>> votes;
    std::map<ReplicaId, bool> destroyed;
    group::AppliedState at{.digest = group::StateDigest::first()};
  };

  Track& track(size_t node, ShardId shard) { return tracks_[node][shard.value()]; }
  void remember(Group& g, const Entry& e, uint64_t chain);
  uint64_t extend(Track& t, const Entry& e);
  void check_log(Group& g, Track& t, const raft::Output& out);
  void check_roles(ShardId shard, size_t node, Group& g, Track& t, const Core& core, const raft::Output& out);
  void check_commit(ShardId shard, size_t node, Group& g, Track& t, const Core& core);
  void check_match(ShardId shard, size_t node, const Core& core);
  void check_conf(ShardId shard, const Track& t, const Core& core, const raft::Output& out);
  void check_local(size_t node, ShardId shard, const Core& core);
  void check_pre_vote(const raft::Input& input, const raft::Output& out, const Core::View& v) const;
  void commit(ShardId shard, Group& g, const Entry& e, uint64_t chain, Term by);
  const DurableLog* disk_of(ShardId shard, ReplicaId id);
  void digest(Group& g, ShardId shard, Index at, uint64_t digest, const std::string& who);

  Directory& directory_;
  Membership& membership_;
  CommitListener& listener_;
  std::vector<std::vector<Track>> tracks_;
  std::vector<Group> groups_;
  struct Started {
    Incarnation incarnation;
    uint64_t boot_epoch = 0;
    std::optional<Incarnation> lost;  // that of a disk that went back or away
    bool suspect = false;             // runs with what is left of it: nobody may listen, then it may say anything
  };
  std::vector<Started> started_;
  std::map<std::pair<ShardId, ReplicaId>, DurableLog> lost_;  // what was on disks that are gone: it counted while it was there
  // The reference: applies each committed entry once, without any deliberate bug.
  Rows reference_;
  RowsView reference_view_;
  group::Sessions sessions_;
  metadata::Machine commands_;
  group::SystemMachine machine_;
  struct Executed {
    uint64_t answer = 0;
  };
  // What a session must be, apart from what Sessions says.
  struct Session {
    uint64_t boot_epoch = 0, id = 0, low = 0;
  };
  void check_session(ShardId shard, const Entry& e, const group::Envelope& envelope, const Answer& answer);
  std::map<std::pair<ShardId, Incarnation>, Session> open_sessions_;
  std::map<std::string, Executed> stamps_;  // shard and stamp
  uint64_t compared_ = 0;
};

}  // namespace kraken::sim::whole
