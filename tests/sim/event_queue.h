// Virtual time: a heap of things to do, in order of time and, at the same time, of being asked for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "consensus/raft/types.h"

namespace kraken::sim {

using raft::Time;

constexpr Time us(uint64_t n) { return Time{static_cast<int64_t>(n) * 1'000}; }
constexpr Time ms(uint64_t n) { return Time{static_cast<int64_t>(n) * 1'000'000}; }

class EventQueue {
 public:
  Time now() const { return now_; }

  void at(Time when, std::function<void()> what) {
    heap_.push_back({std::max(when, now_), order_++, std::move(what)});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  void after(Time delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }

  /// Runs everything due until `end`; returns how many events that were.
  uint64_t run_until(Time end) {
    uint64_t count = 0;
    while (!heap_.empty() && heap_.front().when <= end) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      Event e = std::move(heap_.back());
      heap_.pop_back();
      now_ = e.when;
      e.what();
      count++;
    }
    now_ = std::max(now_, end);
    return count;
  }

 private:
  struct Event {
    Time when;
    uint64_t order;
    std::function<void()> what;
  };
  static bool later(const Event& a, const Event& b) { return a.when != b.when ? a.when > b.when : a.order > b.order; }

  Time now_{};
  uint64_t order_ = 0;
  std::vector<Event> heap_;
};

}  // namespace kraken::sim
