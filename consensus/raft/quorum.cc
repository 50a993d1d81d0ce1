#include "consensus/raft/quorum.h"

namespace kraken::raft {
namespace {

std::vector<ReplicaId> sorted(std::vector<ReplicaId> ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

bool distinct(const std::vector<ReplicaId>& ids) {
  const auto s = sorted(ids);
  return std::adjacent_find(s.begin(), s.end()) == s.end() && !contains(ids, ReplicaId{0});
}

}  // namespace

std::vector<ReplicaId> members(const ConfState& conf) {
  std::vector<ReplicaId> all;
  all.reserve(conf.voters.size() + conf.outgoing.size() + conf.learners.size() + conf.learners_next.size());
  for (const auto* list : {&conf.voters, &conf.outgoing, &conf.learners, &conf.learners_next}) all.insert(all.end(), list->begin(), list->end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

bool well_formed(const ConfState& conf) {
  if (conf.voters.empty()) return false;
  for (const auto* list : {&conf.voters, &conf.outgoing, &conf.learners, &conf.learners_next})
    if (!distinct(*list)) return false;
  for (ReplicaId id : conf.learners)
    if (is_voter(conf, id)) return false;
  for (ReplicaId id : conf.learners_next)
    if (!contains(conf.outgoing, id) || contains(conf.voters, id)) return false;
  if (conf.next_replica == 0) return true;
  const auto ids = members(conf);
  return std::all_of(ids.begin(), ids.end(), [&](ReplicaId id) { return sequence_of(id) != 0 && sequence_of(id) < conf.next_replica; });
}

bool allocates_fresh_ids(const ConfState& current, const ConfState& target) {
  if (current.next_replica == 0 || mutant(Mutant::kIdsUnchecked)) return true;
  if (target.next_replica < current.next_replica || target.next_replica > kSequenceMax) return false;
  const auto old = members(current);
  std::vector<uint64_t> fresh;
  for (ReplicaId id : members(target))
    if (!contains(old, id)) fresh.push_back(sequence_of(id));
  std::sort(fresh.begin(), fresh.end());
  return (fresh.empty() || fresh.front() >= current.next_replica) && std::adjacent_find(fresh.begin(), fresh.end()) == fresh.end();
}

ConfState enter(const ConfState& current, const ConfState& target) {
  if (sorted(current.voters) == sorted(target.voters)) return target;
  ConfState next;
  next.voters = target.voters;
  next.outgoing = current.voters;
  next.placement_epoch = target.placement_epoch;
  next.next_replica = target.next_replica;
  for (ReplicaId id : target.learners) (contains(current.voters, id) ? next.learners_next : next.learners).push_back(id);
  return next;
}

ConfState leave(const ConfState& joint) {
  ConfState next;
  next.voters = joint.voters;
  next.learners = joint.learners;
  next.learners.insert(next.learners.end(), joint.learners_next.begin(), joint.learners_next.end());
  next.placement_epoch = joint.placement_epoch;
  next.next_replica = joint.next_replica;
  return next;
}

}  // namespace kraken::raft
