#pragma once
// The threads that may block: file I/O and hashing. A bounded queue; when it is full the caller gets kOverloaded.

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "src/net/task.h"

namespace kraken::net {

class FilePool {
 public:
  /// threads >= 1; queue_max: how many jobs may wait.
  FilePool(std::size_t threads, std::size_t queue_max, const std::string& name = "files");
  FilePool(const FilePool&) = delete;
  FilePool& operator=(const FilePool&) = delete;
  /// Runs what is queued, then joins. REQUIRES: the loops that wait for jobs have not been destroyed.
  ~FilePool();

  /// Runs `work` (`() -> Result<R>`) on a thread of the pool and comes back to this loop with its result. Once queued
  /// it is not cancelled: what it refers to in the caller's frame stays alive. kOverloaded if the queue is full,
  /// kCancelled after stop().
  template <class Work>
  Task<typename std::invoke_result_t<Work&>::value_type> run(Work work) {
    std::optional<std::invoke_result_t<Work&>> result;
    std::move_only_function<void()> job = [&result, &work] { result.emplace(work()); };
    KR_CO_CHECK(co_await execute(std::move(job)));
    co_return *std::move(result);
  }

  /// Fire and forget; false if the queue is full or the pool has stopped. Any thread.
  bool post(std::move_only_function<void()> job);
  std::size_t queued() const;
  /// No more jobs are taken; waits for those that were.
  void stop();

 private:
  Task<void> execute(std::move_only_function<void()> job);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kraken::net
