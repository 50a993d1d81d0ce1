#pragma once
// HTTP for the subcommands: one loop, one client, calls that wait. Threads: main's alone.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "http/client.h"
#include "src/net/file_pool.h"
#include "src/net/loop.h"

namespace kraken::tools {

struct Reply {
  int status = 0;
  http::Headers headers;
  std::string body;
};

class Caller {
 public:
  Caller();
  /// Any status is a success. A body of more than 64 MB is kTooLarge.
  Result<Reply> call(http::ClientRequest request);
  /// GET; a status other than 200 is an error that carries the server's sentence.
  Result<std::string> get(const std::string& host, std::uint16_t port, const std::string& target, Duration timeout = std::chrono::seconds(10));
  /// GET that hands the body out in pieces, as it comes.
  Result<Reply> fetch(http::ClientRequest request, std::function<Result<>(std::string_view)> each);

 private:
  net::Loop loop_;
  net::FilePool pool_;
  http::Client client_;
};

/// An answer that is not what was wanted, as an error: the sentence of OCI's error body where there is one, else the body.
Error error_of(const Reply& reply, std::string_view what);

/// "host", "host:port" or "http://host:port"; the default port where none is given.
struct Target {
  std::string host;
  std::uint16_t port = 0;
};
Result<Target> parse_target(std::string_view text, std::uint16_t default_port);

}  // namespace kraken::tools
