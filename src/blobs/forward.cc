#include "src/blobs/forward.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "src/base/assert.h"

namespace kraken::blobs {
namespace {

/// What belongs to one connection, or is made anew on each (RFC 9110 §7.6.1).
bool of_the_connection(std::string_view name) {
  static constexpr std::array<std::string_view, 10> kNames = {
      "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host",
      "content-length", "expect"};
  return std::ranges::any_of(kNames, [&](std::string_view own) { return http::equal_ignoring_case(own, name); });
}

http::Headers carried(const http::Headers& from) {
  http::Headers to;
  for (const http::Header& line : from.all()) {
    if (!of_the_connection(line.name)) to.add(line.name, line.value);
  }
  return to;
}

}  // namespace

bool was_forwarded(const http::RequestHead& head) { return head.headers.has(kForwardedHeader); }

net::Task<void> forward(http::Exchange& exchange, http::Client& client, std::string host, std::uint16_t port) {
  const http::RequestHead& head = exchange.request();
  KR_ASSERT(!was_forwarded(head));
  http::ClientRequest request;
  request.method = head.method;
  request.host = std::move(host);
  request.port = port;
  request.target = head.target;
  request.headers = carried(head.headers);
  request.headers.set(kForwardedHeader, "1");
  request.timeout = std::chrono::minutes(15);  // a commit of a large blob places it first
  if (head.has_body()) {
    request.body = http::BodySource{.read = [&exchange](std::span<char> into) { return exchange.read(into); },
                                    .length = head.content_length};
  }
  KR_CO_TRY(http::ClientResponse response, co_await client.send(std::move(request)));
  http::Headers headers = carried(response.headers);
  KR_CO_CHECK(co_await exchange.start(response.status, std::move(headers), response.content_length));
  if (head.method != http::Method::kHead) {
    std::vector<char> buffer(64 * 1024);
    for (;;) {
      KR_CO_TRY(const std::size_t got, co_await response.read(buffer));
      if (got == 0) break;
      KR_CO_CHECK(co_await exchange.write({buffer.data(), got}));
    }
  }
  auto finished = co_await exchange.finish();
  co_return finished;
}

}  // namespace kraken::blobs
