#pragma once
// A quorum that is lost for good (consensus §1.7, the end): from the stopped folders of the survivors, per shard, the longest log
// becomes the cluster's, under a configuration of the survivors alone. What only the lost nodes had is lost, acknowledged or not;
// a plan says where that may be so before anything is written.
//
// The survivors' recovery epoch (in their identity rows) goes up by one; a node with a lower one is refused by them until its
// folder is set aside, so that a lost node that comes back cannot bring the old history.
// Threads: one owner; blocks on the disk. For carry_out the stores are open for writing, and stay so from the plan on.

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "consensus/group/identity.h"
#include "consensus/group/log_store.h"
#include "storage/kv/store.h"

namespace kraken::group {

struct Survivor {
  std::string folder;
  kv::Store* store = nullptr;
};

/// What one folder has of one shard.
struct ShardCopy {
  std::size_t survivor = 0;  // in the order given
  raft::ReplicaId replica{};
  raft::Term last_term{};
  raft::Index last{}, applied{};
  raft::Term term{};  // of the hard state
  raft::ConfState conf;  // the last one, committed or not
};

struct ShardPlan {
  enum class Kind : std::uint8_t {
    kKeeps,     // a majority of its replicas is among the folders: nothing is written, nothing is lost
    kRecovers,  // `best` is continued
    kGone,      // none of the folders has a replica: all of it is lost, and it stays without a leader
  };
  ShardId shard;
  Kind kind{};
  std::vector<ShardCopy> copies;  // longest first
  std::vector<std::string> voters, missing;  // labels of the last configuration, and those without a folder here
  /// May entries have been acknowledged that none of the folders has?
  bool may_lose() const { return kind != Kind::kKeeps; }
};

struct RecoveryPlan {
  std::vector<std::string> labels;   // of the survivors
  Incarnation cluster_id;
  std::uint64_t epoch = 0;           // after the recovery
  std::vector<ShardPlan> shards;
  bool needed() const;
};

/// Reads alone. kConflict: the folders belong to several clusters, or twice to one node; kInvalidArgument: one never
/// joined a cluster; kCorrupt: a log is damaged, and then that folder must be left out.
Result<RecoveryPlan> plan_recovery(const std::vector<Survivor>& survivors);

/// kConflict if `running` (labels that answer) and the survivors together are a majority of some shard that would be
/// recovered: then nothing is lost, and the nodes are to be started instead.
Result<> check_majority_lost(const RecoveryPlan& plan, const std::set<std::string>& running);

/// One durable batch a folder. Repeating it after a crash in between is safe.
Result<> carry_out(const RecoveryPlan& plan, const std::vector<Survivor>& survivors);

/// One line a shard that is not kKeeps, then what it means; for the operator.
std::string describe(const RecoveryPlan& plan);

}  // namespace kraken::group
