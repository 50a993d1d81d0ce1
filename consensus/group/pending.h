#pragma once
// Somebody who waits for an answer of the group loop: a coroutine on any loop, or this node on behalf of a peer.
// Whoever sets `done` first answers; everybody else comes too late. Threads: `done` any, the rest as said.

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/net/task.h"

namespace kraken::group {

struct Pending {
  std::atomic<bool> done{false};
  MonotonicTime deadline{};
  net::Executor executor;  // empty: `finish` runs on the group loop
  std::move_only_function<void(Result<std::string>)> finish;
};
using PendingPtr = std::shared_ptr<Pending>;

/// Waits on the awaiting coroutine's own loop. `start` hands the Pending to the group loop; cancelling the coroutine answers
/// kCancelled at once.
net::Task<std::string> wait(MonotonicTime deadline, std::function<void(PendingPtr)> start);

/// Answers collected during a turn and delivered with one post per loop.
class Answers {
 public:
  void add(PendingPtr pending, Result<std::string> result);
  void deliver();
  bool empty() const { return ready_.empty(); }

 private:
  struct Ready {
    PendingPtr pending;
    Result<std::string> result;
  };
  std::vector<Ready> ready_;
};

}  // namespace kraken::group
