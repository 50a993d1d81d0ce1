#pragma once
// The proxy of a node: the registry for push and pull, and stock Kraken's prefetch and notification endpoints
// (facts §1.7). Thin: what it does is in registry/ and behind the registry's interfaces.
// Threads: handlers run on any loop. What Deps points to must outlive the server.

#include <cstdint>
#include <functional>

#include "src/registry/registry.h"

namespace kraken::proxy {

struct Deps {
  registry::Interfaces registry;
  /// Makes sure that the cluster has the blob (fetches it from the backend if need be). Empty: a stat is enough.
  std::function<net::Task<>(Repository, Digest)> ensure;
  std::uint64_t prefetch_bytes_min = 0;
  std::uint64_t prefetch_bytes_max = std::uint64_t{50} << 30;
};

/// /v2/..., /proxy/v1|v2/registry/prefetch, /registry/notifications. Without /health and /readiness (http/health.h): a
/// port that several roles share has them once.
void add_routes(http::Router& router, Deps deps);

}  // namespace kraken::proxy
