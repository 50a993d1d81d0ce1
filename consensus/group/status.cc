// How the groups are, for the operator.

#include <algorithm>

#include "consensus/group/engine.h"
#include "consensus/raft/quorum.h"


namespace kraken::group {

ShardStatus Engine::status(ShardId shard) const {
  ShardStatus status{.shard = shard, .leader = {}, .voters = voter_labels(shard)};
  const Group* group = group_of(shard);
  if (!group) {
    const std::size_t hint = shard.value() < clients_.size() ? clients_[shard.value()].hint : kNobody;
    if (hint != kNobody) status.leader = members_[hint].label;
    return status;
  }
  const auto view = group->core.view();
  status.local = true;
  status.is_leader = view.is_leader;
  status.serving = view.serving;
  if (view.leader) status.leader = label_of(*view.leader);
  const raft::ConfState& conf = group->core.conf();
  status.voters.clear();
  for (const raft::ReplicaId id : conf.voters) status.voters.push_back(label_of(id));
  for (const raft::ReplicaId id : conf.learners) status.learners.push_back(label_of(id));
  // As the ring ranks them, as far as it does.
  const std::vector<std::string> ranked = voter_labels(shard);
  std::ranges::sort(status.voters, {}, [&](const std::string& label) { return std::pair(std::ranges::find(ranked, label) - ranked.begin(), label); });
  if (view.is_leader) {
    const auto joined = [&](const std::vector<std::uint32_t>& numbers) {
      std::string out;
      for (const std::uint32_t number : numbers) out += (out.empty() ? "" : ", ") + label_of(number);
      return out;
    };
    status.move = {.phase = group->move.phase, .to = joined(group->move.adding), .from = joined(group->move.removing),
                   .behind = group->move.behind, .percent = group->move.percent};
  }
  status.term = raft::raw(view.term);
  status.first = raft::raw(view.first);
  status.last = raft::raw(view.last);
  status.commit = raft::raw(view.commit);
  status.applied = raft::raw(group->applied);
  status.log_bytes = group->log_bytes;
  status.fenced = group->fenced;
  const auto [digest_index, digest] = applier_->digest(shard);
  status.digest_index = raft::raw(digest_index);
  if (digest.known()) status.digest = digest.hex();
  status.now = applier_->now(shard);
  status.leader_heard = age_of(*group);
  return status;
}

std::vector<PeerStatus> Engine::peer_status() const {
  std::vector<PeerStatus> all;
  for (std::size_t peer = 0; peer < members_.size(); ++peer) {
    if (peer == self_) continue;
    const MonotonicTime heard = transport_->heard(peer);
    all.push_back({.label = members_[peer].label,
                   .up = transport_->up_both(peer),
                   .heard = heard == MonotonicTime::min() ? Duration::max() : clock_.monotonic() - heard,
                   .refused = transport_->refused(peer)});
  }
  return all;
}

std::vector<std::string> Engine::voter_labels(ShardId shard) const {
  std::vector<std::string> labels;
  if (!system_ || targets_.empty()) return labels;
  for (const std::uint32_t number : targets_[shard.value()].voters) labels.push_back(label_of(number));
  return labels;
}

std::string Engine::refusal() const {
  for (std::size_t peer = 0; peer < members_.size(); ++peer)
    if (peer != self_ && !transport_->refused(peer).empty()) return transport_->refused(peer);
  return {};
}

std::string Engine::not_ready() const {
  if (!system_) {
    std::string missing;
    for (std::size_t peer = 0; peer < members_.size(); ++peer)
      if (peer != self_ && !transport_->up_both(peer)) missing += (missing.empty() ? "" : ", ") + members_[peer].label;
    if (std::string why = refusal(); !why.empty()) return why;
    if (must_join_) return "a cluster exists already: this node waits until its ring has this node";
    return missing.empty() ? "the cluster is forming" : "the cluster forms once these nodes have been reached: " + missing;
  }
  if (const RingNode* own = system_->member(self_member_); !own || own->state == NodeState::kDead) return membership().standing;
  for (const auto& group : groups_) {
    if (!group) continue;
    // A replica on its way here, or from here, is not waited for; group 0 is, since it says where everything is.
    if (group->shard != kSystemShard && !raft::contains(group->core.conf().voters, group->core.self())) continue;
    if (!group->fenced.empty()) continue;  // others serve it; if none does, no other shard shall suffer
    if (group->stopped) return fmt::format("shard {} has stopped: its state differs from its leader's", group->shard.value());
    const auto view = group->core.view();
    // A change of leaders, as each move and each restart brings, is over in a moment, and requests wait for it.
    if (group->caught_up && !view.serving && (!view.leader || view.is_leader) && clock_.monotonic() - group->led < 2 * options_.timings.election_max) continue;
    if (!view.leader) {
      std::string why = refusal();
      return why.empty() ? fmt::format("shard {} has no leader", group->shard.value()) : why;
    }
    if (!group->caught_up && group->applied < view.commit)
      return fmt::format("shard {} has applied {} of {}", group->shard.value(), raft::raw(group->applied), raft::raw(view.commit));
    if (view.is_leader && !view.serving) return fmt::format("shard {} has a new leader", group->shard.value());
  }
  return {};
}

}  // namespace kraken::group
