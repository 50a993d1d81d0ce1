#pragma once
// A request for something that lives on another node, sent there as it is, and its answer sent back: one hop, never two.
// Bodies stream both ways. Threads: the exchange's loop.

#include <cstdint>
#include <string>

#include "http/client.h"
#include "http/exchange.h"

namespace kraken::blobs {

inline constexpr const char* kForwardedHeader = "Kraken-Forwarded";

/// The request came from another node: answer it here or refuse it.
bool was_forwarded(const http::RequestHead& head);

/// kUnavailable: the node could not be reached, nothing was answered yet and the body was not read. After the answer began an
/// error ends the connection (Exchange). REQUIRES: !was_forwarded.
net::Task<void> forward(http::Exchange& exchange, http::Client& client, std::string host, std::uint16_t port);

}  // namespace kraken::blobs
