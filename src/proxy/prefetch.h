#pragma once
// Stock's prefetch (facts §1.7): {"tag":"<host>/<repository>:<tag>","trace_id":".."} makes sure that the cluster has
// every blob of an image. What it has already is done at once.

#include <string>

#include "http/exchange.h"
#include "src/proxy/routes.h"

namespace kraken::proxy {

class Prefetch {
 public:
  explicit Prefetch(Deps deps) : deps_(std::move(deps)) {}
  net::Task<> handle(http::Exchange& exchange);

 private:
  net::Task<> image(Repository repository, registry::Reference reference, int depth);
  net::Task<> blob(Repository repository, Digest digest, std::uint64_t bytes);
  const Deps deps_;
};

}  // namespace kraken::proxy
