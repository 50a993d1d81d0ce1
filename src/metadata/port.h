#pragma once
// What the metadata's client needs of replication: propose to a shard, and read from one. Implemented over
// consensus/group (group_port.h), and by a fake that is one state machine in memory
// (tests/unit/src/metadata/fake_port.h).
//
// propose  may be applied though it failed (kOutcomeUnknown), also much later; never twice. The answer is what apply
// gave.
//          kUnavailable, kOverloaded, kDeadlineExceeded: not applied, try again.
// query    kLinearizable sees every write that was acknowledged before it began, on any node; kLocal is whatever some
//          replica has applied, and needs no quorum.
// Both work from any node and any loop, and end within the deadline.

#include <cstdint>
#include <string>

#include "src/base/clock.h"
#include "src/metadata/state/shards.h"
#include "src/net/task.h"

namespace kraken::metadata {

enum class Read : std::uint8_t { kLinearizable, kLocal };

/// A replica's own word: everything up to `index` is in it; `age` since it last knew itself up to date, Duration::max() if it has
/// not since it started.
struct StaleAnswer {
  std::string result;
  std::uint64_t index = 0;
  Duration age{};
};

class Port {
 public:
  virtual ~Port() = default;
  virtual net::Task<std::string> propose(ShardId shard, std::string command, Duration deadline) = 0;
  virtual net::Task<std::string> query(ShardId shard, std::string query, Read read, Duration deadline) = 0;
  /// As kLocal, and says how stale. By itself: of unknown age.
  virtual net::Task<StaleAnswer> query_stale(ShardId shard, std::string query, Duration deadline) {
    KR_CO_TRY(auto result, co_await this->query(shard, std::move(query), Read::kLocal, deadline));
    co_return StaleAnswer{std::move(result), 0, Duration::max()};
  }
};

}  // namespace kraken::metadata
