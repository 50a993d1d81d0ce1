#pragma once
// What a node answers to the other nodes about blobs, on the origin port; HttpPeers is the other end. Every 2xx names the
// store in `Kraken-Store`, every error its code (a number of src/base/error.h) in `Kraken-Code` and its text in the body.
//
//   GET    /internal/v1/store
//   HEAD   /internal/v1/blobs/{digest}                      Content-Length: the file's size
//   GET    /internal/v1/blobs/{digest}?offset=&length=      this node's file alone, checked; no redirect, no proxying
//   PUT    /internal/v1/blobs/{digest}?transfer={name}      stage and place
//   POST   /internal/v1/blobs/{digest}/fetch                become a holder; 202 where it takes longer
//   POST   /internal/v1/blobs/{digest}/let_go?epoch=        leave the record and unlink, where every owner has it
//   POST   /internal/v1/blobs/{digest}/release              unlink, if there is no record
//   PUT    /internal/v1/transfers/{name}?digest={digest}    stage
//   POST   /internal/v1/transfers/{name}/place?digest={digest}
//   DELETE /internal/v1/transfers/{name}

#include <string_view>

#include "http/router.h"
#include "src/blobs/service.h"

namespace kraken::blobs {

inline constexpr std::string_view kStoreHeader = "Kraken-Store";
inline constexpr std::string_view kCodeHeader = "Kraken-Code";

/// `service` outlives the server.
void add_internal_routes(http::Router& router, Service& service);

/// Sends what the source gives as the body of an answer with this status and these headers.
net::Task<void> send(http::Exchange& exchange, int status, http::Headers headers, Source& source);

/// The request's body as a reader. The exchange outlives it.
BodyReader body_of(http::Exchange& exchange);

}  // namespace kraken::blobs
