#include "src/proxy/routes.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "http/errors.h"
#include "http/router.h"
#include "src/proxy/prefetch.h"

namespace kraken::proxy {

namespace {

constexpr std::size_t kNotificationBytesMax = 4u << 20;

http::Headers text_headers() { return {{"Content-Type", "text/plain; charset=utf-8"}}; }

/// Docker registries tell others of pushes. Stock warms its origins' metainfo by it; here a blob's metainfo is
/// committed with its record, so there is nothing to do but to take the call.
net::Task<> notifications(http::Exchange& exchange) {
  KR_CO_TRY(const auto body, co_await exchange.read_all(kNotificationBytesMax));
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_discarded() || !json.is_object())
    co_return co_await exchange.reply(400, text_headers(), "decode body: not a JSON object");
  co_return co_await exchange.reply(200);
}

}  // namespace

void add_routes(http::Router& router, Deps deps) {
  registry::add_routes(router, deps.registry, registry::Mode::kPushPull);
  const auto prefetch = std::make_shared<Prefetch>(std::move(deps));
  for (const auto* path : {"/proxy/v1/registry/prefetch", "/proxy/v2/registry/prefetch"})
    router.add(http::Method::kPost, path, [prefetch](http::Exchange& exchange) { return prefetch->handle(exchange); });
  router.add(http::Method::kPost, "/registry/notifications", notifications);
}

}  // namespace kraken::proxy
