#pragma once
// What every process answers about itself, whatever its roles: /livez (the loops turn), /readyz and stock's /readiness
// (it can do its work), /health (the same as /livez, under stock's name), /metrics (Prometheus' text format).
// Threads: handlers run on any loop; the functions given must allow that.

#include <cstdint>
#include <functional>

#include "src/base/error.h"

namespace kraken::http {
class Router;
}

namespace kraken::admin {

struct Health {
  std::function<Result<>()> live;   // unset: an answer is proof enough
  std::function<Result<>()> ready;  // unset: as live; the error's detail is the body of the 503
};

void add_process_routes(http::Router& router, Health health);

/// Bytes of memory that this process holds; 0 if /proc does not say.
std::uint64_t resident_bytes();

}  // namespace kraken::admin
