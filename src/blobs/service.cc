#include "src/blobs/service.h"

#include <algorithm>

#include "src/blobs/impl.h"

namespace kraken::blobs {

Service::Impl::Impl(Options options, const ring::CurrentRing& ring, blob::Store& store, metadata::Client& metadata, Peers& peers,
                    net::Loops& loops)
    : options_(std::move(options)),
      ring_(ring),
      store_(store),
      metadata_(metadata),
      peers_(peers),
      ingest_pool_(options_.ingest_threads, options_.ingest_queue, "ingest"),
      file_pool_(4, 4096, "blobs"),
      metainfo_cache_(options_.metainfo_cache_bytes) {
  for (std::size_t i = 0; i < loops.size(); ++i) scopes_.emplace_back(loops.at(i).executor());
}

Service::Service(Options options, const ring::CurrentRing& ring, blob::Store& store, metadata::Client& metadata, Peers& peers,
                 net::Loops& loops)
    : impl_(std::make_shared<Impl>(std::move(options), ring, store, metadata, peers, loops)) {
  impl_->scope().spawn("blobs.sweep", impl_->sweep());
}

Service::~Service() = default;

void Service::stop() {
  for (net::Scope& scope : impl_->scopes_) scope.stop_and_wait();
  {
    const std::scoped_lock lock(impl_->mutex_);
    impl_->sessions_.clear();
    impl_->staged_.clear();
  }
  impl_->ingest_pool_.stop();
  impl_->file_pool_.stop();
}

net::Task<UploadId> Service::start_upload(UploadHints hints) { return impl_->start_upload(hints); }

net::Task<std::uint64_t> Service::append(UploadId id, std::optional<std::uint64_t> offset, std::optional<std::uint64_t> length,
                                         BodyReader body, Resent resent) {
  return impl_->append(id, offset, length, std::move(body), resent);
}

Result<std::uint64_t> Service::upload_bytes(const UploadId& id) const { return impl_->upload_bytes(id); }
net::Task<void> Service::cancel_upload(UploadId id) { return impl_->cancel_upload(id); }
net::Task<bool> Service::commit(UploadId id, Digest digest) { return impl_->commit(id, digest); }

std::optional<std::string> Service::session_owner(const UploadId& id) const {
  if (id.belongs_to(impl_->options_.self)) return impl_->options_.self;
  const auto ring = impl_->ring_.get();
  for (const ring::Member& member : ring->members()) {
    if (id.belongs_to(member.label)) return member.label;
  }
  return std::nullopt;
}

std::size_t Service::sessions() const {
  const std::scoped_lock lock(impl_->mutex_);
  return impl_->sessions_.size();
}

net::Task<Stat> Service::stat(Digest digest, bool renew) {
  if (renew) {
    KR_CO_TRY(auto row, co_await impl_->metadata_.touch(digest));
    co_return Stat{.bytes = row.size};
  }
  KR_CO_TRY(auto row, co_await impl_->record(digest));
  co_return Stat{.bytes = row.size};
}

net::Task<bool> Service::present(Digest digest) {
  auto row = co_await impl_->metadata_.touch(digest);
  if (!row && row.error().code == Code::kNotFound) co_return false;
  if (!row) co_return std::unexpected(std::move(row).error());
  KR_CO_TRY(const auto have, co_await impl_->who_has(digest, row->holders));
  co_return have.size() >= impl_->write_quorum();
}

net::Task<std::unique_ptr<Source>> Service::open(Digest digest, std::uint64_t offset, std::optional<std::uint64_t> length) {
  return impl_->open(digest, offset, length);
}

net::Task<std::unique_ptr<Source>> Service::open_local(Digest digest, std::uint64_t offset,
                                                       std::optional<std::uint64_t> length) {
  return impl_->open_local(digest, offset, length);
}

net::Task<std::shared_ptr<const MetaInfo>> Service::metainfo(Digest digest) {
  KR_CO_TRY(auto known, co_await impl_->metainfo(digest));
  co_return std::shared_ptr<const MetaInfo>(known, &known->metainfo);
}

net::Task<std::shared_ptr<const std::string>> Service::metainfo_json(Digest digest) {
  KR_CO_TRY(auto known, co_await impl_->metainfo(digest));
  co_return std::shared_ptr<const std::string>(known, &known->json);
}

std::vector<std::string> Service::owners(const Digest& digest) const { return impl_->owners(digest); }
std::shared_ptr<const ring::Ring> Service::ring() const { return impl_->ring_.get(); }
std::size_t Service::max_replica() const { return impl_->options_.max_replica; }
const std::string& Service::self() const { return impl_->options_.self; }
net::Task<void> Service::ensure_local(Digest digest) { return impl_->ensure_local(digest); }
void Service::damaged(const Digest& digest) { impl_->damaged(digest); }
net::Task<void> Service::remove(Digest digest) { return impl_->remove(digest); }
Peers& Service::peers() { return impl_->peers_; }

net::Task<Service::Placement> Service::placement(Digest digest) {
  KR_CO_TRY(auto found, co_await impl_->metadata_.get_blob(digest));
  Placement placement;
  placement.exists = found.readable();
  if (!placement.exists) co_return placement;
  placement.holders = found.row->holders.size();
  for (const std::string& owner : impl_->owners(digest)) {
    const auto named = std::ranges::find_if(found.row->holders, [&](const metadata::Holder& h) { return h.label == owner; });
    bool has = named != found.row->holders.end() && !named->suspect;
    if (has) {
      // A node whose disk was lost is back under its label, but as another store.
      Result<StoreId> now = impl_->store_.id();
      if (owner != impl_->options_.self) now = co_await impl_->peers_.store_id(owner);
      has = !now || found.row->holder(*now) != nullptr;
    }
    if (!has) placement.missing.push_back(owner);
  }
  co_return placement;
}

StoreId Service::store_id() const { return impl_->store_.id(); }

net::Task<Held> Service::have_here(Digest digest) {
  auto* impl = impl_.get();
  auto held = co_await impl->file_pool_.run([impl, digest]() -> Result<Held> {
    KR_TRY(const std::uint64_t bytes, impl->store_.size_of(digest));
    return Held{.store = impl->store_.id(), .bytes = bytes};
  });
  co_return held;
}

net::Task<void> Service::stage_here(std::string transfer, Digest digest, std::optional<std::uint64_t> bytes, BodyReader body) {
  return impl_->stage_here(std::move(transfer), digest, bytes, std::move(body));
}

net::Task<StoreId> Service::place_here(std::string transfer, Digest digest) {
  return impl_->place_here(std::move(transfer), digest);
}

net::Task<void> Service::discard_here(std::string transfer) {
  std::shared_ptr<Staged> dropped;
  const std::scoped_lock lock(impl_->mutex_);
  if (const auto found = impl_->staged_.find(transfer); found != impl_->staged_.end()) {
    dropped = found->second;
    impl_->staged_.erase(found);
  }
  co_return Result<>();
}

net::Task<void> Service::release_here(Digest digest) { return impl_->release_here(digest); }
net::Task<void> Service::let_go_here(Digest digest, std::uint64_t epoch) { return impl_->let_go_here(digest, epoch); }
net::Task<Scrubbed> Service::scrub(Digest digest, bool orphans_go) { return impl_->scrub(digest, orphans_go); }

}  // namespace kraken::blobs
