#pragma once
// The coroutine type of the whole project and the few words around it. A Task is lazy: it runs when it is awaited or
// handed to a Scope (src/net/scope.h), which is the only way to start one. It runs on one loop from start to end;
// what belongs to a loop needs no lock. Errors come as values: a cancelled wait gives kCancelled, nothing is thrown.
//
//   net::Task<int> f(std::string name) {
//     KR_CO_TRY(auto socket, co_await dial("127.0.0.1", 15002, std::chrono::seconds(2)));
//     ...
//   }
// A `co_await` stands in its own statement; parameters of whatever is spawned are by value.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <string_view>

#include "src/base/clock.h"
#include "src/base/error.h"

namespace kraken::net {

template <class T = void>
using Task = boost::asio::awaitable<Result<T>>;

using Executor = boost::asio::any_io_executor;
using Socket = boost::asio::ip::tcp::socket;

/// The kraken error of a system or Asio error: end of stream, reset and broken pipe are kClosed, an aborted operation
/// is kCancelled, no descriptors and no memory kOverloaded, refused and unreachable kUnavailable, all else kIo.
Error error_of(const boost::system::error_code& ec, std::string_view what);

/// Waits; kCancelled if the coroutine is cancelled meanwhile.
Task<void> sleep_for(Duration duration);

/// Lets everything else that is ready on this loop run first. For loops that might never wait.
Task<void> yield();

/// Runs `task` on `executor` and waits for it on the calling thread, which must not be a loop. For main and tests.
/// An exception of the task is rethrown.
template <class T>
Result<T> block_on(Executor executor, Task<T> task);

}  // namespace kraken::net

#include "src/net/task_impl.h"  // IWYU pragma: export
