#include <vector>

#include "src/base/file.h"
#include "src/base/log.h"
#include "src/net/io.h"
#include "src/p2p/scheduler_impl.h"

// A piece's way from the socket to the file: read into a buffer on the loop, summed and written on the pool, up to
// kJobsMax buffers of a connection at once. The piece's sum is put together from the buffers' sums.

namespace kraken::p2p {

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t kJobsMax = 4;

struct Receipt {
  std::vector<std::uint32_t> sums;   // of the buffers, in order
  std::vector<std::uint64_t> bytes;
  std::uint32_t pending = 0;
  std::optional<Error> failed;
  net::Event landed;
};

struct Chunk {
  BufferPool::Buffer buffer;
  std::size_t bytes = 0;
  std::uint64_t file_offset = 0;
  std::size_t index = 0;
  std::uint32_t piece = 0;
  SessionPtr session;
  std::shared_ptr<Receipt> receipt;
};

/// On the loop: what a job on the pool found.
void landed(const std::shared_ptr<Chunk>& chunk, std::uint32_t sum, Result<> written) {
  Receipt& receipt = *chunk->receipt;
  receipt.sums[chunk->index] = sum;
  if (!written && !receipt.failed) receipt.failed = written.error();
  --receipt.pending;
  receipt.landed.notify();
  auto& writes = chunk->session->writes;
  const auto count = writes.find(chunk->piece);
  if (--count->second == 0) {
    writes.erase(count);
    chunk->session->written.notify();
  }
}

bool post_chunk(net::FilePool& pool, const net::Executor& executor, std::shared_ptr<Chunk> chunk) {
  return pool.post([chunk = std::move(chunk), executor] {
    const std::string_view bytes(chunk->buffer.span().data(), chunk->bytes);
    const std::uint32_t sum = crc32(bytes);
    auto written = file::write_at(chunk->session->torrent->fd(), bytes, chunk->file_offset);
    chunk->buffer = {};
    boost::asio::post(executor, [chunk, sum, written = std::move(written)]() mutable { landed(chunk, sum, std::move(written)); });
  });
}

std::uint32_t sum_of(const Receipt& receipt) {
  std::uint32_t sum = receipt.sums.front();
  for (std::size_t i = 1; i < receipt.sums.size(); ++i) sum = crc32_combine(sum, receipt.sums[i], receipt.bytes[i]);
  return sum;
}

net::Task<void> until_landed(std::shared_ptr<Receipt> receipt, std::uint32_t pending_max) {
  for (;;) {
    const auto seen = receipt->landed.version();
    if (receipt->pending <= pending_max) co_return Result<>{};
    KR_CO_CHECK(co_await receipt->landed.wait(seen, 1h));
  }
}

}  // namespace

net::Task<void> Scheduler::Impl::read_chunk(LinkPtr link, std::span<char> into) {
  if (ingress.limited()) {
    const Duration wait = ingress.take(now(), into.size());
    if (wait > Duration::zero()) KR_CO_CHECK(co_await net::sleep_for(wait));
  }
  into = into.subspan(link->inbox.drain(into));
  while (!into.empty()) {
    KR_CO_TRY(const auto n, co_await net::read_some(link->socket, into));
    into = into.subspan(n);
    link->session->swarm.payload_progress(now(), link->id);
  }
  co_return Result<>{};
}

net::Task<std::optional<Violation>> Scheduler::Impl::receive(LinkPtr link, PiecePayload payload) {
  const SessionPtr session = link->session;
  const std::uint32_t piece = payload.piece;
  const auto verdict = session->swarm.payload_begins(now(), link->id, piece);
  if (!verdict) co_return Violation{Breach::kUnasked, fmt::format("payload of piece {} that was not asked for", piece)};
  settle(session);
  bool take = *verdict == swarm::Payload::kTake;
  // Another connection's last write to this piece may still be on the pool: two writers never overlap.
  while (take && session->writes.contains(piece)) {
    const auto seen = session->written.version();
    if (!session->writes.contains(piece)) break;
    KR_CO_CHECK(co_await session->written.wait(seen, 1h));
  }
  const auto receipt = std::make_shared<Receipt>();
  const std::uint64_t start = session->metainfo().piece_offset(piece);
  for (std::uint64_t offset = 0; offset < payload.length;) {
    KR_CO_TRY(auto buffer, co_await buffers.acquire());
    const std::size_t bytes = static_cast<std::size_t>(std::min<std::uint64_t>(payload.length - offset, BufferPool::kBufferBytes));
    const auto span = buffer.span().first(bytes);
    KR_CO_CHECK(co_await read_chunk(link, span));
    take = take && !session->failed && session->swarm.may_write(link->id, piece);
    if (take) {
      auto chunk = std::make_shared<Chunk>(Chunk{std::move(buffer), bytes, start + offset, receipt->sums.size(), piece, session, receipt});
      receipt->sums.push_back(0);
      receipt->bytes.push_back(bytes);
      ++receipt->pending;
      ++session->writes[piece];
      while (!post_chunk(pool, loop.executor(), chunk)) {
        auto slept = co_await net::sleep_for(2ms);
        if (!slept) {
          landed(chunk, 0, std::unexpected(slept.error()));
          co_return std::unexpected(slept.error());
        }
      }
      KR_CO_CHECK(co_await until_landed(receipt, kJobsMax - 1));
    }
    offset += bytes;
  }
  KR_CO_CHECK(co_await until_landed(receipt, 0));
  if (receipt->failed) {
    fail_session(session, receipt->failed->within("writing a piece"));
    co_return std::unexpected(*receipt->failed);
  }
  if (!take || !session->swarm.may_write(link->id, piece)) {
    session->swarm.payload_dropped(now(), link->id, piece);
    ++totals.discarded_pieces;
    counters.discarded.add();
    co_return std::optional<Violation>{};
  }
  const PeerInfo peer = link->peer;
  if (sum_of(*receipt) != session->metainfo().piece_sums[piece]) {
    ++totals.bad_pieces;
    counters.bad_pieces.add();
    session->swarm.piece_bad(now(), link->id, piece);
    co_return Violation{Breach::kBadPiece, fmt::format("piece {} does not match its sum", piece)};
  }
  auto mark = [torrent = session->torrent, piece] { return torrent->mark(piece); };
  auto marked = co_await pool.run(mark);
  while (!marked && marked.error().code == Code::kOverloaded) {
    KR_CO_CHECK(co_await net::sleep_for(2ms));
    marked = co_await pool.run(mark);
  }
  if (!marked) {
    fail_session(session, marked.error().within("marking a piece"));
    co_return std::unexpected(marked.error());
  }
  (peer.origin ? totals.bytes_from_origins : totals.bytes_from_peers) += payload.length;
  (peer.origin ? counters.from_origins : counters.from_peers).add(static_cast<double>(payload.length));
  if (!peer.origin) session->contributors.insert(peer.peer_id);
  session->swarm.piece_good(now(), link->id, piece);
  session->progress_at = session->used_at = now();
  advance_prefix(*session);
  session->changed.notify();
  co_return std::optional<Violation>{};
}

}  // namespace kraken::p2p
