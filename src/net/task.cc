#include "src/net/task.h"

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace kraken::net {

namespace asio = boost::asio;

namespace {

Code code_of(const boost::system::error_code& ec) {
  using namespace asio::error;
  if (ec == eof || ec == connection_reset || ec == broken_pipe || ec == connection_aborted || ec == shut_down ||
      ec == not_connected || ec == bad_descriptor)
    return Code::kClosed;
  if (ec == operation_aborted) return Code::kCancelled;
  if (ec == connection_refused || ec == host_unreachable || ec == network_unreachable || ec == network_down ||
      ec == host_not_found || ec == host_not_found_try_again || ec == timed_out)
    return Code::kUnavailable;
  if (ec == no_descriptors || ec == no_memory || ec == no_buffer_space ||
      ec == boost::system::errc::too_many_files_open_in_system)
    return Code::kOverloaded;
  return Code::kIo;
}

}  // namespace

Error error_of(const boost::system::error_code& ec, std::string_view what) {
  if (ec == asio::error::eof) return Error{Code::kClosed, fmt::format("{}: closed by the other side", what)};
  return Error{code_of(ec), fmt::format("{}: {}", what, ec.message())};
}

Task<void> sleep_for(Duration duration) {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, duration);
  auto [ec] = co_await timer.async_wait(kTuple);
  if (ec) co_return fail(Code::kCancelled, "sleep cancelled");
  co_return Result<>{};
}

Task<void> yield() {
  auto executor = co_await asio::this_coro::executor;
  co_await asio::post(executor, asio::use_awaitable);
  co_return Result<>{};
}

}  // namespace kraken::net
