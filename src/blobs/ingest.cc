#include "src/blobs/ingest.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "src/base/metrics.h"
#include "src/net/event.h"

namespace kraken::blobs {
namespace {

using Buffer = std::shared_ptr<char[]>;

/// The write that runs on the pool. Shared with it, so that a cancelled caller may leave.
struct Writing {
  explicit Writing(Ingest to_) : to(std::move(to_)) {}
  Ingest to;
  net::Event ended;
  std::atomic<bool> busy{false};
  Result<> result;  // of the last write; read while not busy
};

net::Task<void> wait(std::shared_ptr<Writing> writing) {
  for (;;) {
    const std::uint64_t seen = writing->ended.version();
    if (!writing->busy.load(std::memory_order_acquire)) co_return writing->result;
    auto waited = co_await writing->ended.wait(seen, std::chrono::minutes(1));
    if (!waited && waited.error().code == Code::kCancelled) co_return std::unexpected(std::move(waited).error());
  }
}

net::Task<void> write(std::shared_ptr<Writing> writing, Buffer buffer, std::size_t bytes) {
  writing->busy.store(true, std::memory_order_release);
  const auto job = [writing, buffer, bytes] {
    blob::Upload& upload = *writing->to.upload;
    writing->result = upload.append({buffer.get(), bytes});
    if (writing->result && writing->to.grown) writing->to.grown(upload.bytes());
    writing->busy.store(false, std::memory_order_release);
    writing->ended.notify();
  };
  // A full queue means that the disk is behind: the sender waits, and so does whoever sends to it.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    if (writing->to.pool.post(job)) co_return Result<>();
    auto slept = co_await net::sleep_for(std::chrono::milliseconds(10));
    if (!slept) {
      writing->busy.store(false, std::memory_order_release);
      co_return slept;
    }
  }
  writing->busy.store(false, std::memory_order_release);
  co_return fail(Code::kOverloaded, "uploads are written more slowly than they come; try again");
}

/// Fills the buffer, short only at the end of the body.
net::Task<std::size_t> fill(std::span<char> into, BodyReader body) {
  std::size_t filled = 0;
  while (filled < into.size()) {
    KR_CO_TRY(const std::size_t got, co_await body(into.subspan(filled)));
    if (got == 0) break;
    filled += got;
  }
  co_return filled;
}

}  // namespace

net::Task<std::uint64_t> ingest(Ingest to, std::optional<std::uint64_t> length, BodyReader body) {
  const std::size_t buffer_bytes = std::max<std::uint64_t>(1, std::min<std::uint64_t>(to.buffer_bytes, length.value_or(to.buffer_bytes)));
  auto writing = std::make_shared<Writing>(std::move(to));
  static metrics::Counter& received = metrics::counter("kr_blobs_received_bytes_total", "Of uploads and transfers");
  std::array<Buffer, 2> buffers;
  std::uint64_t appended = 0;
  for (std::size_t turn = 0; !length || appended < *length; turn ^= 1) {
    Buffer& buffer = buffers[turn];
    if (!buffer) buffer = std::make_shared_for_overwrite<char[]>(buffer_bytes);
    const std::size_t want = std::min<std::uint64_t>(buffer_bytes, length ? *length - appended : buffer_bytes);
    auto got = co_await fill({buffer.get(), want}, body);
    auto written = co_await wait(writing);  // the other buffer
    if (!written) co_return std::unexpected(std::move(written).error());
    if (!got) co_return std::unexpected(std::move(got).error());
    if (writing->to.upload->bytes() + *got > writing->to.bytes_max) {
      co_return fail(Code::kTooLarge, "the blob has more than {} bytes, which would be more than {} pieces",
                     writing->to.bytes_max, kPiecesMax);
    }
    if (*got > 0) KR_CO_CHECK(co_await write(writing, buffer, *got));
    appended += *got;
    received.add(static_cast<double>(*got));
    if (*got < want) break;
  }
  KR_CO_CHECK(co_await wait(writing));
  if (length && appended < *length) {
    co_return fail(Code::kInvalidArgument, "the body ended after {} of {} bytes", appended, *length);
  }
  co_return appended;
}

net::Task<void> skip(std::uint64_t bytes, BodyReader body) {
  std::array<char, 16384> buffer;
  while (bytes > 0) {
    KR_CO_TRY(const std::size_t got, co_await body(std::span(buffer).first(std::min<std::uint64_t>(bytes, buffer.size()))));
    if (got == 0) co_return fail(Code::kInvalidArgument, "the body ended {} bytes before what was there already", bytes);
    bytes -= got;
  }
  co_return Result<>();
}

}  // namespace kraken::blobs
