// What is looked at now and then: who leads.

#include <algorithm>

#include "consensus/group/engine.h"

#include "src/base/log.h"
#include "src/base/metrics.h"

namespace kraken::group {
namespace {

constexpr Duration kSettled = std::chrono::seconds(3);  // how long a node must have been there to be given leadership
constexpr Duration kReturnPause = std::chrono::seconds(30);
constexpr Duration kHousekeepingBusy = std::chrono::milliseconds(50);
constexpr Duration kHousekeepingIdle = std::chrono::milliseconds(500);

}  // namespace

void Engine::housekeeping() {
  static metrics::Gauge& queue = metrics::gauge("kr_raft_log_queue", "Writes that wait for the log's writer");
  static metrics::Gauge& apply_queue = metrics::gauge("kr_raft_apply_queue", "Jobs that wait for the apply thread");
  static metrics::Gauge& leaders = metrics::gauge("kr_raft_leaders", "Groups this node leads");
  expire();
  move_replicas();
  take_replacements();
  next_housekeeping_ = now_ + (active_.empty() && tries_.empty() ? kHousekeepingIdle : kHousekeepingBusy);
  next_housekeeping_ = std::min(next_housekeeping_, std::max(next_moves_, now_ + kHousekeepingBusy));
  if (now_ < next_disk_look_) return;
  next_disk_look_ = now_ + std::chrono::seconds(1);
  compact_all();
  double led = 0;
  for (const auto& group : groups_) {
    if (group && group->serving) ++led;
  }
  send_reports();
  look_at_adoption();
  rebalance();
  if (now_ >= next_digests_) {
    next_digests_ = now_ + options_.timings.digests;
    say_digests();
  }
  queue.set(static_cast<double>(writer_->queued()));
  apply_queue.set(static_cast<double>(applier_->queued()));
  leaders.set(led);
  watch_space();
}

/// Leadership goes back to the voter that the ring prefers, so that it stays spread after failures; slowly, and only to one
/// that has been there for a while and holds everything that is committed.
void Engine::rebalance() {
  int moves = 16;
  for (const auto& group : groups_) {
    if (!group || !group->serving || sick_ || now_ < group->next_return) continue;
    // Who leads group 0 while another ring is wished for may have been asked to for its sake (Adoption::hand_over_to).
    if (group->shard == kSystemShard && (adopting_ || !adoption_waits_for_.empty())) continue;
    // Only one that votes can lead; while replicas move, nobody is preferred.
    const auto& wanted = targets_[group->shard.value()].voters;
    if (wanted.empty() || group->moving || group->core.conf().joint()) continue;
    const auto& voters = group->core.conf().voters;
    const auto found = std::ranges::find(voters, wanted.front(), [](raft::ReplicaId id) { return raft::member_of(id); });
    if (found == voters.end()) continue;
    const raft::ReplicaId preferred = *found;
    const auto member = peer_of(preferred);
    if (preferred == group->core.self() || !member || !transport_->up_both(*member) || now_ - up_since_[*member] < kSettled || aside_.contains(*member))
      continue;
    const auto view = group->core.view();
    for (const raft::Core::Peer& peer : group->core.peers()) {
      if (peer.id != preferred || !peer.voter || peer.state != raft::Core::Peer::State::kReplicate || peer.match < view.commit) continue;
      // Proposals wait while it is tried: one that does not take over is not asked again soon.
      group->next_return = now_ + kReturnPause;
      step(*group, raft::in::Transfer{preferred});
      --moves;
    }
    if (moves <= 0) return;
  }
}

void Engine::transfer(ShardId shard, const std::string& label) {
  Group* group = group_of(shard);
  if (!group || !group->core.view().is_leader) return;
  std::optional<raft::ReplicaId> best;
  raft::Index match{};
  for (const raft::Core::Peer& peer : group->core.peers()) {
    const auto member = peer_of(peer.id);
    if (!peer.voter || !member || !transport_->up(*member) || aside_.contains(*member)) continue;
    if (!label.empty() && members_[*member].label != label) continue;
    if (best && peer.match <= match) continue;
    best = peer.id;
    match = peer.match;
  }
  if (!best) return;
  step(*group, raft::in::Transfer{*best});
  schedule_turn();
}

}  // namespace kraken::group
