#include <algorithm>

#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/blobs/impl.h"

namespace kraken::blobs {
namespace {

constexpr int kAttempts = 6;
constexpr Duration kLockTimeout = std::chrono::seconds(60);

}  // namespace

net::Task<void> Service::Impl::ensure_local(Digest digest) {
  std::shared_ptr<Fetching> fetching;
  bool mine = false;
  {
    const std::scoped_lock lock(mutex_);
    auto& slot = fetching_[digest];
    mine = slot == nullptr;
    if (mine) slot = std::make_shared<Fetching>();
    fetching = slot;
  }
  if (mine) scope().spawn("blobs.fetch", run_fetch(digest, fetching));
  const MonotonicTime deadline = system_clock().monotonic() + options_.fetch_wait;
  for (;;) {
    const std::uint64_t seen = fetching->ended_event.version();
    if (fetching->ended) co_return fetching->result;
    const Duration left = deadline - system_clock().monotonic();
    if (left <= Duration::zero()) co_return fail(Code::kPending, "blob {} is being fetched", digest.str());
    auto waited = co_await fetching->ended_event.wait(seen, left);
    if (!waited && waited.error().code == Code::kCancelled) co_return waited;
  }
}

net::Task<void> Service::Impl::run_fetch(Digest digest, std::shared_ptr<Fetching> fetching) {
  auto self = shared_from_this();
  auto done = co_await ensure_local_now(digest);
  fetching->result = std::move(done);
  {
    const std::scoped_lock lock(mutex_);
    fetching_.erase(digest);
  }
  fetching->ended = true;
  fetching->ended_event.notify();
  co_return Result<>();
}

/// kNotFound: no file. kCorrupt: one that is not what the record says.
net::Task<void> Service::Impl::check_local(Digest digest) {
  KR_CO_TRY(auto known, co_await metainfo(digest));
  auto checked = co_await file_pool_.run([this, digest, known]() -> Result<> {
    KR_TRY(const blob::Blob blob, store_.open_blob(digest));
    return store_.verify(blob, known->metainfo, 0, known->metainfo.length);
  });
  co_return checked;
}

net::Task<void> Service::Impl::ensure_local_now(Digest digest) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    KR_CO_TRY(auto found, co_await metadata_.get_blob(digest));
    if (!found.readable()) co_return fail(Code::kNotFound, "no blob {}", digest.str());
    std::shared_ptr<blob::Upload> fetched;
    auto local = co_await check_local(digest);
    if (!local && local.error().code != Code::kNotFound && local.error().code != Code::kCorrupt) co_return local;
    if (!local) {
      KR_CO_TRY(fetched, co_await download(digest, *found.row));
    }
    // From here on nobody else places, enters or unlinks it on this node.
    KR_CO_TRY(auto guard, co_await locks_.acquire(digest, kLockTimeout));
    KR_CO_TRY(auto now, co_await metadata_.get_blob(digest));
    if (!now.readable()) co_return fail(Code::kNotFound, "no blob {}", digest.str());
    if (fetched) {
      KR_CO_CHECK(co_await file_pool_.run([fetched] { return fetched->place(); }));
    } else if (!store_.has(digest)) {
      continue;
    }
    const metadata::Holder* const named = now.row->holder(store_.id());
    if (named != nullptr && !named->suspect) co_return Result<>();
    metadata::Holder holder{.store = store_.id(), .label = options_.self, .suspect = false};
    auto entered = co_await metadata_.enter(digest, std::move(holder), now.row->generation);
    if (entered) co_return Result<>();
    const Code code = entered.error().code;
    if (code != Code::kConflict && code != Code::kOutcomeUnknown) co_return std::unexpected(std::move(entered).error());
  }
  co_return fail(Code::kUnavailable, "blob {}: its record kept changing while this node entered it", digest.str());
}

net::Task<std::shared_ptr<blob::Upload>> Service::Impl::download(Digest digest, metadata::BlobRow row) {
  static metrics::Counter& bytes_total = metrics::counter("kr_blobs_fetched_bytes_total", "Of blobs fetched from other nodes");
  std::string why;
  bool answered = true;  // every one of them
  for (const std::string& label : candidates(digest, row)) {
    const std::uint64_t bytes = row.size;
    const std::string name = new_name();
    KR_CO_TRY(auto made, co_await file_pool_.run([this, name, bytes] { return store_.create_upload(name, bytes); }));
    std::shared_ptr<blob::Upload> upload = shared(std::move(made));
    auto opened = co_await peers_.open(label, digest, 0, bytes);
    Result<std::uint64_t> got = fail(Code::kUnavailable, "");
    if (opened) {
      std::shared_ptr<Stream> stream = *std::move(opened);
      Ingest to{.pool = ingest_pool_, .upload = upload, .lease = stream, .grown = {}, .buffer_bytes = options_.buffer_bytes};
      got = co_await ingest(std::move(to), bytes, [stream](std::span<char> into) { return stream->read(into); });
    } else {
      got = std::unexpected(opened.error());
    }
    Result<> good;
    if (got) {
      good = co_await ingest_pool_.run([upload, digest] { return upload->finish(digest); });
    } else {
      good = std::unexpected(got.error());
    }
    if (good) {
      bytes_total.add(static_cast<double>(bytes));
      co_return upload;
    }
    const Code code = good.error().code;
    if (code == Code::kCancelled || code == Code::kDiskFull) co_return std::unexpected(std::move(good).error());
    answered = answered && (code == Code::kNotFound || code == Code::kDigestMismatch);
    why += fmt::format("; {}: {}", label, good.error().detail);
  }
  const metadata::Holder* const named = row.holder(store_.id());
  if (answered && named != nullptr && !named->suspect && row.holders.size() == 1) {
    log::error("blobs.last_copy_lost", "digest={} what=\"its only holder has no good file; push it again\"", digest.str());
    auto noted = co_await metadata_.suspect(digest, store_.id());
    (void)noted;  // for the operator; the next attempt notes it again
  }
  co_return fail(Code::kUnavailable, "blob {}: no other node gives it{}", digest.str(), why);
}

void Service::Impl::damaged(const Digest& digest) { scope().spawn("blobs.repair", repair(digest)); }

net::Task<void> Service::Impl::repair(Digest digest) {
  static metrics::Counter& repairs = metrics::counter("kr_blobs_repairs_total", "Files found missing or damaged");
  auto self = shared_from_this();
  {
    KR_CO_TRY(auto guard, co_await locks_.acquire(digest, kLockTimeout));
    store_.doubt(digest);
    auto good = co_await check_local(digest);
    if (good) co_return good;  // another reader's repair was quicker
    if (good.error().code == Code::kCorrupt) {
      KR_CO_CHECK(co_await file_pool_.run([this, digest] { return store_.set_aside(digest); }));
    } else if (good.error().code == Code::kNotFound) {
      // Whoever reported it may have read the record before this store let go of the blob.
      KR_CO_TRY(auto found, co_await metadata_.get_blob(digest));
      if (!found.readable() || found.row->holder(store_.id()) == nullptr) co_return Result<>();
    }
  }
  repairs.add();
  auto fetched = co_await ensure_local(digest);
  if (!fetched && fetched.error().code == Code::kPending) co_return Result<>();
  if (fetched) log::info("blobs.repaired", "digest={}", digest.str());
  co_return fetched;
}

net::Task<void> Service::Impl::remove(Digest digest) {
  KR_CO_TRY(auto found, co_await metadata_.get_blob(digest));
  if (!found.readable()) co_return fail(Code::kNotFound, "no blob {}", digest.str());
  KR_CO_CHECK(co_await metadata_.delete_blob(digest));
  // To be quick about the space; a holder that does not hear it finds the file when it scrubs.
  for (const metadata::Holder& holder : found.row->holders) {
    if (holder.label != options_.self) scope().spawn("blobs.release", peers_.release(holder.label, digest));
  }
  auto released = co_await release_here(digest);
  if (!released) log::warn("blobs.release_failed", "digest={} error={}", digest.str(), released.error().to_string());
  co_return Result<>();
}

net::Task<void> Service::Impl::release_here(Digest digest) {
  KR_CO_TRY(auto guard, co_await locks_.acquire(digest, kLockTimeout));
  KR_CO_TRY(auto found, co_await metadata_.get_blob(digest));
  if (found.row) co_return Result<>();  // whatever its state: it is no orphan
  auto removed = co_await file_pool_.run([this, digest] { return store_.remove(digest); });
  if (!removed && removed.error().code == Code::kNotFound) co_return Result<>();
  co_return removed;
}

net::Task<void> Service::Impl::stage_here(std::string transfer, Digest digest, std::optional<std::uint64_t> bytes,
                                          BodyReader body) {
  {
    const std::scoped_lock lock(mutex_);
    if (staged_.size() >= options_.uploads_max) {
      co_return fail(Code::kOverloaded, "{} transfers wait on this node, no more are taken", staged_.size());
    }
  }
  const std::uint64_t expected = bytes.value_or(0);
  KR_CO_TRY(auto made, co_await file_pool_.run([this, transfer, expected] { return store_.create_upload(transfer, expected); }));
  auto staged = std::make_shared<Staged>();
  staged->digest = digest;
  staged->upload = shared(std::move(made));
  Ingest to{.pool = ingest_pool_, .upload = staged->upload, .lease = {}, .grown = {}, .buffer_bytes = options_.buffer_bytes,
            .bytes_max = blob_bytes_max()};
  KR_CO_CHECK(co_await ingest(std::move(to), bytes, std::move(body)));
  KR_CO_CHECK(co_await ingest_pool_.run([staged] { return staged->upload->finish(staged->digest); }));
  staged->touched = system_clock().monotonic();
  const std::scoped_lock lock(mutex_);
  staged_[transfer] = staged;
  co_return Result<>();
}

net::Task<StoreId> Service::Impl::place_here(std::string transfer, Digest digest) {
  std::shared_ptr<Staged> staged;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = staged_.find(transfer);
    if (found != staged_.end() && found->second->digest == digest) {
      staged = found->second;
      staged_.erase(found);
    }
  }
  if (!staged) {
    // The answer to an earlier call may have been lost.
    if (store_.has(digest)) co_return store_.id();
    co_return fail(Code::kNotFound, "no transfer {} of blob {} on this node", transfer, digest.str());
  }
  KR_CO_TRY(auto guard, co_await locks_.acquire(digest, kLockTimeout));
  KR_CO_CHECK(co_await file_pool_.run([staged] { return staged->upload->place(); }));
  co_return store_.id();
}

}  // namespace kraken::blobs
