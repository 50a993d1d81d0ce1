#pragma once
// A plain blocking HTTP/1.1 client for benchmarks: one connection, keep-alive, as little work per byte as can be, so that
// what is measured is the server. Not for production: it trusts what it talks to. Threads: one owner.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "src/base/file.h"

namespace kraken::bench {

struct Address {
  std::string host;
  std::uint16_t port = 0;
  static Result<Address> parse(std::string_view text);  // "127.0.0.1:5000"
};

struct Reply {
  int status = 0;
  std::string head;
  std::string body;              // empty where the body was discarded
  std::uint64_t body_bytes = 0;  // also where it was discarded
  std::string header(std::string_view lower_case_name) const;
};

class Connection {
 public:
  static Result<Connection> open(const Address& address);

  /// `request` is the whole request, body included. `discard`: the body is counted and thrown away in the kernel.
  Result<Reply> exchange(std::string_view request, bool discard = false);
  Result<> send(std::string_view bytes);
  Result<Reply> receive(bool discard = false, bool head_only = false);
  int fd() const { return fd_.get(); }

 private:
  Result<> fill();
  Result<> receive_chunked(Reply& reply, bool discard);
  Result<> receive_length(Reply& reply, std::uint64_t length, bool discard);
  UniqueFd fd_;
  std::string buffer_;
};

}  // namespace kraken::bench
