#pragma once
// What the handlers of the origin's API share. Private to src/origin.

#include <memory>
#include <string>

#include "http/exchange.h"
#include "http/router.h"
#include "src/blobs/service.h"
#include "src/core/digest.h"
#include "src/origin/routes.h"

namespace kraken::origin {

using Shared = std::shared_ptr<const Context>;

/// A capture as a digest; the error is stock's text: "parse digest: invalid sha256: expected 64 characters, got 2 from "zz"".
Result<Digest> digest_of(const http::Exchange& exchange, std::size_t param);
Result<> check_namespace(const http::Exchange& exchange, std::size_t param);

net::Task<void> reply_text(http::Exchange& exchange, int status, std::string text);
/// 200 and nothing else, as stock answers what went well.
net::Task<void> reply_empty(http::Exchange& exchange, int status);

void add_upload_routes(http::Router& router, Shared context);

}  // namespace kraken::origin
