#include "consensus/group/snapshots.h"

#include <fcntl.h>
#include <unistd.h>

#include "consensus/group/frame.h"
#include "consensus/group/transport.h"
#include "src/base/codec.h"
#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/base/rng.h"
#include "src/net/dial.h"
#include "src/net/io.h"

namespace kraken::group {
namespace {

constexpr Duration kPatience = std::chrono::seconds(30);
constexpr std::size_t kChunkBytes = std::size_t{256} << 10;
constexpr std::size_t kFetchesMax = 4096;

std::filesystem::path temporary_folder() {
  return std::filesystem::temp_directory_path() / fmt::format("kraken-snapshots-{}-{:016x}", ::getpid(), random_seed());
}

net::Task<void> write_frame(net::Socket& socket, FrameKind kind, std::string payload, net::Watchdog& watchdog) {
  std::string frames;
  append_frame(kind, payload, frames);
  watchdog.arm(kPatience);
  auto written = co_await net::write_all(socket, frames, &watchdog);
  watchdog.disarm();
  co_return written;
}

}  // namespace

Snapshots::Offer::~Offer() {
  std::error_code ec;
  std::filesystem::remove_all(folder, ec);
}

Snapshots::Snapshots(kv::Store& store, SnapshotOptions options)
    : store_(store), options_(std::move(options)), temporary_(options_.folder.empty()), loop_("raft/snap"),
      inbound_(options_.inbound, kFetchesMax), scope_(loop_.executor()) {
  if (temporary_) options_.folder = temporary_folder();
  std::error_code ec;
  std::filesystem::remove_all(options_.folder / "out", ec);
  if (const auto cleaned = remove_stale_snapshots(options_.folder / "in", store_); !cleaned)
    log::warn("raft.snapshot_leftover", "error=\"{}\"", cleaned.error().to_string());
}

Snapshots::~Snapshots() { stop(); }

void Snapshots::stop() {
  if (std::exchange(stopped_, true)) return;
  scope_.stop_and_wait();
  loop_.stop();
  loop_.join();
  const std::scoped_lock lock(mutex_);
  offers_.clear();
  std::error_code ec;
  if (temporary_) std::filesystem::remove_all(options_.folder, ec);
}

// ---- the sender ----

void Snapshots::offer(ShardId shard, raft::SnapMeta meta, std::unique_ptr<kv::View> view) {
  auto offer = std::make_shared<Offer>();
  offer->shard = shard;
  offer->folder = options_.folder / "out" / fmt::format("{:016x}", meta.snap_id);
  offer->view = std::move(view);
  offer->sent.store(system_clock().monotonic().count());
  const std::uint64_t snap_id = meta.snap_id;
  offer->meta = std::move(meta);
  const std::scoped_lock lock(mutex_);
  offers_.insert_or_assign(snap_id, std::move(offer));
}

void Snapshots::withdraw(std::uint64_t snap_id) {
  const std::scoped_lock lock(mutex_);
  offers_.erase(snap_id);
}

std::size_t Snapshots::offered() const {
  const std::scoped_lock lock(mutex_);
  return offers_.size();
}

Duration Snapshots::idle(std::uint64_t snap_id) const {
  const std::scoped_lock lock(mutex_);
  const auto found = offers_.find(snap_id);
  if (found == offers_.end()) return Duration::max();
  return system_clock().monotonic() - Duration(found->second->sent.load());
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
  std::shared_ptr<Offer> offer;
  {
    const std::scoped_lock lock(mutex_);
    if (const auto found = offers_.find(snap_id); found != offers_.end()) offer = found->second;
  }
  net::Watchdog watchdog(socket);
  if (!offer) {
    KR_CO_CHECK(co_await write_frame(socket, FrameKind::kSnapshotEnd, "", watchdog));
  } else {
    KR_CO_CHECK(co_await stream(socket, rest, offer));
  }
  // The receiver closes first, so that nothing that is on its way is lost to a reset.
  std::string nothing(1, '\0');
  watchdog.arm(kPatience);
  auto closed = co_await net::read_some(socket, nothing, &watchdog);
  static_cast<void>(closed);
  co_return Result<>{};
}

/// How long to wait before so many bytes may go: a bucket that does not fill up.
Duration Snapshots::reserve(std::size_t bytes) {
  if (options_.rate == 0) return Duration::zero();
  const MonotonicTime now = system_clock().monotonic();
  const MonotonicTime begin = std::max(now, next_send_);
  next_send_ = begin + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(options_.rate)));
  return begin - now;
}

net::Task<void> Snapshots::stream(net::Socket& socket, std::string& buffer, std::shared_ptr<Offer> offer) {
  static metrics::Counter& byte_total = metrics::counter("kr_raft_snapshot_sent_bytes_total", "Bytes of snapshots sent");
  if (!offer->manifest) {
    KR_CO_TRY(offer->manifest, build_snapshot(*offer->view, offer->shard, offer->meta, offer->folder, options_.file_bytes));
    offer->view.reset();
  }
  const SnapshotManifest& manifest = *offer->manifest;
  net::Watchdog watchdog(socket);
  KR_CO_CHECK(co_await write_frame(socket, FrameKind::kSnapshotManifest, encode(manifest), watchdog));
  KR_CO_TRY(const OwnedFrame from, co_await read_frame(socket, buffer, kPatience));
  Reader in(from.payload);
  SnapshotIntake::Position at{.file = in.u32(), .offset = in.u64()};
  if (from.kind != FrameKind::kSnapshotFrom || !in.finish("snapshot position") || at.file > manifest.files.size() ||
      (at.file < manifest.files.size() ? at.offset >= manifest.files[at.file].bytes : at.offset != 0))
    co_return fail(Code::kProtocol, "a snapshot position that makes no sense");
  // A tenth of a second's worth at a slow rate, so that it flows.
  const std::size_t chunk = options_.rate == 0 ? kChunkBytes : std::clamp<std::size_t>(options_.rate / 10, 1024, kChunkBytes);
  std::string bytes(chunk, '\0');
  for (; at.file < manifest.files.size(); at = {.file = at.file + 1, .offset = 0}) {
    KR_CO_TRY(const UniqueFd table, file::open(table_path(offer->folder, at.file), O_RDONLY));
    while (at.offset < manifest.files[at.file].bytes) {
      KR_CO_TRY(const std::size_t got, file::read_at(table.get(), bytes, at.offset));
      if (got == 0) co_return fail(Code::kIo, "snapshot: table {} has become shorter", at.file);
      if (const Duration pause = reserve(got); pause > Duration::zero()) KR_CO_CHECK(co_await net::sleep_for(pause));
      Writer payload;
      payload.u32(static_cast<std::uint32_t>(at.file)).u64(at.offset).raw(std::string_view(bytes).substr(0, got));
      KR_CO_CHECK(co_await write_frame(socket, FrameKind::kSnapshotChunk, std::move(payload).take(), watchdog));
      at.offset += got;
      byte_total.add(static_cast<double>(got));
      offer->sent.store(system_clock().monotonic().count());
    }
  }
  co_return co_await write_frame(socket, FrameKind::kSnapshotEnd, "", watchdog);
}

// ---- the receiver ----

std::filesystem::path Snapshots::inbound_folder(ShardId shard, std::uint64_t snap_id) const {
  return options_.folder / "in" / fmt::format("{}-{:016x}", shard.value(), snap_id);
}

void Snapshots::forget(ShardId shard, std::uint64_t snap_id) {
  loop_.post([folder = inbound_folder(shard, snap_id)] {
    std::error_code ec;
    std::filesystem::remove_all(folder, ec);
  });
}

void Snapshots::fetch(Fetch fetch, Done done) {
  scope_.spawn("raft.snapshot_fetch", run(std::make_shared<Fetch>(std::move(fetch)), std::make_shared<Done>(std::move(done))));
}

net::Task<void> Snapshots::run(std::shared_ptr<Fetch> fetch, std::shared_ptr<Done> done) {
  auto received = co_await receive(fetch);
  if (!received)
    log::warn("raft.snapshot_failed", "shard={} from={} error=\"{}\"", fetch->shard.value(), fetch->from.label, received.error().to_string());
  (*done)(std::move(received));
  co_return Result<>{};
}

net::Task<std::unique_ptr<kv::ShardImport>> Snapshots::receive(std::shared_ptr<Fetch> fetch) {
  KR_CO_TRY(const auto permit, co_await inbound_.acquire(std::chrono::minutes(10)));
  std::optional<SnapshotIntake> intake;
  for (int in_vain = 0;;) {
    const auto before = intake ? intake->position() : SnapshotIntake::Position{};
    auto tried = co_await attempt(*fetch, intake);
    if (tried) break;
    // Refused, withdrawn or against the protocol: that does not change by asking again.
    const Code code = tried.error().code;
    if (code == Code::kDenied || code == Code::kNotFound || code == Code::kProtocol || code == Code::kCancelled || code == Code::kDiskFull)
      co_return std::unexpected(tried.error());
    in_vain = intake && intake->position() != before ? 0 : in_vain + 1;
    if (in_vain >= options_.attempts) co_return std::unexpected(tried.error());
    log::info("raft.snapshot_again", "shard={} from={} error=\"{}\"", fetch->shard.value(), fetch->from.label, tried.error().to_string());
    KR_CO_CHECK(co_await net::sleep_for(options_.retry));
  }
  co_return intake->import(store_);
}

net::Task<void> Snapshots::attempt(const Fetch& fetch, std::optional<SnapshotIntake>& intake) {
  KR_CO_TRY(net::Socket socket, co_await net::dial(fetch.from.host, fetch.from.port, std::chrono::seconds(2)));
  net::Watchdog watchdog(socket);
  KR_CO_CHECK(co_await write_frame(socket, FrameKind::kHello, encode(fetch.hello), watchdog));
  std::string buffer;
  KR_CO_TRY(const OwnedFrame first, co_await read_frame(socket, buffer, kPatience));
  KR_CO_TRY(const Welcome welcome, decode_welcome(first.payload));
  if (first.kind != FrameKind::kWelcome || !welcome.accepted) co_return fail(Code::kDenied, "{}", welcome.reason);
  KR_CO_CHECK(co_await write_frame(socket, FrameKind::kSnapshotGet, Writer().u64(fetch.meta.snap_id).str(), watchdog));
  KR_CO_CHECK(co_await take_manifest(socket, buffer, fetch, intake));
  Writer from;
  from.u32(static_cast<std::uint32_t>(intake->position().file)).u64(intake->position().offset);
  KR_CO_CHECK(co_await write_frame(socket, FrameKind::kSnapshotFrom, std::move(from).take(), watchdog));
  co_return co_await take_tables(socket, buffer, *intake);
}

net::Task<void> Snapshots::take_manifest(net::Socket& socket, std::string& buffer, const Fetch& fetch, std::optional<SnapshotIntake>& intake) {
  KR_CO_TRY(const OwnedFrame frame, co_await read_frame(socket, buffer, kPatience));
  if (frame.kind == FrameKind::kSnapshotEnd) co_return fail(Code::kNotFound, "the snapshot was withdrawn");
  if (frame.kind != FrameKind::kSnapshotManifest) co_return fail(Code::kProtocol, "snapshot: no manifest");
  KR_CO_TRY(const SnapshotManifest manifest, decode_manifest(frame.payload));
  if (manifest.shard != fetch.shard || manifest.meta.snap_id != fetch.meta.snap_id || manifest.meta.index != fetch.meta.index ||
      manifest.meta.term != fetch.meta.term)
    co_return fail(Code::kProtocol, "snapshot: the manifest is of another one");
  const std::filesystem::path folder = inbound_folder(fetch.shard, fetch.meta.snap_id);
  // An earlier one of the shard that did not come to its end is of no use any more.
  std::error_code ec;
  std::vector<std::filesystem::path> others;
  for (const auto& entry : std::filesystem::directory_iterator(options_.folder / "in", ec))
    if (entry.path() != folder && entry.path().filename().string().starts_with(fmt::format("{}-", fetch.shard.value()))) others.push_back(entry.path());
  for (const std::filesystem::path& other : others) std::filesystem::remove_all(other, ec);
  KR_CO_TRY(intake, SnapshotIntake::open(folder, manifest));
  if (const auto at = intake->position(); at != SnapshotIntake::Position{})
    log::info("raft.snapshot_resume", "shard={} from={} table={} of {} offset={}", fetch.shard.value(), fetch.from.label, at.file, manifest.files.size(), at.offset);
  co_return Result<>{};
}

net::Task<void> Snapshots::take_tables(net::Socket& socket, std::string& buffer, SnapshotIntake& intake) {
  net::Watchdog watchdog(socket);
  std::string piece(64 << 10, '\0');
  for (;;) {
    KR_CO_TRY(const std::optional<Frame> frame, next_frame(buffer));
    if (!frame) {
      watchdog.arm(kPatience);
      KR_CO_TRY(const std::size_t got, co_await net::read_some(socket, piece, &watchdog));
      watchdog.disarm();
      buffer.append(piece, 0, got);
      continue;
    }
    if (frame->kind == FrameKind::kSnapshotEnd) {
      if (!intake.complete()) co_return fail(Code::kProtocol, "snapshot: it ended early");
      co_return Result<>{};
    }
    Reader in(frame->payload);
    const SnapshotIntake::Position at{.file = in.u32(), .offset = in.u64()};
    if (frame->kind != FrameKind::kSnapshotChunk || !in.ok()) co_return fail(Code::kProtocol, "snapshot: unexpected frame");
    KR_CO_CHECK(intake.append(at, in.rest()));
    buffer.erase(0, frame->used);
  }
}

}  // namespace kraken::group
