#include "src/p2p/swarm/bandwidth.h"

#include <algorithm>

namespace kraken::p2p::swarm {

Duration TokenBucket::take(MonotonicTime now, std::uint64_t bytes) {
  if (rate_ == 0) return Duration::zero();
  const MonotonicTime start = std::max(free_at_, now);
  const double seconds = static_cast<double>(bytes) / static_cast<double>(rate_);
  free_at_ = start + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  return start - now;
}

}  // namespace kraken::p2p::swarm
