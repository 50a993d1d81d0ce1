// How a run ends that showed something which must not be.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace kraken::sim {

struct Violation : std::runtime_error {
  Violation(std::string invariant_name, const std::string& detail) : std::runtime_error(detail), invariant(std::move(invariant_name)) {}
  std::string invariant;
};

inline void require(bool holds, const char* invariant, const char* detail) {
  if (!holds) [[unlikely]] throw Violation(invariant, detail);
}
[[noreturn]] inline void violated(const char* invariant, const std::string& detail) { throw Violation(invariant, detail); }

inline uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15 + (h << 6) + (h >> 2);
  h *= 0xff51afd7ed558ccd;
  return h ^ (h >> 32);
}

}  // namespace kraken::sim
