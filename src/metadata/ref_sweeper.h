#pragma once
// What the two reference tasks do (lifecycle §3 "Verify", §2 `RemoveRef`); src/tasks runs them. Both are idempotent and
// end or postpone their task themselves. Claiming first only saves double work: pass the task with its latest revision.
// Threads: any loop.

#include "src/metadata/client.h"

namespace kraken::metadata {

enum class Swept : std::uint8_t {
  kKept,     // the repository's row has this push id: verified
  kRemoved,  // it has not, and no push with it can be accepted any more
  kLater,    // the push id is not old enough; a Tick was proposed. The task stands, postponed
};

/// A kVerifyRef task of the digest's shard. A linearizable read in the repository's shard decides.
net::Task<Swept> verify_ref(Client& client, state::Task task);

/// A kRemoveRefs task of the repository's shard: each digest's reference goes, then the task. kRemoved.
net::Task<Swept> remove_refs(Client& client, state::Task task);

}  // namespace kraken::metadata
