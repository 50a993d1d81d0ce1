#pragma once
// The metadata's state machine: apply a command, answer a query. Pure: the same entries give the same rows and outcomes
// on every replica (no clock, thread, random or unordered iteration). Total: any bytes give an outcome or an answer.
// apply.cc holds the preconditions of lifecycle §2, one function per command; query.cc the reads.
//
// An Observer hears what apply changed, once the rows are visible. src/metadata/machine.h makes this a
// group::StateMachine. Threads: apply, applied and restored one thread; query any. Lifetime: the observer outlives the
// machine.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/metadata/state/commands.h"
#include "src/metadata/state/outcome.h"
#include "src/metadata/state/queries.h"
#include "src/metadata/state/rules.h"
#include "src/metadata/state/shards.h"
#include "storage/kv/overlay.h"
#include "storage/kv/view.h"

namespace kraken::metadata::state {

/// Called on the apply thread: must not block.
class Observer {
 public:
  virtual ~Observer() = default;
  /// These records were applied; `now` is the shard's replicated time, so row.expires - now is what is left.
  virtual void peers_changed(ShardId, std::span<const NamedPeer>, Duration /*now*/) {}
  /// The shard has a task that is due now.
  virtual void tasks_added(ShardId) {}
  /// The whole state of the shard is what `view` holds: at start, and after a snapshot was installed.
  virtual void restored(ShardId, const kv::View&) {}
};

struct ApplyContext {
  ShardId shard;
  std::uint64_t index = 0;  // of the log entry; never 0
  Duration now{};           // replicated time at this entry; never goes back
};

class Machine {
 public:
  explicit Machine(Shards shards, Observer* observer = nullptr, Rules rules = {})
      : shards_(shards), observer_(observer), rules_(rules) {}

  /// The encoded Outcome. A refused command writes nothing. Storage errors end the process: replicas must not differ.
  std::string apply(const ApplyContext& context, std::string_view command, kv::Overlay& rows);
  /// The encoded Answer, an ErrorAnswer where the query makes no sense.
  std::string query(ShardId shard, std::string_view query, const kv::View& rows, Duration now) const;

  /// What was applied to the shard is visible: tells the observer.
  void applied(ShardId shard);
  void restored(ShardId shard, const kv::View& rows);

  const Shards& shards() const { return shards_; }

 private:
  struct News {
    std::vector<NamedPeer> peers;
    bool tasks = false;
    Duration now{};
  };

  Shards shards_;
  Observer* observer_;
  Rules rules_;
  std::map<ShardId, News> news_;
};

}  // namespace kraken::metadata::state
