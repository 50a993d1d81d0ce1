// Deliberate bugs of the state machine, to prove that the simulator notices them (tests/sim): as consensus/raft/mutants.h. They exist
// only in the second build, `kraken_src_metadata_mutants`; in the product mutant() is the constant false. rules.h has the
// preconditions of a blob's life, which tests of this folder switch off one by one.
#pragma once

#include <cstdint>

namespace kraken::metadata::state {

enum class Mutant : std::uint8_t {
  kNone,
  kCasIgnoresRevision,    // a tag is written whatever revision was expected
  kCasIgnoresAbsence,     // and although it was expected not to be there
  kRefusedWrites,         // a refused compare-and-swap has written nevertheless
  kDeleteKeepsTag,        // a delete is answered and the tag stays
  kClaimIgnoresClaim,     // a task that somebody holds is given to somebody else
  kTaskIgnoresRevision,   // a task is claimed and ended whoever wrote it since
  kMetainfoOverwritten,   // the second push of a blob replaces its metainfo
  kNotDeterministic,      // a result depends on how much this process has applied
  kCount,
};

#ifdef KR_STATE_MUTANTS
inline Mutant active_mutant = Mutant::kNone;
inline bool mutant(Mutant m) { return active_mutant == m; }
#else
constexpr bool mutant(Mutant) { return false; }
#endif

}  // namespace kraken::metadata::state
