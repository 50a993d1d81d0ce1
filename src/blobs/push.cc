#include <algorithm>
#include <functional>
#include <map>

#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/blobs/impl.h"
#include "src/net/deadline.h"

namespace kraken::blobs {
namespace {

constexpr int kAttempts = 6;
constexpr Duration kLockTimeout = std::chrono::seconds(60);
constexpr Duration kAskAgain = std::chrono::milliseconds(200);

/// What the placing on several nodes has come to. Shared by the push and its placers, which may outlive it.
struct Placing {
  std::mutex mutex;  // all but `changed`
  std::vector<metadata::Holder> placed;
  std::map<std::string, Error> errors;  // by label: its last
  std::size_t failures = 0;
  std::size_t running = 0;
  net::Event changed;
};

net::Task<void> run_placer(std::shared_ptr<Service::Impl> impl, std::shared_ptr<Placing> placing,
                           std::shared_ptr<Session> session, std::string label, Digest digest) {
  auto store = co_await impl->place_on(label, session, digest);
  {
    const std::scoped_lock lock(placing->mutex);
    --placing->running;
    if (store) {
      placing->placed.push_back({.store = *store, .label = label, .suspect = false});
    } else {
      ++placing->failures;
      placing->errors.insert_or_assign(label, store.error().within(label));
    }
  }
  placing->changed.notify();
  co_return Result<>();
}

/// Asks labels in the ring's order, one more for each that cannot take it. REQUIRES for every call: placing's mutex.
class Placers {
 public:
  Placers(std::shared_ptr<Service::Impl> impl, std::shared_ptr<Placing> placing, std::shared_ptr<Session> session, Digest digest,
          std::vector<std::string> order)
      : impl_(std::move(impl)), placing_(std::move(placing)), session_(std::move(session)), digest_(digest), order_(std::move(order)) {}

  void launch(std::size_t count) {
    for (; count > 0 && next_ < order_.size(); --count) {
      ++placing_->running;
      impl_->scope().spawn("blobs.place", run_placer(impl_, placing_, session_, order_[next_++], digest_));
    }
  }
  /// An owner that cannot take it is replaced by the next label: a stand-in, which lets go when the owners have it.
  void replace_failed(std::size_t quorum) {
    for (; failures_seen_ < placing_->failures; ++failures_seen_) {
      if (placing_->placed.size() + placing_->running < quorum) launch(1);
    }
  }
  /// Nodes that start together dial each other before they listen: whom nobody reached is asked again before a client is refused.
  bool may_ask_again() const { return std::ranges::any_of(placing_->errors, [](const auto& one) { return unreached(one.second); }); }
  void ask_again(std::size_t quorum) {
    std::erase_if(order_, [&](const std::string& label) {
      const auto error = placing_->errors.find(label);
      return error == placing_->errors.end() || !unreached(error->second);
    });
    for (const std::string& label : order_) placing_->errors.erase(label);
    next_ = 0;
    launch(quorum - placing_->placed.size());
  }

 private:
  static bool unreached(const Error& error) { return error.code == Code::kUnavailable || error.code == Code::kClosed; }

  const std::shared_ptr<Service::Impl> impl_;
  const std::shared_ptr<Placing> placing_;
  const std::shared_ptr<Session> session_;
  const Digest digest_;
  std::vector<std::string> order_;
  std::size_t next_ = 0;
  std::size_t failures_seen_ = 0;
};

/// Too few stores took it: what to tell the client.
Error too_few(const Digest& digest, std::size_t placed, std::size_t quorum, const std::map<std::string, Error>& errors) {
  const bool full = std::ranges::all_of(errors, [](const auto& one) { return one.second.code == Code::kDiskFull; }) && !errors.empty();
  std::string why;
  for (const auto& [label, error] : errors) why += fmt::format("; {}", error.detail);
  return {full ? Code::kDiskFull : Code::kUnavailable,
          fmt::format("blob {}: {} of the {} copies that a push needs could be stored{}", digest.str(), placed, quorum, why)};
}

bool may_pass(Code code) {
  return info(code).retryable || code == Code::kOutcomeUnknown || code == Code::kCancelled || code == Code::kDiskFull;
}

}  // namespace

net::Task<bool> Service::Impl::commit(UploadId id, Digest digest) {
  KR_CO_TRY(auto session, take(id));
  auto lease = std::make_shared<Lease>(shared_from_this(), session);
  auto pushed = co_await push(session, digest);
  if (pushed || !may_pass(pushed.error().code)) forget(session);
  lease->release();
  co_return pushed;
}

net::Task<bool> Service::Impl::push(std::shared_ptr<Session> session, Digest digest) {
  static metrics::Histogram& seconds = metrics::histogram("kr_blobs_push_seconds", "From the end of the bytes to the answer",
                                                         metrics::latency_bounds());
  const MonotonicTime began = system_clock().monotonic();
  std::shared_ptr<blob::Upload> upload = session->upload;
  KR_CO_CHECK(co_await ingest_pool_.run([upload, digest] { return upload->finish(digest); }));
  session->complete = true;
  session->grown.notify();
  MetaInfo metainfo{.digest = digest, .length = upload->bytes(), .piece_length = 0, .piece_sums = {}};
  metainfo.piece_length = options_.piece_lengths.of(metainfo.length);
  metainfo.piece_sums = upload->piece_sums(metainfo.piece_length);
  KR_CO_CHECK(metainfo.check());

  const metadata::PushId mark = metadata_.new_mark();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto arrived = co_await metadata_.arrive(digest, mark);
    if (!arrived && arrived.error().code == Code::kOutcomeUnknown) continue;
    if (!arrived) co_return std::unexpected(std::move(arrived).error());
    // From here on files may appear under blobs/: a scrub that finds one sees the mark.
    std::vector<metadata::Holder> have;
    if (arrived->readable()) {
      KR_CO_TRY(have, co_await who_has(digest, arrived->holders));
      if (have.size() >= write_quorum()) co_return true;
    }
    KR_CO_TRY(auto holders, co_await place_quorum(session, digest, std::move(have)));
    metadata::state::Commit command{.digest = digest, .push = mark, .generation = arrived->generation, .holders = holders,
                                    .metainfo = metainfo, .owners = static_cast<std::uint32_t>(owners_count()),
                                    .write_back = std::nullopt};
    auto committed = co_await metadata_.commit(std::move(command));
    if (committed) {
      metainfo_cache_.put(std::move(committed->metainfo));
      seconds.observe(std::chrono::duration<double>(system_clock().monotonic() - began).count());
      co_return false;
    }
    // Refused, or nobody knows: Arrive again says how things stand, and who holds the bytes by now.
    if (committed.error().code != Code::kConflict && committed.error().code != Code::kOutcomeUnknown) {
      co_return std::unexpected(std::move(committed).error());
    }
    log::debug("blobs.commit_again", "digest={} why={}", digest.str(), committed.error().to_string());
  }
  co_return fail(Code::kUnavailable, "blob {}: its record kept changing while it was pushed; push again", digest.str());
}

net::Task<std::vector<metadata::Holder>> Service::Impl::who_has(Digest digest, std::vector<metadata::Holder> holders) {
  struct Asking {
    std::mutex mutex;
    std::vector<metadata::Holder> have;
    net::Latch latch;
    explicit Asking(std::size_t count) : latch(count) {}
  };
  auto asking = std::make_shared<Asking>(holders.size());
  static constexpr auto kAsk = [](std::shared_ptr<Impl> impl, std::shared_ptr<Asking> to, metadata::Holder holder,
                                  Digest what) -> net::Task<void> {
    Result<Held> held = fail(Code::kNotFound, "");
    if (holder.label == impl->options_.self) {
      held = co_await impl->file_pool_.run([impl, what]() -> Result<Held> {
        KR_TRY(const std::uint64_t bytes, impl->store_.size_of(what));
        return Held{.store = impl->store_.id(), .bytes = bytes};
      });
    } else {
      held = co_await net::with_deadline(impl->options_.have_timeout, impl->peers_.have(holder.label, what));
    }
    if (held && held->store == holder.store && !holder.suspect) {
      const std::scoped_lock lock(to->mutex);
      to->have.push_back(std::move(holder));
    }
    to->latch.count_down();
    co_return Result<>();
  };
  for (const metadata::Holder& holder : holders) {
    scope().spawn("blobs.have", kAsk(shared_from_this(), asking, holder, digest));
  }
  auto waited = co_await asking->latch.wait(options_.have_timeout + std::chrono::seconds(1));
  if (!waited && waited.error().code == Code::kCancelled) co_return std::unexpected(std::move(waited).error());
  const std::scoped_lock lock(asking->mutex);
  co_return asking->have;
}

net::Task<std::vector<metadata::Holder>> Service::Impl::place_quorum(std::shared_ptr<Session> session, Digest digest,
                                                                     std::vector<metadata::Holder> have) {
  const auto ring = ring_.get();
  std::vector<std::string> order = ring->order(digest.shard_id());
  const std::size_t owners = std::min(options_.max_replica, order.size());
  const std::size_t quorum = owners / 2 + 1;
  const auto has = [&](const std::string& label) { return std::ranges::find(have, label, &metadata::Holder::label) != have.end(); };
  const auto lacking = static_cast<std::size_t>(std::count_if(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(owners), std::not_fn(has)));
  std::erase_if(order, has);
  auto placing = std::make_shared<Placing>();
  placing->placed = std::move(have);
  Placers placers(shared_from_this(), placing, session, digest, std::move(order));
  const MonotonicTime began = system_clock().monotonic();
  {
    const std::scoped_lock lock(placing->mutex);
    placers.launch(lacking);
  }
  std::optional<MonotonicTime> again_at;
  std::optional<MonotonicTime> enough_at;
  for (;;) {
    const std::uint64_t seen = placing->changed.version();
    Duration wait = std::chrono::minutes(1);
    {
      const std::scoped_lock lock(placing->mutex);
      const MonotonicTime now = system_clock().monotonic();
      if (again_at && now >= *again_at) {
        again_at.reset();
        placers.ask_again(quorum);
      }
      placers.replace_failed(quorum);
      if (placing->placed.size() >= quorum) {
        if (!enough_at) enough_at = now;
        const Duration grace = std::max(options_.place_grace, (*enough_at - began) / 2);
        wait = *enough_at + grace - now;
        if (placing->running == 0 || wait <= Duration::zero()) co_return placing->placed;
      } else if (placing->running == 0 && now - began < options_.place_patience && placers.may_ask_again()) {
        if (!again_at) again_at = now + kAskAgain;
        wait = *again_at - now;
      } else if (placing->running == 0) {
        Error error = too_few(digest, placing->placed.size(), quorum, placing->errors);
        co_return std::unexpected(std::move(error));
      }
    }
    auto waited = co_await placing->changed.wait(seen, wait);
    if (!waited && waited.error().code == Code::kCancelled) co_return std::unexpected(std::move(waited).error());
  }
}

net::Task<StoreId> Service::Impl::place_on(std::string label, std::shared_ptr<Session> session, Digest digest) {
  std::shared_ptr<blob::Upload> upload = session->upload;
  if (label == options_.self) {
    KR_CO_TRY(auto guard, co_await locks_.acquire(digest, kLockTimeout));
    KR_CO_CHECK(co_await file_pool_.run([upload] { return upload->place(); }));
    co_return store_.id();
  }
  for (const auto& follower : session->followers) {
    if (follower->label != label) continue;
    while (!follower->ended) {
      const std::uint64_t seen = follower->ended_event.version();
      if (follower->ended) break;
      auto waited = co_await follower->ended_event.wait(seen, std::chrono::minutes(1));
      if (!waited && waited.error().code == Code::kCancelled) co_return std::unexpected(std::move(waited).error());
    }
    if (!follower->result) break;
    auto placed = co_await peers_.place(label, follower->transfer, digest);
    follower->placed = placed.has_value();
    if (placed) co_return placed;
    break;  // it may have lost the bytes by a restart: once more, from here
  }
  Body body{.bytes = upload->bytes(), .fd = upload->fd(), .reader = {}};
  auto placed = co_await peers_.put(label, new_name(), digest, std::move(body));
  co_return placed;
}

}  // namespace kraken::blobs
