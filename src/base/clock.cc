#include "src/base/clock.h"

#include <ctime>

namespace kraken {

MonotonicTime SystemClock::monotonic() const {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

WallTime SystemClock::wall() const { return std::chrono::system_clock::now(); }

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

}  // namespace kraken
