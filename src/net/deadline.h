#pragma once
// Deadlines and hops for whole tasks. A single read or write has its Watchdog (src/net/io.h) instead, which is cheaper.

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/steady_timer.hpp>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "src/net/task.h"

namespace kraken::net {

namespace detail {

/// A timer that cancels a coroutine when it fires, and again every 50 ms until it is disarmed: the coroutine may be
/// between two waits, where a cancellation finds nothing to cancel.
struct Alarm : std::enable_shared_from_this<Alarm> {
  explicit Alarm(const Executor& executor) : timer(executor) {}
  void arm(Duration after);
  void disarm();
  boost::asio::steady_timer timer;
  boost::asio::cancellation_signal signal;
  bool fired = false;
  bool disarmed = false;
};

}  // namespace detail

/// Runs `task`; if it has not ended within `limit` it is cancelled, awaited, and the answer is kDeadlineExceeded
/// (unless it ended well after all). `what` names it in the error.
template <class T>
Task<T> with_deadline(Duration limit, Task<T> task, std::string what = "deadline") {
  auto executor = co_await boost::asio::this_coro::executor;
  auto cancellation = co_await boost::asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != boost::asio::cancellation_type::none)
    co_return fail(Code::kCancelled, "{}: cancelled", what);
  auto alarm = std::make_shared<detail::Alarm>(executor);
  alarm->arm(limit);
  if (cancellation.slot().is_connected())
    cancellation.slot().assign([alarm](boost::asio::cancellation_type type) { alarm->signal.emit(type); });
  auto token = boost::asio::bind_cancellation_slot(alarm->signal.slot(), kTuple);
  std::optional<Result<T>> result;
  auto [exception] = co_await boost::asio::co_spawn(executor, detail::quiet(std::move(task), result), token);
  alarm->disarm();
  auto outcome = detail::outcome(exception, std::move(result));
  if (alarm->fired && !outcome && outcome.error().code == Code::kCancelled)
    co_return fail(Code::kDeadlineExceeded, "{}: no end within {} ms", what,
                   std::chrono::duration_cast<std::chrono::milliseconds>(limit).count());
  co_return outcome;
}

/// Runs `task` on another loop and comes back to this one with what it gave. Cancelling the caller cancels the task.
template <class T>
Task<T> on(Executor executor, Task<T> task) {
  auto cancellation = co_await boost::asio::this_coro::cancellation_state;
  auto signal = std::make_shared<boost::asio::cancellation_signal>();
  if (cancellation.slot().is_connected())
    cancellation.slot().assign([signal, executor](boost::asio::cancellation_type type) {
      boost::asio::dispatch(executor, [signal, type] { signal->emit(type); });
    });
  auto token = boost::asio::bind_cancellation_slot(signal->slot(), kTuple);
  std::optional<Result<T>> result;
  auto [exception] = co_await boost::asio::co_spawn(executor, detail::quiet(std::move(task), result), token);
  co_return detail::outcome(exception, std::move(result));
}

}  // namespace kraken::net
