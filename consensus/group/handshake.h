#pragma once
// The first two frames of a connection. Nothing else is believed before both sides know cluster, label, incarnation and boot
// epoch of each other (consensus §6). Threads: plain values.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/identity.h"
#include "src/base/error.h"

namespace kraken::group {

struct Hello {
  /// Sent: do not renumber.
  enum class Purpose : std::uint8_t { kRaft = 1, kSnapshot = 2 };
  Purpose purpose = Purpose::kRaft;
  std::string token{};
  std::string from{}, to{};          // labels
  std::uint16_t shards = 0;
  std::uint64_t members = 0;     // hash of labels and weights: nodes form a cluster only with the same hashstate
  Incarnation cluster_id;        // zeros until the cluster has formed
  PeerMemory self;               // incarnation, boot epoch, run
  std::vector<std::uint32_t> earlier{};  // Identity::earlier
  std::uint64_t recovery_epoch = 0;
  bool replace = false;          // take this folder for the label's, if the one before is gone: the operator says so
  std::string ring{};            // the newest SystemState it has heard of, encoded; empty: none
};

struct Welcome {
  bool accepted = false;
  std::string reason{};          // if not: a sentence for the operator of the other node
  std::string label{};
  Incarnation cluster_id;
  PeerMemory self;
  std::vector<std::uint32_t> earlier{};
  std::uint64_t recovery_epoch = 0;
  std::string ring{};            // of one that refuses, if the other knows the token: as in Hello
};

/// Of `ring`: hundreds of nodes. A larger one is not shown; members hear of it over connections that stand.
inline constexpr std::size_t kShownRingMax = std::size_t{128} << 10;

std::string encode(const Hello& hello);
Result<Hello> decode_hello(std::string_view payload);
std::string encode(const Welcome& welcome);
Result<Welcome> decode_welcome(std::string_view payload);

}  // namespace kraken::group
