#pragma once
// Exchange: one request and its one answer, as a handler sees them. Lives while the handler runs, on the connection's
// loop. Either one `reply`/`reply_file`, or `start`, then any number of `write`/`write_file`, then `finish`.
//
// A handler that returns an error before anything was started gets it answered by the server's error writer. One that
// returns an error after `start` (or returns without having written all that it announced) makes the server close the
// connection without a proper end, so that no client takes the answer for complete.
//
// Every read and write has the server's deadlines; kClosed when the client has gone, kDeadlineExceeded when it is too
// slow, kCancelled when the server is stopping. What cannot be answered any more needs no answer: return the error.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "http/headers.h"
#include "src/net/task.h"

namespace kraken::http {

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const RequestHead& request() const = 0;
  /// A decoded capture of the route: request().params[index].
  const std::string& param(std::size_t index) const { return request().params.at(index); }

  /// Some of the body, straight from the socket; 0 is its proper end. Big spans (64 KB and more) make few system calls.
  /// `Expect: 100-continue` is answered at the first read. kClosed if the client goes in mid-body, kInvalidArgument if
  /// its chunks are malformed.
  virtual net::Task<std::size_t> read(std::span<char> into) = 0;
  /// The whole body; kTooLarge beyond `bytes_max`, also when Content-Length alone says so.
  virtual net::Task<std::string> read_all(std::size_t bytes_max) = 0;

  /// The whole answer. Content-Length is set here; HEAD and 204/304 send no body.
  virtual net::Task<void> reply(int status, Headers headers, std::string body) = 0;
  /// The bytes [offset, offset + length) of `fd` as the body, by sendfile. `fd` stays the caller's, open until the end.
  virtual net::Task<void> reply_file(int status, Headers headers, int fd, std::uint64_t offset,
                                     std::uint64_t length) = 0;

  /// Sends the head. Without a length the body is chunked (to an HTTP/1.0 client: until the connection closes).
  /// For HEAD, what is written afterwards is dropped.
  virtual net::Task<void> start(int status, Headers headers, std::optional<std::uint64_t> content_length) = 0;
  /// Waits until the socket has taken it (back-pressure). More than was announced is kInternal.
  virtual net::Task<void> write(std::string_view bytes) = 0;
  virtual net::Task<void> write_file(int fd, std::uint64_t offset, std::uint64_t length) = 0;
  virtual net::Task<void> finish() = 0;

  /// The head has been sent: no other answer is possible.
  virtual bool started() const = 0;

  // Short forms.
  net::Task<void> reply(int status) { return reply(status, Headers{}, std::string{}); }
};

}  // namespace kraken::http
