#pragma once
// Time as an input. `monotonic` orders events and measures waits; `wall` is for people and for stock's formats and
// decides nothing (design: no wall clock ever decides that something may be deleted).
// Threads: any.

#include <chrono>

namespace kraken {

using Duration = std::chrono::nanoseconds;
using MonotonicTime = std::chrono::nanoseconds;  // since an arbitrary start; CLOCK_BOOTTIME in production
using WallTime = std::chrono::system_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime monotonic() const = 0;
  virtual WallTime wall() const = 0;
};

/// The machine's clocks. CLOCK_BOOTTIME, so that a suspended host's deadlines pass too.
class SystemClock final : public Clock {
 public:
  MonotonicTime monotonic() const override;
  WallTime wall() const override;
};

/// Shared by whoever has no reason to be handed another.
const Clock& system_clock();

}  // namespace kraken
