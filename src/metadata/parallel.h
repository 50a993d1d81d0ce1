#pragma once
// Several tasks at once on the caller's loop, at most `width` at a time; ends when all have. Internal to the folder.
// Cancelling the caller lets the tasks that run come to their own deadlines and starts no further ones.

#include <algorithm>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "src/net/task.h"

namespace kraken::metadata {

namespace detail {

template <class T>
struct Parallel {
  std::vector<net::Task<T>> tasks;
  std::vector<Result<T>> results;
  std::size_t next = 0;
  std::size_t running = 0;
  bool cancelled = false;
  std::exception_ptr exception;
};

// Takes one task after the other until none is left.
template <class T>
boost::asio::awaitable<void> parallel_worker(std::shared_ptr<Parallel<T>> all) {
  while (all->next < all->tasks.size() && !all->cancelled) {
    const std::size_t i = all->next++;
    net::Task<T> task = std::move(all->tasks[i]);
    auto result = co_await std::move(task);
    all->results[i] = std::move(result);
  }
}

}  // namespace detail

/// The results in the order of the tasks; those that were never started are kCancelled.
template <class T>
boost::asio::awaitable<std::vector<Result<T>>> parallel(std::vector<net::Task<T>> tasks, std::size_t width) {
  namespace asio = boost::asio;
  auto all = std::make_shared<detail::Parallel<T>>();
  all->tasks = std::move(tasks);
  for (std::size_t i = 0; i < all->tasks.size(); ++i)
    all->results.push_back(std::unexpected(Error{Code::kCancelled, "not started"}));
  if (all->tasks.empty()) co_return std::move(all->results);
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  auto cancellation = co_await asio::this_coro::cancellation_state;
  if (cancellation.slot().is_connected())
    cancellation.slot().assign([all](asio::cancellation_type) { all->cancelled = true; });
  const auto start = [all, executor, width](auto handler) {
    using Handler = decltype(handler);
    auto done = std::make_shared<Handler>(std::move(handler));
    all->running = std::min(width, all->tasks.size());
    for (std::size_t i = 0, workers = all->running; i < workers; ++i) {
      asio::co_spawn(executor, detail::parallel_worker<T>(all), [all, executor, done](std::exception_ptr exception) {
        if (exception && !all->exception) all->exception = exception;
        if (--all->running > 0) return;
        asio::post(executor, [done] { std::move (*done)(); });
      });
    }
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(start, asio::use_awaitable);
  if (all->exception) std::rethrow_exception(all->exception);
  co_return std::move(all->results);
}

}  // namespace kraken::metadata
