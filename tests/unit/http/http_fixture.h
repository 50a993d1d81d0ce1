#pragma once
// A server on 127.0.0.1 with a port of the kernel's choice, and a client that speaks raw bytes to it.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "http/server.h"
#include "src/net/file_pool.h"
#include "src/net/loop.h"

namespace kraken::http {

/// A blocking socket with a deadline of 20 s on everything. Destroyed: closed.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  /// False if the server has gone.
  bool send(std::string_view bytes);
  void shutdown_send();
  /// Makes the close a reset.
  void reset();
  /// Up to and with `marker`, or what there was until the end.
  std::string read_until(std::string_view marker);
  std::string read_exactly(std::size_t bytes);
  /// All until the server closes. `was_reset` tells a reset from an orderly end.
  std::string read_to_end(bool* was_reset = nullptr);
  /// One answer with a Content-Length, or without a body if `bodyless`.
  struct Reply {
    int status = 0;
    std::string head;
    std::string body;
    /// Value of a header line, "" if there is none.
    std::string header(std::string_view name) const;
  };
  Reply read_reply(bool bodyless = false);

 private:
  int fd_ = -1;
  std::string buffered_;
};

class ServerTest : public ::testing::Test {
 protected:
  /// Call once, after `router` is filled.
  void serve(Limits limits = {});
  std::uint16_t port() const { return server->port(); }
  RawClient::Reply ask(std::string_view request, bool bodyless = false);

  net::Loops loops{2, "test"};
  net::FilePool pool{2, 64, "test"};
  Router router;
  std::unique_ptr<Server> server;
};

/// A handler from a plain function of the request, for tests.
Handler answering(int status, std::string body);

}  // namespace kraken::http
