// What must hold in every state, with as little history as that takes. A violation is a sentence; nothing means that all is well.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/model/replica.h"

namespace kraken::model {

inline constexpr size_t kTermsMax = 7, kEntriesMax = 7;

/// What has ever happened: part of the state. Index 0 of both is unused.
struct History {
  std::array<uint8_t, kTermsMax + 1> leader{};       // of each term: the replica
  std::array<uint8_t, kTermsMax + 1> votes{};        // durable: two bits a replica, for whom it voted in that term
  std::array<uint8_t, kEntriesMax + 1> committed{};  // the term of the entry committed at each index
  std::array<uint8_t, kEntriesMax + 1> in{};         // and of the leader that committed it first
  uint8_t crashes = 0, beats = 0, proposals = 0;

  bool operator==(const History&) const = default;
};

/// After replica `i` went from `before` to `after`, sending `sent`. Updates the history.
std::string check(const std::array<const Replica*, kReplicas>& all, size_t i, const Replica& before, const std::vector<raft::Message>& sent, History& history);

}  // namespace kraken::model
