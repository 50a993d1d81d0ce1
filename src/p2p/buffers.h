#pragma once
// The buffers that received bytes pass through: a fixed number of 256 KiB, mapped when first needed and unmapped when
// the load has gone, so that an idle agent is small. A buffer may be dropped on any thread; acquire belongs to one loop.

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "src/net/task.h"

namespace kraken::p2p {

class BufferPool {
  struct State;

 public:
  static constexpr std::size_t kBufferBytes = 256 * 1024;

  class Buffer {
   public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept : state_(std::move(other.state_)), data_(std::exchange(other.data_, nullptr)) {}
    Buffer& operator=(Buffer&& other) noexcept;
    ~Buffer() { release(); }
    std::span<char> span() const { return {data_, kBufferBytes}; }

   private:
    friend class BufferPool;
    Buffer(std::shared_ptr<State> state, char* data) : state_(std::move(state)), data_(data) {}
    void release();
    std::shared_ptr<State> state_;
    char* data_ = nullptr;
  };

  explicit BufferPool(std::size_t buffers_max);
  /// Waits while all are out.
  net::Task<Buffer> acquire();
  /// Gives back to the system what has not been used since the last call.
  void trim();

 private:
  std::shared_ptr<State> state_;
};

}  // namespace kraken::p2p
