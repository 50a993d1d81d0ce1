#include "src/agent/api.h"

#include "http/errors.h"
#include "http/router.h"
#include "src/agent/scheduler_config.h"
#include "src/base/metrics.h"
#include "src/registry/answers.h"

namespace kraken::agent {

namespace {

constexpr std::size_t kConfigBytesMax = 64 * 1024;

http::Headers text_headers() { return {{"Content-Type", "text/plain; charset=utf-8"}}; }

net::Task<void> not_here(http::Exchange& exchange) {
  http::Headers headers = text_headers();
  headers.add("X-Content-Type-Options", "nosniff");
  return exchange.reply(404, std::move(headers), "404 page not found\n");
}

net::Task<void> reply_error(http::Exchange& exchange, int status, std::string text) {
  return exchange.reply(status, text_headers(), std::move(text));
}

/// Stock takes a bare SHA-256 here too.
Result<Digest> digest_param(const std::string& text) {
  auto digest = text.starts_with("sha256:") ? Digest::parse(text) : Digest::from_hex(text);
  if (!digest) return std::unexpected(std::move(digest).error().within("parse digest"));
  return digest;
}

net::Task<void> get_health(Api api, http::Exchange& exchange) {
  auto alive = co_await api.scheduler->probe(api.probe_timeout);
  if (!alive) co_return co_await reply_error(exchange, 500, "probe torrent client: " + alive.error().detail);
  co_return co_await exchange.reply(200, text_headers(), "OK");
}

net::Task<void> get_readiness(Api api, http::Exchange& exchange) {
  std::string missing;
  const auto note = [&](const Result<>& result) {
    if (!result) missing += (missing.empty() ? "" : "\n") + result.error().detail;
  };
  auto alive = co_await api.scheduler->probe(api.probe_timeout);
  note(alive);
  auto build_index = co_await api.cluster->build_index_ready();
  note(build_index);
  auto tracker = co_await api.cluster->tracker_ready();
  note(tracker);
  if (!missing.empty()) co_return co_await reply_error(exchange, 503, "agent not ready: " + missing);
  co_return co_await exchange.reply(200, text_headers(), "OK");
}

net::Task<void> get_tag(Api api, http::Exchange& exchange) {
  auto tag = QualifiedTag::parse(exchange.param(0));
  if (!tag) co_return co_await reply_error(exchange, 400, tag.error().detail);
  auto found = co_await api.cluster->tag(*tag);
  if (!found && found.error().code == Code::kNotFound) co_return co_await exchange.reply(404);
  if (!found && found.error().code == Code::kUnavailable) {
    http::Headers headers = text_headers();
    headers.add("Retry-After", "1");
    co_return co_await exchange.reply(503, std::move(headers), "get tag: " + found.error().detail);
  }
  if (!found) co_return co_await reply_error(exchange, 500, "get tag: " + found.error().detail);
  http::Headers headers = text_headers();
  if (found->stale) registry::add_stale_headers(headers, *found->stale);
  co_return co_await exchange.reply(200, std::move(headers), found->digest.str());
}

net::Task<void> get_blob(Api api, http::Exchange& exchange) {
  auto ns = Namespace::parse(exchange.param(0));
  if (!ns) co_return co_await reply_error(exchange, 400, ns.error().detail);
  auto digest = digest_param(exchange.param(1));
  if (!digest) co_return co_await reply_error(exchange, 400, digest.error().detail);
  auto blob = co_await api.blobs->fetch(ns->str(), *digest);
  if (!blob && blob.error().code == Code::kNotFound) co_return co_await exchange.reply(404);
  if (!blob) {
    const int status = blob.error().code == Code::kDiskFull ? 507 : 500;
    co_return co_await reply_error(exchange, status, "download torrent: " + blob.error().detail);
  }
  const CachedBlob whole = *std::move(blob);
  co_return co_await exchange.reply_file(200, {{"Content-Type", "application/octet-stream"}}, whole.fd->get(), 0, whole.bytes);
}

net::Task<void> delete_blob(Api api, http::Exchange& exchange) {
  auto digest = digest_param(exchange.param(0));
  if (!digest) co_return co_await reply_error(exchange, 400, digest.error().detail);
  auto removed = co_await api.blobs->remove_blob(*digest);
  if (!removed) co_return co_await reply_error(exchange, 500, "remove torrent: " + removed.error().detail);
  co_return co_await exchange.reply(200);
}

net::Task<void> get_preload(Api api, http::Exchange& exchange) {
  auto tag = QualifiedTag::parse(exchange.param(0));
  if (!tag) co_return co_await reply_error(exchange, 400, tag.error().detail);
  const std::string runtime = exchange.request().query("runtime").value_or("docker");
  const std::string ns = exchange.request().query("namespace").value_or("");
  auto pulled = co_await api.preload(*tag, runtime, ns);
  if (!pulled) co_return co_await reply_error(exchange, pulled.error().code == Code::kInvalidArgument ? 400 : 500, pulled.error().detail);
  co_return co_await exchange.reply(200);
}

net::Task<void> patch_scheduler(Api api, http::Exchange& exchange) {
  KR_CO_TRY(const auto body, co_await exchange.read_all(kConfigBytesMax));
  auto config = parse_scheduler_config(body);
  if (!config) co_return co_await reply_error(exchange, 400, config.error().detail);
  KR_CO_CHECK(co_await api.scheduler->reconfigure(scheduler_options(*config)));
  co_return co_await exchange.reply(200);
}

std::string numbers(std::string_view raw) {
  std::string out = "[";
  for (const char byte : raw) out += (out.size() > 1 ? "," : "") + std::to_string(static_cast<unsigned char>(byte));
  return out + "]";
}

net::Task<void> get_blacklist(Api api, http::Exchange& exchange) {
  KR_CO_TRY(const auto entries, co_await api.scheduler->blacklist());
  std::string body;
  for (const auto& entry : entries)
    body += fmt::format(R"({}{{"peer_id":{},"info_hash":{},"remaining":{}}})", body.empty() ? "[" : ",", numbers(entry.peer_id.raw()),
                        numbers(entry.infohash.raw()), entry.remaining.count());
  body += body.empty() ? "null\n" : "]\n";
  co_return co_await exchange.reply(200, text_headers(), std::move(body));
}

net::Task<void> get_metrics(http::Exchange& exchange) {
  return exchange.reply(200, {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}}, metrics::scrape());
}

/// Every method of the pattern but `method` is as if the path were not there.
void add(http::Router& router, http::Method method, const std::string& pattern, http::Handler handler) {
  using enum http::Method;
  for (const http::Method other : {kGet, kHead, kPost, kPut, kPatch, kDelete})
    router.add(other, pattern, other == method ? handler : http::Handler(not_here));
}

}  // namespace

void add_health(http::Router& router, Api api) {
  add(router, http::Method::kGet, "/health", [api](http::Exchange& exchange) { return get_health(api, exchange); });
  add(router, http::Method::kGet, "/readiness", [api](http::Exchange& exchange) { return get_readiness(api, exchange); });
}

void add_routes(http::Router& router, Api api) {
  using enum http::Method;
  add_health(router, api);
  add(router, kGet, "/tags/<tag>", [api](http::Exchange& exchange) { return get_tag(api, exchange); });
  add(router, kGet, "/namespace/<ns>/blobs/<digest>", [api](http::Exchange& exchange) { return get_blob(api, exchange); });
  add(router, kDelete, "/blobs/<digest>", [api](http::Exchange& exchange) { return delete_blob(api, exchange); });
  add(router, kGet, "/preload/tags/<tag>", [api](http::Exchange& exchange) { return get_preload(api, exchange); });
  add(router, kPatch, "/x/config/scheduler", [api](http::Exchange& exchange) { return patch_scheduler(api, exchange); });
  add(router, kGet, "/x/blacklist", [api](http::Exchange& exchange) { return get_blacklist(api, exchange); });
  add(router, kGet, "/metrics", [](http::Exchange& exchange) { return get_metrics(exchange); });
}

}  // namespace kraken::agent
