#pragma once
// The origin role's HTTP: stock's blob API (facts §1.1, §1.2) with its paths, codes and bodies, and the node-to-node
// endpoints under /internal/v1/. README.md lists where the meaning is ours. Threads: handlers run on any loop.

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "src/base/error.h"

namespace kraken::http {
class Client;
class Router;
}
namespace kraken::blobs {
class Service;
}

namespace kraken::origin {

/// What GET /internal/peercontext says about the peer protocol's listener of this process (facts §3.5).
struct PeerContext {
  std::string ip;
  std::uint16_t port = 0;
  std::string peer_id_hex;  // 40 digits
  std::string zone;
  std::string cluster;
};

struct Context {
  blobs::Service& blobs;
  http::Client& client;                       // for requests on another node's upload
  std::string self;                           // label
  /// label -> "host:port" of the origin API, every node of the ring.
  std::map<std::string, std::string> addresses;
  std::function<bool(const std::string& label)> healthy;  // unset: everybody is
  std::function<PeerContext()> peer_context;
  std::function<Result<>()> ready;            // unset: always
};

/// Stock's API, and the node-to-node endpoints. `context`'s references outlive the server.
void add_routes(http::Router& router, Context context);
/// Stock's API alone, for the address that serves every role (15000, 5000).
void add_public_routes(http::Router& router, Context context);

}  // namespace kraken::origin
