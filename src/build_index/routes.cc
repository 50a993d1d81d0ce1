#include "src/build_index/routes.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "http/errors.h"
#include "http/exchange.h"
#include "http/router.h"
#include "http/url.h"
#include "src/build_index/listing.h"
#include "src/registry/answers.h"

namespace kraken::build_index {

namespace {

using registry::Precondition;
using registry::PutOutcome;
using registry::TagValue;

constexpr const char* kRevisionHeader = "Kraken-Tag-Revision";
constexpr std::size_t kBodyBytesMax = 1u << 20;
constexpr std::size_t kUnpagedMax = 100'000;  // names; stock has no bound, and no link to go on by

http::Headers text_headers() { return {{"Content-Type", "text/plain; charset=utf-8"}}; }

net::Task<> refuse(http::Exchange& exchange, const Error& error) {
  auto answer = http::plain_error(exchange.request(), error);
  return exchange.reply(answer.status, std::move(answer.headers), std::move(answer.body));
}

net::Task<> refuse(http::Exchange& exchange, int status, std::string text) {
  return exchange.reply(status, text_headers(), std::move(text));
}

/// If-Match: "<revision>" or "sha256:..."; If-None-Match: *.
Result<Precondition> parse_precondition(const http::Headers& headers) {
  Precondition precondition;
  if (const auto none = headers.first("If-None-Match"); !none.empty()) {
    if (none != "*") return fail(Code::kInvalidArgument, "If-None-Match '{}': only * is understood", none);
    precondition.revision = 0;
  }
  if (auto text = headers.first("If-Match"); !text.empty()) {
    if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
    if (text.starts_with("sha256:")) {
      KR_TRY(precondition.digest, Digest::parse(text));
    } else {
      std::uint64_t revision = 0;
      const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), revision);
      if (ec != std::errc{} || end != text.data() + text.size() || revision == 0 || precondition.revision)
        return fail(Code::kInvalidArgument, "If-Match '{}': want \"<{}>\" or \"sha256:<hex>\"", text, kRevisionHeader);
      precondition.revision = revision;
    }
  }
  return precondition;
}

/// The tag and, where the route has one, the digest of a path; the error is stock's text.
Result<QualifiedTag> tag_of(const http::Exchange& exchange) {
  auto tag = QualifiedTag::parse(exchange.param(0));
  if (!tag) return fail(Code::kInvalidArgument, "parse tag: {}", tag.error().detail);
  return tag;
}
Result<Digest> digest_of(const http::Exchange& exchange) {
  const auto digest = Digest::parse(exchange.param(1));
  if (!digest) return fail(Code::kInvalidArgument, "parse digest: {}", digest.error().detail);
  return *digest;
}

class Handlers {
 public:
  explicit Handlers(Deps deps) : deps_(std::move(deps)) {}

  net::Task<> get_tag(http::Exchange& exchange);
  net::Task<> get_stale_tag(http::Exchange& exchange, QualifiedTag tag);
  net::Task<> put_tag(http::Exchange& exchange);
  net::Task<> delete_tag(http::Exchange& exchange);
  net::Task<> list_repository(http::Exchange& exchange);
  net::Task<> list_prefix(http::Exchange& exchange) { return list(exchange, exchange.param(0)); }
  net::Task<> list_all(http::Exchange& exchange) { return list(exchange, ""); }
  net::Task<> replicate(http::Exchange& exchange);
  net::Task<> origin(http::Exchange& exchange) { return exchange.reply(200, text_headers(), deps_.origin_address); }
  net::Task<> duplicate_replicate(http::Exchange& exchange);
  net::Task<> duplicate_put(http::Exchange& exchange);

 private:
  net::Task<> list(http::Exchange& exchange, std::string prefix);
  net::Task<> answer_put(http::Exchange& exchange, const Precondition& precondition, Result<PutOutcome> outcome);
  net::Task<> answer_conflict(http::Exchange& exchange, const Precondition& precondition,
                              const std::optional<TagValue>& winner);

  const Deps deps_;
};

net::Task<> Handlers::get_tag(http::Exchange& exchange) {
  auto tag = tag_of(exchange);
  if (!tag) co_return co_await refuse(exchange, tag.error());
  const auto stale = registry::stale_asked(exchange.request());
  if (!stale) co_return co_await refuse(exchange, stale.error());
  if (*stale) co_return co_await get_stale_tag(exchange, std::move(*tag));
  auto reading = deps_.tags->get(std::move(*tag));
  const auto found = co_await std::move(reading);
  if (!found) co_return co_await refuse(exchange, found.error());
  if (!*found) co_return co_await exchange.reply(404);
  auto headers = text_headers();
  headers.add(kRevisionHeader, std::to_string((*found)->revision));
  co_return co_await exchange.reply(200, std::move(headers), (*found)->digest.str());
}

net::Task<> Handlers::get_stale_tag(http::Exchange& exchange, QualifiedTag tag) {
  auto reading = deps_.tags->get_stale(std::move(tag));
  const auto found = co_await std::move(reading);
  if (!found) co_return co_await refuse(exchange, found.error());
  auto headers = text_headers();
  registry::add_stale_headers(headers, found->how);
  if (!found->value) co_return co_await exchange.reply(404, std::move(headers), "");
  headers.add(kRevisionHeader, std::to_string(found->value->revision));
  co_return co_await exchange.reply(200, std::move(headers), found->value->digest.str());
}

net::Task<> Handlers::answer_conflict(http::Exchange& exchange, const Precondition& precondition,
                                      const std::optional<TagValue>& winner) {
  auto headers = text_headers();
  if (winner) headers.add(kRevisionHeader, std::to_string(winner->revision));
  const bool wanted_absent = precondition.revision && *precondition.revision == 0;
  return exchange.reply(wanted_absent ? 409 : 412, std::move(headers), winner ? winner->digest.str() : "");
}

net::Task<> Handlers::answer_put(http::Exchange& exchange, const Precondition& precondition,
                                 Result<PutOutcome> outcome) {
  if (!outcome) {
    // Stock answers 500 to what is wrong with the manifest, and says where it stood.
    if (outcome.error().code == Code::kInvalidArgument)
      return refuse(exchange, 500, "resolve dependencies: download manifest: " + outcome.error().detail);
    if (outcome.error().code == Code::kNotFound)
      return refuse(exchange, 500,
                    "resolve dependencies: download manifest: blob not found: " + outcome.error().detail);
    return refuse(exchange, outcome.error());
  }
  switch (outcome->what) {
    case PutOutcome::What::kReferencesMissing:
      return refuse(exchange, 500,
                    "cannot upload tag, missing dependency " +
                        (outcome->missing.empty() ? std::string() : outcome->missing.front().str()));
    case PutOutcome::What::kConflict:
      return answer_conflict(exchange, precondition, outcome->winner);
    case PutOutcome::What::kStored:
      break;
  }
  http::Headers headers;
  if (outcome->revision != 0) headers.add(kRevisionHeader, std::to_string(outcome->revision));
  return exchange.reply(200, std::move(headers), "");
}

net::Task<> Handlers::put_tag(http::Exchange& exchange) {
  auto tag = tag_of(exchange);
  if (!tag) co_return co_await refuse(exchange, tag.error());
  const auto digest = digest_of(exchange);
  if (!digest) co_return co_await refuse(exchange, digest.error());
  if (const auto replicate = exchange.request().query("replicate");
      replicate && *replicate != "true" && *replicate != "false" && !replicate->empty())
    co_return co_await refuse(exchange, 400, "parse query arg `replicate`: '" + *replicate + "': want true or false");
  const auto precondition = parse_precondition(exchange.request().headers);
  if (!precondition) co_return co_await refuse(exchange, precondition.error());
  auto putting = deps_.tags->put(std::move(*tag), *digest, *precondition);
  auto outcome = co_await std::move(putting);
  co_return co_await answer_put(exchange, *precondition, std::move(outcome));
}

net::Task<> Handlers::delete_tag(http::Exchange& exchange) {
  auto tag = tag_of(exchange);
  if (!tag) co_return co_await refuse(exchange, tag.error());
  const auto precondition = parse_precondition(exchange.request().headers);
  if (!precondition) co_return co_await refuse(exchange, precondition.error());
  auto removing = deps_.tags->remove(std::move(*tag), *precondition);
  const auto outcome = co_await std::move(removing);
  if (!outcome) co_return co_await refuse(exchange, outcome.error());
  if (outcome->conflict) co_return co_await answer_conflict(exchange, *precondition, outcome->winner);
  co_return co_await exchange.reply(202);
}

net::Task<> Handlers::list_repository(http::Exchange& exchange) {
  auto repository = Repository::parse(exchange.param(0));
  if (!repository) co_return co_await refuse(exchange, repository.error());
  const auto asked = parse_list_request(exchange.request());
  if (!asked) co_return co_await refuse(exchange, asked.error());
  const std::size_t offset_from = asked->offset.rfind(':') + 1;  // 0 without one
  const std::size_t count = asked->paged ? asked->limit : kUnpagedMax;
  registry::Page page;
  std::string after = asked->offset.substr(offset_from);
  do {
    KR_CO_TRY(auto more,
              co_await deps_.tags->tags(*repository, after, std::min(count - page.names.size(), registry::kPageMax)));
    page.more = more.more && !more.names.empty();
    if (!more.names.empty()) after = more.names.back();
    std::ranges::move(more.names, std::back_inserter(page.names));
  } while (page.more && page.names.size() < count);
  const std::string next = page.more ? page.names.back() : "";
  auto json = listing_json(exchange.request(), *asked, page.names, next);
  co_return co_await exchange.reply(200, text_headers(), std::move(json));
}

net::Task<> Handlers::list(http::Exchange& exchange, std::string prefix_text) {
  auto prefix = parse_prefix(prefix_text);
  if (!prefix) co_return co_await refuse(exchange, prefix.error());
  const auto asked = parse_list_request(exchange.request());
  if (!asked) co_return co_await refuse(exchange, asked.error());
  auto listing = list_tags(*deps_.tags, std::move(*prefix), asked->offset, asked->paged ? asked->limit : kUnpagedMax);
  const auto page = co_await std::move(listing);
  if (!page) co_return co_await refuse(exchange, page.error());
  const std::string next = page->more && !page->names.empty() ? page->names.back() : "";
  auto json = listing_json(exchange.request(), *asked, page->names, next);
  co_return co_await exchange.reply(200, text_headers(), std::move(json));
}

net::Task<> Handlers::replicate(http::Exchange& exchange) {
  auto tag = tag_of(exchange);
  if (!tag) co_return co_await refuse(exchange, tag.error());
  // No remotes are configured yet, so there is nothing to add a task for; stock answers 200 then too.
  auto reading = deps_.tags->get(std::move(*tag));
  const auto found = co_await std::move(reading);
  if (!found) co_return co_await refuse(exchange, found.error());
  co_return co_await exchange.reply(*found ? 200 : 404);
}

/// What a stock neighbour sends after a put of its own. The delay staggers stock's write-backs; here one task does it.
Result<> check_duplicate(const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return fail(Code::kInvalidArgument, "decode body: not a JSON object");
  return {};
}

net::Task<> Handlers::duplicate_replicate(http::Exchange& exchange) {
  auto tag = tag_of(exchange);
  if (!tag) co_return co_await refuse(exchange, tag.error());
  const auto digest = digest_of(exchange);
  if (!digest) co_return co_await refuse(exchange, digest.error());
  KR_CO_TRY(const auto body, co_await exchange.read_all(kBodyBytesMax));
  if (const auto checked = check_duplicate(body); !checked) co_return co_await refuse(exchange, checked.error());
  co_return co_await exchange.reply(200);
}

net::Task<> Handlers::duplicate_put(http::Exchange& exchange) {
  auto tag = tag_of(exchange);
  if (!tag) co_return co_await refuse(exchange, tag.error());
  const auto digest = digest_of(exchange);
  if (!digest) co_return co_await refuse(exchange, digest.error());
  KR_CO_TRY(const auto body, co_await exchange.read_all(kBodyBytesMax));
  if (const auto checked = check_duplicate(body); !checked) co_return co_await refuse(exchange, checked.error());
  const auto stands = co_await deps_.tags->get(*tag);
  if (!stands) co_return co_await refuse(exchange, stands.error());
  if (*stands && (*stands)->digest == *digest) co_return co_await exchange.reply(200);
  const Precondition none;
  auto putting = deps_.tags->put(std::move(*tag), *digest, none);
  auto outcome = co_await std::move(putting);
  co_return co_await answer_put(exchange, none, std::move(outcome));
}

}  // namespace

void add_routes(http::Router& router, Deps deps) {
  using http::Method;
  const auto handlers = std::make_shared<Handlers>(std::move(deps));
  const auto add = [&](Method method, const std::string& pattern, net::Task<> (Handlers::*endpoint)(http::Exchange&)) {
    router.add(method, pattern,
               [handlers, endpoint](http::Exchange& exchange) { return ((*handlers).*endpoint)(exchange); });
  };
  add(Method::kGet, "/tags/<tag>", &Handlers::get_tag);
  // Stock's own HEAD asks the backend alone, but its nginx turns HEAD into GET: that is what clients know.
  add(Method::kHead, "/tags/<tag>", &Handlers::get_tag);
  add(Method::kDelete, "/tags/<tag>", &Handlers::delete_tag);
  add(Method::kPut, "/tags/<tag>/digest/<digest>", &Handlers::put_tag);
  add(Method::kGet, "/repositories/<repository>/tags", &Handlers::list_repository);
  add(Method::kGet, "/list/", &Handlers::list_all);
  add(Method::kGet, "/list/<prefix...>", &Handlers::list_prefix);
  add(Method::kPost, "/remotes/tags/<tag>", &Handlers::replicate);
  add(Method::kGet, "/origin", &Handlers::origin);
  add(Method::kPost, "/internal/duplicate/remotes/tags/<tag>/digest/<digest>", &Handlers::duplicate_replicate);
  add(Method::kPut, "/internal/duplicate/tags/<tag>/digest/<digest>", &Handlers::duplicate_put);
}

}  // namespace kraken::build_index
