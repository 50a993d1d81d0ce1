#include <algorithm>
#include <memory>

#include "http/range.h"
#include "src/registry/handlers.h"

namespace kraken::registry {

namespace {

constexpr std::uint64_t kBufferBytes = 256 * 1024;

http::Headers blob_headers(const Digest& digest) {
  auto headers = base_headers();
  headers.add("Content-Type", "application/octet-stream");
  headers.add("Accept-Ranges", "bytes");
  headers.add("Cache-Control", "max-age=31536000");  // stock's; the content of a digest never changes
  headers.add("Docker-Content-Digest", digest.str());
  headers.add("Etag", "\"" + digest.str() + "\"");
  return headers;
}

}  // namespace

net::Task<> Handlers::get_blob(http::Exchange& exchange) {
  http::Answer refusal;
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto digest = parse_digest(exchange.param(1), refusal);
  if (!digest) co_return co_await send(exchange, std::move(refusal));
  auto opened = co_await interfaces_.reader->open(*repository, *digest);
  if (!opened) co_return co_await send(exchange, answer_of(opened.error(), kBlobErrors));
  const auto source = std::move(*opened);
  co_return co_await send_blob(exchange, *source, *digest);
}

net::Task<> Handlers::send_blob(http::Exchange& exchange, BlobSource& source, const Digest& digest) {
  const auto& request = exchange.request();
  auto headers = blob_headers(digest);
  const std::string etag = "\"" + digest.str() + "\"";
  if (const auto none_match = request.headers.get("If-None-Match"); none_match && matches_etag(*none_match, etag))
    co_return co_await exchange.reply(304, std::move(headers), "");

  int status = 200;
  http::Range range{0, source.bytes()};
  const auto if_range = request.headers.first("If-Range");
  if (const auto header = request.headers.first("Range"); !header.empty() && (if_range.empty() || if_range == etag)) {
    const auto asked = http::parse_range(header, source.bytes());
    if (!asked) {
      auto refusal = refuse(416, "RANGE_INVALID", asked.error().detail);
      refusal.headers.add("Content-Range", http::unsatisfied(source.bytes()));
      co_return co_await send(exchange, std::move(refusal));
    }
    if (*asked) {
      range = **asked;
      status = 206;
      headers.add("Content-Range", http::content_range(range, source.bytes()));
      KR_CO_CHECK(co_await source.select(range.offset, range.length));
    }
  }
  if (range.length == 0) co_return co_await exchange.reply(status, std::move(headers), "");

  const std::uint64_t buffer_bytes = std::min(range.length, kBufferBytes);
  const auto buffer = std::make_unique_for_overwrite<char[]>(buffer_bytes);
  const std::span<char> into(buffer.get(), buffer_bytes);
  auto slice = co_await source.next(into);
  // Until the first bytes are there the client can still be told what is wrong.
  if (!slice) co_return co_await send(exchange, answer_of(slice.error(), kBlobErrors));
  if (slice->fd >= 0 && slice->bytes == range.length)
    co_return co_await exchange.reply_file(status, std::move(headers), slice->fd, slice->offset, slice->bytes);

  KR_CO_CHECK(co_await exchange.start(status, std::move(headers), range.length));
  std::uint64_t sent = 0;
  while (slice->bytes > 0) {
    if (slice->fd >= 0) {
      KR_CO_CHECK(co_await exchange.write_file(slice->fd, slice->offset, slice->bytes));
    } else {
      KR_CO_CHECK(co_await exchange.write(std::string_view(buffer.get(), slice->bytes)));
    }
    sent += slice->bytes;
    slice = co_await source.next(into);
    if (!slice) co_return std::unexpected(std::move(slice).error().within(digest.str()));
  }
  if (sent != range.length)
    co_return fail(Code::kCorrupt, "{}: {} of {} bytes were there", digest.str(), sent, range.length);
  co_return co_await exchange.finish();
}

net::Task<> Handlers::head_blob(http::Exchange& exchange) {
  http::Answer refusal;
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto digest = parse_digest(exchange.param(1), refusal);
  if (!digest) co_return co_await send(exchange, std::move(refusal));
  const auto bytes = co_await interfaces_.reader->stat(*repository, *digest);
  if (!bytes) co_return co_await send(exchange, answer_of(bytes.error(), kBlobErrors));
  auto headers = blob_headers(*digest);
  KR_CO_CHECK(co_await exchange.start(200, std::move(headers), *bytes));
  co_return co_await exchange.finish();
}

net::Task<> Handlers::delete_blob(http::Exchange& exchange) {
  http::Answer refusal;
  const auto repository = parse_name(exchange.param(0), refusal);
  if (!repository) co_return co_await send(exchange, std::move(refusal));
  const auto digest = parse_digest(exchange.param(1), refusal);
  if (!digest) co_return co_await send(exchange, std::move(refusal));
  const auto removed = co_await interfaces_.writer->remove(*repository, *digest);
  if (!removed) co_return co_await send(exchange, answer_of(removed.error(), kBlobErrors));
  auto headers = base_headers();
  headers.add("Docker-Content-Digest", digest->str());
  co_return co_await exchange.reply(202, std::move(headers), "");
}

}  // namespace kraken::registry
