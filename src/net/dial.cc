#include "src/net/dial.h"

#include <boost/asio/ip/address.hpp>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "src/net/event.h"
#include "src/net/io.h"

namespace kraken::net {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

MonotonicTime now() { return system_clock().monotonic(); }

/// getaddrinfo cannot be cancelled, so its answer comes to a place that outlives whoever asked.
struct Lookup {
  explicit Lookup(const Executor& executor) : resolver(executor) {}
  tcp::resolver resolver;
  Event done;
  bool answered = false;
  boost::system::error_code ec;
  std::vector<asio::ip::address> addresses;
};

Task<std::vector<asio::ip::address>> addresses_of(std::string host, Duration timeout) {
  boost::system::error_code ec;
  std::vector<asio::ip::address> out;
  auto literal = asio::ip::make_address(host, ec);
  if (!ec) {
    out.push_back(literal);
    co_return out;
  }
  auto executor = co_await asio::this_coro::executor;
  auto lookup = std::make_shared<Lookup>(executor);
  const auto seen = lookup->done.version();
  lookup->resolver.async_resolve(host, "", [lookup](boost::system::error_code error, tcp::resolver::results_type found) {
    lookup->ec = error;
    for (const auto& entry : found) lookup->addresses.push_back(entry.endpoint().address());
    lookup->answered = true;
    lookup->done.notify();
  });
  auto waited = co_await lookup->done.wait(seen, timeout);
  if (!waited && waited.error().code == Code::kCancelled) co_return std::unexpected(std::move(waited).error());
  if (!lookup->answered) co_return fail(Code::kUnavailable, "resolving {}: no answer in time", host);
  if (lookup->ec || lookup->addresses.empty())
    co_return fail(Code::kUnavailable, "resolving {}: {}", host,
                   lookup->ec ? lookup->ec.message() : std::string("no addresses"));
  // A name with several lines in /etc/hosts or several socket types comes more than once.
  for (const auto& address : lookup->addresses)
    if (std::find(out.begin(), out.end(), address) == out.end()) out.push_back(address);
  co_return out;
}

}  // namespace

Task<std::vector<std::string>> resolve(std::string host, Duration timeout) {
  KR_CO_TRY(auto addresses, co_await addresses_of(std::move(host), timeout));
  std::vector<std::string> out;
  for (const auto& address : addresses) out.push_back(address.to_string());
  co_return out;
}

Task<Socket> dial(std::string host, std::uint16_t port, Duration timeout) {
  auto executor = co_await asio::this_coro::executor;
  const auto deadline = now() + timeout;
  KR_CO_TRY(auto addresses, co_await addresses_of(host, timeout));
  std::string why = "no time left";
  for (const auto& address : addresses) {
    const auto left = deadline - now();
    if (left <= Duration::zero()) break;
    Socket socket(executor);
    Watchdog watchdog(socket);
    watchdog.arm(left);
    boost::system::error_code ec;
    socket.open(address.is_v6() ? tcp::v6() : tcp::v4(), ec);
    if (ec) co_return std::unexpected(error_of(ec, "socket"));
    auto [connected] = co_await socket.async_connect(tcp::endpoint(address, port), kTuple);
    if (!connected) {
      socket.non_blocking(true, ec);
      socket.native_non_blocking(true, ec);
      socket.set_option(tcp::no_delay(true), ec);
      co_return std::move(socket);
    }
    if (connected == asio::error::operation_aborted && !watchdog.expired())
      co_return fail(Code::kCancelled, "dial {}:{}: cancelled", host, port);
    why = watchdog.expired() ? "no answer in time" : connected.message();
  }
  co_return fail(Code::kUnavailable, "dial {}:{}: {}", host, port, why);
}

void limit_unacknowledged(Socket& socket, Duration limit) {
  using Timeout = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_USER_TIMEOUT>;
  boost::system::error_code ignored;  // a connection that is gone says so soon enough
  socket.set_option(Timeout(static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(limit).count())), ignored);
}

Result<HostPort> parse_host_port(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return fail(Code::kInvalidArgument, "\"{}\" is not host:port", text);
  auto host = text.substr(0, colon);
  const auto digits = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return fail(Code::kInvalidArgument, "\"{}\": an IPv6 address is written [address]:port", text);
  }
  unsigned port = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (ec != std::errc{} || end != digits.data() + digits.size() || port > 65535)
    return fail(Code::kInvalidArgument, "\"{}\": the port is not a number up to 65535", text);
  return HostPort{std::string(host), static_cast<std::uint16_t>(port)};
}

}  // namespace kraken::net
