#include "src/tasks/repair.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/net/deadline.h"
#include "src/tasks/repair_impl.h"

namespace kraken::tasks {
namespace {

constexpr Duration kRateWindow = std::chrono::seconds(30);
constexpr Duration kProbeTimeout = std::chrono::seconds(3);

/// Rises across restarts, so that what a caller remembers of an earlier process is in the past.
std::uint64_t first_number() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(system_clock().wall().time_since_epoch()).count());
}

metrics::Gauge& gauge(const char* name, const char* help) { return metrics::gauge(name, help); }

}  // namespace

Repair::Impl::Impl(RepairOptions options_, metadata::Client& metadata_, blobs::Service& blobs_, net::Loop& loop_, Satisfied satisfied_)
    : options(options_),
      metadata(metadata_),
      blobs(blobs_),
      loop(loop_),
      satisfied(std::move(satisfied_)),
      requests(first_number()),
      events_next(first_number()),
      scope(loop_.executor()) {}

blobs::LiveStores Repair::Impl::live() const {
  blobs::LiveStores answering;
  for (const auto& [label, store] : stores) {
    if (store) answering.emplace(label, *store);
  }
  return answering;
}

void Repair::Impl::want(Led& shard, Duration in) {
  shard.next_at = std::min(shard.next_at, now() + in);
  if (shard.busy()) shard.again = true;
}

void Repair::Impl::want_all(Duration in) {
  for (auto& [shard, state] : led) want(*state, in);
  event.notify();
}

net::Task<void> Repair::Impl::run() {
  auto self = shared_from_this();
  KR_CO_CHECK(co_await probe());
  probe_at = now() + options.probe_interval;
  for (;;) {
    const std::uint64_t seen = event.version();
    if (now() >= probe_at) {
      KR_CO_CHECK(co_await probe());
      probe_at = now() + options.probe_interval;
    }
    MonotonicTime next = probe_at;
    std::pair<ShardId, std::shared_ptr<Led>> due;
    for (const auto& [shard, state] : led) {
      if (state->busy()) continue;
      if (state->next_at <= now() && (!due.second || state->next_at < due.second->next_at)) due = {shard, state};
      next = std::min(next, state->next_at);
    }
    if (due.second) {
      auto done = co_await walk(due.first, due.second);
      if (!done && done.error().code == Code::kCancelled) co_return done;
      continue;
    }
    auto waited = co_await event.wait(seen, std::max<Duration>(next - now(), std::chrono::milliseconds(5)));
    if (!waited && waited.error().code == Code::kCancelled) co_return waited;
  }
}

net::Task<StoreId> Repair::Impl::store_of(std::string label) {
  if (label == blobs.self()) co_return blobs.store_id();
  auto id = co_await net::with_deadline(kProbeTimeout, blobs.peers().store_id(std::move(label)));
  co_return id;
}

void Repair::Impl::heard(const std::string& label, std::optional<StoreId> id) {
  const std::optional<StoreId> before = std::exchange(stores[label], id);
  if (!id || before == id) return;
  const auto [last, is_first] = last_stores.try_emplace(label, *id);
  const bool is_other = last->second != *id;
  if (is_other) log::warn("repair.other_store", "node={} before={} now={}", label, last->second.str(), id->str());
  last->second = *id;
  for (auto& [shard, state] : led) {
    // Another store, or one that was not known: any record may be of it. Else only what waited for this node.
    if (is_first || is_other || (state->last && state->last->waits_for.contains(label))) want(*state, options.settle);
  }
  event.notify();
}

net::Task<void> Repair::Impl::probe_one(std::string label, std::shared_ptr<net::Latch> asked) {
  auto self = shared_from_this();
  auto id = co_await store_of(label);
  heard(label, id ? std::optional(*id) : std::nullopt);
  asked->count_down();
  co_return Result<>();
}

net::Task<void> Repair::Impl::probe() {
  const auto ring = blobs.ring();
  std::set<std::string> labels = strangers;
  for (const ring::Member& member : ring->members()) labels.insert(member.label);
  std::erase_if(stores, [&](const auto& entry) { return !labels.contains(entry.first); });
  // All at once: a host that swallows packets costs every other one its time otherwise.
  auto asked = std::make_shared<net::Latch>(labels.size());
  for (const std::string& label : labels) scope.spawn("repair.probe", probe_one(label, asked));
  auto waited = co_await asked->wait(2 * kProbeTimeout);
  if (!waited && waited.error().code == Code::kCancelled) co_return waited;
  publish();
  co_return Result<>();
}

net::Task<void> Repair::Impl::records(ShardId shard, std::shared_ptr<const ring::Ring> ring, Each each) {
  const auto in_ring = [&ring](const std::string& label) { return ring->find(label) != nullptr; };
  metadata::state::ListBlobs query{.after = std::nullopt, .limit = options.page};
  for (;;) {
    KR_CO_TRY(const auto page, co_await metadata.list_blobs(shard, query));
    const blobs::LiveStores answering = live();
    for (const metadata::state::NamedBlob& record : page.blobs) {
      for (const metadata::Holder& holder : record.row.holders) {
        if (!in_ring(holder.label) && strangers.size() < 256) strangers.insert(holder.label);
      }
      const std::vector<std::string> owners = ring->owners(record.digest, blobs.max_replica());
      const blobs::Plan plan = blobs::plan(record.row, owners, in_ring, answering);
      if (!each(record.digest, record.row, owners, plan)) co_return Result<>();
    }
    if (!page.more || page.blobs.empty()) co_return Result<>();
    query.after = page.blobs.back().digest;
    KR_CO_CHECK(co_await net::sleep_for(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(
        static_cast<double>(page.blobs.size()) / std::max<std::uint32_t>(options.records_per_second, 1)))));
  }
}

net::Task<void> Repair::Impl::walk(ShardId shard, std::shared_ptr<Led> state) {
  state->walking = true;
  state->again = false;
  state->failed = false;
  const auto ring = blobs.ring();
  Walk found;
  found.epoch = ring->epoch();
  found.request = requests.load();
  const std::size_t strangers_before = strangers.size();
  auto* to = state.get();
  auto* walk = &found;
  Each each = [this, to, walk](const Digest& digest, const metadata::BlobRow& row, const std::vector<std::string>& owners,
                               const blobs::Plan& plan) {
    if (plan.satisfied()) return true;
    ++walk->open;
    std::set<std::string> labels(owners.begin(), owners.end());
    for (const metadata::Holder& holder : row.holders) labels.insert(holder.label);
    for (const std::string& label : labels) ++walk->open_of[label];
    walk->waits_for.insert(plan.waits_for.begin(), plan.waits_for.end());
    if (plan.good == 0) ++walk->without_copy;
    // Without anybody to copy from only a node that comes back, or a push, helps.
    if (plan.idle() || (plan.good == 0 && plan.lost.empty())) return true;
    const Todo todo{.digest = digest, .copies = plan.copy.size(), .bytes = plan.copy.size() * row.size, .let_go = plan.let_go.size()};
    walk->copies += todo.copies;
    walk->bytes += todo.bytes;
    walk->let_go += todo.let_go;
    if (to->queue.size() < options.queue_max) to->queue.push_back(todo);
    return true;
  };
  auto done = co_await records(shard, ring, std::move(each));
  state->walking = false;
  if (!done) {
    log::debug("repair.walk_failed", "shard={} error={}", shard.value(), done.error().to_string());
    state->queue.clear();
  }
  if (strangers.size() != strangers_before) {
    state->again = true;  // after they were asked
    probe_at = MonotonicTime{};
  }
  const bool satisfied_now = walked(shard, *state, std::move(found), done.has_value());
  dispatch();
  publish();
  if (satisfied_now && satisfied && state->reported != ring->epoch()) {
    auto told = co_await satisfied(shard, ring->epoch());
    if (told) {
      state->reported = ring->epoch();
    } else {
      want(*state, options.backoff_max);
    }
  }
  co_return done;
}

bool Repair::Impl::walked(ShardId shard, Led& state, Walk found, bool whole) {
  if (!whole) {
    state.backoff = std::clamp(state.backoff * 2, options.backoff_min, options.backoff_max);
    state.next_at = now() + state.backoff;
    return false;
  }
  state.copies_left = found.copies;
  state.bytes_left = found.bytes;
  state.let_go_left = found.let_go;
  const bool clean = found.open == 0 && !state.again;
  if (found.without_copy > 0) {
    log::error("repair.no_good_copy", "shard={} blobs={} what=\"nobody who answers has them: push them again\"", shard.value(), found.without_copy);
  }
  state.last = std::move(found);
  state.next_at = now() + options.interval;
  worked(state);
  return clean && state.last->epoch == blobs.ring()->epoch();
}

/// The walk's work is done, as far as it could be.
void Repair::Impl::worked(Led& state) {
  if (state.busy()) return;
  if (std::exchange(state.again, false)) {
    state.next_at = std::min(state.next_at, now() + options.backoff_min);
  } else if (state.failed) {
    state.backoff = std::clamp(state.backoff * 2, options.backoff_min, options.backoff_max);
    state.next_at = std::min(state.next_at, now() + state.backoff);
  } else {
    state.backoff = Duration::zero();
  }
}

void Repair::Impl::publish() {
  static metrics::Gauge& copies = gauge("kr_repair_copies_left", "Copies that owners lack, in the shards that this node leads");
  static metrics::Gauge& bytes = gauge("kr_repair_bytes_left", "Their bytes");
  static metrics::Gauge& surplus = gauge("kr_repair_let_go_left", "Surplus copies, in the shards that this node leads");
  static metrics::Gauge& without = gauge("kr_repair_blobs_without_copy", "Records that nobody has a good copy of");
  static metrics::Gauge& rate = gauge("kr_repair_bytes_per_second", "Copied, over the last half minute");
  RepairStatus status;
  status.epoch = blobs.ring()->epoch();
  status.shards_led = led.size();
  std::set<std::string> waits_for;
  for (const auto& [shard, state] : led) {
    status.copies_left += state->copies_left;
    status.bytes_left += state->bytes_left;
    status.let_go_left += state->let_go_left;
    if (!state->last) continue;
    if (state->last->epoch == status.epoch && state->last->open == 0) ++status.shards_satisfied;
    status.without_copy += state->last->without_copy;
    waits_for.insert(state->last->waits_for.begin(), state->last->waits_for.end());
  }
  status.waits_for.assign(waits_for.begin(), waits_for.end());
  for (const auto& [label, store] : stores) {
    if (!store) status.silent.push_back(label);
  }
  status.copies_done = copies_done;
  status.bytes_done = bytes_done;
  status.let_go_done = let_go_done;
  const MonotonicTime time = now();
  while (!recent.empty() && recent.front().first + kRateWindow < time) recent.pop_front();
  std::uint64_t moved = 0;
  for (const auto& entry : recent) moved += entry.second;
  if (!recent.empty()) {
    const Duration over = std::clamp<Duration>(time - recent.front().first, std::chrono::seconds(1), kRateWindow);
    status.bytes_per_second = static_cast<double>(moved) / std::chrono::duration<double>(over).count();
  }
  copies.set(static_cast<double>(status.copies_left));
  bytes.set(static_cast<double>(status.bytes_left));
  surplus.set(static_cast<double>(status.let_go_left));
  without.set(static_cast<double>(status.without_copy));
  rate.set(status.bytes_per_second);
  const std::scoped_lock lock(mutex);
  published = std::move(status);
}

Repair::Repair(RepairOptions options, metadata::Client& metadata, blobs::Service& blobs, net::Loop& loop, Satisfied satisfied)
    : impl_(std::make_shared<Impl>(options, metadata, blobs, loop, std::move(satisfied))) {}

Repair::~Repair() { stop(); }

void Repair::start() { impl_->scope.spawn("repair", impl_->run()); }

void Repair::stop() { impl_->scope.stop_and_wait(); }

void Repair::leadership(metadata::ShardId shard, bool leads) {
  impl_->loop.post([impl = impl_, shard, leads] {
    if (!leads) {
      impl->led.erase(shard);
    } else if (const auto [at, is_new] = impl->led.try_emplace(shard); is_new) {
      at->second = std::make_shared<Impl::Led>();
      at->second->next_at = Impl::now() + impl->options.settle;
    }
    impl->event.notify();
  });
}

void Repair::ring_changed() {
  impl_->loop.post([impl = impl_] {
    impl->strangers.clear();
    impl->want_all(impl->options.settle);
  });
}

std::uint64_t Repair::request() {
  const std::uint64_t number = ++impl_->requests;
  impl_->loop.post([impl = impl_] {
    impl->probe_at = MonotonicTime{};  // whoever went a moment ago is not taken to be there
    for (auto& [shard, state] : impl->led) state->backoff = Duration::zero();
    impl->want_all(Duration::zero());
  });
  return number;
}

RepairStatus Repair::status() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->published;
}

net::Task<RepairProgress> Repair::progress(std::uint64_t request, std::uint64_t after, std::string label, std::size_t limit) {
  return net::on(impl_->loop.executor(), impl_->progress(request, after, std::move(label), limit));
}

net::Task<std::vector<RepairStep>> Repair::preview(std::string label, std::size_t limit) {
  return net::on(impl_->loop.executor(), impl_->preview(std::move(label), limit));
}

}  // namespace kraken::tasks
