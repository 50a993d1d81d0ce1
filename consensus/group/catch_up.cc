// Where a group's log begins, and those who are behind it: compaction, log reads for slow followers, snapshots.

#include "consensus/group/engine.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/base/rng.h"

namespace kraken::group {
namespace {

constexpr std::uint64_t kEntryOverhead = 64;
constexpr int kPinsPatience = 15;  // a snapshot that moves on may take so many times what one that does not is given

}  // namespace

std::uint64_t Engine::keep_bytes() const {
  const Limits& limits = options_.limits;
  if (!logs_too_large_) return limits.log_keep_bytes;
  const auto local = static_cast<std::uint64_t>(std::ranges::count_if(groups_, [](const auto& group) { return group != nullptr; }));
  return std::min(limits.log_keep_bytes, limits.log_max_node_bytes / 2 / std::max<std::uint64_t>(local, 1));
}

/// All logs of this node together, as they are once what was asked for has been dropped.
void Engine::compact_all() {
  std::uint64_t bytes = 0;
  for (const auto& group : groups_)
    if (group) bytes += group->log_bytes;
  // Down to half, so that it does not come and go with each entry.
  logs_too_large_ = bytes > (logs_too_large_ ? options_.limits.log_max_node_bytes / 2 : options_.limits.log_max_node_bytes);
  for (const auto& group : groups_)
    if (group) compact(*group);
}

raft::Index Engine::compaction_target(const Group& group) const {
  const Limits& limits = options_.limits;
  const std::uint64_t keep = keep_bytes();
  const raft::Index last = group.first + group.sizes.size();  // one behind
  // From the back: how many entries the limits keep.
  std::uint64_t kept = 0, bytes = 0;
  for (auto size = group.sizes.rbegin(); size != group.sizes.rend() && kept < limits.log_keep_entries; ++size) {
    bytes += *size + kEntryOverhead;
    if (bytes > keep) break;
    ++kept;
  }
  // Never what the store has not seen the effect of.
  raft::Index target = std::min({last - kept - 1, group.applied, applier_->stored(group.shard)});
  const bool wait_for_all = group.log_bytes < limits.log_max_bytes && !logs_too_large_;
  for (const raft::Core::Peer& peer : group.core.peers()) {
    const bool answers = now_ - peer.last_contact < 4 * options_.timings.election_max;
    if (peer.state == raft::Core::Peer::State::kSnapshot) continue;  // its pin counts
    if (answers || wait_for_all) target = std::min(target, peer.match);
  }
  for (const Group::Pin& pin : group.pins) target = std::min(target, pin.meta.index);
  return target;
}

void Engine::compact(Group& group) {
  std::erase_if(group.pins, [&](const Group::Pin& pin) {
    bool wanted = now_ < pin.until && snapshots_->idle(pin.snap_id) < options_.timings.snapshot;
    for (const raft::Core::Peer& peer : group.core.peers())
      if (peer.id == pin.peer && (peer.state == raft::Core::Peer::State::kReplicate || peer.match >= pin.meta.index)) wanted = false;
    if (!group.core.view().is_leader) wanted = false;
    if (!wanted) snapshots_->withdraw(pin.snap_id);
    return !wanted;
  });
  const Limits& limits = options_.limits;
  const std::uint64_t keep = keep_bytes();
  // A quarter of slack, so that a range is dropped now and then and not with each entry.
  if (group.compacting || (group.sizes.size() <= limits.log_keep_entries + limits.log_keep_entries / 4 &&
                           group.log_bytes <= keep + keep / 4))
    return;
  const raft::Index target = compaction_target(group);
  const auto term = group.core.term_at(target);
  if (target < group.first || !term) return;
  const raft::Index first = target + 1;
  group.compacting = true;
  const raft::SnapMeta meta{.index = target, .term = *term, .conf = group.core.conf_at(target), .snap_id = 0};
  writer_->compact({.shard = group.shard, .first = first, .meta = meta}, [this, shard = group.shard, self = group.core.self(), first] {
    post([this, shard, self, first] {
      Group* still = same(shard, self);
      if (!still || stopped_) return;
      Group& group = *still;
      group.compacting = false;
      if (first <= group.first) return;
      while (group.first < first && !group.sizes.empty()) {
        group.log_bytes -= group.sizes.front() + kEntryOverhead;
        group.sizes.pop_front();
        group.first = group.first + 1;
      }
      step(group, raft::in::Compacted{first});
    });
  });
}

void Engine::fetch(Group& group, const raft::Output::Fetch& wanted) {
  const auto read = [this, shard = group.shard, self = group.core.self(), wanted] {
    auto entries = read_entries(store_, shard, wanted.lo, wanted.hi - 1, wanted.max_bytes);
    if (!entries) {
      log::warn("raft.fetch", "shard={} index={} error=\"{}\"", shard.value(), raft::raw(wanted.lo), entries.error().to_string());
      entries.emplace();
    }
    post([this, shard, self, peer = wanted.peer, found = std::move(*entries)]() mutable {
      if (Group* still = same(shard, self); still && !stopped_) step(*still, raft::in::Fetched{.for_peer = peer, .entries = std::move(found)});
    });
  };
  if (readers_->post(read)) return;
  post([this, shard = group.shard, self = group.core.self(), peer = wanted.peer] {
    if (Group* still = same(shard, self); still && !stopped_) step(*still, raft::in::Fetched{.for_peer = peer, .entries = {}});
  });
}

void Engine::offer_snapshot(Group& group, raft::ReplicaId peer) {
  if (stopped_) return;
  raft::in::SnapReady ready{.for_peer = peer, .meta = {}, .ok = false};
  // The same again, if the follower could not finish it: it goes on where it was.
  for (const Group::Pin& pin : group.pins) {
    if (pin.peer != peer || now_ >= pin.until || pin.meta.index + 1 < group.first || snapshots_->idle(pin.snap_id) >= options_.timings.snapshot) continue;
    ready.ok = true;
    ready.meta = pin.meta;
    return step(group, std::move(ready));
  }
  applier_->flush();
  auto view = store_.snapshot();
  const auto applied = load_applied(*view, group.shard);
  if (applied && applied->index >= group.first - 1 && applied->index <= group.core.view().commit) {
    ready.ok = true;
    ready.meta = {.index = applied->index, .term = applied->term, .conf = group.core.conf_at(applied->index),
                  .snap_id = random_seed() | 1};
    log::info("raft.snapshot_offer", "shard={} index={} peer={}", group.shard.value(), raft::raw(applied->index), raft::raw(peer));
    std::erase_if(group.pins, [&](const Group::Pin& pin) {
      if (pin.peer != peer) return false;
      snapshots_->withdraw(pin.snap_id);
      return true;
    });
    snapshots_->offer(group.shard, ready.meta, std::move(view));
    group.pins.push_back({.snap_id = ready.meta.snap_id, .peer = peer, .meta = ready.meta, .until = now_ + kPinsPatience * options_.timings.snapshot});
  }
  step(group, std::move(ready));
}

void Engine::install(Group& group, raft::Output::Install wanted) {
  const ShardId shard = group.shard;
  const raft::SnapMeta meta = wanted.meta;
  const auto peer = peer_of(wanted.from);
  if (!peer || *peer == self_) {
    post([this, shard, meta] { installed(shard, meta, false); });
    return;
  }
  log::info("raft.snapshot_install", "shard={} index={} from={}", shard.value(), raft::raw(meta.index), members_[*peer].label);
  // The chain keeps the order: rows arrive beside the store, what was to be applied before is applied, what was to be written
  // before is durable, then the one atomic step, then sessions and observers read the new state.
  snapshots_->fetch({.shard = shard, .meta = meta, .from = transport_->address(*peer), .hello = hello(*peer, Hello::Purpose::kSnapshot)},
                    [this, shard, meta, alive = group.alive](Result<std::unique_ptr<kv::ShardImport>> received) {
    if (!received) {
      post([this, shard, meta] { installed(shard, meta, false); });
      return;
    }
    applier_->run([this, shard, meta, alive, import = std::move(*received)]() mutable {
      writer_->run([this, shard, meta, alive, ready = std::move(import)] {
        // Destroyed meanwhile: what erases its rows comes behind this job.
        if (!*alive) return snapshots_->forget(shard, meta.snap_id);
        // What came meanwhile by other ways must not go back.
        const raft::Index has = applier_->applied(shard);
        const auto committed = has >= meta.index
                                   ? fail(Code::kConflict, "the shard has applied {} meanwhile", raft::raw(has))
                                   : ready->commit(install_rows(shard, meta));
        snapshots_->forget(shard, meta.snap_id);
        if (!committed) {
          log::warn("raft.snapshot_failed", "shard={} error=\"{}\"", shard.value(), committed.error().to_string());
          post([this, shard, meta] { installed(shard, meta, false); });
          return;
        }
        applier_->restore(shard, [this, shard, meta] { post([this, shard, meta] { installed(shard, meta, true); }); });
      });
    });
  });
}

void Engine::installed(ShardId shard, const raft::SnapMeta& meta, bool ok) {
  Group* group = group_of(shard);
  if (!group || stopped_) return;
  if (ok) {
    group->first = meta.index + 1;
    group->sizes.clear();
    group->log_bytes = 0;
    group->applied = std::max(group->applied, meta.index);
    // The rows are the sender's now.
    group->votes.clear();
    group->told.clear();
    group->differences = 0;
    lift_fence(*group, "it has taken over a snapshot");
    if (group->fenced.empty()) set_local(shard, true);
    release_reads(*group);
  }
  step(*group, raft::in::SnapInstalled{.meta = meta, .ok = ok});
}

}  // namespace kraken::group
