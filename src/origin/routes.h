#pragma once
// The origin role's HTTP: stock's blob API (facts §1.1, §1.2) with its paths, codes and bodies, and the node-to-node
// endpoints under /internal/v1/ (src/blobs/endpoints.h). README.md lists where the meaning is ours.
// Threads: handlers run on any loop.

#include <cstdint>
#include <functional>
#include <string>

#include "src/base/error.h"
#include "src/blobs/http_peers.h"

namespace kraken::http {
class Client;
class Router;
}  // namespace kraken::http
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
  http::Client& client;  // for requests on another node's upload
  /// Label -> origin API; as the hashstate names the hosts, since stock's clients dial what `Origin-Locations` says.
  ring::Addresses addresses;
  std::function<bool(const std::string& label)> healthy;  // empty: everybody is
  std::function<PeerContext()> peer_context;              // empty: 404
};

/// Stock's API, for the origin port and for the port that serves every role. `context`'s references outlive the server.
void add_routes(http::Router& router, Context context);

}  // namespace kraken::origin
