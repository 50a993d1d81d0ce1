// The words of Raft as C++ types: terms, indexes, replicas, entries, configurations, hard state.
//
// Uses the standard library alone, as everything in this folder does. Values are plain and copyable; entry payloads are
// shared and immutable, so an entry can be in the log, in three messages and on its way to disk at once without a copy.
// Terms and indexes start at 1; 0 means "none" (an empty log has last index 0 and last term 0).
// Terminology: Ongaro's thesis, "Consensus: Bridging Theory and Practice" (2014).
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kraken::raft {

/// A shard's Raft group. 0 is the system group.
enum class GroupId : uint32_t {};
/// One replica of one group. Never reused: a wiped disk joins again under a new id. Never 0.
enum class ReplicaId : uint64_t {};
enum class Term : uint64_t {};
enum class Index : uint64_t {};

/// Monotonic time of the driver (virtual in the simulator). Only differences mean anything.
using Time = std::chrono::nanoseconds;
/// An immutable payload; null and empty are the same.
using Bytes = std::shared_ptr<const std::string>;
/// Numbers writes, reads and proposals, to match what was asked with what was answered.
using Seq = uint64_t;

constexpr uint32_t raw(GroupId id) { return static_cast<uint32_t>(id); }
constexpr uint64_t raw(ReplicaId id) { return static_cast<uint64_t>(id); }
constexpr uint64_t raw(Term term) { return static_cast<uint64_t>(term); }
constexpr uint64_t raw(Index index) { return static_cast<uint64_t>(index); }

constexpr Index operator+(Index index, uint64_t n) { return Index{raw(index) + n}; }
/// REQUIRES: n <= index.
constexpr Index operator-(Index index, uint64_t n) { return Index{raw(index) - n}; }
/// How many entries lie in [from, to). REQUIRES: from <= to.
constexpr uint64_t distance(Index from, Index to) { return raw(to) - raw(from); }
constexpr Term operator+(Term term, uint64_t n) { return Term{raw(term) + n}; }

/// Where replica ids are managed (ConfState::next_replica), an id says whose replica it is and which of the group's, so that no table
/// is needed to find the node behind it: member number << 24 | sequence.
constexpr int kSequenceBits = 24;
constexpr uint64_t kSequenceMax = (uint64_t{1} << kSequenceBits) - 1;
/// REQUIRES: 1 <= sequence <= kSequenceMax.
constexpr ReplicaId replica_id(uint32_t member, uint64_t sequence) { return ReplicaId{uint64_t{member} << kSequenceBits | sequence}; }
constexpr uint32_t member_of(ReplicaId id) { return static_cast<uint32_t>(raw(id) >> kSequenceBits); }
constexpr uint64_t sequence_of(ReplicaId id) { return raw(id) & kSequenceMax; }

/// Persisted and sent: do not renumber.
enum class Kind : uint8_t {
  kNoop = 0,    // a leader's first entry of its term; no payload
  kData = 1,    // a command for the state machine
  kConfig = 2,  // payload is encode_conf(ConfState): the configuration in force from this entry on
};

struct Entry {
  Term term{};
  Index index{};
  Kind kind = Kind::kNoop;
  Bytes data;

  size_t bytes() const { return data ? data->size() : 0; }
};

/// Who votes and who merely receives. Ids are unique within each list; the order has no meaning.
///
/// Joint while `outgoing` is not empty: then elections, commits and reads need a majority of `voters` and a majority of
/// `outgoing` (thesis 4.3). `learners` receive the log without a vote; `learners_next` are outgoing voters that become learners
/// when the joint configuration is left.
/// A configuration is in force from the moment its entry is in the log, committed or not (thesis 4.1), and a truncation of
/// that entry brings the one before it back.
struct ConfState {
  std::vector<ReplicaId> voters, outgoing, learners, learners_next;
  /// Of the placement this configuration comes from. Never goes back.
  uint64_t placement_epoch = 0;
  /// The sequence that the next new replica of this group gets; never goes back, so that an id is never given twice, whatever became of
  /// the replica that had it. 0: ids are not managed here (tests): then nothing is checked.
  uint64_t next_replica = 0;

  bool joint() const { return !outgoing.empty(); }
  bool operator==(const ConfState&) const = default;
};

/// What must be on disk before anyone hears of it. The commit index need not be.
struct HardState {
  Term term{};
  std::optional<ReplicaId> vote;  // for whom this replica voted in `term`

  bool operator==(const HardState&) const = default;
};

/// A snapshot holds everything up to and including `index`; `conf` is the committed configuration there.
struct SnapMeta {
  Index index{};
  Term term{};
  ConfState conf;
  uint64_t snap_id = 0;  // chosen by the sender's driver; names the bytes, which travel outside the core
};

/// The payload of a kConfig entry. Format: version byte 2; placement_epoch u64; next_replica u64; four lists (voters, outgoing,
/// learners, learners_next), each a u16 count and u64 ids; integers big-endian.
Bytes encode_conf(const ConfState& conf);
/// Nothing if the bytes are not exactly one valid configuration (unknown version, short, long, id 0, duplicate id in a list, no voter).
std::optional<ConfState> decode_conf(std::string_view bytes);

}  // namespace kraken::raft
