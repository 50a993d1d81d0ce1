// Replicas that are made, moved and destroyed: after consensus/group/moves.cc. Each step is production's reconcile().
#include <algorithm>

#include <fmt/format.h>

#include "consensus/group/removal.h"
#include "consensus/group/replica.h"
#include "consensus/raft/quorum.h"
#include "src/base/codec.h"
#include "tests/sim/whole/mutants.h"
#include "tests/sim/whole/node.h"

namespace kraken::sim::whole {

using namespace raft;
using raft::raw;
using group::MoveAction;
using group::Reply;
using group::Request;
using group::ShardView;

namespace {

constexpr Time kMoving = ms(50), kQuiet = ms(100);
constexpr Time kTellAgain = ms(200);
constexpr Time kAskAgain = ms(400);
constexpr Time kQuestionLife = ms(2'000);
constexpr Time kOrphan = ms(2'000);
constexpr Time kSatisfiedAgain = ms(1'000);
constexpr int kInboundMax = 2;

std::string numbers(uint64_t first, uint64_t second) {
  Writer out;
  out.u64(first).u64(second);
  return std::move(out).take();
}

}  // namespace

// ---- the leader's part ----

ShardView Node::view_of(const Group& g) const {
  const Core::View v = g.core.view();
  ShardView out{.self = g.core.self(), .serving = v.serving, .conf = g.core.conf(), .conf_index = v.conf_index, .commit = v.commit, .peers = {}};
  for (const Core::Peer& peer : g.core.peers())
    out.peers.push_back({.id = peer.id,
                         .match = peer.match,
                         .answers = now_ - peer.last_contact < world_.options.raft.election_min && peer.last_contact != Time{},
                         .snapshot = peer.state == Core::Peer::State::kSnapshot});
  return out;
}

void Node::move_replicas() {
  if (!system_ || targets_.empty() || now_ < next_moves_) return;
  std::erase_if(questions_, [&](const auto& one) { return now_ - one.second.sent > kQuestionLife; });
  std::map<uint32_t, int> inbound;
  std::vector<std::pair<size_t, Group*>> led;  // by how many voters answer
  const uint64_t version = system_->epoch << 1 | (system_->settled() ? 1 : 0);
  for (const auto& g : groups_) {
    if (!g || g->stopped) continue;
    if (!g->core.view().is_leader) {
      g->memory = {};
      g->known.clear();
      g->in_place.reset();
      ask_if_gone(*g);
      continue;
    }
    g->led = now_;
    note_removed(*g);
    tell_doomed(*g);
    const auto at = std::pair(version, g->core.view().conf_index);
    if (g->in_place == at && (g->shard == kSystemShard || system_->satisfied[g->shard.value() - 1u])) continue;
    size_t answering = 1;
    for (const Core::Peer& peer : g->core.peers())
      if (peer.voter && now_ - peer.last_contact < world_.options.raft.election_min) ++answering;
    led.emplace_back(answering, g.get());
    for (const auto& [id, learner] : g->memory.learners)
      if (!learner.caught_up) ++inbound[member_of(id)];
  }
  std::ranges::sort(led, {}, [](const auto& one) { return std::pair(one.first, one.second->shard); });
  bool moving = false;
  for (const auto& [answering, g] : led) moving = move(*g, inbound, version) || moving;
  next_moves_ = now_ + (moving ? kMoving : kQuiet);
}

/// Whether there is something to do or to wait for.
bool Node::move(Group& g, std::map<uint32_t, int>& inbound, uint64_t version) {
  const ShardView view = view_of(g);
  const Placement& target = targets_[g.shard.value()];
  const auto may_add = [&](uint32_t number) {
    const auto node = node_by_member_.find(number);
    if (node == node_by_member_.end() || !live(node->second)) return false;
    if (node->second != number_ && static_cast<int>(reports_[node->second].said.snapshots) >= kInboundMax) return false;
    return inbound[number] < kInboundMax;
  };
  const group::ReconcileLimits limits{.round = world_.options.raft.election_min, .patience = world_.options.move_patience};
  const MoveAction action = group::reconcile(view, target, limits, may_add, g.memory, now_);
  if (world_.verbose && action.phase != g.phase)
    fmt::print("{:>9} us node {} shard {} epoch {}: {}\n", world_.events.now().count() / 1000, number_, g.shard.value(), target.epoch, action.phase.empty() ? "in place" : action.phase);
  g.phase = action.phase;
  if (action.kind == MoveAction::Kind::kChange) {
    for (const ReplicaId id : action.target.learners)
      if (!contains(members(view.conf), id)) ++inbound[member_of(id)];
    step(g, in::ChangeConf{.ticket = next_ticket_++, .target = action.target});
  } else if (action.kind == MoveAction::Kind::kTransfer) {
    step(g, in::Transfer{action.to});
  } else if (view.serving && (group::at_target(view, target) || mutant(DriverMutant::kSatisfiedEarly))) {
    g.in_place = std::pair(version, view.conf_index);
    say_satisfied(g, target);
  }
  return !action.phase.empty();
}

void Node::say_satisfied(Group& g, const Placement& target) {
  const uint16_t shard = g.shard.value();
  if (shard == 0 || system_->satisfied[shard - 1u] || target.epoch != system_->epoch || now_ < g.next_satisfied) return;
  const Group* system = group(kSystemShard);
  const bool in_place = system && group::does_without_leavers(*system_, system_applied_, system->core.conf(), system->core.view().conf_index <= system->core.view().commit);
  if (!in_place && !mutant(DriverMutant::kSatisfiedEarly)) return;
  g.next_satisfied = now_ + kSatisfiedAgain;
  propose_system(group::Satisfied{.epoch = target.epoch, .shard = g.shard}, {});
}

/// Whoever is no longer in the committed configuration is to be destroyed, and told so until it says that it is.
void Node::note_removed(Group& g) {
  const Core::View v = g.core.view();
  if (!v.serving || (v.conf_index > v.commit && !mutant(DriverMutant::kDestroyedUncommitted))) return;
  const auto all = members(g.core.conf());
  std::set<ReplicaId> now(all.begin(), all.end());
  if (now == g.known) return;
  for (const ReplicaId id : g.known)
    if (!now.contains(id) && id != g.core.self()) g.doomed.emplace(id, Time{});
  g.known = std::move(now);
}

void Node::tell_doomed(Group& g) {
  for (auto doomed = g.doomed.begin(); doomed != g.doomed.end();) {
    const ReplicaId id = doomed->first;
    const group::RingNode* row = system_->member(member_of(id));
    const size_t node = row ? node_of(row->label) : number_;
    const auto known = known_.find(node);
    // Another folder took its place: there is nobody to tell.
    if (!row || (known != known_.end() && known->second.incarnation != row->incarnation)) {
      doomed = g.doomed.erase(doomed);
      continue;
    }
    if (node != number_ && hears(node) && (doomed->second == Time{} || now_ - doomed->second > kTellAgain)) {
      doomed->second = now_;
      const uint64_t question = next_id_++;
      questions_.emplace(question, Asked{.shard = g.shard, .replica = id, .destroy = true, .sent = now_});
      dispatch(node, {.kind = Request::Kind::kDestroy, .id = question, .shard = g.shard, .stamp = {}, .body = numbers(raw(id), sequence_of(id) + 1)});
    }
    ++doomed;
  }
}

// ---- replicas come ----

/// The replica that a message is for; made if a leader names one of this node that may come.
Node::Group* Node::group_for(const Hdr& h, bool from_leader) {
  if (self_member_ == 0 || member_of(h.to) != self_member_ || raw(h.group) >= groups_.size()) return nullptr;
  const ShardId shard = group::shard_of(h.group);
  Group* g = group(shard);
  if (g && g->core.self() == h.to) return g;
  const uint64_t sequence = sequence_of(h.to);
  const bool buried = sequence < tombstones_[shard.value()] && !mutant(DriverMutant::kTombstoneIgnored);
  if (!from_leader || buried || destroying_.contains(shard)) return nullptr;
  if (g) {
    // A shard has one replica a node at most: if it gave this node a later one, the earlier is removed.
    if (sequence > sequence_of(g->core.self())) destroy(*g, sequence);
    return nullptr;
  }
  LogItem item;
  item.extra.put(kv::Family::kRaft, group::replica_key(shard), group::encode_replica(shard, h.to));
  // Everything that it says is written after this.
  log_queue_.push_back(std::move(item));
  open_group(shard, h.to, group::LoadedLog{});
  return group(shard);
}

// ---- replicas go ----

/// Never again one below `min_sequence`. Durable before anybody is told; nothing of it is read after this call.
void Node::destroy(Group& g, uint64_t min_sequence) {
  const ShardId shard = g.shard;
  const ReplicaId self = g.core.self();
  if (world_.verbose) fmt::print("{:>9} us node {} shard {} destroys replica {}\n", world_.events.now().count() / 1000, number_, shard.value(), raw(self));
  const auto refuse = [&](Seq ticket, Reply::Outcome outcome) {
    const auto found = proposal_tickets_.find(ticket);
    if (found == proposal_tickets_.end()) return;
    answer(found->second.peer, found->second.id, {.id = 0, .outcome = outcome});
    proposal_tickets_.erase(found);
  };
  for (const Group::InFlight& one : g.in_flight) refuse(one.ticket, Reply::Outcome::kAborted);
  for (const in::Propose& one : g.proposals) refuse(one.ticket, Reply::Outcome::kNotReplica);
  for (const Origin& origin : g.reads) answer(origin.peer, origin.id, {.id = 0, .outcome = Reply::Outcome::kNotReplica});
  ClientShard& c = clients_[shard.value()];
  for (auto& [index, q] : g.waiting) read_elsewhere(c, std::move(q));
  for (Question& q : std::exchange(c.reads, {})) read_elsewhere(c, std::move(q));
  tombstones_[shard.value()] = min_sequence;
  destroying_.insert(shard);
  clear_rows();
  std::erase_if(applied_at_, [&](const AppliedAt& one) { return one.shard == shard; });
  groups_[shard.value()].reset();
  // Behind what was to be written before; what was to be applied is skipped.
  LogItem item;
  item.shard = shard;
  item.destroys = self;
  item.extra = group::destroy_rows(shard, min_sequence);
  item.after = [this, shard] {
    destroying_.erase(shard);
    clear_rows();
    require(sessions_.load(shard, *store_).has_value(), "simulator", "sessions");
    machine_->restored(shard, *store_);
  };
  log_queue_.push_back(std::move(item));
}

/// This node has no replica any more: another one is asked.
void Node::read_elsewhere(ClientShard& c, Question q) {
  if (q.origin_peer != SIZE_MAX) return answer(q.origin_peer, q.origin_id, {.id = 0, .outcome = Reply::Outcome::kNotReplica});
  if (q.pending && !q.pending->done) c.remote.push_back(std::move(q));
}

void Node::serve_destroy(size_t peer, const Request& request) {
  Reader in(request.body);
  const ReplicaId replica{in.u64()};
  const uint64_t min_sequence = in.u64();
  if (!in.ok() || !in.empty() || member_of(replica) != self_member_ || min_sequence <= sequence_of(replica)) return;
  if (destroying_.contains(request.shard)) return;  // said again later
  Group* g = group(request.shard);
  if (g && sequence_of(g->core.self()) <= sequence_of(replica)) return destroy(*g, min_sequence);
  answer(peer, request.id, {.id = 0, .outcome = Reply::Outcome::kDone});
}

/// A replica that nobody has led for long may have been removed while it could not hear of it. Never on its own judgement.
void Node::ask_if_gone(Group& g) {
  if (now_ - g.led < kOrphan || now_ < g.next_question) return;
  g.next_question = now_ + kAskAgain;
  for (size_t peer = 0; peer < world_.nodes.size(); peer++) {
    if (peer == number_ || !hears(peer)) continue;
    const uint64_t question = next_id_++;
    questions_.emplace(question, Asked{.shard = g.shard, .replica = g.core.self(), .destroy = false, .sent = now_});
    dispatch(peer, {.kind = Request::Kind::kAmIGone, .id = question, .shard = g.shard, .stamp = {}, .body = numbers(raw(g.core.self()), raw(g.core.view().conf_index))});
  }
}

void Node::serve_am_i_gone(size_t peer, const Request& request) {
  Reader in(request.body);
  const ReplicaId replica{in.u64()};
  const Index theirs{in.u64()};
  const Group* g = group(request.shard);
  if (!in.ok() || !g) return answer(peer, request.id, {.id = 0, .outcome = Reply::Outcome::kNotReplica});
  const Core::View v = g->core.view();
  const bool uncommitted = mutant(DriverMutant::kGoneUncommitted) && v.conf_index > v.commit && !contains(members(g->core.conf()), replica);
  const bool gone = v.conf_index > theirs && (group::is_removed(g->core, replica) || uncommitted);
  answer(peer, request.id, {.id = 0, .outcome = gone ? Reply::Outcome::kDone : Reply::Outcome::kNotLeader, .hint = gone ? ReplicaId{} : v.leader.value_or(ReplicaId{})});
}

bool Node::question_answered(const Reply& reply) {
  const auto found = questions_.find(reply.id);
  if (found == questions_.end()) return false;
  const Asked question = found->second;
  questions_.erase(found);
  if (reply.outcome != Reply::Outcome::kDone) return true;
  Group* g = group(question.shard);
  if (!g) return true;
  if (question.destroy) {
    g->doomed.erase(question.replica);
  } else if (g->core.self() == question.replica && !g->core.view().is_leader && now_ - g->led >= kOrphan) {
    destroy(*g, sequence_of(question.replica) + 1);
  }
  return true;
}

}  // namespace kraken::sim::whole
