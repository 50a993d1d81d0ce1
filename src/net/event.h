#pragma once
// Event: a condition variable for coroutines. Whoever waits first reads `version`, then checks its condition, then
// waits with that version, so that no notification is lost:
//   for (;;) {
//     auto seen = event.version();
//     if (ready()) break;
//     KR_CO_CHECK(co_await event.wait(seen, remaining));
//   }
// Latch: waits until a count has come down to zero. Semaphore: at most n at a time, the others wait in order.
// Threads: notify, count_down and version from any; waits resume on the waiting coroutine's own loop.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include "src/net/task.h"

namespace kraken::net {

class Event {
 public:
  Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event();  // REQUIRES: nobody waits

  std::uint64_t version() const;
  /// Wakes everybody who waits.
  void notify();
  /// Returns at once if the version is no longer `seen`. kDeadlineExceeded, kCancelled.
  Task<void> wait(std::uint64_t seen, Duration timeout);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

class Latch {
 public:
  explicit Latch(std::size_t count) : count_(count) {}
  void count_down();
  Task<void> wait(Duration timeout);

 private:
  std::atomic<std::size_t> count_;
  Event event_;
};

/// Bounded both ways: `permits` at a time, `waiting_max` in the queue (beyond: kOverloaded). One loop only.
class Semaphore {
 public:
  class Permit {
   public:
    Permit() = default;
    explicit Permit(Semaphore* from) : from_(from) {}
    Permit(Permit&& other) noexcept : from_(std::exchange(other.from_, nullptr)) {}
    Permit& operator=(Permit&& other) noexcept {
      if (this != &other) {
        release();
        from_ = std::exchange(other.from_, nullptr);
      }
      return *this;
    }
    ~Permit() { release(); }
    void release();

   private:
    Semaphore* from_ = nullptr;
  };

  Semaphore(std::size_t permits, std::size_t waiting_max);
  ~Semaphore();  // REQUIRES: nobody waits, no permit is out
  Task<Permit> acquire(Duration timeout);

 private:
  struct Waiter;
  std::size_t permits_;
  std::size_t waiting_max_;
  std::deque<Waiter*> waiting_;
};

}  // namespace kraken::net
