#pragma once
// The templates of task.h.

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <future>
#include <optional>

#include "src/net/task.h"

namespace kraken::net {

/// The completion token of our coroutines: what Asio would throw comes first in the tuple.
inline constexpr boost::asio::as_tuple_t<boost::asio::use_awaitable_t<>> kTuple{};

namespace detail {

/// Every coroutine thread starts with this frame: after a cancellation awaits go on giving values instead of throwing.
/// The result goes to `out`, which outlives the task, because Asio could only carry what has a default.
template <class T>
boost::asio::awaitable<void> quiet(Task<T> task, std::optional<Result<T>>& out) {
  co_await boost::asio::this_coro::throw_if_cancelled(false);
  out = co_await std::move(task);
}

/// What a finished coroutine gave. An aborted start is kCancelled; any other exception goes on.
template <class T>
Result<T> outcome(std::exception_ptr exception, std::optional<Result<T>> result) {
  if (!exception) return *std::move(result);
  try {
    std::rethrow_exception(exception);
  } catch (const boost::system::system_error& error) {
    if (error.code() == boost::asio::error::operation_aborted) return fail(Code::kCancelled, "cancelled");
    throw;
  }
}

}  // namespace detail

template <class T>
Result<T> block_on(Executor executor, Task<T> task) {
  std::optional<Result<T>> result;
  std::promise<std::exception_ptr> ended;
  auto future = ended.get_future();
  boost::asio::co_spawn(executor, detail::quiet(std::move(task), result),
                        [&ended](std::exception_ptr exception) { ended.set_value(exception); });
  auto exception = future.get();
  return detail::outcome(exception, std::move(result));
}

}  // namespace kraken::net
