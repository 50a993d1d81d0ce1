#pragma once
// The agent role: a peer of the swarm on a host that runs containers. Registry, pull only, on one port; the peer
// protocol on another; stock's agent API and /metrics on a third (facts §1.4).
//
// Threads: start and stop from main; everything else happens on the loops.

#include <cstdint>
#include <memory>

#include "config/config.h"
#include "src/base/error.h"

namespace kraken::net {
class FilePool;
class Loops;
}  // namespace kraken::net

namespace kraken::agent {

struct ClusterHosts;  // src/agent/cluster.h

class Agent {
 public:
  /// Opens its files. Nothing listens yet. kDenied, kInvalidArgument with the sentence for the user.
  static Result<std::unique_ptr<Agent>> open(config::AgentConfig config, net::Loops& loops, net::FilePool& pool);
  /// The same for a cluster at other addresses than the configuration's; for tests.
  static Result<std::unique_ptr<Agent>> open(config::AgentConfig config, ClusterHosts hosts, net::Loops& loops, net::FilePool& pool);
  virtual ~Agent() = default;

  /// Listens on the three ports. A port of 0 in the configuration takes any (tests).
  virtual Result<void> start() = 0;
  /// Drains up to http.drain, stops, and leaves the mark of a clean stop. Not on a loop. Repeating it is harmless.
  virtual void stop() = 0;

  struct Ports {
    std::uint16_t registry = 0;
    std::uint16_t peer = 0;
    std::uint16_t server = 0;
  };
  virtual Ports ports() const = 0;
};

}  // namespace kraken::agent
