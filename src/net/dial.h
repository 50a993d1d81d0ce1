#pragma once
// Outgoing connections and names.

#include <cstdint>
#include <string>
#include <vector>

#include "src/net/task.h"

namespace kraken::net {

/// A connection to host:port (an address or a name; each of the name's addresses is tried in turn) within `timeout`
/// in all: non-blocking, TCP_NODELAY. kUnavailable with host and port in the detail, also when time runs out.
Task<Socket> dial(std::string host, std::uint16_t port, Duration timeout);

/// What was written and is not acknowledged for so long ends the connection. Without it TCP repeats itself at ever longer
/// intervals, so that after a partition of a minute a connection may rest for another one.
void limit_unacknowledged(Socket& socket, Duration limit);

/// The addresses of a name, as text, in the resolver's order; an address gives itself. kUnavailable if there is none.
Task<std::vector<std::string>> resolve(std::string host, Duration timeout);

/// "host:port" taken apart; IPv6 as "[::1]:80". kInvalidArgument.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};
Result<HostPort> parse_host_port(std::string_view text);

}  // namespace kraken::net
