#pragma once
// Scope: the only way to start a coroutine. It remembers what it started, cancels and joins it. An object that spawns
// has a scope as its last member and stops it before it goes.
//
// An error that a task returns is logged with the task's name (kCancelled and kClosed at debug, others at warn). An
// exception is our own bug or no memory: it is logged and the process ends.
// Threads: `spawn` from any; what is spawned runs on the scope's executor.

#include <memory>
#include <string>

#include "src/net/task.h"

namespace kraken::net {

class Scope {
 public:
  explicit Scope(Executor executor);
  Scope(Scope&&) noexcept = default;
  Scope& operator=(Scope&&) = delete;
  /// REQUIRES: nothing runs any more (stop() has returned), or its loop has stopped.
  ~Scope();

  const Executor& executor() const;
  /// Starts `task` soon. After stop() began it is dropped unstarted.
  void spawn(std::string name, Task<void> task);
  /// How many run now. Any thread.
  std::size_t size() const;

  /// Takes no more tasks; waits up to `drain` for the running ones to end by themselves, then cancels them (again and
  /// again, for those that were not waiting on anything that can be cancelled) and waits for all. Awaited on any loop,
  /// but never by a task of this same scope. Repeating it is harmless.
  Task<void> stop(Duration drain = Duration::zero());
  /// The same from a thread that is not a loop.
  void stop_and_wait(Duration drain = Duration::zero());

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace kraken::net
