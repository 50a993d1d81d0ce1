#include "src/p2p/buffers.h"

#include <sys/mman.h>

#include <mutex>
#include <vector>

#include "src/net/event.h"

namespace kraken::p2p {

struct BufferPool::State {
  std::mutex mutex;
  std::vector<char*> free;
  std::size_t out = 0;
  std::size_t out_most = 0;  // since the last trim
  std::size_t max = 0;
  net::Event returned;
  ~State() {
    for (char* data : free) ::munmap(data, kBufferBytes);
  }
};

BufferPool::BufferPool(std::size_t buffers_max) : state_(std::make_shared<State>()) { state_->max = buffers_max; }

BufferPool::Buffer& BufferPool::Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    release();
    state_ = std::move(other.state_);
    data_ = std::exchange(other.data_, nullptr);
  }
  return *this;
}

void BufferPool::Buffer::release() {
  if (data_ == nullptr) return;
  bool waited_for = false;
  {
    std::scoped_lock lock(state_->mutex);
    waited_for = state_->out == state_->max;
    --state_->out;
    state_->free.push_back(std::exchange(data_, nullptr));
  }
  if (waited_for) state_->returned.notify();
}

net::Task<BufferPool::Buffer> BufferPool::acquire() {
  auto state = state_;
  for (;;) {
    const auto seen = state->returned.version();
    {
      std::scoped_lock lock(state->mutex);
      if (state->out < state->max) {
        char* data = nullptr;
        if (!state->free.empty()) {
          data = state->free.back();
          state->free.pop_back();
        } else {
          void* map = ::mmap(nullptr, kBufferBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
          if (map == MAP_FAILED) co_return fail(Code::kOverloaded, "no memory for a buffer");
          data = static_cast<char*>(map);
        }
        ++state->out;
        state->out_most = std::max(state->out_most, state->out);
        co_return Buffer(state, data);
      }
    }
    // A notification between the look and the wait changes the version, so none is missed.
    KR_CO_CHECK(co_await state->returned.wait(seen, std::chrono::hours(1)));
  }
}

void BufferPool::trim() {
  std::vector<char*> unused;
  {
    std::scoped_lock lock(state_->mutex);
    while (state_->free.size() + state_->out > state_->out_most && !state_->free.empty()) {
      unused.push_back(state_->free.back());
      state_->free.pop_back();
    }
    state_->out_most = state_->out;
  }
  for (char* data : unused) ::munmap(data, kBufferBytes);
}

}  // namespace kraken::p2p
