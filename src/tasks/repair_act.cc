#include <algorithm>

#include "src/base/log.h"
#include "src/net/deadline.h"
#include "src/tasks/repair_impl.h"

namespace kraken::tasks {
namespace {

constexpr int kRounds = 5;  // of one record: what one step changes may ask for the next
constexpr Duration kCopyMax = std::chrono::hours(2);

std::vector<std::string> labels_of(const metadata::BlobRow& row, const std::vector<std::string>& owners) {
  std::vector<std::string> labels = owners;
  for (const metadata::Holder& holder : row.holders) {
    if (std::ranges::find(labels, holder.label) == labels.end()) labels.push_back(holder.label);
  }
  return labels;
}

bool is_among(const std::vector<std::string>& labels, const std::string& label) {
  return label.empty() || std::ranges::find(labels, label) != labels.end();
}

}  // namespace

/// Takes from the shards in turn, so that a large one does not hold the others back.
void Repair::Impl::dispatch() {
  for (bool any = true; any && running < options.copies_max;) {
    any = false;
    for (auto& [shard, state] : led) {
      if (state->queue.empty() || state->walking) continue;
      if (running >= options.copies_max) break;
      any = true;
      Todo todo = std::move(state->queue.front());
      state->queue.pop_front();
      ++state->running;
      ++running;
      scope.spawn("repair.act", act(state, std::move(todo)));
    }
  }
}

net::Task<void> Repair::Impl::act(std::shared_ptr<Led> state, Todo todo) {
  auto self = shared_from_this();
  auto done = co_await act_now(todo.digest);
  --running;
  --state->running;
  if (done) {
    state->copies_left -= std::min(state->copies_left, todo.copies);
    state->bytes_left -= std::min(state->bytes_left, todo.bytes);
    state->let_go_left -= std::min(state->let_go_left, todo.let_go);
    state->again = true;  // a walk that finds nothing more is what counts
  } else if (done.error().code != Code::kCancelled) {
    state->failed = true;
    log::info("repair.again", "digest={} error=\"{}\"", todo.digest.str(), done.error().to_string());
  }
  worked(*state);
  dispatch();
  publish();
  event.notify();
  co_return Result<>();
}

net::Task<void> Repair::Impl::act_now(Digest digest) {
  for (int round = 0; round < kRounds; ++round) {
    const auto ring = blobs.ring();
    KR_CO_TRY(const auto found, co_await metadata.get_blob(digest));
    if (!found.row) co_return Result<>();
    const metadata::BlobRow& row = *found.row;
    const std::vector<std::string> owners = ring->owners(digest, blobs.max_replica());
    const std::vector<std::string> labels = labels_of(row, owners);
    const blobs::Plan plan =
        blobs::plan(row, owners, [&ring](const std::string& label) { return ring->find(label) != nullptr; }, live());
    if (plan.idle()) co_return Result<>();
    std::optional<Error> failed;
    for (const metadata::Holder& holder : plan.lost) {
      auto forgotten = co_await forget(digest, holder, owners.size());
      if (!forgotten) failed = std::move(forgotten).error();
    }
    for (const std::string& label : plan.copy) {
      if (plan.good == 0) {
        failed = Error{Code::kUnavailable, fmt::format("blob {}: nobody who answers has a good copy", digest.str())};
        break;
      }
      auto copied = co_await copy(label, digest, row.size);
      if (!copied && copied.error().code == Code::kCancelled) co_return copied;
      if (!copied && copied.error().code == Code::kNotFound) co_return Result<>();  // deleted meanwhile
      note({.number = 0, .origin = label, .digest = digest, .deleted = false, .error = copied ? "" : copied.error().detail, .labels = labels, .at = {}});
      if (!copied) failed = std::move(copied).error().within(label);
    }
    for (const metadata::Holder& holder : plan.let_go) {
      auto left = co_await let_go(holder.label, digest, ring->epoch());
      if (!left && left.error().code == Code::kCancelled) co_return left;
      if (!left && left.error().code == Code::kNotFound) continue;  // it went by another hand
      note({.number = 0, .origin = holder.label, .digest = digest, .deleted = true, .error = left ? "" : left.error().detail, .labels = labels, .at = {}});
      if (!left) failed = std::move(left).error().within(holder.label);
    }
    if (failed) co_return std::unexpected(*std::move(failed));
  }
  co_return fail(Code::kUnavailable, "blob {}: its record kept changing", digest.str());
}

net::Task<void> Repair::Impl::copy(std::string label, Digest digest, std::uint64_t bytes) {
  static metrics::Counter& copies = metrics::counter("kr_repair_copies_total", "Copies made on owners that lacked a blob");
  static metrics::Counter& copied = metrics::counter("kr_repair_copied_bytes_total", "Their bytes");
  if (options.bytes_per_second > 0) {
    const MonotonicTime at = std::max(copy_at, now());
    copy_at = at + std::chrono::duration_cast<Duration>(
                       std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(options.bytes_per_second)));
    if (at > now()) KR_CO_CHECK(co_await net::sleep_for(at - now()));
  }
  const MonotonicTime limit = now() + kCopyMax;
  for (;;) {
    Result<> fetched;
    if (label == blobs.self()) {
      fetched = co_await blobs.ensure_local(digest);
    } else {
      fetched = co_await blobs.peers().fetch(label, digest);
    }
    if (fetched) break;
    if (fetched.error().code != Code::kPending || now() > limit) co_return fetched;
    KR_CO_CHECK(co_await net::sleep_for(std::chrono::milliseconds(200)));
  }
  copies.add();
  copied.add(static_cast<double>(bytes));
  ++copies_done;
  bytes_done += bytes;
  recent.emplace_back(now(), bytes);
  log::info("repair.copied", "digest={} to={} bytes={}", digest.str(), label, bytes);
  co_return Result<>();
}

net::Task<void> Repair::Impl::let_go(std::string label, Digest digest, std::uint64_t epoch) {
  Result<> left;
  if (label == blobs.self()) {
    left = co_await blobs.let_go_here(digest, epoch);
  } else {
    left = co_await blobs.peers().let_go(label, digest, epoch);
  }
  if (left) {
    ++let_go_done;
    log::info("repair.let_go", "digest={} by={}", digest.str(), label);
  }
  co_return left;
}

net::Task<void> Repair::Impl::forget(Digest digest, metadata::Holder holder, std::size_t owners) {
  if (stores.contains(holder.label)) {
    // What the last probe said may be old; an entry that drops a good holder is easier not made than mended.
    auto at = co_await store_of(holder.label);
    if (at) heard(holder.label, *at);  // a record may name a new store before any probe has met it
    if (at && *at == holder.store) co_return Result<>();
  }
  auto lost = co_await metadata.lost(digest, holder.store, static_cast<std::uint32_t>(owners));
  if (lost) log::info("repair.store_lost", "digest={} store={} of={}", digest.str(), holder.store.str(), holder.label);
  if (lost || lost.error().code == Code::kNotFound) co_return Result<>();
  if (lost.error().code != Code::kConflict) co_return std::unexpected(std::move(lost).error());
  // It was the last holder, or is none any more.
  auto marked = co_await metadata.suspect(digest, holder.store);
  if (marked) {
    log::error("repair.last_copy_lost", "digest={} store={} of={} what=\"push it again\"", digest.str(), holder.store.str(), holder.label);
    co_return fail(Code::kUnavailable, "blob {}: its last copy was on {}, whose disk is gone", digest.str(), holder.label);
  }
  if (marked.error().code == Code::kConflict || marked.error().code == Code::kNotFound) co_return Result<>();
  co_return std::unexpected(std::move(marked).error());
}

void Repair::Impl::note(RepairEvent happened) {
  happened.number = ++events_next;
  happened.at = now();
  while (!events.empty() && (events.size() >= options.events_max || events.front().at + options.events_kept < happened.at)) events.pop_front();
  events.push_back(std::move(happened));
}

net::Task<RepairProgress> Repair::Impl::progress(std::uint64_t request, std::uint64_t after, std::string label, std::size_t limit) {
  publish();
  RepairProgress out;
  {
    const std::scoped_lock lock(mutex);
    out.status = published;
  }
  for (const auto& [shard, state] : led) {
    out.led.push_back(shard);
    const bool current = state->last && state->last->request >= request && state->last->epoch == out.status.epoch && !state->busy();
    const std::uint64_t open = !current ? 1 : label.empty() ? state->last->open : state->last->open_of.contains(label) ? 1 : 0;
    if (open > 0) out.pending.push_back(shard);
  }
  out.next = after;
  const MonotonicTime oldest = now() - options.events_kept;
  const auto first = std::ranges::upper_bound(events, after, {}, &RepairEvent::number);
  for (auto at = first; at != events.end(); ++at) {
    if (out.events.size() >= limit) co_return out;
    out.next = at->number;
    if (at->at >= oldest && is_among(at->labels, label)) out.events.push_back(*at);
  }
  co_return out;
}

net::Task<std::vector<RepairStep>> Repair::Impl::preview(std::string label, std::size_t limit) {
  std::vector<RepairStep> steps;
  std::vector<ShardId> shards;
  for (const auto& [shard, state] : led) shards.push_back(shard);
  const auto ring = blobs.ring();
  for (const ShardId shard : shards) {
    auto* to = &steps;
    const auto* wanted = &label;
    Each each = [to, wanted, limit](const Digest& digest, const metadata::BlobRow& row, const std::vector<std::string>& owners,
                                    const blobs::Plan& plan) {
      if (plan.idle() || !is_among(labels_of(row, owners), *wanted)) return true;
      for (const std::string& owner : plan.copy) to->push_back({.digest = digest, .origin = owner, .kind = RepairStep::Kind::kCopy, .bytes = row.size});
      for (const auto& holder : plan.lost) to->push_back({.digest = digest, .origin = holder.label, .kind = RepairStep::Kind::kForget, .bytes = row.size});
      // Before the owners have their copies nothing may go, so the plan does not name these yet.
      for (const auto& holder : row.holders) {
        const bool goes = std::ranges::any_of(plan.let_go, [&](const auto& h) { return h.store == holder.store; }) ||
                          (!plan.copy.empty() && std::ranges::find(owners, holder.label) == owners.end());
        if (goes) to->push_back({.digest = digest, .origin = holder.label, .kind = RepairStep::Kind::kLetGo, .bytes = row.size});
      }
      return to->size() < limit;
    };
    KR_CO_CHECK(co_await records(shard, ring, std::move(each)));
    if (steps.size() >= limit) break;
  }
  co_return steps;
}

}  // namespace kraken::tasks
