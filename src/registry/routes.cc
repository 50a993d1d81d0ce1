#include <memory>
#include <nlohmann/json.hpp>

#include "http/router.h"
#include "src/registry/handlers.h"

namespace kraken::registry {

namespace {

using http::Method;

/// What is shown of a name that is not fit to be printed whole.
std::string shown(const std::string& text) { return text.size() <= 64 ? text : text.substr(0, 64) + "..."; }

net::Task<> version(http::Exchange& exchange) {
  auto headers = base_headers();
  headers.add("Content-Type", "application/json");
  return exchange.reply(200, std::move(headers), "{}");
}

net::Task<> pull_only(http::Exchange& exchange) {
  auto answer =
      refuse(405, "UNSUPPORTED", "this is an agent, it only serves pulls: push to a node of the cluster (port 15000)");
  answer.headers.add("Allow", "GET, HEAD");
  return send(exchange, std::move(answer));
}

/// Paths under /v2/ that match no route: mostly names with "..", "" or a slash too many in them.
net::Task<> unknown_path(http::Exchange& exchange) {
  const auto& rest = exchange.param(0);
  if (rest.ends_with("/tags/list") || rest == "_catalog") {
    auto answer = refuse(405, "UNSUPPORTED", "only GET lists");
    answer.headers.add("Allow", "GET");
    return send(exchange, std::move(answer));
  }
  if (rest.find("..") != std::string::npos || rest.find('\0') != std::string::npos ||
      rest.find("//") != std::string::npos)
    return send(exchange,
                refuse(400, "NAME_INVALID", "the path has a component that no name may have", {{"path", shown(rest)}}));
  return send(exchange, refuse(404, "UNSUPPORTED", "no such endpoint; see the OCI distribution specification 1.1",
                               {{"path", shown(rest)}}));
}

}  // namespace

std::optional<Repository> parse_name(const std::string& text, http::Answer& refusal) {
  auto name = Repository::parse(text);
  if (name) return std::move(*name);
  refusal = refuse(400, "NAME_INVALID", name.error().detail, {{"name", shown(text)}});
  return std::nullopt;
}

std::optional<Digest> parse_digest(const std::string& text, http::Answer& refusal) {
  const auto digest = Digest::parse(text);
  if (digest) return *digest;
  refusal = refuse(400, "DIGEST_INVALID", digest.error().detail, {{"digest", shown(text)}});
  return std::nullopt;
}

std::optional<Reference> parse_reference(const std::string& text, http::Answer& refusal) {
  if (text.find(':') != std::string::npos) {
    const auto digest = parse_digest(text, refusal);
    if (!digest) return std::nullopt;
    return Reference(*digest);
  }
  auto tag = TagName::parse(text);
  if (tag) return Reference(std::move(*tag));
  refusal = refuse(400, "TAG_INVALID", tag.error().detail, {{"tag", shown(text)}});
  return std::nullopt;
}

void add_routes(http::Router& router, Interfaces interfaces, Mode mode) {
  const auto handlers = std::make_shared<Handlers>(interfaces);
  // Lambdas here are no coroutines: they call one and hand its task on, so nothing of theirs is needed later but
  // `handlers`, which the router keeps.
  const auto add = [&](Method method, const std::string& pattern, net::Task<> (Handlers::*endpoint)(http::Exchange&)) {
    router.add(method, pattern,
               [handlers, endpoint](http::Exchange& exchange) { return ((*handlers).*endpoint)(exchange); });
  };
  for (const auto method : {Method::kGet, Method::kHead}) {
    router.add(method, "/v2/", version);
    router.add(method, "/v2", version);
    add(method, "/v2/<name...>/manifests/<reference>", &Handlers::get_manifest);
  }
  add(Method::kGet, "/v2/<name...>/blobs/<digest>", &Handlers::get_blob);
  add(Method::kHead, "/v2/<name...>/blobs/<digest>", &Handlers::head_blob);
  add(Method::kGet, "/v2/<name...>/tags/list", &Handlers::list_tags);
  add(Method::kGet, "/v2/_catalog", &Handlers::catalog);
  for (const auto method : {Method::kGet, Method::kHead}) router.add(method, "/v2/<rest...>", unknown_path);

  if (mode == Mode::kPullOnly) {
    for (const auto method : {Method::kPost, Method::kPut, Method::kPatch, Method::kDelete})
      router.add(method, "/v2/<rest...>", pull_only);
    return;
  }
  add(Method::kDelete, "/v2/<name...>/blobs/<digest>", &Handlers::delete_blob);
  add(Method::kPost, "/v2/<name...>/blobs/uploads/", &Handlers::start_upload);
  add(Method::kPost, "/v2/<name...>/blobs/uploads", &Handlers::start_upload);
  add(Method::kPatch, "/v2/<name...>/blobs/uploads/<id>", &Handlers::patch_upload);
  add(Method::kPut, "/v2/<name...>/blobs/uploads/<id>", &Handlers::put_upload);
  add(Method::kGet, "/v2/<name...>/blobs/uploads/<id>", &Handlers::get_upload);
  add(Method::kDelete, "/v2/<name...>/blobs/uploads/<id>", &Handlers::delete_upload);
  add(Method::kPut, "/v2/<name...>/manifests/<reference>", &Handlers::put_manifest);
  add(Method::kDelete, "/v2/<name...>/manifests/<reference>", &Handlers::delete_manifest);
  for (const auto method : {Method::kPost, Method::kPut, Method::kPatch, Method::kDelete})
    router.add(method, "/v2/<rest...>", unknown_path);
}

}  // namespace kraken::registry
