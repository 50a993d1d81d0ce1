// The replicated state of the simulation: a few keys, each with the value last written and the index that wrote it.
//
// A command is "key value" with a value never used twice, so that what was read tells which write it saw.
// `digest` chains every applied entry: two replicas at one index must have the same.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "consensus/raft/types.h"
#include "tests/sim/violation.h"

namespace kraken::sim {

inline constexpr size_t kKeys = 4;

/// What an entry is, apart from its place.
inline uint64_t hash_of(const raft::Entry& e) {
  uint64_t h = mix(raft::raw(e.term), static_cast<uint64_t>(e.kind));
  if (e.data)
    for (char c : *e.data) h = mix(h, static_cast<unsigned char>(c));
  return h;
}

struct Command {
  uint64_t key = 0, value = 0;
};

inline raft::Bytes encode(Command c) {
  std::string s(16, '\0');
  std::memcpy(s.data(), &c.key, 8);
  std::memcpy(s.data() + 8, &c.value, 8);
  return std::make_shared<const std::string>(std::move(s));
}
inline Command decode(const std::string& s) {
  Command c;
  std::memcpy(&c.key, s.data(), 8);
  std::memcpy(&c.value, s.data() + 8, 8);
  return c;
}

struct State {
  struct Cell {
    uint64_t value = 0;
    raft::Index written{};
    bool operator==(const Cell&) const = default;
  };
  raft::Index applied{};
  uint64_t digest = 0;
  std::array<Cell, kKeys> cells{};

  void apply(const raft::Entry& e) {
    applied = e.index;
    digest = mix(digest, hash_of(e));
    if (e.kind != raft::Kind::kData || !e.data || e.data->size() < 16) return;
    const Command c = decode(*e.data);
    cells[c.key % kKeys] = {c.value, e.index};
  }
};

}  // namespace kraken::sim
