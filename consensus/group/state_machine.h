#pragma once
// What a replicated state machine is to the group layer (implemented in src/metadata). It is pure: the same entries in the
// same order give the same keys, values and results on every replica. No clock (time is in the context), no random, no
// iteration over unordered containers, no address, no locale, no float.
//
// The group layer keeps for itself: Family::kRaft, Family::kSession, and in every family the keys [shard][00]....

#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/clock.h"
#include "storage/kv/family.h"
#include "storage/kv/overlay.h"
#include "storage/kv/view.h"

namespace kraken::group {

using kv::ShardId;
inline constexpr ShardId kSystemShard{0};

struct ApplyContext {
  ShardId shard;
  std::uint64_t index = 0;
  std::uint64_t term = 0;
  /// Replicated time of the shard at this entry, since the shard began; advances by leaders' monotonic clocks alone.
  Duration now{};
};

class StateMachine {
 public:
  virtual ~StateMachine() = default;

  /// Total: a command that makes no sense gives an error result and changes nothing. Reads and writes this shard's keys
  /// through `state` alone; what it returns goes to the proposer and is kept for retries (keep it small: at most 64 KB).
  /// On the apply thread.
  virtual std::string apply(const ApplyContext& context, std::string_view command, kv::Overlay& state) = 0;

  /// A pure read of one moment of the shard. Total. On any thread, several at once.
  virtual std::string query(ShardId shard, std::string_view query, const kv::View& state, Duration now) const = 0;

  /// Everything up to `index` is applied and visible. On the apply thread, once per turn and shard.
  virtual void applied(ShardId shard, std::uint64_t index) {
    static_cast<void>(shard);
    static_cast<void>(index);
  }
  /// The shard's whole state is what `state` holds: at start, and after a snapshot was installed. On the apply thread,
  /// before any apply to this shard.
  virtual void restored(ShardId shard, const kv::View& state) {
    static_cast<void>(shard);
    static_cast<void>(state);
  }
};

}  // namespace kraken::group
