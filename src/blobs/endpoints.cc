#include "src/blobs/endpoints.h"

#include <charconv>
#include <vector>

#include "http/errors.h"

namespace kraken::blobs {
namespace {

using Inner = std::function<net::Task<void>(http::Exchange&)>;

/// Answers an error with its code, so that the other end has the same one.
http::Handler internal(Inner inner) {
  return [inner = std::move(inner)](http::Exchange& exchange) -> net::Task<void> {
    static constexpr auto kRun = [](const Inner* run, http::Exchange* at) -> net::Task<void> {
      auto done = co_await (*run)(*at);
      if (done || at->started()) co_return done;
      const Error& error = done.error();
      const int status = error.code == Code::kPending ? 202 : http::status_of(error.code);
      http::Headers headers{{"Content-Type", "text/plain; charset=utf-8"},
                            {std::string(kCodeHeader), std::to_string(static_cast<unsigned>(error.code))}};
      std::string body = error.detail;
      auto replied = co_await at->reply(status, std::move(headers), std::move(body));
      co_return replied;
    };
    return kRun(&inner, &exchange);
  };
}

Result<std::uint64_t> number(const http::RequestHead& head, std::string_view key) {
  const auto text = head.query(key);
  std::uint64_t value = 0;
  if (!text) return fail(Code::kInvalidArgument, "no {} in the query", key);
  const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (ec != std::errc() || end != text->data() + text->size()) {
    return fail(Code::kInvalidArgument, "{} is no number: \"{:.40}\"", key, *text);
  }
  return value;
}

Result<std::string> text(const http::RequestHead& head, std::string_view key) {
  auto value = head.query(key);
  if (!value || value->empty()) return fail(Code::kInvalidArgument, "no {} in the query", key);
  return *std::move(value);
}

http::Headers store_headers(const StoreId& store) { return {{std::string(kStoreHeader), store.str()}}; }

net::Task<void> have(Service& service, http::Exchange& exchange) {
  KR_CO_TRY(const Digest digest, Digest::parse(exchange.param(0)));
  KR_CO_TRY(const Held held, co_await service.have_here(digest));
  http::Headers headers = store_headers(held.store);
  KR_CO_CHECK(co_await exchange.start(200, std::move(headers), held.bytes));
  auto finished = co_await exchange.finish();
  co_return finished;
}

net::Task<void> get(Service& service, http::Exchange& exchange) {
  KR_CO_TRY(const Digest digest, Digest::parse(exchange.param(0)));
  KR_CO_TRY(const std::uint64_t offset, number(exchange.request(), "offset"));
  KR_CO_TRY(const std::uint64_t length, number(exchange.request(), "length"));
  KR_CO_TRY(auto source, co_await service.open_local(digest, offset, length));
  auto sent = co_await send(exchange, 200, store_headers(service.store_id()), *source);
  co_return sent;
}

net::Task<void> reply_store(http::Exchange& exchange, StoreId store) {
  auto replied = co_await exchange.reply(200, store_headers(store), std::string());
  co_return replied;
}

net::Task<void> put(Service& service, http::Exchange& exchange) {
  KR_CO_TRY(const Digest digest, Digest::parse(exchange.param(0)));
  KR_CO_TRY(const std::string transfer, text(exchange.request(), "transfer"));
  KR_CO_CHECK(co_await service.stage_here(transfer, digest, exchange.request().content_length, body_of(exchange)));
  KR_CO_TRY(const StoreId store, co_await service.place_here(transfer, digest));
  auto replied = co_await reply_store(exchange, store);
  co_return replied;
}

net::Task<void> stage(Service& service, http::Exchange& exchange) {
  KR_CO_TRY(const std::string written, text(exchange.request(), "digest"));
  KR_CO_TRY(const Digest digest, Digest::parse(written));
  KR_CO_CHECK(co_await service.stage_here(exchange.param(0), digest, exchange.request().content_length, body_of(exchange)));
  auto replied = co_await reply_store(exchange, service.store_id());
  co_return replied;
}

net::Task<void> place(Service& service, http::Exchange& exchange) {
  KR_CO_TRY(const std::string written, text(exchange.request(), "digest"));
  KR_CO_TRY(const Digest digest, Digest::parse(written));
  KR_CO_TRY(const StoreId store, co_await service.place_here(exchange.param(0), digest));
  auto replied = co_await reply_store(exchange, store);
  co_return replied;
}

net::Task<void> discard(Service& service, http::Exchange& exchange) {
  KR_CO_CHECK(co_await service.discard_here(exchange.param(0)));
  auto replied = co_await reply_store(exchange, service.store_id());
  co_return replied;
}

net::Task<void> fetch(Service& service, http::Exchange& exchange) {
  KR_CO_TRY(const Digest digest, Digest::parse(exchange.param(0)));
  KR_CO_CHECK(co_await service.ensure_local(digest));
  auto replied = co_await reply_store(exchange, service.store_id());
  co_return replied;
}

net::Task<void> let_go(Service& service, http::Exchange& exchange) {
  KR_CO_TRY(const Digest digest, Digest::parse(exchange.param(0)));
  KR_CO_TRY(const std::uint64_t epoch, number(exchange.request(), "epoch"));
  KR_CO_CHECK(co_await service.let_go_here(digest, epoch));
  auto replied = co_await reply_store(exchange, service.store_id());
  co_return replied;
}

net::Task<void> release(Service& service, http::Exchange& exchange) {
  KR_CO_TRY(const Digest digest, Digest::parse(exchange.param(0)));
  KR_CO_CHECK(co_await service.release_here(digest));
  auto replied = co_await reply_store(exchange, service.store_id());
  co_return replied;
}

}  // namespace

BodyReader body_of(http::Exchange& exchange) {
  return [&exchange](std::span<char> into) { return exchange.read(into); };
}

net::Task<void> send(http::Exchange& exchange, int status, http::Headers headers, Source& source) {
  KR_CO_CHECK(co_await exchange.start(status, std::move(headers), source.length));
  std::vector<char> buffer;
  for (;;) {
    if (buffer.empty()) buffer.resize(std::min<std::uint64_t>(256 * 1024, std::max<std::uint64_t>(source.length, 1)));
    KR_CO_TRY(const Slice slice, co_await source.next(buffer));
    if (slice.bytes == 0) break;
    if (slice.fd >= 0) {
      KR_CO_CHECK(co_await exchange.write_file(slice.fd, slice.offset, slice.bytes));
    } else {
      KR_CO_CHECK(co_await exchange.write({buffer.data(), slice.bytes}));
    }
  }
  auto finished = co_await exchange.finish();
  co_return finished;
}

void add_internal_routes(http::Router& router, Service& service) {
  using http::Method;
  const auto add = [&](Method method, std::string pattern, net::Task<void> (*handler)(Service&, http::Exchange&)) {
    router.add(method, std::move(pattern),
               internal([&service, handler](http::Exchange& exchange) { return handler(service, exchange); }));
  };
  router.add(Method::kGet, "/internal/v1/store",
             internal([&service](http::Exchange& exchange) { return reply_store(exchange, service.store_id()); }));
  add(Method::kHead, "/internal/v1/blobs/<digest>", have);
  add(Method::kGet, "/internal/v1/blobs/<digest>", get);
  add(Method::kPut, "/internal/v1/blobs/<digest>", put);
  add(Method::kPost, "/internal/v1/blobs/<digest>/fetch", fetch);
  add(Method::kPost, "/internal/v1/blobs/<digest>/let_go", let_go);
  add(Method::kPost, "/internal/v1/blobs/<digest>/release", release);
  add(Method::kPut, "/internal/v1/transfers/<name>", stage);
  add(Method::kPost, "/internal/v1/transfers/<name>/place", place);
  add(Method::kDelete, "/internal/v1/transfers/<name>", discard);
}

}  // namespace kraken::blobs
