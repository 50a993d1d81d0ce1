#pragma once
// The column families of a node's store (design §5) and the shard that every key begins with.
// Threads: constants and plain values.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "src/base/strong.h"

namespace kraken::kv {

/// A shard, which is one Raft group: 0 is the system group, 1..N are the data shards.
using ShardId = Strong<std::uint16_t, struct ShardIdTag>;

/// Data shards of a cluster at most; 0xffff is the node's own prefix (kNodeShard).
inline constexpr std::uint16_t kShardsMax = 4096;

/// Sent in snapshots and named in MANIFEST: do not renumber, do not rename.
enum class Family : std::uint8_t {
  kRaft = 0,  // the log, hard state and snapshot meta of each shard; the node's identity
  kTag = 1,
  kManifest = 2,
  kBlob = 3,
  kMetainfo = 4,
  kRef = 5,
  kTask = 6,
  kPeer = 7,
  kSession = 8,  // results of recent proposals, and each shard's applied index and time
};

inline constexpr std::size_t kFamilies = 9;
inline constexpr std::array<std::string_view, kFamilies> kFamilyNames{
    "raft", "tag", "manifest", "blob", "metainfo", "ref", "task", "peer", "session"};

constexpr std::size_t raw(Family family) { return static_cast<std::size_t>(family); }
constexpr std::string_view name(Family family) { return kFamilyNames[raw(family)]; }
constexpr Family family_at(std::size_t i) { return static_cast<Family>(i); }

}  // namespace kraken::kv
