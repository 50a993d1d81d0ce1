#pragma once
// What a server's and a client's connection share: the socket with its watchdog and buffers, and reading a body by its
// framing. Private to http/.

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "http/parser.h"
#include "src/base/assert.h"
#include "src/net/io.h"

namespace kraken::http {

/// Bytes that were read and not yet taken. Small until it has to be large; shrinks when a message is over.
class ReadBuffer {
 public:
  std::string_view view() const { return {data_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  std::size_t size() const { return end_ - begin_; }

  void consume(std::size_t bytes) {
    begin_ += bytes;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  /// Room for at least `bytes` more.
  std::span<char> prepare(std::size_t bytes) {
    if (capacity_ - end_ < bytes) make_room(bytes);
    return {data_.get() + end_, capacity_ - end_};
  }
  void commit(std::size_t bytes) { end_ += bytes; }
  /// Between messages: what a large body needed is given back.
  void shrink() {
    if (!empty() || capacity_ <= kSmall) return;
    data_.reset();
    capacity_ = 0;
  }

  static constexpr std::size_t kSmall = 4096;

 private:
  void make_room(std::size_t bytes) {
    const auto held = size();
    if (capacity_ - held >= bytes) {
      std::memmove(data_.get(), data_.get() + begin_, held);
    } else {
      const auto capacity = std::max({kSmall, capacity_ * 2, held + bytes});
      auto larger = std::make_unique_for_overwrite<char[]>(capacity);
      if (held > 0) std::memcpy(larger.get(), data_.get() + begin_, held);
      data_ = std::move(larger);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = held;
  }

  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

struct Wire {
  explicit Wire(net::Socket s) : socket(std::move(s)), watchdog(socket) {}
  net::Socket socket;
  net::Watchdog watchdog;
  ReadBuffer in;
  std::string out;  // of a head that is being written; kept for its capacity
};

enum class Framing { kNone, kLength, kChunked, kUntilClose };

/// What is left of a body that is being read.
struct Body {
  Framing framing = Framing::kNone;
  std::uint64_t remaining = 0;  // of kLength
  bool done = true;
};

constexpr std::size_t kChunkedReadBytes = 64 * 1024;

/// Some of the body, 0 at its proper end. A body with a length goes from the socket straight into `into`.
template <bool is_request>
net::Task<std::size_t> read_body(Wire& wire, MessageParser<is_request>& parser, Body& body, std::span<char> into) {
  KR_ASSERT(!into.empty());
  if (body.done) co_return std::size_t{0};
  if (body.framing == Framing::kChunked) {
    for (;;) {
      if (!wire.in.empty()) {
        parser.sink(into);
        boost::beast::error_code ec;
        const auto used = parser.put({wire.in.view().data(), wire.in.size()}, ec);
        wire.in.consume(used);
        if (ec && ec != boost::beast::http::error::need_more && ec != boost::beast::http::error::need_buffer)
          co_return fail(Code::kInvalidArgument, "the chunked body is malformed: {}", ec.message());
        if (parser.is_done()) body.done = true;
        if (parser.sunk() > 0) co_return parser.sunk();
        if (body.done) co_return std::size_t{0};
        if (used > 0 && !wire.in.empty() && !ec) continue;
        // A chunk's head or the trailers may not grow without bound.
        if (wire.in.size() >= kChunkedReadBytes) co_return fail(Code::kInvalidArgument, "a chunk's head is too long");
      }
      auto room = wire.in.prepare(wire.in.empty() ? kChunkedReadBytes : kChunkedReadBytes / 4);
      KR_CO_TRY(const auto n, co_await net::read_some(wire.socket, room, &wire.watchdog));
      wire.in.commit(n);
    }
  }
  if (body.framing == Framing::kLength) into = into.first(std::min<std::uint64_t>(into.size(), body.remaining));
  std::size_t n = 0;
  if (!wire.in.empty()) {
    n = std::min(into.size(), wire.in.size());
    std::memcpy(into.data(), wire.in.view().data(), n);
    wire.in.consume(n);
  } else {
    KR_CO_TRY(n, co_await net::read_or_end(wire.socket, into, &wire.watchdog));
    if (n == 0 && body.framing == Framing::kLength)
      co_return fail(Code::kClosed, "the body ended {} bytes early", body.remaining);
    if (n == 0) body.done = true;
  }
  if (body.framing == Framing::kLength) {
    body.remaining -= n;
    body.done = body.remaining == 0;
  }
  co_return n;
}

/// Header values with line ends in them would be lines of their own.
void append_header(std::string& out, std::string_view name, std::string_view value);
void append_number(std::string& out, std::uint64_t number);
/// "1a2b\r\n"
void append_chunk_head(std::string& out, std::uint64_t bytes);

}  // namespace kraken::http
