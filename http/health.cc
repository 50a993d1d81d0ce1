#include "http/health.h"

#include "http/errors.h"

namespace kraken::http {
namespace {

net::Task<void> reply_ok(Exchange& exchange) {
  return exchange.reply(200, Headers{{"Content-Type", "text/plain; charset=utf-8"}}, "OK\n");
}

}  // namespace

void add_health(Router& router, std::function<Result<>()> ready) {
  router.add(Method::kGet, "/health", reply_ok);
  router.add(Method::kGet, "/readiness", [ready = std::move(ready)](Exchange& exchange) {
    const Result<> now = ready ? ready() : Result<>{};
    if (now) return reply_ok(exchange);
    Answer answer = plain_error(exchange.request(), Error{Code::kUnavailable, "not ready to serve traffic: " + now.error().detail});
    return exchange.reply(answer.status, std::move(answer.headers), std::move(answer.body));
  });
}

}  // namespace kraken::http
