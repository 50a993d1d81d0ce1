#pragma once
// What one turn applies, of any shards: entries run through sessions and state machine over one overlay, and everything that
// follows from them (rows, sessions, applied index, replicated time) leaves as ONE batch (consensus §2.9). Written without a
// sync: the log it comes from is durable, and after a crash the state is a prefix with the applied index that belongs to it.
// Pure but for the state machine's observers: the applier's thread runs it in production, the simulator in virtual time.

#include <map>
#include <optional>

#include "consensus/group/envelope.h"
#include "consensus/group/log_store.h"
#include "consensus/group/sessions.h"
#include "consensus/group/state_digest.h"
#include "consensus/group/state_machine.h"
#include "storage/kv/overlay.h"

namespace kraken::group {

class ApplyTurn {
 public:
  /// All outlive this. `base` changes by the batches of this turn alone.
  ApplyTurn(const kv::View& base, StateMachine& machine, Sessions& sessions)
      : rows_(base), machine_(machine), sessions_(sessions) {}

  /// Where the shard stands before its first entry of this turn; later calls of the turn change nothing.
  void begin(ShardId shard, const AppliedState& at) { progress_.try_emplace(shard, at); }
  /// The answer of a kData entry, nothing for others. kInternal if the entry does not follow the one before; kCorrupt or
  /// kUnsupported if it cannot be read: all replicas read the same bytes, so an entry of a release of the future must stop
  /// this one, not be skipped by it. REQUIRES: begin(shard).
  Result<std::optional<Answer>> apply(ShardId shard, const raft::Entry& entry);

  const AppliedState& at(ShardId shard) const { return progress_.at(shard); }
  const std::map<ShardId, AppliedState>& progress() const { return progress_; }
  bool empty() const { return progress_.empty(); }
  std::size_t bytes() const { return rows_.bytes(); }
  /// Everything, and the turn begins anew.
  kv::Batch take_batch();

 private:
  Result<std::optional<Answer>> execute(ShardId shard, const raft::Entry& entry, AppliedState& at);

  kv::Overlay rows_;
  StateMachine& machine_;
  Sessions& sessions_;
  std::map<ShardId, AppliedState> progress_;
  DigestStep step_;
};

}  // namespace kraken::group
