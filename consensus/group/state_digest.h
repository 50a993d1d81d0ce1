#pragma once
// Do the replicas of a shard hold the same? Each keeps a rolling digest of what apply wrote,
//
//   digest(i) = xxh3-128(digest(i - 1), i, term, time, each row that entry i wrote)
//
// in the applied row, so that it survives with the rows that it speaks of and travels with snapshots. A chain: replicas that
// are equal at an index were equal at all before it, and once different stay so. Soft rows (Family::kPeer) are left out.
// Replicas tell each other their digest every Timings::digests (Engine, fences.cc); DigestVotes says what follows from that.
// docs/consensus.md "State digests". Threads: plain values, one owner.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "consensus/raft/types.h"
#include "src/base/clock.h"
#include "storage/kv/overlay.h"

struct XXH3_state_s;

namespace kraken::group {

struct StateDigest {
  std::uint64_t high = 0, low = 0;
  /// All zero: of rows that were written before there were digests; never compared.
  bool known() const { return high != 0 || low != 0; }
  std::string hex() const;
  /// Of a shard without entries.
  static StateDigest first() { return {0x6b72616b656e2073, 0x7461746520303031}; }
  friend bool operator==(const StateDigest&, const StateDigest&) = default;
};

/// One entry's step along the chain: begin, then the entry's writes as the overlay tells them, then end.
class DigestStep final : public kv::Overlay::Watch {
 public:
  DigestStep();
  void begin(const StateDigest& before, raft::Index index, raft::Term term);
  void wrote(kv::Batch::Kind kind, kv::Family family, std::string_view key, std::string_view value) override;
  /// Unknown if `before` was. `now`: the shard's time after the entry.
  StateDigest end(Duration now);

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
  bool known_ = false;
};

/// What one replica knows of how the others' digests compare with its own.
class DigestVotes {
 public:
  struct Difference {
    raft::ReplicaId peer{};
    raft::Index index{};  // where it was first seen
    StateDigest ours, theirs;
  };

  void compared(raft::ReplicaId peer, raft::Index index, const StateDigest& ours, const StateDigest& theirs, MonotonicTime now);

  enum class Verdict : std::uint8_t {
    kFine,       // nothing differs, or a majority is as this replica
    kUndecided,  // something differs; who is right will be known when more have been compared
    kOdd,        // a majority cannot be as this replica
    kNoMajority, // and nobody else turned up within `patience`
  };
  /// `voters` are the shard's; `self` may be none of them (a learner).
  Verdict verdict(const std::vector<raft::ReplicaId>& voters, raft::ReplicaId self, MonotonicTime now, Duration patience) const;
  /// So many voters, this replica among them, are known to be equal at or above every difference and at or above `from`.
  std::size_t agreeing(const std::vector<raft::ReplicaId>& voters, raft::ReplicaId self, raft::Index from = {}) const;
  /// Of those who are still voters.
  std::vector<Difference> differences(const std::vector<raft::ReplicaId>& voters) const;
  void clear() { *this = {}; }

 private:
  std::map<raft::ReplicaId, raft::Index> equal_;  // highest index at which they were
  std::map<raft::ReplicaId, Difference> different_;
  MonotonicTime since_{};  // of the first difference
};

}  // namespace kraken::group
