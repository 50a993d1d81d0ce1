// Stepping the groups, and what becomes of their outputs; what the log writer and the applier report.

#include "consensus/group/engine.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/base/metrics.h"

namespace kraken::group {
namespace {

constexpr std::size_t kFrameFull = std::size_t{1} << 20;  // a payload that has grown to this becomes a frame
constexpr std::size_t kApplyCopyBytes = std::size_t{8} << 20;
constexpr std::uint64_t kEntryOverhead = 64;

}  // namespace

Engine::Group* Engine::group_of(ShardId shard) const {
  return shard.value() < groups_.size() ? groups_[shard.value()].get() : nullptr;
}

std::optional<std::size_t> Engine::peer_of(raft::ReplicaId replica) const {
  const auto found = slot_by_member_.find(raft::member_of(replica));
  if (found == slot_by_member_.end()) return std::nullopt;
  return found->second;
}

void Engine::mark(Group& group) {
  if (std::exchange(group.dirty, true)) return;
  dirty_.push_back(&group);
}

void Engine::step(Group& group, raft::Input&& input) {
  if (group.stopped) {
    deadlines_[group.shard.value()] = MonotonicTime::max();
    return;
  }
  group.core.step(std::move(input), now_, out_);
  collect(group);
  deadlines_[group.shard.value()] = group.core.deadline();
}

void Engine::collect(Group& group) {
  collect_storage(group);
  for (const raft::Message& message : out_.send_now) route(message);
  for (raft::Output::Gated& gated : out_.send_after) group.gated.push_back(std::move(gated));
  collect_clients(group);
  if (raft::raw(out_.commit_from) != 0) {
    if (!group.proposals.empty()) mark(group);  // held back until now
    Applier::Job job{.shard = group.shard, .from = out_.commit_from, .to = out_.commit_to, .entries = {},
                     .want_answers = !group.in_flight.empty(), .waiting = {}};
    group.core.copy_tail(job.from, job.to, kApplyCopyBytes, job.entries);
    if (job.want_answers) find_waiting(group, job);
    jobs_.push_back(std::move(job));
  }
  collect_roles(group);
  collect_snapshots(group);
}

/// Those of the job's entries that a coroutine of this node waits for.
void Engine::find_waiting(const Group& group, Applier::Job& job) const {
  const ClientShard& client = clients_[group.shard.value()];
  auto mine = std::ranges::lower_bound(group.in_flight, job.from, {}, &Group::InFlight::index);
  for (; mine != group.in_flight.end() && mine->index <= job.to; ++mine) {
    const auto ticket = proposal_tickets_.find(mine->ticket);
    if (ticket == proposal_tickets_.end() || ticket->second.peer != kNobody) continue;
    const auto tried = tries_.find(ticket->second.id);
    if (tried == tries_.end() || tried->second.kind != Try::Kind::kPropose) continue;
    const auto proposal = client.in_flight.find(tried->second.sequence);
    if (proposal != client.in_flight.end() && proposal->second.pending->executor) job.waiting.emplace_back(mine->index, proposal->second.pending);
  }
}

void Engine::collect_storage(Group& group) {
  if (out_.persist_seq == 0) return;
  if (out_.truncate_from) {
    const raft::Index last = group.first + group.sizes.size();
    for (raft::Index next = *out_.truncate_from; next < last; next = next + 1) {
      group.log_bytes -= group.sizes.back() + kEntryOverhead;
      group.sizes.pop_back();
    }
  }
  for (const raft::Entry& entry : out_.append) {
    group.sizes.push_back(static_cast<std::uint32_t>(entry.bytes()));
    group.log_bytes += entry.bytes() + kEntryOverhead;
  }
  writes_.push_back({.shard = group.shard, .seq = out_.persist_seq, .hard_state = out_.hard_state,
                     .truncate_from = out_.truncate_from, .append = std::move(out_.append)});
}

void Engine::collect_roles(Group& group) {
  static metrics::Counter& change_total = metrics::counter("kr_raft_leader_changes_total", "Times a group of this node saw another leader");
  if (out_.became_leader && *out_.became_leader) group.stamped = now_;
  // It may have been without a quorum for that long.
  if (out_.became_leader && !*out_.became_leader) group.heard = now_ - options_.timings.election_min;
  if (out_.leader_changed) {
    group.led = now_;
    change_total.add();
    log::debug("raft.leader", "shard={} term={} leader={}", group.shard.value(), raft::raw(out_.leader_changed->term),
               out_.leader_changed->leader ? raft::raw(*out_.leader_changed->leader) : 0);
    // What was asked of an earlier leader is asked of this one at once: a paused or cut off node gives no answer to wait for.
    if (const auto leader = out_.leader_changed->leader ? peer_of(*out_.leader_changed->leader) : std::nullopt)
      lose([this, shard = group.shard, leader](const Try& tried) {
        return tried.shard == shard && tried.kind != Try::Kind::kQuery && tried.target != self_ && tried.target != *leader;
      });
    pump(group.shard);
  }
  if (out_.became_leader || raft::raw(out_.commit_from) != 0) {
    const bool serving = group.core.view().serving;
    if (serving != group.serving) {
      group.serving = serving;
      if (group.shard == kSystemShard) log::info("raft.serving", "shard=0 leader={} term={}", serving, raft::raw(group.core.view().term));
      if (on_leadership_) on_leadership_(group.shard, serving);
      pump(group.shard);
    }
  }
  if (out_.conflict) {
    log::error("raft.diverged",
               "shard={} index={} our_term={} their_term={} This replica's state differs from its leader's; it stops. Move the "
               "metadata folder aside and let the node join again",
               group.shard.value(), raft::raw(out_.conflict->index), raft::raw(out_.conflict->ours), raft::raw(out_.conflict->theirs));
    group.stopped = true;
  }
}

void Engine::collect_snapshots(Group& group) {
  for (const raft::Output::Fetch& wanted : out_.fetch) fetch(group, wanted);
  // These step the group again: not before this step's output has been taken.
  for (const raft::ReplicaId peer : out_.need_snapshot)
    post([this, shard = group.shard, self = group.core.self(), peer] {
      if (Group* still = same(shard, self)) offer_snapshot(*still, peer);
    });
  if (out_.install) install(group, std::move(*out_.install));
}

void Engine::route(const raft::Message& message) {
  const auto peer = peer_of(raft::header(message).to);
  if (!peer || *peer == self_ || !transport_->up(*peer)) return;
  PeerOut& out = peer_out_[*peer];
  if (std::holds_alternative<raft::BeatReq>(message) || std::holds_alternative<raft::BeatResp>(message)) {
    out.beats.push_back(message);
    return;
  }
  encode_message(message, out.messages);
  if (out.messages.size() < kFrameFull) return;
  append_frame(FrameKind::kMessages, out.messages, out.message_frames);
  out.messages.clear();
}

void Engine::persisted(const std::vector<std::pair<ShardId, raft::Seq>>& done) {
  if (stopped_) return;
  for (const auto& [shard, seq] : done) {
    Group* group = group_of(shard);
    if (!group) continue;
    while (!group->gated.empty() && group->gated.front().after <= seq) {
      route(group->gated.front().m);
      group->gated.pop_front();
    }
    step(*group, raft::in::Persisted{seq});
  }
}

void Engine::applied(std::vector<Applier::Done>& all) {
  if (stopped_) return;
  for (Applier::Done& done : all) {
    Group* group = group_of(done.shard);
    if (!group) continue;
    auto next = done.answers.begin();
    while (!group->in_flight.empty() && group->in_flight.front().index <= done.upto) {
      const Group::InFlight mine = group->in_flight.front();
      group->in_flight.pop_front();
      const auto ticket = proposal_tickets_.find(mine.ticket);
      if (ticket == proposal_tickets_.end()) continue;
      while (next != done.answers.end() && next->first < mine.index) ++next;
      Reply reply{.id = ticket->second.id, .outcome = Reply::Outcome::kAborted};
      if (next != done.answers.end() && next->first == mine.index) {
        reply.outcome = Reply::Outcome::kDone;
        reply.verdict = next->second.verdict;
        reply.result = std::move(next->second.result);
      }
      answer(ticket->second, std::move(reply));
      proposal_tickets_.erase(ticket);
    }
    group->applied = std::max(group->applied, done.upto);
    release_reads(*group);
    if (!group->told.empty()) compare_told(*group);
    step(*group, raft::in::Applied{done.upto});
    if (!group->caught_up) {
      const auto view = group->core.view();
      group->caught_up = view.leader && group->applied >= view.commit;
      if (group->caught_up && group->fenced.empty()) set_local(group->shard, true);
    }
  }
}

void Engine::release_reads(Group& group) {
  while (!group.waiting_reads.empty() && group.waiting_reads.begin()->first <= group.applied) {
    answers_.add(std::move(group.waiting_reads.begin()->second), std::string());
    group.waiting_reads.erase(group.waiting_reads.begin());
  }
}

}  // namespace kraken::group
