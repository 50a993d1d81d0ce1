// GET /health and GET /readiness, as stock's roles have them.
#pragma once

#include <functional>

#include "http/router.h"
#include "src/base/error.h"

namespace kraken::http {

/// /health says that the process answers. /readiness asks `ready` on the loop of the request: 200, or 503 with the error's detail
/// in its body; empty: always ready. Apart from the roles' routes, since a port that several roles share has them once.
void add_health(Router& router, std::function<Result<>()> ready);

}  // namespace kraken::http
