#include "consensus/group/reconcile.h"

#include <algorithm>
#include <optional>

#include "consensus/group/mutants.h"
#include "consensus/raft/quorum.h"

namespace kraken::group {
namespace {

using raft::ReplicaId;

bool has(const std::vector<std::uint32_t>& members, std::uint32_t number) { return std::ranges::find(members, number) != members.end(); }

std::optional<ReplicaId> replica_on(const std::vector<ReplicaId>& ids, std::uint32_t number) {
  const auto found = std::ranges::find(ids, number, [](ReplicaId id) { return raft::member_of(id); });
  return found == ids.end() ? std::nullopt : std::optional(*found);
}

class Turn {
 public:
  Turn(const ShardView& view, const Placement& target, const ReconcileLimits& limits, MoveMemory& memory, Duration now)
      : view_(view), target_(target), limits_(limits), memory_(memory), now_(now) {}

  MoveAction decide(const std::function<bool(std::uint32_t)>& may_add) {
    const raft::ConfState& conf = view_.conf;
    if (!view_.serving || target_.voters.empty()) return {};
    // G2: this node has not heard yet of the ring that the configuration already comes from.
    if (target_.epoch < conf.placement_epoch) return wait("waits for the ring of a later epoch");
    list_moves();
    // G1, S5: the core leaves a joint configuration by itself as soon as it is committed.
    if (conf.joint() && !mutant(Mutant::kTwoMovesAtOnce)) return wait("joint", 85);
    // G0: one change at a time.
    if (view_.conf_index > view_.commit && !mutant(Mutant::kTwoMovesAtOnce)) return wait("a change of replicas is not committed yet", 85);
    learn();
    if (auto action = drop_unwanted()) return *action;
    if (auto action = add_missing(may_add)) return *action;
    if (auto action = drop_stuck()) return *action;
    return change_voters();
  }

 private:
  MoveAction wait(std::string phase, unsigned percent = 0) const { return action(MoveAction::Kind::kNothing, std::move(phase), percent); }

  MoveAction action(MoveAction::Kind kind, std::string phase, unsigned percent) const {
    MoveAction out{.kind = kind, .phase = std::move(phase), .adding = adding_, .removing = removing_, .behind = behind_};
    out.percent = percent;
    return out;
  }

  MoveAction change(raft::ConfState to, std::string phase, unsigned percent) const {
    to.placement_epoch = target_.epoch;
    MoveAction out = action(MoveAction::Kind::kChange, std::move(phase), percent);
    out.target = std::move(to);
    return out;
  }

  void list_moves() {
    for (const std::uint32_t number : target_.voters)
      if (!replica_on(view_.conf.voters, number)) adding_.push_back(number);
    for (const ReplicaId id : raft::members(view_.conf))
      if (!has(target_.voters, raft::member_of(id)) && !has(target_.learners, raft::member_of(id))) removing_.push_back(raft::member_of(id));
  }

  const ShardView::Peer* peer(ReplicaId id) const {
    const auto found = std::ranges::find(view_.peers, id, &ShardView::Peer::id);
    return found == view_.peers.end() ? nullptr : &*found;
  }

  bool answers(ReplicaId id) const {
    if (id == view_.self) return true;
    const ShardView::Peer* seen = peer(id);
    return seen && seen->answers;
  }

  /// Rounds (thesis 4.2.1) and progress of every learner.
  void learn() {
    std::erase_if(memory_.learners, [&](const auto& one) { return !raft::contains(view_.conf.learners, one.first); });
    std::erase_if(memory_.suspects, [&](const auto& one) { return one.second <= now_; });
    for (const ReplicaId id : view_.conf.learners) {
      const ShardView::Peer* seen = peer(id);
      const raft::Index match = seen ? seen->match : raft::Index{};
      const auto [slot, fresh] = memory_.learners.try_emplace(id);
      MoveMemory::Learner& learner = slot->second;
      if (fresh) learner = {.goal = view_.commit, .round_began = now_, .caught_up = false, .best = match, .progressed = now_};
      if (match > learner.best) {
        learner.best = match;
        learner.progressed = now_;
      }
      // One that has all there is and answers is not stuck, however quiet the shard.
      if (learner.caught_up && seen && seen->answers) learner.progressed = now_;
      if (match < learner.goal) continue;
      learner.caught_up = now_ - learner.round_began < limits_.round || match >= view_.commit;
      learner.goal = view_.commit;
      learner.round_began = now_;
    }
  }

  /// S1, S6. The configuration that made it a learner, or never wanted it, is committed: nobody counts on it.
  std::optional<MoveAction> drop_unwanted() const {
    for (const ReplicaId id : view_.conf.learners) {
      if (has(target_.voters, raft::member_of(id)) || has(target_.learners, raft::member_of(id))) continue;
      raft::ConfState to = view_.conf;
      std::erase(to.learners, id);
      return change(std::move(to), "removing", 95);
    }
    return std::nullopt;
  }

  /// S2. Nobody's quorum changes.
  std::optional<MoveAction> add_missing(const std::function<bool(std::uint32_t)>& may_add) const {
    for (const auto* wanted : {&target_.voters, &target_.learners}) {
      for (const std::uint32_t number : *wanted) {
        if (replica_on(view_.conf.voters, number) || replica_on(view_.conf.learners, number)) continue;
        if (memory_.suspects.contains(number)) continue;
        if (may_add && !may_add(number)) continue;
        raft::ConfState to = view_.conf;
        if (mutant(Mutant::kReplicaIdReused)) to.next_replica = highest_sequence() + 1;
        to.learners.push_back(raft::replica_id(number, to.next_replica));
        ++to.next_replica;
        return change(std::move(to), "adding", 5);
      }
    }
    return std::nullopt;
  }

  /// S3, the end of patience: a learner that gets nowhere must not hold up the shard for ever.
  std::optional<MoveAction> drop_stuck() {
    for (const auto& [id, learner] : memory_.learners) {
      if (now_ - learner.progressed < limits_.patience || has(target_.learners, raft::member_of(id))) continue;
      memory_.suspects[raft::member_of(id)] = now_ + limits_.patience;
      raft::ConfState to = view_.conf;
      std::erase(to.learners, id);
      return change(std::move(to), "gives up a replica that does not catch up", 0);
    }
    return std::nullopt;
  }

  /// S3, S4.
  MoveAction change_voters() {
    const raft::ConfState& conf = view_.conf;
    std::vector<ReplicaId> incoming;
    std::size_t up = 0;
    std::string phase;
    unsigned percent = 80;
    for (const std::uint32_t number : target_.voters) {
      auto id = replica_on(conf.voters, number);
      if (!id) id = replica_on(conf.learners, number);
      if (!id) return wait(memory_.suspects.contains(number) ? "waits before it tries a node again" : "waits for room on a node", 0);
      const bool learns = raft::contains(conf.learners, *id) && !mutant(Mutant::kPromotedTooEarly);
      if (learns && !(memory_.learners[*id].caught_up && answers(*id))) {
        const ShardView::Peer* seen = peer(*id);
        const raft::Index match = seen ? seen->match : raft::Index{};
        behind_ = std::max(behind_, match < view_.commit ? raft::distance(match, view_.commit) : 0);
        phase = seen && seen->snapshot ? "snapshot" : seen && seen->answers ? "catching up" : "waits for a node that does not answer";
        percent = std::min(percent, static_cast<unsigned>(10 + 70 * raft::raw(match) / std::max<std::uint64_t>(raft::raw(view_.commit), 1)));
      }
      if (answers(*id)) ++up;
      incoming.push_back(*id);
    }
    if (!phase.empty()) return wait(std::move(phase), percent);
    const bool same = incoming.size() == conf.voters.size() && std::ranges::all_of(incoming, [&](ReplicaId id) { return raft::contains(conf.voters, id); });
    if (same) return removing_.empty() ? (missing_learner() ? wait("a learner is missing", 95) : MoveAction{}) : wait("removing", 95);
    if (up * 2 <= incoming.size()) return wait("waits until a majority of the new voters answers", 80);
    if (!raft::contains(incoming, view_.self))
      if (const auto heir = best_heir(incoming)) {
        MoveAction out = action(MoveAction::Kind::kTransfer, "hands leadership to a voter that stays", 80);
        out.to = *heir;
        return out;
      }
    raft::ConfState to = conf;
    to.voters = incoming;
    std::erase_if(to.learners, [&](ReplicaId id) { return raft::contains(incoming, id); });
    for (const ReplicaId id : conf.voters)
      if (!raft::contains(incoming, id)) to.learners.push_back(id);
    return change(std::move(to), "joint", 85);
  }

  /// What kReplicaIdReused takes for the sequence that was given last.
  std::uint64_t highest_sequence() const {
    std::uint64_t highest = 0;
    for (const ReplicaId id : raft::members(view_.conf)) highest = std::max(highest, raft::sequence_of(id));
    return highest;
  }

  bool missing_learner() const {
    return std::ranges::any_of(target_.learners, [&](std::uint32_t number) { return !replica_on(view_.conf.learners, number); });
  }

  /// Only what votes now can be elected now; if all new voters are learners the old leader makes the change and steps down after it.
  std::optional<ReplicaId> best_heir(const std::vector<ReplicaId>& incoming) const {
    std::optional<ReplicaId> best;
    raft::Index match{};
    for (const ReplicaId id : incoming) {
      const ShardView::Peer* seen = peer(id);
      if (!raft::contains(view_.conf.voters, id) || !seen || !seen->answers || (best && seen->match <= match)) continue;
      best = id;
      match = seen->match;
    }
    return best;
  }

  const ShardView& view_;
  const Placement& target_;
  const ReconcileLimits& limits_;
  MoveMemory& memory_;
  const Duration now_;
  std::vector<std::uint32_t> adding_, removing_;
  std::uint64_t behind_ = 0;
};

}  // namespace

MoveAction reconcile(const ShardView& view, const Placement& target, const ReconcileLimits& limits,
                     const std::function<bool(std::uint32_t)>& may_add, MoveMemory& memory, Duration now) {
  return Turn(view, target, limits, memory, now).decide(may_add);
}

bool at_target(const ShardView& view, const Placement& target) {
  const raft::ConfState& conf = view.conf;
  if (conf.joint() || view.conf_index > view.commit || conf.voters.size() != target.voters.size()) return false;
  for (const std::uint32_t number : target.voters)
    if (!replica_on(conf.voters, number)) return false;
  for (const std::uint32_t number : target.learners)
    if (!replica_on(conf.learners, number)) return false;
  return std::ranges::all_of(conf.learners, [&](ReplicaId id) { return has(target.learners, raft::member_of(id)); });
}

}  // namespace kraken::group
