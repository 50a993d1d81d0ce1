// Stock's chunked upload: POST, PATCH.., PUT. Three sets of paths (public, internal, duplicate) end in the same push: a blob
// is on a write quorum and in its record whoever brought it, so there is nothing to tell apart.

#include <charconv>

#include "http/client.h"
#include "http/url.h"
#include "src/blobs/endpoints.h"
#include "src/blobs/forward.h"
#include "src/core/names.h"
#include "src/origin/handlers.h"

namespace kraken::origin {
namespace {

/// "<start>-<end>", end exclusive, no unit, no total (facts §1.1).
struct Chunk {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

Result<Chunk> parse_chunk(std::string_view header) {
  if (header.empty()) return fail(Code::kInvalidArgument, "no Content-Range header");
  const auto dash = header.find('-');
  if (dash == std::string_view::npos || header.find('-', dash + 1) != std::string_view::npos) {
    return fail(Code::kInvalidArgument, "invalid Content-Range \"{:.80}\": want <start>-<end>, end exclusive", header);
  }
  Chunk chunk;
  const auto number = [](std::string_view text, std::uint64_t& into) {
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), into);
    return ec == std::errc() && end == text.data() + text.size();
  };
  if (!number(header.substr(0, dash), chunk.start) || !number(header.substr(dash + 1), chunk.end) || chunk.end < chunk.start) {
    return fail(Code::kInvalidArgument, "invalid Content-Range \"{:.80}\": want <start>-<end>, end exclusive", header);
  }
  return chunk;
}

/// The session is another node's: sent there. False: it is ours, or nobody's.
net::Task<bool> forwarded(const Context& context, http::Exchange& exchange, const UploadId& id) {
  const auto owner = context.blobs.session_owner(id);
  if (blobs::was_forwarded(exchange.request()) || !owner) co_return false;
  if (auto here = context.blobs.upload_bytes(id)) co_return false;
  const auto address = context.addresses(*owner);
  if (!address || id.belongs_to(context.blobs.self())) co_return false;
  auto sent = co_await blobs::forward(exchange, context.client, address->host, address->port);
  if (!sent && !exchange.started() && sent.error().code != Code::kUnavailable) {
    // It was reached and went while it had the request: its sessions went with it.
    co_return fail(Code::kUnavailable, "upload {} is on node {}, which went away: {}", id.str(), *owner, sent.error().detail);
  }
  if (!sent) co_return std::unexpected(std::move(sent).error());
  co_return true;
}

Result<UploadId> upload_of(const http::Exchange& exchange, std::size_t param) {
  auto id = UploadId::parse(exchange.param(param));
  if (!id) return fail(Code::kNotFound, "no such upload");  // not one of ours
  return *id;
}

net::Task<void> start(Shared context, http::Exchange& exchange, std::size_t digest_param) {
  if (digest_param > 0) KR_CO_CHECK(check_namespace(exchange, digest_param - 1));
  KR_CO_TRY(const Digest digest, digest_of(exchange, digest_param));
  KR_CO_TRY(const bool there, co_await context->blobs.present(digest));
  if (there) {
    auto replied = co_await reply_empty(exchange, 409);
    co_return replied;
  }
  blobs::UploadHints hints{.digest = digest, .bytes = std::nullopt};
  if (const auto size = exchange.request().query("size")) {
    std::uint64_t bytes = 0;
    const auto [end, ec] = std::from_chars(size->data(), size->data() + size->size(), bytes);
    // Stock does not look at it; what is no number is no hint.
    if (ec == std::errc() && end == size->data() + size->size()) hints.bytes = bytes;
  }
  KR_CO_TRY(const UploadId id, co_await context->blobs.start_upload(hints));
  http::Headers headers{{"Location", id.str()}};
  auto replied = co_await exchange.reply(200, std::move(headers), std::string());
  co_return replied;
}

net::Task<void> patch(Shared context, http::Exchange& exchange, std::size_t digest_param) {
  KR_CO_TRY(const Digest digest, digest_of(exchange, digest_param));
  (void)digest;  // stock does not compare it either; the commit's counts
  KR_CO_TRY(const UploadId id, upload_of(exchange, digest_param + 1));
  KR_CO_TRY(const bool elsewhere, co_await forwarded(*context, exchange, id));
  if (elsewhere) co_return Result<>();
  KR_CO_TRY(const Chunk chunk, parse_chunk(exchange.request().headers.first("Content-Range")));
  auto appended = co_await context->blobs.append(id, chunk.start, chunk.end - chunk.start, blobs::body_of(exchange),
                                                 blobs::Resent::kSkip);
  if (!appended) {
    Error error = std::move(appended).error();
    // A hole is a bad seek to stock's clients, a body that ends early its copy error.
    if (error.code == Code::kRangeNotSatisfiable) error.code = Code::kInvalidArgument;
    else if (error.code == Code::kInvalidArgument) {
      auto replied = co_await reply_text(exchange, 500, std::move(error.detail));
      co_return replied;
    }
    co_return std::unexpected(std::move(error));
  }
  auto replied = co_await reply_empty(exchange, 200);
  co_return replied;
}

net::Task<void> commit(Shared context, http::Exchange& exchange, std::size_t digest_param) {
  KR_CO_TRY(const Digest digest, digest_of(exchange, digest_param));
  KR_CO_TRY(const UploadId id, upload_of(exchange, digest_param + 1));
  KR_CO_TRY(const bool elsewhere, co_await forwarded(*context, exchange, id));
  if (elsewhere) co_return Result<>();
  auto pushed = co_await context->blobs.commit(id, digest);
  if (!pushed && pushed.error().code == Code::kDigestMismatch) {
    auto replied = co_await reply_text(exchange, 500, "move upload file to cache: verify digest: " + pushed.error().detail);
    co_return replied;
  }
  if (!pushed) co_return std::unexpected(std::move(pushed).error());
  const int status = *pushed ? 409 : 200;  // 409: it was there already, which stock's clients take for success
  auto replied = co_await reply_empty(exchange, status);
  co_return replied;
}

}  // namespace

void add_upload_routes(http::Router& router, Shared context) {
  using http::Method;
  using Upload = net::Task<void> (*)(Shared, http::Exchange&, std::size_t);
  const auto add = [&](Method method, std::string pattern, Upload handler, std::size_t digest_param) {
    router.add(method, std::move(pattern), [context, handler, digest_param](http::Exchange& exchange) {
      return handler(context, exchange, digest_param);
    });
  };
  for (const std::string_view base : {"/namespace/<ns>/blobs/<digest>/uploads", "/internal/blobs/<digest>/uploads"}) {
    const std::size_t digest_param = base.starts_with("/namespace/") ? 1 : 0;
    add(Method::kPost, std::string(base), start, digest_param);
    add(Method::kPatch, fmt::format("{}/<uid>", base), patch, digest_param);
    add(Method::kPut, fmt::format("{}/<uid>", base), commit, digest_param);
  }
  add(Method::kPut, "/internal/duplicate/namespace/<ns>/blobs/<digest>/uploads/<uid>", commit, 1);
}

}  // namespace kraken::origin
