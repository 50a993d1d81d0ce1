#include "src/proxy/prefetch.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "http/errors.h"

namespace kraken::proxy {

namespace {

constexpr std::size_t kBodyBytesMax = 64 * 1024;
constexpr int kIndexDepthMax = 2;  // an index of indexes is as deep as anything real goes

net::Task<> reply(http::Exchange& exchange, int status, const nlohmann::ordered_json& body) {
  http::Headers headers{{"Content-Type", "application/json"}};
  return exchange.reply(status, std::move(headers),
                        body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

net::Task<> failure(http::Exchange& exchange, int status, const std::string& message, const std::string& trace_id) {
  nlohmann::ordered_json body;
  body["error"] = http::reason_of(status);
  body["prefetched"] = false;
  body["status"] = "failure";
  body["message"] = message;
  if (!trace_id.empty()) body["trace_id"] = trace_id;
  return reply(exchange, status, body);
}

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// Stock takes exactly <host>/<namespace>/<image:tag>; here the repository may be deeper.
Result<QualifiedTag> parse_tag(const std::string& text) {
  const auto host = text.find('/');
  if (std::ranges::count(text, '/') < 2)
    return fail(Code::kInvalidArgument, "tag: {}, invalid tag format: invalid tag format: {}", text, text);
  auto tag = QualifiedTag::parse(std::string_view(text).substr(host + 1));
  if (!tag) return fail(Code::kInvalidArgument, "tag: {}, invalid tag format: {}", text, tag.error().detail);
  return tag;
}

}  // namespace

net::Task<> Prefetch::blob(Repository repository, Digest digest, std::uint64_t bytes) {
  if (bytes < deps_.prefetch_bytes_min || bytes > deps_.prefetch_bytes_max) co_return Result<>{};
  if (deps_.ensure) co_return co_await deps_.ensure(std::move(repository), digest);
  KR_CO_CHECK(co_await deps_.registry.reader->stat(std::move(repository), digest));
  co_return Result<>{};
}

net::Task<> Prefetch::image(Repository repository, registry::Reference reference, int depth) {
  auto reading = deps_.registry.manifests->get(repository, std::move(reference));
  KR_CO_TRY(const auto content, co_await std::move(reading));
  KR_CO_TRY(const auto manifest, Manifest::parse(content.body, content.media_type));
  for (const auto& descriptor : manifest.references) {
    if (descriptor.is_manifest && depth < kIndexDepthMax) {
      KR_CO_CHECK(co_await image(repository, registry::Reference(descriptor.digest), depth + 1));
    } else {
      KR_CO_CHECK(co_await blob(repository, descriptor.digest, descriptor.size));
    }
  }
  co_return Result<>{};
}

net::Task<> Prefetch::handle(http::Exchange& exchange) {
  KR_CO_TRY(const auto body, co_await exchange.read_all(kBodyBytesMax));
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_discarded() || !json.is_object())
    co_return co_await failure(exchange, 400, "invalid request body: not a JSON object", "");
  const auto text = text_of(json, "tag");
  const auto trace_id = text_of(json, "trace_id");
  auto tag = parse_tag(text);
  if (!tag) co_return co_await failure(exchange, 400, tag.error().detail, trace_id);
  auto fetching = image(std::move(tag->repository), registry::Reference(std::move(tag->tag)), 0);
  const auto done = co_await std::move(fetching);
  if (!done) co_return co_await failure(exchange, 500, "tag: " + text + ": " + done.error().detail, trace_id);
  nlohmann::ordered_json answer;
  answer["tag"] = text;
  answer["prefetched"] = true;
  answer["status"] = "success";
  answer["message"] = "prefetching initiated successfully";
  answer["trace_id"] = trace_id;
  co_return co_await reply(exchange, 200, answer);
}

}  // namespace kraken::proxy
