// Replicas that are made, moved and destroyed. The leader of a shard compares its configuration with where the ring says it
// belongs, and takes one step at a time (reconcile.h). A replica comes to be with the first message of a leader that names it, and
// goes when a committed configuration is without it: told by the leader, or, when nobody has led it for long, by asking around.

#include <algorithm>

#include "consensus/group/engine.h"
#include "consensus/group/removal.h"
#include "consensus/group/replica.h"
#include "consensus/raft/quorum.h"
#include "src/base/assert.h"
#include "src/base/codec.h"
#include "src/base/log.h"
#include "src/base/metrics.h"

namespace kraken::group {
namespace {

constexpr Duration kMoving = std::chrono::milliseconds(50);
constexpr Duration kQuiet = std::chrono::milliseconds(500);
constexpr Duration kTellAgain = std::chrono::seconds(1);
constexpr Duration kAskAgain = std::chrono::seconds(5);
constexpr Duration kQuestionLife = std::chrono::seconds(10);
constexpr int kInboundMax = 2;  // replicas being brought to one node

std::string numbers(std::uint64_t first, std::uint64_t second) {
  Writer out;
  out.u64(first).u64(second);
  return std::move(out).take();
}

}  // namespace

// ---- the leader's part ----

ShardView Engine::view_of(const Group& group) const {
  const auto view = group.core.view();
  ShardView out{.self = group.core.self(), .serving = view.serving, .conf = group.core.conf(), .conf_index = view.conf_index, .commit = view.commit, .peers = {}};
  for (const raft::Core::Peer& peer : group.core.peers())
    out.peers.push_back({.id = peer.id,
                         .match = peer.match,
                         .answers = now_ - peer.last_contact < options_.timings.election_min && peer.last_contact != raft::Time{},
                         .snapshot = peer.state == raft::Core::Peer::State::kSnapshot});
  return out;
}

void Engine::move_replicas() {
  static metrics::Gauge& moving_shards = metrics::gauge("kr_raft_moving_shards", "Shards led here whose replicas are on the way to where the ring says");
  if (!system_ || targets_.empty() || now_ < next_moves_) return;
  std::erase_if(questions_, [&](const auto& one) { return now_ - one.second.sent > kQuestionLife; });
  std::map<std::uint32_t, int> inbound;
  std::vector<std::pair<std::size_t, Group*>> led;  // by how many voters answer
  for (const auto& group : groups_) {
    if (!group) continue;
    if (!group->core.view().is_leader) {
      group->memory = {};
      group->move = {};
      group->moving = false;
      group->known.clear();
      group->in_place.reset();
      ask_if_gone(*group);
      continue;
    }
    group->led = now_;
    note_removed(*group);
    tell_doomed(*group);
    // Who has left is dead once all is settled, and group 0's target is another one without it.
    const auto at = std::pair(target_version(), group->core.view().conf_index);
    if (group->in_place == at && (group->shard == kSystemShard || system_->satisfied[group->shard.value() - 1u] || options_.records_follow)) {
      if (options_.records_follow && group->shard != kSystemShard && !system_->satisfied[group->shard.value() - 1u])
        say_satisfied(*group, view_of(*group), targets_[group->shard.value()]);
      continue;
    }
    std::size_t answering = 1;
    for (const raft::Core::Peer& peer : group->core.peers())
      if (peer.voter && now_ - peer.last_contact < options_.timings.election_min) ++answering;
    led.emplace_back(answering, group.get());
    for (const auto& [id, learner] : group->memory.learners)
      if (!learner.caught_up) ++inbound[raft::member_of(id)];
  }
  std::ranges::sort(led, {}, [](const auto& one) { return std::pair(one.first, one.second->shard); });
  double moving = 0;
  for (const auto& [answering, group] : led) {
    move(*group, inbound);
    if (group->moving) ++moving;
  }
  moving_shards.set(moving);
  next_moves_ = now_ + (moving > 0 ? kMoving : kQuiet);
}

void Engine::move(Group& group, std::map<std::uint32_t, int>& inbound) {
  const ShardView view = view_of(group);
  const Placement& target = targets_[group.shard.value()];
  const auto may_add = [&](std::uint32_t number) {
    const auto slot = slot_by_member_.find(number);
    if (slot == slot_by_member_.end() || (slot->second != self_ && !live(slot->second))) return false;
    if (slot->second != self_ && static_cast<int>(reports_[slot->second].said.snapshots) >= kInboundMax) return false;
    return inbound[number] < kInboundMax;
  };
  const ReconcileLimits limits{.round = options_.timings.election_min, .patience = options_.timings.move_patience};
  group.move = reconcile(view, target, limits, may_add, group.memory, now_);
  group.moving = !group.move.phase.empty();
  if (group.move.kind == MoveAction::Kind::kChange) {
    for (const raft::ReplicaId id : group.move.target.learners)
      if (!raft::contains(raft::members(view.conf), id)) ++inbound[raft::member_of(id)];
    log::info("raft.move", "shard={} phase=\"{}\" epoch={} next_replica={}", group.shard.value(), group.move.phase, target.epoch, group.move.target.next_replica);
    step(group, raft::in::ChangeConf{.ticket = next_ticket_++, .target = group.move.target});
    schedule_turn();
  } else if (group.move.kind == MoveAction::Kind::kTransfer) {
    step(group, raft::in::Transfer{group.move.to});
    schedule_turn();
  } else if (view.serving && at_target(view, target)) {
    group.in_place = std::pair(target_version(), view.conf_index);
    say_satisfied(group, view, target);
  }
}

void Engine::say_satisfied(Group& group, const ShardView& view, const Placement& target) {
  const std::uint16_t shard = group.shard.value();
  if (shard == 0 || system_->satisfied[shard - 1u] || target.epoch != system_->epoch || !view.serving || !at_target(view, target)) return;
  if (options_.records_follow && satisfied_[shard] != target.epoch) return;
  if (now_ < group.next_satisfied) return;
  // Every node of the ring has a replica of the system group.
  const Group* system = group_of(kSystemShard);
  if (!system || !does_without_leavers(*system_, system_applied_, system->core.conf(), system->core.view().conf_index <= system->core.view().commit)) return;
  group.next_satisfied = now_ + std::chrono::seconds(5);
  propose_system(Satisfied{.epoch = target.epoch, .shard = group.shard}, {});
}

void Engine::report_satisfied(ShardId shard, std::uint64_t epoch) {
  satisfied_[shard.value()] = std::max(satisfied_[shard.value()], epoch);
  next_moves_ = clock_.monotonic();
  schedule_turn();
}

/// Whoever is no longer in the committed configuration is to be destroyed, and told so until it says that it is.
void Engine::note_removed(Group& group) {
  const auto view = group.core.view();
  if (!view.serving || view.conf_index > view.commit) return;
  const auto all = raft::members(group.core.conf());
  std::set<raft::ReplicaId> members(all.begin(), all.end());
  if (members == group.known) return;
  for (const raft::ReplicaId id : group.known)
    if (!members.contains(id) && id != group.core.self()) group.doomed.emplace(id, MonotonicTime{});
  group.known = std::move(members);
}

void Engine::tell_doomed(Group& group) {
  for (auto doomed = group.doomed.begin(); doomed != group.doomed.end();) {
    const auto [id, told] = *doomed;
    const RingNode* row = system_->member(raft::member_of(id));
    const auto slot = row ? slot_of(row->label) : std::nullopt;
    // Another folder took its place: there is nobody to tell.
    if (!slot || (linked_[*slot] && *linked_[*slot] != row->incarnation)) {
      doomed = group.doomed.erase(doomed);
      continue;
    }
    if (*slot != self_ && transport_->up(*slot) && (told == MonotonicTime{} || now_ - told > kTellAgain)) {
      doomed->second = now_;
      const std::uint64_t question = next_id_++;
      questions_.emplace(question, Question{.shard = group.shard, .replica = id, .destroy = true, .sent = now_});
      dispatch(*slot, {.kind = Request::Kind::kDestroy, .id = question, .shard = group.shard, .stamp = {},
                       .body = numbers(raft::raw(id), raft::sequence_of(id) + 1)});
      schedule_turn();
    }
    ++doomed;
  }
}

// ---- replicas come ----

Engine::Group* Engine::same(ShardId shard, raft::ReplicaId self) const {
  Group* group = group_of(shard);
  return group && group->core.self() == self ? group : nullptr;
}

void Engine::set_local(ShardId shard, bool readable) {
  auto& local = local_[shard.value()];
  if (!readable) return local.store(0, std::memory_order_release);
  if (local.load(std::memory_order_relaxed) == 0) local.store(++lives_, std::memory_order_release);
}

/// The replica that a message is for; made if a leader names one of this node that may come.
Engine::Group* Engine::group_for(const raft::Hdr& header, bool from_leader) {
  if (self_member_ == 0 || raft::member_of(header.to) != self_member_ || raft::raw(header.group) >= groups_.size()) return nullptr;
  const ShardId shard = group::shard_of(header.group);
  Group* group = group_of(shard);
  if (group && group->core.self() == header.to) return group;
  const std::uint64_t sequence = raft::sequence_of(header.to);
  if (!from_leader || sequence < tombstones_[shard.value()] || destroying_.contains(shard)) return nullptr;
  if (group) {
    // A shard has one replica a node at most: if it gave this node a later one, the earlier is removed.
    if (sequence > raft::sequence_of(group->core.self())) destroy(*group, sequence);
    return nullptr;
  }
  log::info("raft.replica_made", "shard={} replica={}", shard.value(), raft::raw(header.to));
  kv::Batch batch;
  batch.put(kv::Family::kRaft, replica_key(shard), encode_replica(shard, header.to));
  // Everything that it says is written after this.
  writer_->put(std::move(batch), {});
  LoadedLog log;
  log.boot.self = header.to;
  return &start_group(shard, std::move(log));
}

// ---- replicas go ----

/// Never again one below `min_sequence`. Durable before anybody is told; nothing of it is read after this call.
void Engine::destroy(Group& group, std::uint64_t min_sequence) {
  static metrics::Counter& destroyed_total = metrics::counter("kr_raft_replicas_destroyed_total", "Replicas that were removed from this node");
  const ShardId shard = group.shard;
  const raft::ReplicaId self = group.core.self();
  KR_ASSERT(min_sequence > raft::sequence_of(self));
  log::info("raft.replica_gone", "shard={} replica={}", shard.value(), raft::raw(self));
  destroyed_total.add();
  group.alive->store(false);
  set_local(shard, false);
  if (group.serving && on_leadership_) on_leadership_(shard, false);
  for (const Group::Pin& pin : group.pins) snapshots_->withdraw(pin.snap_id);
  for (const Group::InFlight& one : group.in_flight) {
    const auto ticket = proposal_tickets_.find(one.ticket);
    if (ticket == proposal_tickets_.end()) continue;
    answer(ticket->second, {.outcome = Reply::Outcome::kAborted});
    proposal_tickets_.erase(ticket);
  }
  for (const raft::in::Propose& one : group.proposals) {
    const auto ticket = proposal_tickets_.find(one.ticket);
    if (ticket == proposal_tickets_.end()) continue;
    answer(ticket->second, {.outcome = Reply::Outcome::kNotReplica});
    proposal_tickets_.erase(ticket);
  }
  for (const Origin& origin : group.reads) answer(origin, {.outcome = Reply::Outcome::kNotReplica});
  // Whoever waits to read here is told to look elsewhere.
  const Error gone{Code::kNotLeader, fmt::format("shard {} has moved away from this node", shard.value())};
  for (auto& [index, read] : group.waiting_reads) answers_.add(std::move(read), std::unexpected(gone));
  ClientShard& client = clients_[shard.value()];
  for (PendingPtr& read : client.reads) answers_.add(std::move(read), std::unexpected(gone));
  client.reads.clear();
  if (const auto leader = group.core.view().leader; leader && client.hint == kNobody)
    if (const auto peer = peer_of(*leader); peer && *peer != self_) client.hint = *peer;
  std::erase(dirty_, &group);
  tombstones_[shard.value()] = min_sequence;
  destroying_.insert(shard);
  groups_[shard.value()].reset();
  deadlines_[shard.value()] = MonotonicTime::max();
  // In the order of the pipeline: what was to be applied is applied, what was to be written is written, then all of it goes at once.
  flush();
  applier_->run([this, shard, min_sequence] {
    writer_->run([this, shard, min_sequence] {
      // A store that cannot write ends the process (log_writer.h); until it is durable nobody was told.
      if (!store_.write(destroy_rows(shard, min_sequence), kv::Durability::kSynced)) return;
      applier_->restore(shard, [this, shard] {
        post([this, shard] {
          destroying_.erase(shard);
          pump(shard);
          schedule_turn();
        });
      });
    });
  });
  pump(shard);
  schedule_turn();
}

void Engine::serve_destroy(Origin origin, const Request& request) {
  Reader in(request.body);
  const raft::ReplicaId replica{in.u64()};
  const std::uint64_t min_sequence = in.u64();
  if (!in.ok() || !in.empty() || raft::member_of(replica) != self_member_ || min_sequence <= raft::sequence_of(replica)) return;
  if (destroying_.contains(request.shard)) return;  // said again later
  Group* group = group_of(request.shard);
  if (group && raft::sequence_of(group->core.self()) <= raft::sequence_of(replica)) return destroy(*group, min_sequence);
  answer(origin, {.outcome = Reply::Outcome::kDone});
}

/// A replica that nobody has led for long may have been removed while it could not hear of it. Never on its own judgement: only a
/// committed configuration, newer than what it knows, from which its id is missing and which has given that id before.
void Engine::ask_if_gone(Group& group) {
  const auto view = group.core.view();
  if (now_ - group.led < options_.timings.orphan || now_ < group.next_question) return;
  group.next_question = now_ + std::min(kAskAgain, options_.timings.orphan);
  for (std::size_t peer = 0; peer < members_.size(); ++peer) {
    if (peer == self_ || !transport_->up(peer)) continue;
    const std::uint64_t question = next_id_++;
    questions_.emplace(question, Question{.shard = group.shard, .replica = group.core.self(), .destroy = false, .sent = now_});
    dispatch(peer, {.kind = Request::Kind::kAmIGone, .id = question, .shard = group.shard, .stamp = {},
                    .body = numbers(raft::raw(group.core.self()), raft::raw(view.conf_index))});
  }
  schedule_turn();
}

void Engine::serve_am_i_gone(Origin origin, const Request& request) {
  Reader in(request.body);
  const raft::ReplicaId replica{in.u64()};
  const raft::Index theirs{in.u64()};
  const Group* group = group_of(request.shard);
  if (!in.ok() || !group) return answer(origin, {.outcome = Reply::Outcome::kNotReplica});
  const auto view = group->core.view();
  if (view.conf_index <= theirs || !is_removed(group->core, replica))
    return answer(origin, {.outcome = Reply::Outcome::kNotLeader, .hint = view.leader.value_or(raft::ReplicaId{})});
  answer(origin, {.outcome = Reply::Outcome::kDone});
}

bool Engine::question_answered(const Reply& reply) {
  const auto found = questions_.find(reply.id);
  if (found == questions_.end()) return false;
  const Question question = found->second;
  questions_.erase(found);
  if (reply.outcome != Reply::Outcome::kDone) return true;
  Group* group = question.destroy ? group_of(question.shard) : same(question.shard, question.replica);
  if (!group) return true;
  if (question.destroy) {
    group->doomed.erase(question.replica);
  } else if (!group->core.view().is_leader && now_ - group->led >= options_.timings.orphan) {
    log::info("raft.orphan", "shard={} replica={} It was removed while it could not hear of it", question.shard.value(), raft::raw(question.replica));
    destroy(*group, raft::sequence_of(question.replica) + 1);
  }
  return true;
}

}  // namespace kraken::group
