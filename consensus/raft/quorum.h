// Majorities over plain and joint configurations, and the steps from one configuration to the next. Pure functions.
//
// In a joint configuration a decision needs a majority of `voters` and a majority of `outgoing` (thesis 4.3). Learners never count.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "consensus/raft/mutants.h"
#include "consensus/raft/types.h"

namespace kraken::raft {

inline bool contains(const std::vector<ReplicaId>& ids, ReplicaId id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }
inline bool is_voter(const ConfState& conf, ReplicaId id) { return contains(conf.voters, id) || contains(conf.outgoing, id); }

/// Every replica that receives the log, each once, ascending.
std::vector<ReplicaId> members(const ConfState& conf);

/// At least one voter; no id 0; no duplicate within a list; learners are no voters; learners_next are outgoing and not voters;
/// where ids are managed, all sequences lie below next_replica.
bool well_formed(const ConfState& conf);

/// The largest value that a majority of `ids` has reached: value(id) of the ceil(n/2)-th best. REQUIRES: ids is not empty.
template <typename Value>
auto majority_value(const std::vector<ReplicaId>& ids, Value&& value) {
  // Each step of a leader asks for one; the few voters that a group has fit without memory of their own.
  using V = decltype(value(ReplicaId{}));
  std::array<V, 8> few;
  std::vector<V> many(ids.size() > few.size() ? ids.size() : 0);
  const std::span<V> values(many.empty() ? few.data() : many.data(), ids.size());
  std::transform(ids.begin(), ids.end(), values.begin(), value);
  const auto nth = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), nth, values.end(), std::greater<>());
  return *nth;
}

/// The largest value reached by a quorum of `conf`: `value(id)` is totally ordered (a match index, a read number, a time).
template <typename Value>
auto quorum_value(const ConfState& conf, Value&& value) {
  auto result = majority_value(conf.voters, value);
  if (conf.joint() && !mutant(Mutant::kMajorityOfNewOnly)) result = std::min(result, majority_value(conf.outgoing, value));
  return result;
}

enum class Tally : uint8_t { kPending, kWon, kLost };

/// `vote(id)`: true, false, or nothing if that voter has not answered.
template <typename Vote>
Tally tally(const ConfState& conf, Vote&& vote) {
  const auto count = [&](const std::vector<ReplicaId>& ids) {
    size_t yes = 0, no = 0;
    for (ReplicaId id : ids) {
      const std::optional<bool> v = vote(id);
      if (v) (*v ? yes : no)++;
    }
    if (yes > ids.size() / 2) return Tally::kWon;
    return no * 2 >= ids.size() ? Tally::kLost : Tally::kPending;
  };
  const Tally incoming = count(conf.voters);
  if (!conf.joint() || mutant(Mutant::kMajorityOfNewOnly)) return incoming;
  const Tally outgoing = count(conf.outgoing);
  if (incoming == Tally::kLost || outgoing == Tally::kLost) return Tally::kLost;
  return incoming == Tally::kWon && outgoing == Tally::kWon ? Tally::kWon : Tally::kPending;
}

/// The first step from `current` (not joint) to `target` (not joint): `target` itself if the voters are the same, else the joint one.
ConfState enter(const ConfState& current, const ConfState& target);
/// Where ids are managed: `target` gives each replica that is new in it a sequence of its own that was never given before.
bool allocates_fresh_ids(const ConfState& current, const ConfState& target);
/// What a joint configuration becomes.
ConfState leave(const ConfState& joint);

}  // namespace kraken::raft
