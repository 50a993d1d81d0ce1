#pragma once
// Stock's agent API (facts §1.4), with its paths, codes and bodies, and /metrics. A path or method that is not there is
// 404 with Go's text, as stock's router answers. Threads: handlers run on any loop; what Api names outlives the server.

#include <functional>
#include <string>

#include "http/exchange.h"
#include "src/agent/blobs.h"
#include "src/agent/cluster.h"
#include "src/p2p/scheduler.h"

namespace kraken::http {
class Router;
}

namespace kraken::agent {

struct Api {
  Blobs* blobs = nullptr;
  Cluster* cluster = nullptr;
  p2p::Scheduler* scheduler = nullptr;
  Duration probe_timeout = std::chrono::seconds(3);
  /// Has an image pulled by the container runtime of this host through this agent.
  std::function<net::Task<void>(QualifiedTag tag, std::string runtime, std::string ns)> preload;
};

void add_routes(http::Router& router, Api api);
/// Only /health and /readiness: stock's registry port passes them on.
void add_health(http::Router& router, Api api);

}  // namespace kraken::agent
