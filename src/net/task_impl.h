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
template <class T>
Task<T> quiet(Task<T> task) {
  co_await boost::asio::this_coro::throw_if_cancelled(false);
  auto result = co_await std::move(task);
  co_return result;
}

/// What a finished coroutine gave. An aborted start is kCancelled; any other exception goes on.
template <class T>
Result<T> outcome(std::exception_ptr exception, Result<T> result) {
  if (!exception) return result;
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
  std::promise<Result<T>> promise;
  auto future = promise.get_future();
  boost::asio::co_spawn(executor, detail::quiet(std::move(task)),
                        [&promise](std::exception_ptr exception, Result<T> result) {
                          try {
                            promise.set_value(detail::outcome(exception, std::move(result)));
                          } catch (...) {
                            promise.set_exception(std::current_exception());
                          }
                        });
  return future.get();
}

}  // namespace kraken::net
