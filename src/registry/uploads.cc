#include <charconv>

#include "src/registry/handlers.h"

namespace kraken::registry {

namespace {

std::string upload_location(const Repository& repository, const UploadId& id) {
  return "/v2/" + repository.str() + "/blobs/uploads/" + id.str();
}

/// Where a session stands: 202 after bytes came, 204 to who asks, 416 to who sends the wrong ones. The Range of an
/// empty session is "0-0", as stock's.
http::Headers upload_headers(const Repository& repository, const UploadId& id, std::uint64_t bytes) {
  auto headers = base_headers();
  headers.add("Location", upload_location(repository, id));
  headers.add("Docker-Upload-Uuid", id.str());
  headers.add("Range", "0-" + std::to_string(bytes == 0 ? 0 : bytes - 1));
  return headers;
}

http::Headers created_headers(const Repository& repository, const Digest& digest) {
  auto headers = base_headers();
  headers.add("Location", "/v2/" + repository.str() + "/blobs/" + digest.str());
  headers.add("Docker-Content-Digest", digest.str());
  return headers;
}

struct Chunk {
  std::optional<std::uint64_t> offset;
  std::optional<std::uint64_t> length;
};

bool parse_number(std::string_view text, std::uint64_t& number) {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  return ec == std::errc{} && end == text.data() + text.size() && !text.empty();
}

/// The Content-Range of a chunk: "<first>-<last>", both included (distribution-spec "Pushing a blob in chunks"); "bytes
/// " in front and "/<total>" behind are let pass. docker sends none.
Result<Chunk> parse_chunk(const http::RequestHead& request) {
  Chunk chunk{std::nullopt, request.content_length};
  std::string_view text = request.headers.first("Content-Range");
  if (text.empty()) return chunk;
  const std::string whole(text);
  if (text.starts_with("bytes ") || text.starts_with("bytes=")) text.remove_prefix(6);
  text = text.substr(0, text.find('/'));
  const auto dash = text.find('-');
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  if (dash == std::string_view::npos || !parse_number(text.substr(0, dash), first) ||
      !parse_number(text.substr(dash + 1), last) || last < first || last - first == UINT64_MAX)
    return fail(Code::kInvalidArgument, "Content-Range '{}': want <first byte>-<last byte>", whole);
  const std::uint64_t length = last - first + 1;
  if (request.content_length && *request.content_length != length)
    return fail(Code::kInvalidArgument, "Content-Range '{}' is {} bytes, Content-Length says {}", whole, length,
                *request.content_length);
  chunk.offset = first;
  chunk.length = length;
  return chunk;
}

BodyReader body_of(http::Exchange& exchange) {
  return [&exchange](std::span<char> into) { return exchange.read(into); };
}

http::Answer upload_unknown(const std::string& id) {
  return refuse(
      404, "BLOB_UPLOAD_UNKNOWN",
      "no upload session " + id + " (its node restarted, or it ended): start again with POST .../blobs/uploads/");
}

/// A request on a session failed: what the client must do is begin again where the session is gone.
http::Answer refused_upload(const Error& error, const UploadId& id) {
  return error.code == Code::kNotFound ? upload_unknown(id.str()) : answer_of(error, kUploadErrors);
}

http::Answer digest_missing() {
  return refuse(400, "DIGEST_INVALID", "the query has no digest: PUT <upload location>?digest=sha256:<64 hex digits>");
}

}  // namespace

net::Task<> Handlers::start_upload(http::Exchange& exchange) {
  http::Answer refusal;
  const auto& request = exchange.request();
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  if (const auto algorithm = request.query("digest-algorithm"); algorithm && *algorithm != "sha256") {
    co_return co_await send(exchange,
                            refuse(400, "UNSUPPORTED", "digest-algorithm " + *algorithm + ": only sha256 is kept"));
  }
  if (const auto mount = request.query("mount"); mount) {
    const auto digest = parse_digest(*mount, refusal);
    if (!digest) co_return co_await send(exchange, std::move(refusal));
    std::optional<Repository> from;
    if (const auto name = request.query("from"); name && !name->empty()) {
      from = parse_name(*name, refusal);
      if (!from) co_return co_await send(exchange, std::move(refusal));
    }
    const auto mounted = co_await interfaces_.writer->mount(*repository, *digest, from);
    if (mounted && *mounted) co_return co_await exchange.reply(201, created_headers(*repository, *digest), "");
    // Whatever kept it from being mounted: the client may always upload instead.
  }
  if (const auto digest = request.query("digest"); digest)
    co_return co_await push_in_one(exchange, *repository, *digest);

  const auto id = co_await interfaces_.writer->start(*repository);
  if (!id) co_return co_await send(exchange, answer_of(id.error(), kUploadErrors));
  co_return co_await exchange.reply(202, upload_headers(*repository, *id, 0), "");
}

net::Task<> Handlers::push_in_one(http::Exchange& exchange, Repository repository, std::string digest_text) {
  http::Answer refusal;
  const auto digest = parse_digest(digest_text, refusal);
  if (!digest) co_return co_await send(exchange, std::move(refusal));
  const auto id = co_await interfaces_.writer->start(repository);
  if (!id) co_return co_await send(exchange, answer_of(id.error(), kUploadErrors));
  auto body = body_of(exchange);
  const auto length = exchange.request().content_length;
  const auto appended = co_await interfaces_.writer->append(repository, *id, 0, length, std::move(body));
  Result<> done;
  if (!appended) {
    done = std::unexpected(appended.error());
  } else {
    done = co_await interfaces_.writer->finish(repository, *id, *digest);
  }
  if (done) co_return co_await exchange.reply(201, created_headers(repository, *digest), "");
  // The client was never told of the session, so nobody else would end it.
  [[maybe_unused]] const auto cancelled = co_await interfaces_.writer->cancel(repository, *id);
  co_return co_await send(exchange, answer_of(done.error(), kUploadErrors));
}

net::Task<bool> Handlers::answered_elsewhere(http::Exchange& exchange, UploadId id) {
  if (interfaces_.writer->is_local(id)) co_return false;
  auto forwarded = co_await interfaces_.writer->forward(exchange, id);
  if (forwarded) co_return true;
  if (exchange.started()) co_return std::unexpected(std::move(forwarded).error());
  if (forwarded.error().code == Code::kNotFound || forwarded.error().code == Code::kUnavailable) {
    KR_CO_CHECK(co_await send(exchange, upload_unknown(id.str())));
  } else {
    KR_CO_CHECK(co_await send(exchange, answer_of(forwarded.error(), kUploadErrors)));
  }
  co_return true;
}

net::Task<> Handlers::patch_upload(http::Exchange& exchange) {
  http::Answer refusal;
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto id = UploadId::parse(exchange.param(1));
  if (!id) co_return co_await send(exchange, upload_unknown(exchange.param(1)));
  KR_CO_TRY(const bool answered, co_await answered_elsewhere(exchange, *id));
  if (answered) co_return Result<>{};
  const auto chunk = parse_chunk(exchange.request());
  if (!chunk) co_return co_await send(exchange, answer_of(chunk.error(), kUploadErrors));
  auto body = body_of(exchange);
  const auto bytes =
      co_await interfaces_.writer->append(*repository, *id, chunk->offset, chunk->length, std::move(body));
  if (bytes) co_return co_await exchange.reply(202, upload_headers(*repository, *id, *bytes), "");
  if (bytes.error().code == Code::kNotFound) co_return co_await send(exchange, upload_unknown(id->str()));
  auto answer = answer_of(bytes.error(), kUploadErrors);
  if (bytes.error().code == Code::kRangeNotSatisfiable) {
    const auto status = co_await interfaces_.writer->status(*repository, *id);
    if (status) {
      for (const auto& line : upload_headers(*repository, *id, *status).all())
        answer.headers.set(line.name, line.value);
    }
  }
  co_return co_await send(exchange, std::move(answer));
}

net::Task<> Handlers::put_upload(http::Exchange& exchange) {
  http::Answer refusal;
  const auto& request = exchange.request();
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto id = UploadId::parse(exchange.param(1));
  if (!id) co_return co_await send(exchange, upload_unknown(exchange.param(1)));
  const auto digest_text = request.query("digest");
  if (!digest_text) co_return co_await send(exchange, digest_missing());
  const auto digest = parse_digest(*digest_text, refusal);
  if (!digest) co_return co_await send(exchange, std::move(refusal));
  KR_CO_TRY(const bool answered, co_await answered_elsewhere(exchange, *id));
  if (answered) co_return Result<>{};

  Result<> done;
  if (request.has_body()) {
    const auto chunk = parse_chunk(request);
    if (!chunk) co_return co_await send(exchange, answer_of(chunk.error(), kUploadErrors));
    auto body = body_of(exchange);
    const auto bytes =
        co_await interfaces_.writer->append(*repository, *id, chunk->offset, chunk->length, std::move(body));
    if (!bytes) done = std::unexpected(bytes.error());
  }
  if (done) done = co_await interfaces_.writer->finish(*repository, *id, *digest);
  if (done) co_return co_await exchange.reply(201, created_headers(*repository, *digest), "");
  co_return co_await send(exchange, refused_upload(done.error(), *id));
}

net::Task<> Handlers::get_upload(http::Exchange& exchange) {
  http::Answer refusal;
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto id = UploadId::parse(exchange.param(1));
  if (!id) co_return co_await send(exchange, upload_unknown(exchange.param(1)));
  KR_CO_TRY(const bool answered, co_await answered_elsewhere(exchange, *id));
  if (answered) co_return Result<>{};
  const auto bytes = co_await interfaces_.writer->status(*repository, *id);
  if (bytes) co_return co_await exchange.reply(204, upload_headers(*repository, *id, *bytes), "");
  co_return co_await send(exchange, refused_upload(bytes.error(), *id));
}

net::Task<> Handlers::delete_upload(http::Exchange& exchange) {
  http::Answer refusal;
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto id = UploadId::parse(exchange.param(1));
  if (!id) co_return co_await send(exchange, upload_unknown(exchange.param(1)));
  KR_CO_TRY(const bool answered, co_await answered_elsewhere(exchange, *id));
  if (answered) co_return Result<>{};
  const auto cancelled = co_await interfaces_.writer->cancel(*repository, *id);
  if (cancelled) co_return co_await exchange.reply(204, base_headers(), "");
  co_return co_await send(exchange, refused_upload(cancelled.error(), *id));
}

}  // namespace kraken::registry
