// Deliberate bugs of this folder, to prove that the simulator's invariants notice them (tests/sim): as consensus/raft/mutants.h.
// They exist only in the second build, `kraken_consensus_group_mutants`; in the product mutant() is the constant false.
#pragma once

#include <cstdint>

namespace kraken::group {

enum class Mutant : std::uint8_t {
  kNone,
  kSessionExecutesTwice,    // a stamp that has a result is executed again
  kSessionUnknownExecutes,  // a stamp of a session that is not there is executed
  kSessionOlderBoot,        // an older boot of a node takes the newer one's session over
  kSessionForgetsLow,       // results are dropped one too early
  kSessionNotStored,        // results are kept in memory alone
  kAppliedNotInBatch,       // the applied index does not always travel with the rows
  kTimeNotStored,           // replicated time begins anew after a restart
  kEntryUnbound,            // an entry's checksum says nothing about its place
  kEntryUnchecked,          // an entry's checksum is not looked at
  kFrameUnchecked,          // nor a frame's
  kTruncateOne,             // a truncation takes one entry away and leaves those behind it
  kVoteNotStored,           // the hard state on disk has the term and not the vote
  kForkAccepted,            // an old copy of a folder is believed once it has been started often enough
  kInstallKeepsLog,         // an installed snapshot leaves the old log in place
  kTwoMovesAtOnce,          // the next step of a move does not wait for the one before it to be committed
  kPromotedTooEarly,        // a learner that has not caught up becomes a voter
  kReplicaIdReused,         // ids are counted from the replicas there are, not from those there ever were
  kAdoptedByOne,            // a ring is adopted that one node wishes for, whatever the others say
  kAdoptedUnsettled,        // a ring is adopted before every shard has satisfied the one before
  kCount,
};

#ifdef KR_GROUP_MUTANTS
inline Mutant active_mutant = Mutant::kNone;
inline bool mutant(Mutant m) { return active_mutant == m; }
#else
constexpr bool mutant(Mutant) { return false; }
#endif

}  // namespace kraken::group
