// Deliberate bugs, to prove that the simulator's invariants notice them (tests/sim). They exist only in the second build of this
// folder, `kraken_consensus_raft_mutants`; in the product's build mutant() is the constant false and nothing of them remains.
#pragma once

#include <cstdint>

namespace kraken::raft {

enum class Mutant : uint8_t {
  kNone,
  kVoteBeforeSync,       // a vote leaves before it is durable
  kAckBeforeSync,        // a follower acknowledges entries before they are durable
  kLeaderCountsUnsynced, // the leader counts its own entries before they are durable
  kCommitToLastIndex,    // a follower's commit goes to min(leader.commit, last) instead of what the message proved
  kBeatCommitUnclamped,  // beats carry the leader's commit, and the follower believes it up to its last entry
  kCommitOldTerm,        // entries of older terms are committed by counting
  kReadBeforeNoop,       // reads are served before an entry of the leader's own term is committed
  kReadWithoutQuorum,    // reads are served without asking anyone
  kReadSeqReuse,         // rounds of reads share one number, so old answers confirm new reads
  kClearVote,            // stepping down in the same term forgets the vote
  kVoteTwice,            // a second candidate of the term gets a vote too
  kVoteIgnoresLog,       // candidates with an older log get votes
  kPreVoteIgnoresLog,    // the same in pre-vote: useless elections
  kTruncateAlways,       // an append truncates even without a conflict
  kKeepAfterConflict,    // on a conflict only the conflicting entries are replaced, the rest stays
  kConfAtApply,          // a configuration is in force from its commit, not from its append
  kMajorityOfNewOnly,    // in a joint configuration only the incoming voters are asked
  kCount,
  // Of membership: nothing to be seen without a driver that moves replicas, so tests/sim/whole alone looks for them.
  kJointLeftEarly,       // a joint configuration is left before it is committed
  kChangesOverlap,       // a change is taken while one is under way (with group::Mutant::kTwoMovesAtOnce)
  kIdsUnchecked,         // a change may name any id (with group::Mutant::kReplicaIdReused)
};

#ifdef KR_RAFT_MUTANTS
inline Mutant active_mutant = Mutant::kNone;
inline bool mutant(Mutant m) { return active_mutant == m; }
#else
constexpr bool mutant(Mutant) { return false; }
#endif

}  // namespace kraken::raft
