#include "src/origin/routes.h"

#include <charconv>

#include "http/range.h"
#include "src/base/hex.h"
#include "src/blobs/endpoints.h"
#include "src/core/names.h"
#include "src/core/peer.h"
#include "src/origin/handlers.h"

#include <nlohmann/json.hpp>

namespace kraken::origin {

Result<Digest> digest_of(const http::Exchange& exchange, std::size_t param) {
  const std::string& text = exchange.param(param);
  constexpr std::string_view kPrefix = "sha256:";
  if (text.starts_with(kPrefix) && text.size() != kPrefix.size() + 64) {
    return fail(Code::kInvalidArgument, "parse digest: invalid sha256: expected 64 characters, got {} from \"{:.128}\"",
                text.size() - kPrefix.size(), std::string_view(text).substr(kPrefix.size()));
  }
  auto digest = Digest::parse(text);
  if (!digest) return fail(Code::kInvalidArgument, "parse digest: {}", digest.error().detail);
  return digest;
}

Result<> check_namespace(const http::Exchange& exchange, std::size_t param) {
  const auto parsed = Namespace::parse(exchange.param(param));
  if (!parsed) return std::unexpected(parsed.error());
  return {};
}

net::Task<void> reply_text(http::Exchange& exchange, int status, std::string text) {
  http::Headers headers{{"Content-Type", "text/plain; charset=utf-8"}};
  return exchange.reply(status, std::move(headers), std::move(text));
}

net::Task<void> reply_empty(http::Exchange& exchange, int status) {
  return exchange.reply(status, http::Headers{}, std::string());
}

namespace {

net::Task<void> locations(Shared context, http::Exchange& exchange) {
  KR_CO_TRY(const Digest digest, digest_of(exchange, 0));
  const auto healthy = [&](const std::string& label) { return !context->healthy || context->healthy(label); };
  std::string joined;
  for (const std::string& label : context->blobs.ring()->locations(digest, context->blobs.max_replica(), healthy)) {
    const auto found = context->addresses(label);
    if (!found) continue;
    joined += fmt::format("{}{}:{}", joined.empty() ? "" : ",", found->host, found->port);
  }
  http::Headers headers{{"Origin-Locations", joined}};
  auto replied = co_await exchange.reply(200, std::move(headers), std::string());
  co_return replied;
}

net::Task<void> get_blob(Shared context, http::Exchange& exchange) {
  KR_CO_CHECK(check_namespace(exchange, 0));
  KR_CO_TRY(const Digest digest, digest_of(exchange, 1));
  const auto header = exchange.request().headers.get("Range");
  http::Headers headers{{"Content-Type", "application/octet-stream"}};
  if (!header) {
    KR_CO_TRY(auto source, co_await context->blobs.open(digest));
    auto sent = co_await blobs::send(exchange, 200, std::move(headers), *source);
    co_return sent;
  }
  // Stock knows no ranges; whoever asks for one is one of ours.
  KR_CO_TRY(const blobs::Stat stat, co_await context->blobs.stat(digest, false));
  auto range = http::parse_range(*header, stat.bytes);
  if (!range) {
    headers.set("Content-Range", http::unsatisfied(stat.bytes));
    auto replied = co_await exchange.reply(416, std::move(headers), std::string());
    co_return replied;
  }
  const std::uint64_t offset = *range ? (*range)->offset : 0;
  const std::uint64_t length = *range ? (*range)->length : stat.bytes;
  if (*range) headers.set("Content-Range", http::content_range(**range, stat.bytes));
  KR_CO_TRY(auto source, co_await context->blobs.open(digest, offset, length));
  auto sent = co_await blobs::send(exchange, *range ? 206 : 200, std::move(headers), *source);
  co_return sent;
}

net::Task<void> head_blob(Shared context, http::Exchange& exchange) {
  KR_CO_CHECK(check_namespace(exchange, 0));
  KR_CO_TRY(const Digest digest, digest_of(exchange, 1));
  const std::string local = exchange.request().query("local").value_or("false");
  std::uint64_t bytes = 0;
  if (local == "true" || local == "1") {
    KR_CO_TRY(const blobs::Held held, co_await context->blobs.have_here(digest));
    bytes = held.bytes;
  } else if (local == "false" || local == "0") {
    KR_CO_TRY(const blobs::Stat stat, co_await context->blobs.stat(digest, true));
    bytes = stat.bytes;
  } else {
    auto replied = co_await reply_text(exchange, 500, fmt::format("parse arg `local`: \"{:.40}\" is neither true nor false", local));
    co_return replied;
  }
  KR_CO_CHECK(co_await exchange.start(200, http::Headers{}, bytes));
  auto finished = co_await exchange.finish();
  co_return finished;
}

net::Task<void> get_metainfo(Shared context, http::Exchange& exchange) {
  KR_CO_CHECK(check_namespace(exchange, 0));
  KR_CO_TRY(const Digest digest, digest_of(exchange, 1));
  KR_CO_TRY(const auto json, co_await context->blobs.metainfo_json(digest));
  std::string body = *json;
  auto replied = co_await reply_text(exchange, 200, std::move(body));
  co_return replied;
}

/// Metainfo never changes here: every infohash would. What is the same is accepted.
net::Task<void> overwrite_metainfo(Shared context, http::Exchange& exchange) {
  KR_CO_TRY(const Digest digest, digest_of(exchange, 0));
  const std::string text = exchange.request().query("piece_length").value_or("");
  std::uint64_t piece_length = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), piece_length);
  if (text.empty() || ec != std::errc() || end != text.data() + text.size() || piece_length == 0) {
    co_return fail(Code::kInvalidArgument, "invalid piece_length argument: \"{:.40}\" is no positive number", text);
  }
  KR_CO_TRY(const auto metainfo, co_await context->blobs.metainfo(digest));
  const bool same = metainfo->piece_length == piece_length;
  auto replied = co_await reply_text(
      exchange, same ? 200 : 409,
      same ? std::string()
           : fmt::format("the metainfo of {} has pieces of {} bytes and never changes: its infohash is in use",
                         digest.str(), metainfo->piece_length));
  co_return replied;
}

net::Task<void> prefetch(Shared context, http::Exchange& exchange) {
  KR_CO_CHECK(check_namespace(exchange, 0));
  KR_CO_TRY(const Digest digest, digest_of(exchange, 1));
  KR_CO_CHECK(co_await context->blobs.stat(digest, true));
  auto replied = co_await reply_empty(exchange, 200);
  co_return replied;
}

net::Task<void> delete_blob(Shared context, http::Exchange& exchange) {
  KR_CO_TRY(const Digest digest, digest_of(exchange, 0));
  auto removed = co_await context->blobs.remove(digest);
  if (!removed && removed.error().code == Code::kConflict) {
    auto replied = co_await reply_text(exchange, 409, std::move(removed).error().detail);
    co_return replied;
  }
  if (!removed) co_return removed;
  auto replied = co_await reply_empty(exchange, 202);
  co_return replied;
}

net::Task<void> peer_context(Shared context, http::Exchange& exchange) {
  if (!context->peer_context) co_return fail(Code::kNotFound, "this process has no peer listener");
  const PeerContext own = context->peer_context();
  KR_CO_TRY(const PeerId id, PeerId::parse(own.peer_id_hex));
  nlohmann::ordered_json json;
  json["ip"] = own.ip;
  json["port"] = own.port;
  json["peer_id"] = id.json();
  json["zone"] = own.zone;
  json["cluster"] = own.cluster;
  json["origin"] = true;
  auto replied = co_await reply_text(exchange, 200, json.dump() + "\n");
  co_return replied;
}

bool is_integer(const std::optional<std::string>& text) {
  long long value = 0;
  if (!text) return false;
  const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), value);
  return ec == std::errc() && !text->empty() && end == text->data() + text->size();
}

/// Nothing here is a cache: what has no backend is never evicted, and surplus copies let go by themselves.
net::Task<void> force_cleanup(Shared, http::Exchange& exchange) {
  const auto hours = exchange.request().query("ttl_hr");
  if (!is_integer(hours)) {
    co_return fail(Code::kInvalidArgument, "query arg ttl_hr is required and must be an integer, not \"{:.40}\"", hours.value_or(""));
  }
  auto replied = co_await reply_text(exchange, 200, R"({"deleted":null,"errors":null})" "\n");
  co_return replied;
}

net::Task<void> force_cleanup_v2(Shared, http::Exchange& exchange) {
  if (!is_integer(exchange.request().query("target_util_percent"))) {
    co_return fail(Code::kInvalidArgument, "query arg target_util_percent is required and must be an integer");
  }
  auto replied = co_await reply_text(exchange, 501, "migration to disk.Store not yet done");
  co_return replied;
}

}  // namespace

void add_routes(http::Router& router, Context context) {
  using http::Method;
  const auto shared = std::make_shared<const Context>(std::move(context));
  const auto add = [&](Method method, std::string pattern, net::Task<void> (*handler)(Shared, http::Exchange&)) {
    router.add(method, std::move(pattern), [shared, handler](http::Exchange& exchange) { return handler(shared, exchange); });
  };
  add(Method::kGet, "/blobs/<digest>/locations", locations);
  add(Method::kGet, "/namespace/<ns>/blobs/<digest>", get_blob);
  add(Method::kPost, "/namespace/<ns>/blobs/<digest>/prefetch", prefetch);
  add(Method::kHead, "/internal/namespace/<ns>/blobs/<digest>", head_blob);
  add(Method::kGet, "/internal/namespace/<ns>/blobs/<digest>/metainfo", get_metainfo);
  add(Method::kPost, "/internal/blobs/<digest>/metainfo", overwrite_metainfo);
  add(Method::kDelete, "/internal/blobs/<digest>", delete_blob);
  add(Method::kGet, "/internal/peercontext", peer_context);
  add(Method::kPost, "/forcecleanup", force_cleanup);
  add(Method::kPost, "/forcecleanup/v2", force_cleanup_v2);
  add_upload_routes(router, shared);
}

}  // namespace kraken::origin
