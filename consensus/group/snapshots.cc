#include "consensus/group/snapshots.h"

#include "consensus/group/frame.h"
#include "consensus/group/transport.h"
#include "src/base/codec.h"
#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/net/dial.h"
#include "src/net/io.h"
#include "storage/kv/keys.h"

namespace kraken::group {
namespace {

constexpr Duration kPatience = std::chrono::seconds(30);
constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr std::size_t kFetchesMax = 4096;

struct Cursor {
  std::size_t family = 1;  // kRaft does not travel
  std::string from;        // first key not sent yet
};

/// Rows from the cursor on until the chunk is full; empty once there are no more.
Result<std::string> next_chunk(const kv::View& view, ShardId shard, Cursor& cursor, std::uint64_t& rows) {
  Writer out;
  const std::string end = kv::after_prefix(kv::shard_prefix(shard));
  while (cursor.family < kv::kFamilies && out.size() < kChunkBytes) {
    if (cursor.from.empty()) cursor.from = kv::shard_prefix(shard);
    bool full = false;
    KR_CHECK(view.scan(kv::family_at(cursor.family), cursor.from, end, false, [&](std::string_view key, std::string_view value) {
      if (out.size() != 0 && out.size() + key.size() + value.size() + 9 > kChunkBytes) {
        cursor.from = key;
        full = true;
        return false;
      }
      out.u8(static_cast<std::uint8_t>(cursor.family)).bytes(key).bytes(value);
      ++rows;
      return true;
    }));
    if (full) break;
    ++cursor.family;
    cursor.from.clear();
  }
  return std::move(out).take();
}

}  // namespace

Snapshots::Snapshots(kv::Store& store) : store_(store), loop_("raft/snap"), one_(1, kFetchesMax), scope_(loop_.executor()) {}

Snapshots::~Snapshots() { stop(); }

void Snapshots::stop() {
  if (std::exchange(stopped_, true)) return;
  scope_.stop_and_wait();
  loop_.stop();
  loop_.join();
}

void Snapshots::offer(std::uint64_t snap_id, ShardId shard, std::unique_ptr<kv::View> view) {
  const std::scoped_lock lock(mutex_);
  offers_.insert_or_assign(snap_id, Offer{shard, std::move(view)});
}

void Snapshots::withdraw(std::uint64_t snap_id) {
  const std::scoped_lock lock(mutex_);
  offers_.erase(snap_id);
}

std::size_t Snapshots::offered() const {
  const std::scoped_lock lock(mutex_);
  return offers_.size();
}

void Snapshots::serve(net::Socket socket, std::string rest) {
  boost::system::error_code ec;
  const bool v6 = socket.local_endpoint(ec).protocol() == boost::asio::ip::tcp::v6();
  const int fd = socket.release(ec);
  if (ec) return;
  scope_.spawn("raft.snapshot_send", send(fd, v6, std::move(rest)));
}

net::Task<void> Snapshots::send(int fd, bool v6, std::string rest) {
  net::Socket socket(loop_.context(), v6 ? boost::asio::ip::tcp::v6() : boost::asio::ip::tcp::v4(), fd);
  KR_CO_TRY(const OwnedFrame wanted, co_await read_frame(socket, rest, kPatience));
  Reader in(wanted.payload);
  const std::uint64_t snap_id = in.u64();
  if (wanted.kind != FrameKind::kSnapshotGet || !in.finish("snapshot request"))
    co_return fail(Code::kProtocol, "no snapshot request");
  Offer offer;
  {
    const std::scoped_lock lock(mutex_);
    if (const auto found = offers_.find(snap_id); found != offers_.end()) offer = found->second;
  }
  if (!offer.view) co_return Result<>{};  // closing tells
  auto sent = co_await stream(socket, offer);
  co_return sent;
}

net::Task<void> Snapshots::stream(net::Socket& socket, const Offer& offer) {
  static metrics::Counter& byte_total = metrics::counter("kr_raft_snapshot_sent_bytes_total", "Bytes of snapshots sent");
  net::Watchdog watchdog(socket);
  Cursor cursor;
  std::uint64_t rows = 0;
  std::uint64_t chunks = 0;
  for (;;) {
    KR_CO_TRY(const std::string chunk, next_chunk(*offer.view, offer.shard, cursor, rows));
    std::string frames;
    Writer payload;
    if (chunk.empty()) {
      payload.u64(chunks).u64(rows);
      append_frame(FrameKind::kSnapshotEnd, payload.str(), frames);
    } else {
      payload.u64(chunks++).raw(chunk);
      append_frame(FrameKind::kSnapshotChunk, payload.str(), frames);
    }
    watchdog.arm(kPatience);
    KR_CO_CHECK(co_await net::write_all(socket, frames, &watchdog));
    byte_total.add(static_cast<double>(frames.size()));
    if (chunk.empty()) break;
  }
  // The receiver closes first, so that nothing that is on its way is lost to a reset.
  std::string nothing(1, '\0');
  watchdog.arm(kPatience);
  auto closed = co_await net::read_some(socket, nothing, &watchdog);
  static_cast<void>(closed);
  co_return Result<>{};
}

void Snapshots::fetch(Fetch fetch, std::move_only_function<void(Result<std::unique_ptr<kv::ShardImport>>)> done) {
  scope_.spawn("raft.snapshot_fetch",
               run(std::make_shared<Fetch>(std::move(fetch)), std::make_shared<decltype(done)>(std::move(done))));
}

net::Task<void> Snapshots::run(
    std::shared_ptr<Fetch> fetch,
    std::shared_ptr<std::move_only_function<void(Result<std::unique_ptr<kv::ShardImport>>)>> done) {
  auto received = co_await receive(fetch);
  if (!received) {
    log::warn("raft.snapshot_failed", "shard={} from={} error=\"{}\"", fetch->shard.value(), fetch->from.label,
              received.error().to_string());
    (*done)(std::unexpected(received.error()));
    co_return Result<>{};
  }
  (*done)(std::move(*received));
  co_return Result<>{};
}

namespace {

/// What the receiver keeps of the stream so far.
struct Intake {
  std::uint64_t chunks = 0;
  std::uint64_t rows = 0;
  std::string applied;  // the shard's applied state, as it came
};

Result<> take_chunk(std::string_view payload, ShardId shard, kv::ShardImport& import, Intake& intake) {
  Reader in(payload);
  if (in.u64() != intake.chunks++) return fail(Code::kProtocol, "snapshot: a chunk is missing");
  while (!in.empty()) {
    const std::uint8_t family = in.u8();
    const std::string_view key = in.bytes();
    const std::string_view value = in.bytes();
    if (!in.ok() || family >= kv::kFamilies) return fail(Code::kProtocol, "snapshot: malformed row");
    KR_CHECK(import.add(kv::family_at(family), key, value));
    ++intake.rows;
    if (kv::family_at(family) == kv::Family::kSession && key == applied_key(shard)) intake.applied = value;
  }
  return in.finish("snapshot chunk");
}

Result<> check_end(std::string_view payload, const raft::SnapMeta& meta, const Intake& intake) {
  Reader in(payload);
  const std::uint64_t chunks = in.u64();
  const std::uint64_t rows = in.u64();
  KR_CHECK(in.finish("snapshot end"));
  if (chunks != intake.chunks || rows != intake.rows)
    return fail(Code::kProtocol, "snapshot: {} rows in {} chunks came, {} in {} were sent", intake.rows, intake.chunks, rows, chunks);
  KR_TRY(const AppliedState applied, decode_applied(intake.applied));
  if (applied.index != meta.index || applied.term != meta.term)
    return fail(Code::kProtocol, "snapshot: it ends at index {}, promised was {}", raw(applied.index), raw(meta.index));
  return {};
}

}  // namespace

net::Task<std::unique_ptr<kv::ShardImport>> Snapshots::receive(std::shared_ptr<Fetch> fetch) {
  KR_CO_TRY(const auto permit, co_await one_.acquire(std::chrono::minutes(10)));
  KR_CO_TRY(net::Socket socket, co_await net::dial(fetch->from.host, fetch->from.port, std::chrono::seconds(2)));
  std::string frames;
  append_frame(FrameKind::kHello, encode(fetch->hello), frames);
  Writer wanted;
  wanted.u64(fetch->meta.snap_id);
  append_frame(FrameKind::kSnapshotGet, wanted.str(), frames);
  net::Watchdog watchdog(socket);
  watchdog.arm(kPatience);
  KR_CO_CHECK(co_await net::write_all(socket, frames, &watchdog));
  watchdog.disarm();
  std::string buffer;
  KR_CO_TRY(const OwnedFrame first, co_await read_frame(socket, buffer, kPatience));
  KR_CO_TRY(const Welcome welcome, decode_welcome(first.payload));
  if (first.kind != FrameKind::kWelcome || !welcome.accepted) co_return fail(Code::kDenied, "{}", welcome.reason);

  KR_CO_TRY(std::unique_ptr<kv::ShardImport> import, store_.begin_import(fetch->shard));
  Intake intake;
  std::string piece(64 << 10, '\0');
  for (;;) {
    KR_CO_TRY(const std::optional<Frame> frame, next_frame(buffer));
    if (!frame) {
      watchdog.arm(kPatience);
      KR_CO_TRY(const std::size_t got, co_await net::read_some(socket, piece, &watchdog));
      buffer.append(piece, 0, got);
      continue;
    }
    if (frame->kind == FrameKind::kSnapshotEnd) {
      KR_CO_CHECK(check_end(frame->payload, fetch->meta, intake));
      co_return import;
    }
    if (frame->kind != FrameKind::kSnapshotChunk) co_return fail(Code::kProtocol, "snapshot: unexpected frame");
    KR_CO_CHECK(take_chunk(frame->payload, fetch->shard, *import, intake));
    buffer.erase(0, frame->used);
  }
}

}  // namespace kraken::group
