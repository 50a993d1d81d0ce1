#pragma once
// Client: HTTP/1.1 with kept connections. One per process or role; a coroutine uses the pool of the loop it runs on, so
// nothing is locked while bytes flow.
//
// Errors: kUnavailable, nothing could be reached (nothing was sent). kDeadlineExceeded, no head or no progress in time;
// kClosed, the server closed before the end: for both the request may have been carried out. kProtocol, not HTTP.
// Any status is a success here. Redirects are not followed.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "http/headers.h"
#include "src/net/task.h"

namespace kraken::net {
class FilePool;
}

namespace kraken::http {

/// A body that is made while it is sent: fills the span, 0 is the end. Without a length it goes out chunked. An error
/// ends the request and the connection.
struct BodySource {
  std::function<net::Task<std::size_t>(std::span<char>)> read;
  std::optional<std::uint64_t> length;
};

/// [offset, offset + length) of an open file, by sendfile. `fd` stays the caller's, open until send() returns.
struct FileBody {
  int fd = -1;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

struct ClientRequest {
  Method method = Method::kGet;
  std::string host;  // address or name
  std::uint16_t port = 0;
  std::string target;  // path and query, escaped
  Headers headers;     // Host, Content-Length and Transfer-Encoding are set by the client
  std::variant<std::string, BodySource, FileBody> body;
  Duration dial_timeout = std::chrono::seconds(2);
  Duration timeout = std::chrono::seconds(60);       // from the end of the request's body to the answer's head
  Duration idle_timeout = std::chrono::seconds(30);  // without a byte, of either body
};

/// Movable; on the loop that sent. Dropping it before the body's end closes the connection; after it, the connection
/// goes back to the pool.
class ClientResponse {
 public:
  ClientResponse();
  ClientResponse(ClientResponse&&) noexcept;
  ClientResponse& operator=(ClientResponse&&) noexcept;
  ~ClientResponse();

  int status = 0;
  Headers headers;
  std::optional<std::uint64_t> content_length;  // as announced, for HEAD too

  /// Some of the body; 0 is its proper end. An early end is kClosed, never 0.
  net::Task<std::size_t> read(std::span<char> into);
  /// kTooLarge beyond.
  net::Task<std::string> read_all(std::size_t bytes_max);

 private:
  friend class Client;
  friend struct ClientImpl;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct ClientLimits {
  std::size_t connections_per_host_max = 256;  // of one loop, in use and idle; beyond: kOverloaded
  std::size_t idle_per_host_max = 64;
  std::size_t idle_max = 256;  // of one loop
  Duration idle_keep = std::chrono::seconds(50);
};

class Client {
 public:
  /// `pool` reads files that are not in the page cache, for FileBody.
  explicit Client(net::FilePool& pool, ClientLimits limits = {});
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  /// REQUIRES: no send() runs, no response is alive; the loops it was used on still exist (stopped or not).
  ~Client();

  /// Sends and waits for the answer's head. A kept connection that turns out closed is replaced by a fresh one, once,
  /// if nothing of the answer had come, the method is idempotent (not POST, PATCH) and the body can be sent again (not
  /// a BodySource). Where the fresh one fails too, the first error stands: the first try may have been carried out.
  net::Task<ClientResponse> send(ClientRequest request);

 private:
  std::shared_ptr<struct ClientImpl> impl_;
};

}  // namespace kraken::http
