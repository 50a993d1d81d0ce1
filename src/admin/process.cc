#include "src/admin/process.h"

#include <array>
#include <charconv>

#include <fcntl.h>
#include <unistd.h>

#include "http/router.h"
#include "src/base/file.h"
#include "src/base/metrics.h"

namespace kraken::admin {
namespace {

const http::Headers& plain() {
  static const http::Headers headers{{"Content-Type", "text/plain; charset=utf-8"}};
  return headers;
}

net::Task<void> answer(http::Exchange& exchange, Result<> state) {
  if (state) {
    co_return co_await exchange.reply(200, plain(), "OK\n");
  }
  http::Headers headers = plain();
  headers.set("Retry-After", "1");
  std::string text = state.error().detail + "\n";
  co_return co_await exchange.reply(503, std::move(headers), std::move(text));
}

net::Task<void> metrics_page(http::Exchange& exchange) {
  static metrics::Gauge& resident = metrics::gauge("kr_process_resident_bytes", "Memory that this process holds.");
  resident.set(static_cast<double>(resident_bytes()));
  http::Headers headers{{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}};
  std::string text = metrics::scrape();
  co_return co_await exchange.reply(200, std::move(headers), std::move(text));
}

}  // namespace

void add_process_routes(http::Router& router, Health health) {
  const auto live = [check = health.live](http::Exchange& exchange) { return answer(exchange, check ? check() : Result<>{}); };
  const auto ready = [check = health.ready ? health.ready : health.live](http::Exchange& exchange) {
    return answer(exchange, check ? check() : Result<>{});
  };
  for (const char* path : {"/livez", "/health"}) {
    router.add(http::Method::kGet, path, live);
    router.add(http::Method::kHead, path, live);
  }
  for (const char* path : {"/readyz", "/readiness"}) {
    router.add(http::Method::kGet, path, ready);
    router.add(http::Method::kHead, path, ready);
  }
  router.add(http::Method::kGet, "/metrics", metrics_page);
}

std::uint64_t resident_bytes() {
  // Not file::read_all: a file of /proc has no size.
  const auto fd = file::open("/proc/self/statm", O_RDONLY);
  if (!fd) return 0;
  std::array<char, 256> buffer{};
  const auto bytes = file::read_at(fd->get(), buffer, 0);
  if (!bytes) return 0;
  const std::string_view text(buffer.data(), *bytes);
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) return 0;
  std::uint64_t pages = 0;
  std::from_chars(text.data() + space + 1, text.data() + text.size(), pages);
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace kraken::admin
