#pragma once
// What all keys have in common: the shard in front, big-endian, then a byte that says what follows.
//   [shard:u16][00]...  about the shard itself      [shard:u16][01]...  rows
// 0xffff stands for the node (identity, peers' incarnations), in kRaft alone.
// Threads: pure functions.

#include <string>
#include <string_view>

#include "storage/kv/family.h"

namespace kraken::kv {

inline constexpr ShardId kNodeShard{0xffff};

/// Two bytes.
inline std::string shard_prefix(ShardId shard) {
  return {static_cast<char>(shard.value() >> 8), static_cast<char>(shard.value() & 0xff)};
}

/// The shard a key belongs to; kNodeShard for what is too short to have one.
inline ShardId shard_of_key(std::string_view key) {
  if (key.size() < 2) return kNodeShard;
  return ShardId{static_cast<std::uint16_t>(static_cast<std::uint8_t>(key[0]) << 8 | static_cast<std::uint8_t>(key[1]))};
}

/// The first key behind every key that starts with `prefix`; empty if there is none (the end of the family).
inline std::string after_prefix(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<std::uint8_t>(end.back()) == 0xff) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<std::uint8_t>(end.back()) + 1);
  return end;
}

}  // namespace kraken::kv
