#pragma once
// Listening sockets. A listener binds exactly the address it is given, with SO_REUSEADDR (a restart need not wait for
// old connections) and never SO_REUSEPORT (two processes on one port by mistake would share it in silence).

#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "src/net/task.h"

namespace kraken::net {

/// One port on one address. Made without a loop; `accept` runs on the loop that awaits it.
class Acceptor {
 public:
  Acceptor();
  Acceptor(Acceptor&&) noexcept;
  Acceptor& operator=(Acceptor&&) noexcept;
  ~Acceptor();

  const std::string& host() const;
  /// The port it really has, also where 0 was asked for.
  std::uint16_t port() const;
  /// The next connection, as a socket of `target`'s loop: non-blocking, TCP_NODELAY, close-on-exec. Always awaited on
  /// one and the same loop. kCancelled after close() or when cancelled; kOverloaded when descriptors run out (the
  /// caller waits a little and goes on).
  Task<Socket> accept(Executor target);
  /// A connection that has already arrived, else kUnavailable. When no loop accepts.
  Result<Socket> accept_now(Executor target);
  /// On the loop that accepts, or when no loop does.
  void close();

 private:
  friend Result<Acceptor> listen(std::string_view host, std::uint16_t port);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// `host` is an address or a name that resolves to one of this host's (it may block on DNS: at start only). A port that
/// is taken gives kAlreadyExists with a sentence that names it and says what to do; an address this host does not have
/// gives kInvalidArgument.
Result<Acceptor> listen(std::string_view host, std::uint16_t port);

bool is_loopback(std::string_view host);

/// Until TLS and authentication come, a bind beyond loopback must be allowed in so many words
/// (`tls: {server: {disabled: true}}`); else kDenied with the sentence for the user. Called before `listen`.
Result<> check_bind(std::string_view host, bool plaintext_allowed);

}  // namespace kraken::net
