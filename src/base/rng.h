#pragma once
// A seeded generator (xoshiro256**): the same seed gives the same numbers everywhere, so that a simulated run can be
// repeated. Not for secrets: `random_bytes` asks the kernel. Threads: one owner.

#include <cstddef>
#include <cstdint>
#include <span>

namespace kraken {

class Rng {
 public:
  explicit Rng(std::uint64_t seed);
  std::uint64_t next();
  /// Uniform in [0, bound). REQUIRES: bound > 0.
  std::uint64_t below(std::uint64_t bound);
  /// Uniform in [0, 1).
  double unit();
  bool chance(double probability) { return unit() < probability; }

 private:
  std::uint64_t state_[4];
};

/// Fills from the kernel's generator. Never fails on Linux after boot.
void random_bytes(std::span<std::byte> out);
std::uint64_t random_seed();

}  // namespace kraken
