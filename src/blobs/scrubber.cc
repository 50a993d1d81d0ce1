#include "src/blobs/scrubber.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "src/base/log.h"
#include "src/net/deadline.h"
#include "src/net/event.h"
#include "src/net/scope.h"

namespace kraken::blobs {

using metadata::ShardId;

struct Scrubber::Impl : std::enable_shared_from_this<Impl> {
  struct File {
    Digest digest;
    std::uint64_t bytes = 0;
  };

  Impl(ScrubberOptions options_, metadata::Client& metadata_, Service& blobs_, blob::Store& store_, net::FilePool& pool_,
       net::Loop& loop)
      : options(std::move(options_)), metadata(metadata_), blobs(blobs_), store(store_), pool(pool_), scope(loop.executor()) {}

  net::Task<void> run();
  net::Task<void> round();
  net::Task<void> shard(ShardId id);
  net::Task<void> close_look(Digest digest);
  net::Task<void> pace(std::size_t records);
  ScrubberStatus status_now() const {
    const std::scoped_lock lock(mutex);
    return status;
  }
  template <class F>
  void note(F change) {
    const std::scoped_lock lock(mutex);
    change(status);
  }

  const ScrubberOptions options;
  metadata::Client& metadata;
  Service& blobs;
  blob::Store& store;
  net::FilePool& pool;
  net::Event event;
  std::atomic<bool> asked{false};
  bool orphans_go = true;  // in this round; on the loop alone
  mutable std::mutex mutex;
  ScrubberStatus status;
  net::Scope scope;  // last
};

net::Task<void> Scrubber::Impl::run() {
  auto self = shared_from_this();
  Duration wait = options.first;
  for (;;) {
    const std::uint64_t seen = event.version();
    if (!asked.exchange(false)) {
      auto waited = co_await event.wait(seen, wait);
      if (!waited && waited.error().code == Code::kCancelled) co_return waited;
      asked = false;
    }
    note([](ScrubberStatus& now) {
      now.running = true;
      now.files = now.records = now.waits = 0;
    });
    auto allowed = co_await pool.run([this]() -> Result<bool> { return !options.orphans_go || options.orphans_go(); });
    if (!allowed && allowed.error().code == Code::kCancelled) co_return std::unexpected(std::move(allowed).error());
    orphans_go = allowed.value_or(false);
    auto done = co_await round();
    note([&](ScrubberStatus& now) {
      now.running = false;
      if (done) ++now.rounds;
    });
    if (!done && done.error().code == Code::kCancelled) co_return done;
    wait = done ? options.interval : options.retry;
    if (status_now().waits > 0) wait = std::min(wait, options.undecided);
  }
}

net::Task<void> Scrubber::Impl::round() {
  for (std::uint32_t number = 1; number <= metadata.shards().count(); ++number) {
    for (;;) {
      auto done = co_await shard(ShardId(static_cast<std::uint16_t>(number)));
      if (done) break;
      if (done.error().code == Code::kCancelled) co_return done;
      log::debug("blobs.scrub_waits", "shard={} error={}", number, done.error().to_string());
      KR_CO_CHECK(co_await net::sleep_for(options.retry));
    }
  }
  co_return Result<>();
}

net::Task<void> Scrubber::Impl::pace(std::size_t records) {
  const auto spent = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(
      static_cast<double>(records) / std::max<std::uint32_t>(options.records_per_second, 1)));
  if (spent < std::chrono::milliseconds(1)) co_return Result<>();
  auto slept = co_await net::sleep_for(spent);
  co_return slept;
}

net::Task<void> Scrubber::Impl::close_look(Digest digest) {
  const auto looked = co_await blobs.scrub(digest, orphans_go);
  if (!looked && looked.error().code == Code::kCancelled) co_return std::unexpected(looked.error());
  if (!looked) log::info("blobs.scrub_failed", "digest={} error={}", digest.str(), looked.error().to_string());
  // What could not be decided stays as it is, and a round comes sooner.
  const Scrubbed found = looked.value_or(Scrubbed::kWaits);
  note([&](ScrubberStatus& now) {
    now.orphans += found == Scrubbed::kOrphan ? 1 : 0;
    now.left += found == Scrubbed::kLeft ? 1 : 0;
    now.entered += found == Scrubbed::kEntered ? 1 : 0;
    now.missing += found == Scrubbed::kMissing || found == Scrubbed::kSuspect ? 1 : 0;
    now.waits += found == Scrubbed::kWaits ? 1 : 0;
  });
  co_return Result<>();
}

net::Task<void> Scrubber::Impl::shard(ShardId id) {
  const auto [first, last] = metadata.shards().prefixes(id);
  KR_CO_TRY(const std::vector<File> files, co_await pool.run([this, first, last]() -> Result<std::vector<File>> {
    std::vector<File> found;
    KR_CHECK(store.list(first, last, [&](const Digest& digest, std::uint64_t bytes) {
      found.push_back({digest, bytes});
      return true;
    }));
    return found;
  }));
  const StoreId self = store.id();
  auto file = files.begin();
  metadata::state::ListBlobs query{.after = std::nullopt, .limit = metadata::state::kPageMax};
  for (;;) {
    KR_CO_TRY(const auto page, co_await metadata.list_blobs(id, query, metadata::Read::kLocal));
    for (const metadata::state::NamedBlob& record : page.blobs) {
      for (; file != files.end() && file->digest < record.digest; ++file) KR_CO_CHECK(co_await close_look(file->digest));
      const bool there = file != files.end() && file->digest == record.digest;
      const metadata::Holder* const holder = record.row.holder(self);
      const bool named = record.row.readable() && holder != nullptr && !holder->suspect;
      if (there != named || (there && file->bytes != record.row.size)) KR_CO_CHECK(co_await close_look(record.digest));
      if (there) ++file;
    }
    note([&](ScrubberStatus& now) { now.records += page.blobs.size(); });
    KR_CO_CHECK(co_await pace(page.blobs.size()));
    if (!page.more || page.blobs.empty()) break;
    query.after = page.blobs.back().digest;
  }
  for (; file != files.end(); ++file) KR_CO_CHECK(co_await close_look(file->digest));
  note([&](ScrubberStatus& now) { now.files += files.size(); });
  co_return Result<>();
}

Scrubber::Scrubber(ScrubberOptions options, metadata::Client& metadata, Service& blobs, blob::Store& store, net::FilePool& pool,
                   net::Loop& loop)
    : impl_(std::make_shared<Impl>(std::move(options), metadata, blobs, store, pool, loop)) {}
Scrubber::~Scrubber() { stop(); }
void Scrubber::start() { impl_->scope.spawn("blobs.scrub", impl_->run()); }
void Scrubber::stop() { impl_->scope.stop_and_wait(); }
void Scrubber::now() {
  impl_->asked = true;
  impl_->event.notify();
}
ScrubberStatus Scrubber::status() const {
  return impl_->status_now();
}

}  // namespace kraken::blobs
