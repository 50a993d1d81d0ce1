#include "src/net/event.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <mutex>
#include <vector>

#include "src/base/assert.h"

namespace kraken::net {

namespace asio = boost::asio;

namespace {

/// Touched on its own loop only; notify() posts the cancellation there.
struct Sleeper {
  explicit Sleeper(const Executor& executor) : timer(executor) {}
  asio::steady_timer timer;
};

}  // namespace

struct Event::State {
  std::mutex mutex;
  std::uint64_t version = 0;
  std::vector<std::shared_ptr<Sleeper>> sleepers;
};

Event::Event() : state_(std::make_shared<State>()) {}
Event::~Event() = default;

std::uint64_t Event::version() const {
  std::scoped_lock lock(state_->mutex);
  return state_->version;
}

void Event::notify() {
  std::vector<std::shared_ptr<Sleeper>> woken;
  {
    std::scoped_lock lock(state_->mutex);
    ++state_->version;
    woken.swap(state_->sleepers);
  }
  for (auto& sleeper : woken) {
    auto executor = sleeper->timer.get_executor();
    asio::post(executor, [sleeper] { sleeper->timer.cancel(); });
  }
}

Task<void> Event::wait(std::uint64_t seen, Duration timeout) {
  auto executor = co_await asio::this_coro::executor;
  auto state = state_;
  auto sleeper = std::make_shared<Sleeper>(executor);
  {
    std::scoped_lock lock(state->mutex);
    if (state->version != seen) co_return Result<>{};
    state->sleepers.push_back(sleeper);
  }
  // A notify() between here and the wait posts to this very loop, so it comes after the wait began.
  sleeper->timer.expires_after(timeout);
  auto [ec] = co_await sleeper->timer.async_wait(kTuple);
  std::scoped_lock lock(state->mutex);
  std::erase(state->sleepers, sleeper);
  if (state->version != seen) co_return Result<>{};
  if (!ec) co_return fail(Code::kDeadlineExceeded, "nothing happened in time");
  co_return fail(Code::kCancelled, "wait cancelled");
}

void Latch::count_down() {
  const auto before = count_.fetch_sub(1);
  KR_ASSERT(before > 0);
  if (before == 1) event_.notify();
}

Task<void> Latch::wait(Duration timeout) {
  for (;;) {
    const auto seen = event_.version();
    if (count_.load() == 0) co_return Result<>{};
    KR_CO_CHECK(co_await event_.wait(seen, timeout));
  }
}

struct Semaphore::Waiter {
  explicit Waiter(const Executor& executor, Duration timeout) : timer(executor, timeout) {}
  asio::steady_timer timer;
  bool granted = false;
};

Semaphore::Semaphore(std::size_t permits, std::size_t waiting_max) : permits_(permits), waiting_max_(waiting_max) {}
Semaphore::~Semaphore() { KR_ASSERT(waiting_.empty()); }

void Semaphore::Permit::release() {
  auto* from = std::exchange(from_, nullptr);
  if (from == nullptr) return;
  if (from->waiting_.empty()) {
    ++from->permits_;
    return;
  }
  auto* waiter = from->waiting_.front();
  from->waiting_.pop_front();
  waiter->granted = true;
  waiter->timer.cancel();
}

Task<Semaphore::Permit> Semaphore::acquire(Duration timeout) {
  if (permits_ > 0) {
    --permits_;
    co_return Permit(this);
  }
  if (waiting_.size() >= waiting_max_) co_return fail(Code::kOverloaded, "{} are waiting already", waiting_.size());
  auto executor = co_await asio::this_coro::executor;
  Waiter waiter(executor, timeout);
  waiting_.push_back(&waiter);
  auto [ec] = co_await waiter.timer.async_wait(kTuple);
  if (waiter.granted) co_return Permit(this);
  std::erase(waiting_, &waiter);
  if (!ec) co_return fail(Code::kDeadlineExceeded, "no turn in time");
  co_return fail(Code::kCancelled, "wait cancelled");
}

}  // namespace kraken::net
