#pragma once
// What each node tells each other once a second: the hashstate it was started with, whom it hears, and what it holds. From
// these group 0's leader decides on a new ring, and leaders where there is room for another replica.
// Format: docs/formats/node_frames.md. Threads: plain values.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/system_state.h"

namespace kraken::group {

struct Report {
  std::vector<WishNode> wish;
  std::vector<std::string> hears;    // labels with a connection both ways
  std::uint32_t replicas = 0;        // it has
  std::uint32_t snapshots = 0;       // it is taking over
};

std::string encode(const Report& report);
/// kProtocol for anything malformed.
Result<Report> decode_report(std::string_view payload);

}  // namespace kraken::group
