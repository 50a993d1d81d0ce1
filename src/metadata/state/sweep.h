#pragma once
// The sweeper's decision, pure (lifecycle §3 "Verify").

#include <optional>

#include "src/metadata/state/commands.h"

namespace kraken::metadata::state {

enum class Sweep : std::uint8_t { kKeep, kRemove, kLater };

/// `row` and `now` are of one linearizable read of the repository's shard. Keep: the row is of this push. Later: a
/// PutManifest with this push id could still be accepted. Remove: it could not, as replicated time never goes back.
inline Sweep sweep(const PushId& push, const std::optional<ManifestRow>& row, Duration now) {
  if (row && !row->tombstone && row->push == push) return Sweep::kKeep;
  if (now < push.time || now - push.time < kPushIdLimit) return Sweep::kLater;
  return Sweep::kRemove;
}

}  // namespace kraken::metadata::state
