#include "src/net/listen.h"

#include <netdb.h>
#include <sys/socket.h>

#include <boost/asio/ip/address.hpp>

#include <cerrno>
#include <cstring>
#include <optional>

#include "src/base/file.h"
#include "src/net/io.h"

namespace kraken::net {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr int kBacklog = 4096;

Result<asio::ip::address> address_of(std::string_view host) {
  boost::system::error_code ec;
  auto literal = asio::ip::make_address(std::string(host), ec);
  if (!ec) return literal;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status = ::getaddrinfo(std::string(host).c_str(), nullptr, &hints, &found);
  if (status != 0) return fail(Code::kInvalidArgument, "listening on {}: {}", host, ::gai_strerror(status));
  tcp::endpoint endpoint;
  std::memcpy(endpoint.data(), found->ai_addr, found->ai_addrlen);
  ::freeaddrinfo(found);
  return endpoint.address();
}

std::unexpected<Error> bind_error(int error, std::string_view host, std::uint16_t port) {
  if (error == EADDRINUSE)
    return fail(Code::kAlreadyExists,
                "port {} on {} is taken by another process; stop it or configure another port (`ss -ltnp` shows who)",
                port, host);
  if (error == EADDRNOTAVAIL)
    return fail(Code::kInvalidArgument, "{} is not an address of this host, so port {} cannot be bound there", host, port);
  if (error == EACCES)
    return fail(Code::kDenied, "port {} on {} needs a privilege this process does not have; use one above 1023", port,
                host);
  return fail_errno(error, fmt::format("listening on {}:{}", host, port));
}

}  // namespace

struct Acceptor::Impl {
  std::string host;
  std::uint16_t port = 0;
  bool v6 = false;
  bool closed = false;
  UniqueFd fd;                             // until the first accept
  std::optional<tcp::acceptor> acceptor;   // from then on
};

Acceptor::Acceptor() : impl_(std::make_unique<Impl>()) {}
Acceptor::Acceptor(Acceptor&&) noexcept = default;
Acceptor& Acceptor::operator=(Acceptor&&) noexcept = default;
Acceptor::~Acceptor() = default;

const std::string& Acceptor::host() const { return impl_->host; }
std::uint16_t Acceptor::port() const { return impl_->port; }

void Acceptor::close() {
  impl_->closed = true;
  impl_->fd.reset();
  if (!impl_->acceptor) return;
  boost::system::error_code ec;
  impl_->acceptor->close(ec);
}

Task<Socket> Acceptor::accept(Executor target) {
  auto executor = co_await asio::this_coro::executor;
  if (impl_->closed) co_return fail(Code::kCancelled, "the listener is closed");
  boost::system::error_code ec;
  if (!impl_->acceptor) {
    impl_->acceptor.emplace(executor);
    impl_->acceptor->assign(impl_->v6 ? tcp::v6() : tcp::v4(), impl_->fd.get(), ec);
    if (ec) co_return std::unexpected(error_of(ec, "accept"));
    (void)impl_->fd.release();
  }
  auto [accept_ec, socket] = co_await impl_->acceptor->async_accept(target, kTuple);
  if (accept_ec) {
    if (impl_->closed) co_return fail(Code::kCancelled, "the listener is closed");
    co_return std::unexpected(error_of(accept_ec, "accept"));
  }
  socket.non_blocking(true, ec);
  socket.native_non_blocking(true, ec);
  socket.set_option(tcp::no_delay(true), ec);
  co_return std::move(socket);
}

Result<Socket> Acceptor::accept_now(Executor target) {
  const int listener = impl_->acceptor ? impl_->acceptor->native_handle() : impl_->fd.get();
  UniqueFd fd(impl_->closed ? -1 : ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return fail(Code::kUnavailable, "no connection waits");
  Socket socket(target);
  boost::system::error_code ec;
  socket.assign(impl_->v6 ? tcp::v6() : tcp::v4(), fd.get(), ec);
  if (ec) return std::unexpected(error_of(ec, "accept"));
  (void)fd.release();
  socket.non_blocking(true, ec);
  socket.set_option(tcp::no_delay(true), ec);
  return socket;
}

Result<Acceptor> listen(std::string_view host, std::uint16_t port) {
  KR_TRY(const auto address, address_of(host));
  tcp::endpoint endpoint(address, port);
  UniqueFd fd(::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "socket");
  const int yes = 1;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0) return fail_errno(errno, "SO_REUSEADDR");
  if (::bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0)
    return bind_error(errno, host, port);
  if (::listen(fd.get(), kBacklog) != 0) return bind_error(errno, host, port);
  auto length = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(fd.get(), endpoint.data(), &length) != 0) return fail_errno(errno, "getsockname");
  Acceptor out;
  out.impl_->host = std::string(host);
  out.impl_->port = endpoint.port();
  out.impl_->v6 = address.is_v6();
  out.impl_->fd = std::move(fd);
  return out;
}

bool is_loopback(std::string_view host) {
  if (host == "localhost") return true;
  boost::system::error_code ec;
  const auto address = asio::ip::make_address(std::string(host), ec);
  return !ec && address.is_loopback();
}

Result<> check_bind(std::string_view host, bool plaintext_allowed) {
  if (plaintext_allowed || is_loopback(host)) return {};
  return fail(Code::kDenied,
              "{} is not a loopback address, and this version has neither TLS nor authentication: whoever reaches the "
              "port may push and delete. If the network is trusted, say so: tls: {{server: {{disabled: true}}}}",
              host);
}

}  // namespace kraken::net
