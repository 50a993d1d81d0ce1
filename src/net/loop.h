#pragma once
// The event loops: one io_context and one thread each. Connections, swarms and timers belong to one loop and are
// touched by its thread alone; between loops go messages (`post`, `on`). Nothing on a loop blocks: files and hashing go
// to a FilePool.

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/net/task.h"

namespace boost::asio {
class io_context;
}

namespace kraken::net {

/// One thread that runs one io_context, from construction until stop().
class Loop {
 public:
  /// `name` is the thread's name (at most 15 bytes are shown).
  explicit Loop(std::string name = "loop");
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop();  // stop() and join()

  boost::asio::io_context& context();
  Executor executor();
  /// From any thread; `work` runs on the loop, in the order of the calls of one thread.
  void post(std::move_only_function<void()> work);
  bool is_current() const;
  /// Ends the loop soon, whatever is still on it: scopes are stopped before. Any thread.
  void stop();
  void join();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Loops {
 public:
  /// count >= 1. Threads are named "<name>/<number>".
  explicit Loops(std::size_t count, const std::string& name = "loop");
  /// In turn. Any thread.
  Loop& next();
  Loop& at(std::size_t index) { return *loops_[index]; }
  std::size_t size() const { return loops_.size(); }
  /// Stops and joins all.
  void stop();

 private:
  std::vector<std::unique_ptr<Loop>> loops_;
  std::atomic<std::size_t> turn_{0};
};

}  // namespace kraken::net
