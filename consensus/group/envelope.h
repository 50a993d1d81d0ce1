#pragma once
// What a kData entry of the log holds: the proposer's stamp, the leader's time, and the state machine's command.
// Format: docs/formats/raft_log.md. Threads: plain values.

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/clock.h"
#include "src/base/error.h"

namespace kraken::group {

/// Names a node's data folder: random, made when the folder is first used, never reused.
struct Incarnation {
  std::array<std::uint8_t, 16> bytes{};
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  std::string hex() const;
  bool empty() const { return *this == Incarnation{}; }
  static Incarnation random();
  /// REQUIRES: 16 bytes.
  static Incarnation from(std::string_view raw);
  friend auto operator<=>(const Incarnation&, const Incarnation&) = default;
};

/// Identifies a proposal for ever: a forward or a retry carries the same stamp, so that it is applied once (consensus §2.8).
struct Stamp {
  Incarnation incarnation;      // of the node that took the request
  std::uint64_t boot_epoch = 0;  // counts its starts
  std::uint64_t session = 0;     // log index of the entry that opened the session in this shard
  std::uint64_t sequence = 0;    // counts its proposals to this shard, from 1
  std::uint64_t low = 0;         // it has the results of all below
  friend bool operator==(const Stamp&, const Stamp&) = default;
};

struct Envelope {
  /// Sent and stored: do not renumber.
  enum class Kind : std::uint8_t {
    kCommand = 1,
    kOpenSession = 2,  // the stamp's session, sequence and low are 0, the command is empty
  };
  Kind kind = Kind::kCommand;
  Duration advance{};  // replicated time that passed on the leader since its last entry; never negative
  Stamp stamp;
  std::string_view command;
};

std::string encode(const Envelope& envelope);
/// `command` points into `bytes`. kCorrupt, kUnsupported (a version of the future).
Result<Envelope> decode_envelope(std::string_view bytes);

/// What became of a stamped proposal; on the wire to the proposer's node. Sent: do not renumber.
enum class Verdict : std::uint8_t {
  kApplied = 0,       // `result` is the state machine's, of the first time
  kNoSession = 1,     // the session is not known (any more): not executed by this entry
  kForgotten = 2,     // sequence below the session's low: executed or not, the result is gone
  kOutOfWindow = 3,   // too far ahead of low: not executed
};

struct Answer {
  Verdict verdict = Verdict::kApplied;
  std::string result;  // kOpenSession: the session, 8 bytes big-endian
};

}  // namespace kraken::group
