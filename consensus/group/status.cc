// How the groups are, for the operator.

#include "consensus/group/engine.h"


namespace kraken::group {

ShardStatus Engine::status(ShardId shard) const {
  ShardStatus status{.shard = shard, .leader = {}, .voters = voter_labels(shard)};
  const Group* group = group_of(shard);
  if (!group) {
    const std::size_t hint = shard.value() < clients_.size() ? clients_[shard.value()].hint : kNobody;
    if (hint != kNobody) status.leader = options_.members[hint].label;
    return status;
  }
  const auto view = group->core.view();
  status.local = true;
  status.is_leader = view.is_leader;
  status.serving = view.serving;
  if (view.leader)
    if (const auto* row = table_->find(*view.leader)) status.leader = row->label;
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
  for (std::size_t peer = 0; peer < options_.members.size(); ++peer) {
    if (peer == self_) continue;
    const MonotonicTime heard = transport_->heard(peer);
    all.push_back({.label = options_.members[peer].label,
                   .up = transport_->up_both(peer),
                   .heard = heard == MonotonicTime::min() ? Duration::max() : clock_.monotonic() - heard,
                   .refused = transport_->refused(peer)});
  }
  return all;
}

std::vector<std::string> Engine::voter_labels(ShardId shard) const {
  std::vector<std::string> labels;
  if (!table_) return labels;
  for (const raft::ReplicaId replica : voters_[shard.value()]) labels.push_back(table_->find(replica)->label);
  return labels;
}

std::string Engine::refusal() const {
  for (std::size_t peer = 0; peer < options_.members.size(); ++peer)
    if (peer != self_ && !transport_->refused(peer).empty()) return transport_->refused(peer);
  return {};
}

std::string Engine::not_ready() const {
  if (!table_) {
    std::string missing;
    for (std::size_t peer = 0; peer < options_.members.size(); ++peer)
      if (peer != self_ && !transport_->up_both(peer)) missing += (missing.empty() ? "" : ", ") + options_.members[peer].label;
    if (std::string why = refusal(); !why.empty()) return why;
    return missing.empty() ? "the cluster is forming" : "the cluster forms once these nodes have been reached: " + missing;
  }
  for (const auto& group : groups_) {
    if (!group) continue;
    if (!group->fenced.empty()) continue;  // others serve it; if none does, no other shard shall suffer
    if (group->stopped) return fmt::format("shard {} has stopped: its state differs from its leader's", group->shard.value());
    const auto view = group->core.view();
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
