#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "http/url.h"
#include "src/registry/handlers.h"

namespace kraken::registry {

namespace {

struct PageRequest {
  std::string last;
  std::size_t count = kPageMax;
};

Result<PageRequest> parse_page(const http::RequestHead& request) {
  PageRequest page;
  page.last = request.query("last").value_or("");
  if (const auto n = request.query("n"); n) {
    std::uint64_t count = 0;
    const auto [end, ec] = std::from_chars(n->data(), n->data() + n->size(), count);
    // Digits that overflow are a number too large to matter: clamped like any other.
    const bool digits = !n->empty() && std::ranges::all_of(*n, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return fail(Code::kInvalidArgument, "n={}: want how many names to list, 0 to {}", *n, kPageMax);
    page.count = ec == std::errc::result_out_of_range ? kPageMax : std::min<std::uint64_t>(count, kPageMax);
  }
  return page;
}

/// RFC 8288, relative, so that it holds behind any load balancer.
std::string next_link(const std::string& path, const PageRequest& page, const std::string& last) {
  return "<" + path + "?n=" + std::to_string(page.count) + "&last=" + http::query_escape(last) + ">; rel=\"next\"";
}

net::Task<> send_page(http::Exchange& exchange, const nlohmann::ordered_json& body, std::string link) {
  auto headers = base_headers();
  headers.add("Content-Type", "application/json");
  if (!link.empty()) headers.add("Link", std::move(link));
  return exchange.reply(200, std::move(headers), body.dump() + "\n");
}

}  // namespace

net::Task<> Handlers::list_tags(http::Exchange& exchange) {
  http::Answer refusal;
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto asked = parse_page(exchange.request());
  if (!asked) co_return co_await send(exchange, refuse(400, "PAGINATION_NUMBER_INVALID", asked.error().detail));
  auto page = co_await interfaces_.tags->list(*repository, asked->last, asked->count);
  if (!page) co_return co_await send(exchange, answer_of(page.error(), kNameErrors));
  nlohmann::ordered_json body;
  body["name"] = repository->str();
  body["tags"] = page->names;
  std::string link;
  if (page->more && !page->names.empty())
    link = next_link("/v2/" + repository->str() + "/tags/list", *asked, page->names.back());
  co_return co_await send_page(exchange, body, std::move(link));
}

net::Task<> Handlers::catalog(http::Exchange& exchange) {
  const auto asked = parse_page(exchange.request());
  if (!asked) co_return co_await send(exchange, refuse(400, "PAGINATION_NUMBER_INVALID", asked.error().detail));
  auto page = co_await interfaces_.tags->catalog(asked->last, asked->count);
  if (!page) co_return co_await send(exchange, answer_of(page.error(), kNameErrors));
  nlohmann::ordered_json body;
  body["repositories"] = page->names;
  std::string link;
  if (page->more && !page->names.empty()) link = next_link("/v2/_catalog", *asked, page->names.back());
  co_return co_await send_page(exchange, body, std::move(link));
}

}  // namespace kraken::registry
