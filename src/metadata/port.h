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

#include "src/metadata/state/shards.h"
#include "src/net/task.h"

namespace kraken::metadata {

enum class Read : std::uint8_t { kLinearizable, kLocal };

class Port {
 public:
  virtual ~Port() = default;
  virtual net::Task<std::string> propose(ShardId shard, std::string command, Duration deadline) = 0;
  virtual net::Task<std::string> query(ShardId shard, std::string query, Read read, Duration deadline) = 0;
};

}  // namespace kraken::metadata
