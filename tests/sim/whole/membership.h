// What group 0's log says of the cluster, as the reference has applied it, the configurations that each shard has committed, and what
// must hold of both. The simulator's own view: no node reads it.
//
// 10  a learner votes only once its disk has all up to the entry that made it one
// 11  a replica is destroyed only once a committed configuration is without it
// 12  a snapshot carries the configuration that was committed at its index
// 19  a ring is adopted when most of its nodes want it, none before every shard has satisfied the last one, and at most one
//     node leaves with it; a shard satisfies a ring when its committed configuration is the one that the ring says
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "consensus/group/system_state.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/violation.h"

namespace kraken::sim::whole {

using group::Incarnation;
using group::kSystemShard;
using group::Placement;
using group::SystemState;
using group::WishNode;
using kv::ShardId;
using raft::ConfState;
using raft::Index;
using raft::ReplicaId;

std::string label_of(size_t node);
size_t node_of(std::string_view label);
/// Weighted HRW as production's (src/ring).
std::vector<std::string> hrw(std::span<const group::Member> members, std::string_view key);
/// Hashstate of nodes with these weights.
WishNode wish_of(size_t node, double weight);

/// Which node a replica lives on.
class Directory {
 public:
  struct Replica {
    size_t node = 0;
    Incarnation incarnation;
    bool gone = false;  // destroyed, or its disk was
  };
  explicit Directory(size_t groups) : replicas_(groups) {}
  /// A member of group 0's log.
  void member(uint32_t number, size_t node, const Incarnation& incarnation) { members_.try_emplace(number, Replica{.node = node, .incarnation = incarnation}); }
  /// The folder is not there any more.
  void lost(const Incarnation& incarnation);
  /// Null for a member that the log has never named.
  Replica* find(ShardId shard, ReplicaId id);
  const std::map<ReplicaId, Replica>& of(ShardId shard) const { return replicas_[shard.value()]; }

 private:
  std::map<uint32_t, Replica> members_;
  std::vector<std::map<ReplicaId, Replica>> replicas_;
};

class Membership {
 public:
  Membership(const EventQueue& events, Directory& directory, size_t groups) : events_(events), directory_(directory), shards_(groups) {}

  /// The founders' state, and the configuration that each shard begins with.
  void formed(SystemState state, const std::vector<ConfState>& confs, Index at);
  const SystemState& state() const { return state_; }
  bool in_ring(size_t node) const { return state_.active(label_of(node)) != nullptr; }
  Placement target(ShardId shard) const { return group::place(state_, shard, hrw); }

  /// The node is started with this hashstate. Nothing: it is not up.
  void started_with(size_t node, const std::vector<WishNode>& wish);
  void committed(const group::SystemCommand& command, SystemState after);
  void committed(ShardId shard, Index index, const ConfState& conf);
  const ConfState& conf(ShardId shard) const { return shards_[shard.value()].confs.rbegin()->second; }

  void promoted(ShardId shard, const ConfState& before, const ConfState& after, const std::function<Index(ReplicaId)>& durable_to) const;
  void destroyed(ShardId shard, ReplicaId id) const;
  void snapshot(ShardId shard, Index index, const ConfState& conf) const;
  uint64_t rings() const { return state_.epoch; }
  uint64_t changes() const { return changes_; }

 private:
  struct Shard {
    std::map<Index, ConfState> confs;    // committed
    std::map<ReplicaId, Index> named;    // first by the entry at
  };
  struct Wish {
    uint64_t hash = 0;
    Time from{};
    std::optional<Time> to;
  };
  void check_adoption(const group::AdoptRing& command, const SystemState& after) const;
  void take(SystemState state);

  const EventQueue& events_;
  Directory& directory_;
  SystemState state_;
  std::vector<Shard> shards_;
  std::map<size_t, std::vector<Wish>> wishes_;
  uint64_t changes_ = 0;
};

}  // namespace kraken::sim::whole
