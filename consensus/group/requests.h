#pragma once
// What nodes ask each other: kRequests and kReplies. A reply comes on the other connection of the pair and is matched by id.
// Losing either is allowed: whoever asked tries again. Format: docs/formats/node_frames.md. Threads: plain values.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/envelope.h"
#include "consensus/group/state_machine.h"
#include "consensus/raft/types.h"
#include "src/base/error.h"

namespace kraken::group {

struct Request {
  /// Sent: do not renumber.
  enum class Kind : std::uint8_t {
    kPropose = 1,       // stamp, command
    kOpenSession = 2,   // stamp (incarnation and boot)
    kReadIndex = 3,     // the index a linearizable read must wait for
    kQuery = 4,         // the state machine's answer, linearizable
    kQueryLocal = 5,    // the same, of what the replica has
    kQueryStale = 6,    // the same; the result begins with index u64 and age i64 (ns; the largest: unknown)
    kDestroy = 7,       // body: replica u64, least sequence that may come u64. The replica is removed by a committed configuration
    kAmIGone = 8,       // body: replica u64, conf index u64 of what it knows. Done with body (least sequence that may come u64) if it is
  };
  Kind kind{};
  std::uint64_t id = 0;  // the asker's
  ShardId shard;
  Stamp stamp;
  std::uint32_t patience_ms = 0;  // how long the asker still waits
  std::string body;               // command or query
};

struct Reply {
  /// Sent: do not renumber.
  enum class Outcome : std::uint8_t {
    kDone = 0,
    kNotLeader = 1,    // nothing happened; ask `hint` (0: unknown)
    kOverloaded = 2,   // nothing happened
    kAborted = 3,      // may or may not happen: ask again with the same stamp
    kDiskFull = 4,     // nothing happened
    kNotReplica = 5,   // this node has no replica of the shard
    kLost = 6,         // never sent: the asker's own word for a connection that broke or an answer that did not come
  };
  std::uint64_t id = 0;
  Outcome outcome{};
  raft::ReplicaId hint{};
  Verdict verdict{};        // of kPropose and kOpenSession
  std::uint64_t index = 0;  // of kReadIndex
  std::string result{};
};

/// Appends; a payload is any number of them.
void encode_request(const Request& request, std::string& out);
void encode_reply(const Reply& reply, std::string& out);
/// kProtocol for anything malformed.
Result<std::vector<Request>> decode_requests(std::string_view payload);
Result<std::vector<Reply>> decode_replies(std::string_view payload);

}  // namespace kraken::group
