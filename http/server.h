#pragma once
// Server: HTTP/1.1 (and 1.0) on the loops, one coroutine per connection, for every role.
//
// One acceptor a port hands connections to the loops in turn; a connection never moves. Requests of a connection are
// answered one after the other, pipelined ones too. Bodies stream both ways. Framing that two parsers could read
// differently (both lengths, differing lengths, a transfer coding we do not know) is 400 and the connection closes.
// Metrics: kr_http_requests_total{server,method,code}, kr_http_request_seconds{server}, kr_http_connections{server}.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "http/exchange.h"
#include "http/headers.h"
#include "http/router.h"
#include "src/base/clock.h"
#include "src/base/error.h"

namespace kraken::net {
class FilePool;
class Loops;
}  // namespace kraken::net

namespace kraken::http {

/// How a handler's error (or the router's) becomes an answer: OCI JSON on registry paths, plain text elsewhere.
/// See http/errors.h for `plain_error`.
using ErrorWriter = std::function<Answer(const RequestHead&, const Error&)>;

struct Limits {
  std::size_t header_bytes = 16 * 1024;           // of a request's head; beyond: 431
  Duration header_timeout = std::chrono::seconds(10);  // from its first byte to its end; beyond: 408
  Duration idle_timeout = std::chrono::seconds(60);    // between requests
  // A body that flows slower than this, either way, over `rate_window` of waiting for the client is cut off.
  std::uint64_t body_bytes_per_second_min = 1024;
  Duration rate_window = std::chrono::seconds(30);
  std::size_t drain_bytes = 256 * 1024;  // of a body that nobody read, to keep the connection; beyond: it closes
  std::size_t connections_max = 4096;    // of all loops; beyond: a new one gets 503 and is closed
};

class Server {
 public:
  /// `name` is the metrics' label: "proxy", "origin". `error_writer` null: plain_error. Loops and pool outlive it.
  Server(net::Loops& loops, net::FilePool& pool, Router router, Limits limits, ErrorWriter error_writer,
         std::string name);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();  // stop(0)

  /// Several times for several ports. See net/listen.h for errors; callers check_bind() first.
  Result<void> listen(std::string_view host, std::uint16_t port);
  /// Of the listener so many-th; for tests that listened on 0.
  std::uint16_t port(std::size_t listener = 0) const;

  /// No more connections; idle ones close; requests that run, and those of connections that had arrived (within a second),
  /// get `drain` to end, with `Connection: close`; then they are cancelled. Returns when all have ended. Not on a loop. Repeating it is harmless.
  void stop(Duration drain);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace kraken::http
