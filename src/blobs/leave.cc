// How a store ceases to have a blob: as a surplus holder, or because the scrub finds that file and record disagree. Nothing is
// unlinked on doubt: every refusal, silence and unknown outcome keeps the file (lifecycle §3 "Holder").

#include <algorithm>
#include <array>

#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/blobs/impl.h"
#include "src/net/deadline.h"

namespace kraken::blobs {
namespace {

constexpr Duration kLockTimeout = std::chrono::seconds(60);

metrics::Counter& scrubbed_total(Scrubbed what) {
  return metrics::counter("kr_blobs_scrubbed_total", "Digests that the scrub looked at closely, by what it found",
                          {{"found", std::string(name(what))}});
}

}  // namespace

std::string_view name(Scrubbed scrubbed) {
  static constexpr std::array<std::string_view, 7> kNames = {"good", "orphan", "left", "entered", "waits", "missing", "suspect"};
  return kNames[static_cast<std::size_t>(scrubbed)];
}

net::Task<void> Service::Impl::let_go_here(Digest digest, std::uint64_t epoch) {
  KR_CO_TRY(auto guard, co_await locks_.acquire(digest, kLockTimeout));
  auto ring = ring_.get();
  if (ring->epoch() < epoch) {
    co_return fail(Code::kUnavailable, "{} has not adopted ring {} yet, it works with ring {}", options_.self, epoch, ring->epoch());
  }
  KR_CO_TRY(auto found, co_await metadata_.get_blob(digest));
  if (!found.readable()) co_return fail(Code::kNotFound, "no blob {}", digest.str());
  if (found.row->holder(store_.id()) == nullptr && !store_.has(digest)) {
    co_return fail(Code::kNotFound, "{} neither holds blob {} nor has a file of it", options_.self, digest.str());
  }
  auto left = co_await let_go_locked(digest, *std::move(found.row), std::move(ring));
  co_return left;
}

net::Task<void> Service::Impl::let_go_locked(Digest digest, metadata::BlobRow row, std::shared_ptr<const ring::Ring> ring) {
  static metrics::Counter& let_go = metrics::counter("kr_blobs_let_go_total", "Copies that this node unlinked as it is no owner");
  const std::vector<std::string> labels = ring->owners(digest, options_.max_replica);
  if (std::ranges::find(labels, options_.self) != labels.end()) {
    co_return fail(Code::kConflict, "{} owns blob {} in ring {}", options_.self, digest.str(), ring->epoch());
  }
  std::vector<StoreId> stores;
  for (const std::string& label : labels) {
    auto held = co_await net::with_deadline(options_.have_timeout, peers_.have(label, digest));
    if (!held && held.error().code == Code::kCancelled) co_return std::unexpected(std::move(held).error());
    if (!held) co_return fail(Code::kUnavailable, "blob {} stays: its owner {} does not say that it has it: {}", digest.str(), label, held.error().detail);
    const metadata::Holder* const holder = row.holder(held->store);
    if (holder == nullptr || holder->suspect || held->bytes != row.size) {
      co_return fail(Code::kUnavailable, "blob {} stays: its owner {} is not a holder of all its {} bytes", digest.str(), label, row.size);
    }
    stores.push_back(held->store);
  }
  KR_CO_CHECK(co_await metadata_.leave(digest, store_.id(), row.generation, std::move(stores)));
  auto removed = co_await file_pool_.run([this, digest] { return store_.remove(digest); });
  if (!removed && removed.error().code != Code::kNotFound) co_return removed;
  let_go.add();
  co_return Result<>();
}

net::Task<Scrubbed> Service::Impl::scrub(Digest digest, bool orphans_go) {
  auto found = co_await scrub_locked(digest, orphans_go);
  if (found && *found == Scrubbed::kEntered) {
    // It takes the lock itself; the whole file is read before the record names it.
    auto entered = co_await ensure_local(digest);
    if (!entered && entered.error().code != Code::kPending) co_return std::unexpected(std::move(entered).error());
  }
  if (!found) co_return found;
  scrubbed_total(*found).add();
  if (*found != Scrubbed::kGood) log::info("blobs.scrubbed", "digest={} found={}", digest.str(), name(*found));
  co_return found;
}

net::Task<Scrubbed> Service::Impl::scrub_locked(Digest digest, bool orphans_go) {
  KR_CO_TRY(auto guard, co_await locks_.acquire(digest, kLockTimeout));
  KR_CO_TRY(auto found, co_await metadata_.get_blob(digest));
  auto bytes = co_await file_pool_.run([this, digest] { return store_.size_of(digest); });
  if (!bytes && bytes.error().code != Code::kNotFound) co_return std::unexpected(std::move(bytes).error());
  if (!found.row) {
    if (!bytes) co_return Scrubbed::kGood;
    if (!orphans_go) co_return Scrubbed::kWaits;
    KR_CO_CHECK(co_await file_pool_.run([this, digest] { return store_.remove(digest); }));
    co_return Scrubbed::kOrphan;
  }
  if (!found.readable()) co_return bytes ? Scrubbed::kWaits : Scrubbed::kGood;
  const metadata::BlobRow& row = *found.row;
  const metadata::Holder* const named = row.holder(store_.id());
  if (bytes && *bytes != row.size) {
    log::error("blobs.wrong_size", "digest={} bytes={} of={} what=\"set aside as .damaged\"", digest.str(), *bytes, row.size);
    KR_CO_CHECK(co_await file_pool_.run([this, digest] { return store_.set_aside(digest); }));
    bytes = fail(Code::kNotFound, "");
  }
  if (!bytes) {
    if (named == nullptr || named->suspect) co_return Scrubbed::kGood;
    auto forgotten = co_await forget_missing(digest);
    co_return forgotten;
  }
  if (named != nullptr && !named->suspect) co_return Scrubbed::kGood;
  auto ring = ring_.get();
  const std::vector<std::string> owners = ring->owners(digest, options_.max_replica);
  const bool is_owner = std::ranges::find(owners, options_.self) != owners.end();
  const bool only_copy = std::ranges::none_of(row.holders, [&](const auto& holder) { return !holder.suspect; });
  if (is_owner || only_copy) co_return Scrubbed::kEntered;
  auto left = co_await let_go_locked(digest, row, std::move(ring));
  if (left) co_return Scrubbed::kLeft;
  const Code code = left.error().code;
  if (code == Code::kUnavailable || code == Code::kConflict || code == Code::kOutcomeUnknown) co_return Scrubbed::kWaits;
  co_return std::unexpected(std::move(left).error());
}

/// The record names this store and the file is not there. While nobody else has the blob it stays named, as suspect.
net::Task<Scrubbed> Service::Impl::forget_missing(Digest digest) {
  log::error("blobs.file_missing", "digest={} what=\"the record names this store; copied again from another holder\"", digest.str());
  auto lost = co_await metadata_.lost(digest, store_.id(), static_cast<std::uint32_t>(owners_count()));
  if (lost) co_return Scrubbed::kMissing;
  if (lost.error().code != Code::kConflict) co_return std::unexpected(std::move(lost).error());
  KR_CO_CHECK(co_await metadata_.suspect(digest, store_.id()));
  co_return Scrubbed::kSuspect;
}

}  // namespace kraken::blobs
