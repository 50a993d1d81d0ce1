#pragma once
// What one thread works off in batches: while it is busy with one, the next collects. In the order of the calls of one thread.
// Not bounded by itself: what is put in is (proposals in flight, the log's window, one job a shard).
// Threads: push, close, dropped and size any; take the worker's.

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "src/base/clock.h"

namespace kraken::group {

template <class Item>
class BatchQueue {
 public:
  /// Nothing once it is closed.
  void push(std::vector<Item> items) {
    put([&] {
      for (Item& item : items) queue_.push_back(std::move(item));
    });
  }
  void push(Item item) {
    put([&] { queue_.push_back(std::move(item)); });
  }

  /// Everything that is there, as soon as there is something. Empty: closed, and all of it taken, or dropped.
  std::vector<Item> take() {
    std::vector<Item> items;
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return closed_ || !queue_.empty(); });
    if (!dropped()) items.swap(queue_);
    return items;
  }

  /// The same; nothing if nothing came in time.
  std::optional<std::vector<Item>> take_for(Duration timeout) {
    std::vector<Item> items;
    std::unique_lock lock(mutex_);
    if (!wake_.wait_for(lock, timeout, [this] { return closed_ || !queue_.empty(); })) return std::nullopt;
    if (!dropped()) items.swap(queue_);
    return items;
  }

  /// With `drop`, what is queued is not handed out any more.
  void close(bool drop) {
    {
      const std::scoped_lock lock(mutex_);
      closed_ = true;
      if (drop) dropped_.store(true, std::memory_order_relaxed);
    }
    wake_.notify_one();
  }
  bool dropped() const { return dropped_.load(std::memory_order_relaxed); }
  std::size_t size() const {
    const std::scoped_lock lock(mutex_);
    return queue_.size();
  }

 private:
  template <class Put>
  void put(const Put& add) {
    bool idle = false;
    {
      const std::scoped_lock lock(mutex_);
      if (closed_) return;
      idle = queue_.empty();
      add();
    }
    if (idle) wake_.notify_one();
  }

  mutable std::mutex mutex_;  // guards the rest
  std::condition_variable wake_;
  std::vector<Item> queue_;
  bool closed_ = false;
  std::atomic<bool> dropped_{false};
};

}  // namespace kraken::group
