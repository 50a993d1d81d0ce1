#include "tests/sim/whole/membership.h"

#include <algorithm>

#include <fmt/format.h>

#include "consensus/raft/quorum.h"
#include "src/ring/hrw.h"

namespace kraken::sim::whole {

using raft::raw;

namespace {

// A proposal may wait so long for a quorum after whoever wished for it has changed their mind.
constexpr Time kWishLife = ms(30'000);

}  // namespace

std::string label_of(size_t node) { return fmt::format("node{}", node); }
size_t node_of(std::string_view label) { return std::stoul(std::string(label.substr(4))); }

std::vector<std::string> hrw(std::span<const group::Member> members, std::string_view key) {
  std::vector<ring::Node> nodes;
  for (const group::Member& m : members) nodes.push_back({m.label, m.weight});
  std::vector<std::string> labels;
  for (const size_t i : ring::order(nodes, key)) labels.push_back(nodes[i].label);
  return labels;
}

WishNode wish_of(size_t node, double weight) { return {.label = label_of(node), .host = label_of(node), .port = 14001, .weight = weight}; }

void Directory::lost(const Incarnation& incarnation) {
  for (auto& [number, member] : members_)
    if (member.incarnation == incarnation) member.gone = true;
  for (auto& replicas : replicas_)
    for (auto& [id, replica] : replicas)
      if (replica.incarnation == incarnation) replica.gone = true;
}

Directory::Replica* Directory::find(ShardId shard, ReplicaId id) {
  auto& replicas = replicas_[shard.value()];
  if (const auto found = replicas.find(id); found != replicas.end()) return &found->second;
  const auto member = members_.find(raft::member_of(id));
  if (member == members_.end()) return nullptr;
  return &replicas.emplace(id, member->second).first->second;
}

void Membership::take(SystemState state) {
  state_ = std::move(state);
  for (const group::RingNode& row : state_.nodes) directory_.member(row.member, node_of(row.label), row.incarnation);
}

void Membership::formed(SystemState state, const std::vector<ConfState>& confs, Index at) {
  take(std::move(state));
  for (size_t g = 0; g < confs.size(); g++) {
    shards_[g].confs.emplace(at, confs[g]);
    for (const ReplicaId id : raft::members(confs[g])) shards_[g].named.emplace(id, at);
  }
}

void Membership::started_with(size_t node, const std::vector<WishNode>& wish) {
  auto& all = wishes_[node];
  if (!all.empty() && !all.back().to) all.back().to = events_.now();
  if (!wish.empty()) all.push_back({.hash = group::hash_of(wish), .from = events_.now(), .to = std::nullopt});
}

void Membership::committed(const group::SystemCommand& command, SystemState after) {
  if (after.revision == state_.revision) return;
  if (const auto* adopt = std::get_if<group::AdoptRing>(&command)) check_adoption(*adopt, after);
  if (const auto* satisfied = std::get_if<group::Satisfied>(&command)) {
    const ConfState& is = conf(satisfied->shard);
    std::vector<uint32_t> have, want = target(satisfied->shard).voters;
    for (const ReplicaId id : is.voters) have.push_back(raft::member_of(id));
    std::ranges::sort(have);
    std::ranges::sort(want);
    if (is.joint() || !is.learners.empty() || have != want)
      violated("19 rings", fmt::format("shard {} is said to be where the ring of epoch {} wants it, and is not", satisfied->shard.value(), satisfied->epoch));
  }
  take(std::move(after));
}

void Membership::check_adoption(const group::AdoptRing& command, const SystemState& after) const {
  if (!command.force && !state_.settled()) violated("19 rings", fmt::format("the ring of epoch {} is adopted before that of {} is satisfied", after.epoch, state_.epoch));
  const auto now = after.ring();
  const uint64_t hash = group::hash_of(now);
  size_t wished = 0, left = 0;
  for (const WishNode& node : now) {
    const auto had = wishes_.find(node_of(node.label));
    if (had == wishes_.end()) continue;
    if (std::ranges::any_of(had->second, [&](const Wish& w) { return w.hash == hash && (!w.to || *w.to + kWishLife >= events_.now()); })) wished++;
  }
  if (wished * 2 <= now.size()) violated("19 rings", fmt::format("the ring of epoch {} is adopted, which {} of its {} nodes wish for", after.epoch, wished, now.size()));
  for (const WishNode& node : state_.ring())
    if (!after.active(node.label)) left++;
  if (left > 1 && !command.force) violated("19 rings", fmt::format("{} nodes leave with the ring of epoch {}", left, after.epoch));
}

void Membership::committed(ShardId shard, Index index, const ConfState& conf) {
  Shard& s = shards_[shard.value()];
  changes_++;
  if (conf.placement_epoch < s.confs.rbegin()->second.placement_epoch) violated("10 configurations", "the placement epoch goes back");
  if (conf.next_replica < s.confs.rbegin()->second.next_replica) violated("11 replica ids", "what was given may be given again");
  const ConfState& before = s.confs.rbegin()->second;
  for (const ReplicaId id : raft::members(conf)) {
    if (raft::contains(raft::members(before), id)) continue;
    if (!s.named.emplace(id, index).second) violated("11 replica ids", fmt::format("replica {} of shard {} is there again", raw(id), shard.value()));
  }
  s.confs.emplace(index, conf);
}

void Membership::promoted(ShardId shard, const ConfState& before, const ConfState& after, const std::function<Index(ReplicaId)>& durable_to) const {
  const Shard& s = shards_[shard.value()];
  for (const ReplicaId id : after.voters) {
    if (raft::is_voter(before, id)) continue;
    const auto named = s.named.find(id);
    if (named == s.named.end() || durable_to(id) < named->second)
      violated("10 configurations", fmt::format("replica {} of shard {} is to vote and has not caught up with the entry that added it", raw(id), shard.value()));
  }
}

void Membership::destroyed(ShardId shard, ReplicaId id) const {
  if (raft::contains(raft::members(conf(shard)), id))
    violated("11 replica ids", fmt::format("replica {} of shard {} is destroyed, and the last committed configuration has it", raw(id), shard.value()));
}

void Membership::snapshot(ShardId shard, Index index, const ConfState& conf) const {
  const auto& confs = shards_[shard.value()].confs;
  const auto after = confs.upper_bound(index);
  if (after == confs.begin() || std::prev(after)->second != conf)
    violated("12 snapshots", fmt::format("a snapshot at {} of shard {} carries a configuration that is not the one committed there", raw(index), shard.value()));
}

}  // namespace kraken::sim::whole
