#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "http/url.h"
#include "src/registry/handlers.h"

namespace kraken::registry {

namespace {

constexpr std::size_t kTagsPerPutMax = 16;  // written by one log entry

http::Headers manifest_headers(const Repository& repository, const Digest& digest, std::uint64_t revision) {
  auto headers = base_headers();
  headers.add("Location", "/v2/" + repository.str() + "/manifests/" + digest.str());
  headers.add("Docker-Content-Digest", digest.str());
  if (revision != 0) headers.add("Kraken-Tag-Revision", std::to_string(revision));
  return headers;
}

/// "application/json; charset=utf-8" -> "application/json".
std::string media_type_of(std::string_view content_type) {
  auto text = content_type.substr(0, content_type.find(';'));
  while (text.ends_with(' ')) text.remove_suffix(1);
  return std::string(text);
}

http::Answer references_missing(const std::vector<Digest>& missing) {
  nlohmann::ordered_json errors = nlohmann::ordered_json::array();
  for (const auto& digest : missing) {
    nlohmann::ordered_json entry;
    entry["code"] = "MANIFEST_BLOB_UNKNOWN";
    entry["message"] = "the manifest refers to " + digest.str() + ", which the cluster does not have: push it first";
    entry["detail"] = {{"digest", digest.str()}};
    errors.push_back(std::move(entry));
  }
  nlohmann::ordered_json body;
  body["errors"] = std::move(errors);
  auto answer = refuse(400, "MANIFEST_BLOB_UNKNOWN", "");
  answer.body = body.dump() + "\n";
  return answer;
}

/// 412; the detail is where the tag stands, null where it does not exist.
http::Answer conflict(const std::optional<TagValue>& winner) {
  nlohmann::json detail = nlohmann::json::object();
  std::string message = "the tag does not exist";
  if (winner) {
    detail["digest"] = winner->digest.str();
    detail["revision"] = winner->revision;
    message = "the tag stands at " + winner->digest.str() + ", revision " + std::to_string(winner->revision);
  }
  auto answer = refuse(412, "CONFLICT", message + ": read it and decide again", detail);
  if (winner) answer.headers.add("Kraken-Tag-Revision", std::to_string(winner->revision));
  return answer;
}

http::Answer manifest_unknown(const Repository& repository, const std::string& reference) {
  const bool by_digest = reference.find(':') != std::string::npos;
  return refuse(404, "MANIFEST_UNKNOWN",
                "manifest unknown: " + repository.str() + " has no " + (by_digest ? "manifest " : "tag ") + reference,
                by_digest ? nlohmann::json{{"Digest", reference}} : nlohmann::json{{"Tag", reference}});
}

}  // namespace

bool matches_etag(std::string_view header, std::string_view etag) {
  const auto bare = [](std::string_view text) {
    while (text.starts_with(' ')) text.remove_prefix(1);
    while (text.ends_with(' ')) text.remove_suffix(1);
    if (text.starts_with("W/")) text.remove_prefix(2);
    if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
    return text;
  };
  const auto wanted = bare(etag);
  while (true) {
    const auto comma = header.find(',');
    const auto item = bare(header.substr(0, comma));
    if (item == wanted || item == "*") return true;
    if (comma == std::string_view::npos) return false;
    header.remove_prefix(comma + 1);
  }
}

Result<Precondition> parse_precondition(const http::Headers& headers) {
  Precondition precondition;
  if (const auto none = headers.get("If-None-Match"); none) {
    if (*none != "*") return fail(Code::kInvalidArgument, "If-None-Match '{}' of a write: only * is understood", *none);
    precondition.revision = 0;
  }
  if (const auto match = headers.get("If-Match"); match) {
    std::string_view text = *match;
    if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
    if (text.starts_with("sha256:")) {
      KR_TRY(precondition.digest, Digest::parse(text));
    } else {
      std::uint64_t revision = 0;
      const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), revision);
      if (ec != std::errc{} || end != text.data() + text.size() || revision == 0 || precondition.revision)
        return fail(Code::kInvalidArgument,
                    "If-Match '{}': want \"<Kraken-Tag-Revision>\" or \"sha256:<digest the tag points to>\"", *match);
      precondition.revision = revision;
    }
  }
  return precondition;
}

net::Task<> Handlers::get_manifest(http::Exchange& exchange) {
  http::Answer refusal;
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto reference = parse_reference(exchange.param(1), refusal);
  if (!reference) co_return co_await send(exchange, std::move(refusal));
  const auto stale = stale_asked(exchange.request());
  if (!stale) co_return co_await send(exchange, refuse(400, "UNSUPPORTED", stale.error().detail));
  const auto* tag = std::get_if<TagName>(&*reference);
  auto getting = *stale && tag != nullptr ? interfaces_.manifests->get_stale(*repository, *tag)
                                          : interfaces_.manifests->get(*repository, *reference);
  auto content = co_await std::move(getting);
  if (!content) {
    if (content.error().code == Code::kNotFound)
      co_return co_await send(exchange, manifest_unknown(*repository, exchange.param(1)));
    co_return co_await send(exchange, answer_of(content.error(), kManifestErrors));
  }
  // Accept is not looked at, as stock: what was pushed is what comes back, whatever a client says it understands.
  const std::string etag = "\"" + content->digest.str() + "\"";
  auto headers = base_headers();
  headers.add("Content-Type", content->media_type);
  headers.add("Docker-Content-Digest", content->digest.str());
  headers.add("Etag", etag);
  if (content->revision != 0) headers.add("Kraken-Tag-Revision", std::to_string(content->revision));
  if (content->stale) add_stale_headers(headers, *content->stale);
  if (const auto none_match = exchange.request().headers.get("If-None-Match");
      none_match && matches_etag(*none_match, etag))
    co_return co_await exchange.reply(304, std::move(headers), "");
  co_return co_await exchange.reply(200, std::move(headers), std::move(content->body));
}

net::Task<> Handlers::put_manifest(http::Exchange& exchange) {
  http::Answer refusal;
  const auto& request = exchange.request();
  auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto reference = parse_reference(exchange.param(1), refusal);
  if (!reference) co_return co_await send(exchange, std::move(refusal));
  auto precondition = parse_precondition(request.headers);
  if (!precondition) co_return co_await send(exchange, refuse(400, "UNSUPPORTED", precondition.error().detail));

  ManifestPut put;
  put.repository = *repository;
  put.precondition = *precondition;
  if (const auto* tag = std::get_if<TagName>(&*reference)) {
    put.tags.push_back(*tag);
  } else {
    for (const auto& [key, text] : http::parse_query(request.query_string)) {
      if (key != "tag") continue;
      auto name = TagName::parse(text);
      if (!name) co_return co_await send(exchange, refuse(400, "TAG_INVALID", name.error().detail));
      put.tags.push_back(std::move(*name));
    }
    if (put.tags.size() > kTagsPerPutMax)
      co_return co_await send(exchange, refuse(414, "TAG_INVALID", "at most 16 tags in one request"));
  }

  auto body = co_await exchange.read_all(kManifestBytesMax);
  if (!body && body.error().code == Code::kTooLarge)
    co_return co_await send(exchange, refuse(413, "MANIFEST_INVALID", "a manifest may have at most 4194304 bytes"));
  if (!body) co_return std::unexpected(std::move(body).error());
  put.body = std::move(*body);
  put.digest = Digest::of(put.body);
  if (const auto* digest = std::get_if<Digest>(&*reference); digest && *digest != put.digest) {
    co_return co_await send(exchange, refuse(400, "DIGEST_INVALID",
                                             "the path says " + digest->str() + ", the body is " + put.digest.str()));
  }
  auto manifest = Manifest::parse(put.body, media_type_of(request.headers.first("Content-Type")));
  if (!manifest) {
    const int status = manifest.error().code == Code::kTooLarge ? 413 : 400;
    co_return co_await send(exchange, refuse(status, "MANIFEST_INVALID", manifest.error().detail));
  }
  put.manifest = std::move(*manifest);

  const auto digest = put.digest;
  const auto tags = put.tags;
  const auto outcome = co_await interfaces_.manifests->put(std::move(put));
  if (!outcome) co_return co_await send(exchange, answer_of(outcome.error(), kManifestErrors));
  if (outcome->what == PutOutcome::What::kReferencesMissing)
    co_return co_await send(exchange, references_missing(outcome->missing));
  if (outcome->what == PutOutcome::What::kConflict) co_return co_await send(exchange, conflict(outcome->winner));
  auto headers = manifest_headers(*repository, digest, outcome->revision);
  if (std::holds_alternative<Digest>(*reference)) {
    for (const auto& tag : tags) headers.add("OCI-Tag", tag.str());
  }
  // No OCI-Subject: it would promise that the referrers API answers, and clients would stop keeping the fallback tag.
  co_return co_await exchange.reply(201, std::move(headers), "");
}

net::Task<> Handlers::delete_manifest(http::Exchange& exchange) {
  http::Answer refusal;
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto reference = parse_reference(exchange.param(1), refusal);
  if (!reference) co_return co_await send(exchange, std::move(refusal));
  const auto precondition = parse_precondition(exchange.request().headers);
  if (!precondition) co_return co_await send(exchange, refuse(400, "UNSUPPORTED", precondition.error().detail));
  const auto outcome = co_await interfaces_.manifests->remove(*repository, *reference, *precondition);
  if (!outcome) {
    if (outcome.error().code == Code::kNotFound)
      co_return co_await send(exchange, manifest_unknown(*repository, exchange.param(1)));
    co_return co_await send(exchange, answer_of(outcome.error(), kManifestErrors));
  }
  if (outcome->conflict) co_return co_await send(exchange, conflict(outcome->winner));
  co_return co_await exchange.reply(202, base_headers(), "");
}

}  // namespace kraken::registry
