// All deliberate bugs under one number: those of consensus/raft, consensus/group, src/metadata/state, and of the simulator's own
// driver, whose duties production has in consensus/group/engine.cc (threads and sockets, which do not run in virtual time).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/mutants.h"
#include "consensus/raft/mutants.h"
#include "src/metadata/state/mutants.h"

namespace kraken::sim::whole {

enum class DriverMutant : uint8_t {
  kNone,
  kSnapshotMissesFamily,   // one family's rows do not travel
  kSnapshotUncommittedConf,// a snapshot carries the latest configuration, committed or not
  kInstallInTwoSteps,      // rows first, the log's new beginning later
  kCompactAboveApplied,    // the log is cut above what is applied
  kStaleBootAccepted,      // a node with an older copy of its disk is let in
  kWipedKeepsId,           // an empty disk goes on under the old replica id
  kTombstoneIgnored,       // a destroyed replica is made again by a late message
  kDestroyedUncommitted,   // a replica is told to go by a configuration that is not committed
  kReadBeforeApplied,      // a read does not wait for the index it was given
  kGatedEarly,             // what must wait for the disk leaves at once
  kPersistedEarly,         // the core hears that a write is durable before it is
  kSyncErrorIgnored,       // a failed sync is taken for a good one
  kRetryNewStamp,          // a retry carries a new stamp
  kHardStateApart,         // hard state and entries are two batches
  kReadAtFollower,         // a follower answers a linearizable read from what it has
  kGoneUncommitted,        // a replica that asks is told that it is gone by a configuration that is not committed
  kSatisfiedEarly,         // a shard is said to be where the ring wants it while it is on the way
  kCompactAboveStored,     // the log is cut above what the store has of what is applied
  kCount,
};
inline DriverMutant active_driver_mutant = DriverMutant::kNone;
inline bool mutant(DriverMutant m) { return active_driver_mutant == m; }

struct NamedMutant {
  std::string_view layer, name;
  uint8_t number;
};
const std::vector<NamedMutant>& all_mutants();
/// Activates one; nothing for none.
void activate(const NamedMutant* m);
const NamedMutant* find_mutant(std::string_view name);

/// Whether the reference of the oracle has the bug as well. A real bug is in every replica and in the reference, so a hunt
/// that keeps the reference clean finds bugs that it would not find in earnest.
inline bool reference_is_clean = false;

class MutantsOff {
 public:
  MutantsOff() : group_(group::active_mutant), state_(metadata::state::active_mutant) {
    if (!reference_is_clean) return;
    group::active_mutant = group::Mutant::kNone;
    metadata::state::active_mutant = metadata::state::Mutant::kNone;
  }
  MutantsOff(const MutantsOff&) = delete;
  MutantsOff& operator=(const MutantsOff&) = delete;
  ~MutantsOff() {
    group::active_mutant = group_;
    metadata::state::active_mutant = state_;
  }

 private:
  group::Mutant group_;
  metadata::state::Mutant state_;
};

}  // namespace kraken::sim::whole
