#pragma once
// Token bucket in bytes: how long to wait before the next quantum. Pure; one owner.

#include <cstdint>

#include "src/base/clock.h"

namespace kraken::p2p::swarm {

/// Work is paced in quanta of at most this much, never whole pieces (swarm.md §4.10).
inline constexpr std::uint64_t kQuantumBytes = 256 * 1024;

class TokenBucket {
 public:
  /// 0: no limit.
  explicit TokenBucket(std::uint64_t bytes_per_second = 0) : rate_(bytes_per_second) {}
  bool limited() const { return rate_ != 0; }
  /// Takes `bytes` and says how long to wait first. Debts add up, so that many takers share the rate.
  Duration take(MonotonicTime now, std::uint64_t bytes);

 private:
  std::uint64_t rate_;
  MonotonicTime free_at_{};
};

}  // namespace kraken::p2p::swarm
