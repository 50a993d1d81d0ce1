#pragma once
// Gives what uploads wrote to the disk while they go on: so the syncs of the log on the same disk never wait behind a
// gigabyte, and the final sync of an upload has little left to do. Private to storage/blob. Threads: any.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "src/base/error.h"
#include "src/base/file.h"

namespace kraken::blob {

/// What of one upload is on its way to the disk. Lives as long as anybody is interested, the descriptor with it.
struct Writeback {
  explicit Writeback(UniqueFd file) : fd(std::move(file)) {}
  const UniqueFd fd;
  std::mutex mutex;  // the rest
  std::condition_variable changed;
  std::uint32_t windows = 0;
  int error = 0;  // errno of the first window that failed

  /// Until at most `windows_max` are under way; the error of a window that failed.
  Result<> wait(std::uint32_t windows_max);
};

class Syncer {
 public:
  explicit Syncer(std::size_t threads);
  ~Syncer();
  Syncer(const Syncer&) = delete;
  Syncer& operator=(const Syncer&) = delete;
  void add(std::shared_ptr<Writeback> upload, std::uint64_t offset, std::uint64_t length);

 private:
  struct Job {
    std::shared_ptr<Writeback> upload;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  void run();

  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<Job> jobs_;  // bounded by uploads times Options::windows_max
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace kraken::blob
