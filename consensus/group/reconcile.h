#pragma once
// Bringing a shard's replicas to where the ring says, one small step a turn (consensus §1.7): a pure decision of the shard's leader.
//
// Level-triggered: each turn looks at the configuration in force and the target anew, so any leader may go on from anywhere.
// Order of steps: finish what is under way; drop learners that nobody wants; add a learner for each wanted node without a replica;
// wait until all wanted voters have caught up; give leadership to one that stays; change the voters, through a joint
// configuration, in one entry; drop the old voters, which have become learners.
// Safety rests on raft::Core (one change at a time, after a commit of the own term, joint majorities) and on ids that are never
// reused; a wrong or old target costs moves or time, never data.
// Threads: pure functions; the memory belongs to one leader and one group and may be lost at any time.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "consensus/group/system_state.h"
#include "consensus/raft/types.h"
#include "src/base/clock.h"

namespace kraken::group {

struct ReconcileLimits {
  Duration round = std::chrono::milliseconds(500);   // a learner that catches up with a round's begin within this has caught up (election_min)
  Duration patience = std::chrono::minutes(10);      // without progress a learner is dropped and its node left alone for as long
};

/// A leader's view of its group.
struct ShardView {
  raft::ReplicaId self{};
  bool serving = false;          // leads, and has committed an entry of its own term
  raft::ConfState conf;          // in force
  raft::Index conf_index{}, commit{};
  struct Peer {
    raft::ReplicaId id{};
    raft::Index match{};
    bool answers = false;        // lately
    bool snapshot = false;       // is being sent one
  };
  std::vector<Peer> peers;
};

/// What a leader remembers of a move between turns.
struct MoveMemory {
  struct Learner {
    raft::Index goal{};          // of the round under way
    Duration round_began{};
    bool caught_up = false;
    raft::Index best{};
    Duration progressed{};
  };
  std::map<raft::ReplicaId, Learner> learners;
  std::map<std::uint32_t, Duration> suspects;  // member number -> until when it gets no replica
};

struct MoveAction {
  enum class Kind : std::uint8_t {
    kNothing,   // `phase` says what is waited for; empty: all is where it should be
    kChange,    // make `target` the configuration (the core goes through a joint one if voters change)
    kTransfer,  // give leadership to `to`
  } kind = Kind::kNothing;
  raft::ConfState target{};
  raft::ReplicaId to{};
  std::string phase{};
  std::vector<std::uint32_t> adding{}, removing{};  // member numbers
  std::uint64_t behind = 0;                         // entries that the slowest replica being added lacks
  unsigned percent = 100;
};

/// may_send(member): whether one more replica may be begun there now (snapshots inbound are limited per node).
MoveAction reconcile(const ShardView& view, const Placement& target, const ReconcileLimits& limits,
                     const std::function<bool(std::uint32_t member)>& may_add, MoveMemory& memory, Duration now);

/// The configuration is the target: the right voters, no joint phase, no replica too many, none missing, committed.
bool at_target(const ShardView& view, const Placement& target);

}  // namespace kraken::group
