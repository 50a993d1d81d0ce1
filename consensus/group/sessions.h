#pragma once
// Exactly once: the results of recent proposals of each node, per shard, in Family::kSession and mirrored in memory.
//
//   [shard][01][incarnation]        -> boot epoch, session, low, time of last use
//   [shard][03][incarnation][slot]  -> sequence, low, result
//   [shard][02][incarnation][seq]   -> result, of releases without slots: read, and removed once it is forgotten
// A result takes the lowest slot whose own is forgotten: rows are written over, not removed, and there are as many as proposals
// of a node were ever under way at once. The row brings the session's low along, so an entry costs one row here. What lies below low
// is forgotten, whether or not its row is still there.
// A session is opened by an entry, whose index names it; a newer boot of the node replaces the older one's session and is never
// replaced by it. A proposal whose sequence has a result gives that result again. Sessions end only by entries: an opening
// drops those unused for kSessionLife of replicated time and, beyond kSessionsMax of a shard, the least recently used.
// Deterministic: depends on rows and entries alone. Threads: the apply thread.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "consensus/group/envelope.h"
#include "consensus/group/state_machine.h"
#include "storage/kv/overlay.h"

namespace kraken::group {

inline constexpr std::uint64_t kSessionWindow = 1'024;
inline constexpr std::size_t kSessionsMax = 1'024;
inline constexpr Duration kSessionLife = std::chrono::hours(24);

class Sessions {
 public:
  /// Reads all of the shard from the rows; forgets what it knew.
  Result<> load(ShardId shard, const kv::View& rows);

  /// What a stamped envelope meets. kApplied with `fresh`: to be executed now, then tell `executed`.
  struct Check {
    Answer answer;
    bool fresh = false;
  };
  Check check(const ApplyContext& context, const Envelope& envelope, kv::Overlay& rows);
  void executed(const ApplyContext& context, const Stamp& stamp, const std::string& result, kv::Overlay& rows);

  std::size_t size(ShardId shard) const;

 private:
  struct Session {
    std::uint64_t boot_epoch = 0;
    std::uint64_t id = 0;
    std::uint64_t low = 0;
    Duration used{};
    struct Kept {
      std::string result;
      std::uint16_t slot = 0;
      bool old_row = false;  // [02], not a slot
    };
    std::map<std::uint64_t, Kept> results;
    std::vector<std::uint64_t> taken;  // slots: a bit each
    std::uint16_t take_slot();
    void set_taken(std::uint16_t slot, bool to);
  };
  using Shard = std::map<Incarnation, Session>;

  Result<> load_slots(ShardId shard, const kv::View& rows, Shard& sessions) const;
  Check open(const ApplyContext& context, const Stamp& stamp, Shard& shard, kv::Overlay& rows);
  void evict(const ApplyContext& context, Shard& shard, kv::Overlay& rows);
  void drop(ShardId id, Shard& shard, Shard::iterator session, kv::Overlay& rows);
  void write(ShardId id, const Incarnation& incarnation, const Session& session, kv::Overlay& rows) const;

  std::map<ShardId, Shard> shards_;
};

}  // namespace kraken::group
