// What others ask of the groups that this node has: proposals and read indexes for those it leads, queries of any.

#include <algorithm>

#include "consensus/group/engine.h"
#include "src/base/codec.h"
#include "src/base/metrics.h"

namespace kraken::group {
namespace {

constexpr std::size_t kFrameFull = std::size_t{1} << 20;
constexpr std::size_t kBusyProposals = 64;  // of all shards that this node leads, in flight and waiting
constexpr std::size_t kTogetherMost = 64;
constexpr Duration kHeldBack = std::chrono::milliseconds(25);  // as long as a round takes on a node that has more to do than it can

}  // namespace

void Engine::answer(Origin origin, Reply reply) {
  reply.id = origin.id;
  if (origin.peer == kNobody) {
    local_replies_.push_back(std::move(reply));
    return;
  }
  PeerOut& out = peer_out_[origin.peer];
  encode_reply(reply, out.replies);
  if (out.replies.size() < kFrameFull) return;
  append_frame(FrameKind::kReplies, out.replies, out.reply_frames);
  out.replies.clear();
}

void Engine::serve(Origin origin, Request request) {
  if (request.kind == Request::Kind::kDestroy) return serve_destroy(origin, request);
  if (request.kind == Request::Kind::kAmIGone) return serve_am_i_gone(origin, request);
  Group* group = group_of(request.shard);
  if (!group || group->stopped || !group->fenced.empty()) {
    const std::size_t hint = request.shard.value() < clients_.size() ? clients_[request.shard.value()].hint : kNobody;
    return answer(origin, {.outcome = Reply::Outcome::kNotReplica, .hint = hint == kNobody ? raft::ReplicaId{} : hint_of(hint)});
  }
  switch (request.kind) {
    case Request::Kind::kPropose:
    case Request::Kind::kOpenSession:
      return serve_proposal(origin, *group, request);
    case Request::Kind::kReadIndex: {
      const auto view = group->core.view();
      if (!view.is_leader)
        return answer(origin, {.outcome = Reply::Outcome::kNotLeader, .hint = view.leader.value_or(raft::ReplicaId{})});
      group->reads.push_back(origin);
      return mark(*group);
    }
    case Request::Kind::kQueryStale:
      return serve_stale(origin, *group, std::move(request));
    case Request::Kind::kQuery:
    case Request::Kind::kQueryLocal:
      return serve_query(origin, std::move(request));
    case Request::Kind::kDestroy:
    case Request::Kind::kAmIGone:
      return;
  }
}

void Engine::serve_proposal(Origin origin, Group& group, const Request& request) {
  const auto view = group.core.view();
  if (!view.is_leader)
    return answer(origin, {.outcome = Reply::Outcome::kNotLeader, .hint = view.leader.value_or(raft::ReplicaId{})});
  if (disk_.full) return answer(origin, {.outcome = Reply::Outcome::kDiskFull});
  // An entry adds at most what has passed since this leader's own last one; what an overloaded leader refuses takes its time
  // along, so replicated time may lag, never lead.
  const Duration advance = now_ - group.stamped;
  group.stamped = now_;
  const Envelope envelope{
      .kind = request.kind == Request::Kind::kOpenSession ? Envelope::Kind::kOpenSession : Envelope::Kind::kCommand,
      .advance = advance,
      .stamp = request.stamp,
      .command = request.body};
  const raft::Seq ticket = next_ticket_++;
  proposal_tickets_.emplace(ticket, origin);
  group.proposals.push_back({.ticket = ticket, .data = std::make_shared<const std::string>(encode(envelope))});
  mark(group);
}

void Engine::serve_query(Origin origin, Request request) {
  const ShardId shard = request.shard;
  const Read read = request.kind == Request::Kind::kQuery ? Read::kLinearizable : Read::kLocal;
  // The state machine may scan: off this loop. The answer comes back by a message.
  auto run = [this, origin, shard, query = std::make_shared<std::string>(std::move(request.body))] {
    const bool queued = readers_->post([this, origin, shard, query] {
      Reply reply{.outcome = Reply::Outcome::kNotReplica};
      const std::uint32_t life = local(shard);
      if (life != 0) reply.result = machine_.query(shard, *query, *applier_->view(), applier_->now(shard));
      // The rows that were read were this replica's only if it is still the same one.
      if (life != 0 && life == local(shard)) reply.outcome = Reply::Outcome::kDone;
      post([this, origin, reply = std::move(reply)]() mutable { answer(origin, std::move(reply)); });
    });
    if (queued) return;
    answer(origin, {.outcome = Reply::Outcome::kOverloaded});
    schedule_turn();
  };
  if (read == Read::kLocal) return run();
  auto pending = std::make_shared<Pending>();
  pending->deadline = now_ + std::chrono::milliseconds(request.patience_ms);
  pending->finish = [this, origin, run = std::move(run)](Result<std::string> ready) {
    if (ready) return run();
    answer(origin, {.outcome = ready.error().code == Code::kNotLeader ? Reply::Outcome::kNotReplica : Reply::Outcome::kOverloaded});
    schedule_turn();
  };
  clients_[shard.value()].reads.push_back(std::move(pending));
  active_.insert(shard);
  pump(shard);
}

/// Since this replica last knew itself up to date.
Duration Engine::age_of(const Group& group) const {
  if (!group.core.view().is_leader) return group.heard == MonotonicTime::min() ? Duration::max() : clock_.monotonic() - group.heard;
  // As leader: the time at which a quorum, of which it is one, had last answered.
  std::vector<MonotonicTime> contacts;
  for (const raft::Core::Peer& peer : group.core.peers())
    if (peer.voter) contacts.push_back(peer.last_contact);
  const std::size_t others = (contacts.size() + 1) / 2;
  if (others == 0) return Duration::zero();
  std::ranges::sort(contacts, std::greater());
  return std::clamp(clock_.monotonic() - contacts[others - 1], Duration::zero(), options_.timings.election_max);
}

void Engine::serve_stale(Origin origin, Group& group, Request request) {
  const bool queued = readers_->post([this, origin, shard = group.shard, age = age_of(group), query = std::move(request.body)] {
    Writer out;
    const std::uint32_t life = local(shard);
    out.u64(raft::raw(applier_->applied(shard))).i64(age.count());
    out.raw(machine_.query(shard, query, *applier_->view(), applier_->now(shard)));
    const bool still = life != 0 && life == local(shard);
    Reply reply{.outcome = still ? Reply::Outcome::kDone : Reply::Outcome::kNotReplica};
    if (still) reply.result = std::move(out).take();
    post([this, origin, reply = std::move(reply)]() mutable { answer(origin, std::move(reply)); });
  });
  if (!queued) answer(origin, {.outcome = Reply::Outcome::kOverloaded});
}

/// Where much is in flight, a shard's proposals wait for what the shard has in flight, and go together: an append, an answer and a turn
/// of apply cost each replica the same for one entry as for ten, and many clients over many shards would make one of each of theirs.
/// Never for long, and not where there is little to do: then nothing is gained by waiting.
bool Engine::held_back(const Group& group) {
  const bool alone = group.in_flight.empty() || group.in_flight.back().index <= group.core.view().commit;
  if (alone || proposal_tickets_.size() < kBusyProposals || group.proposals.size() >= kTogetherMost || now_ - group.proposed >= kHeldBack) return false;
  if (held_.empty()) held_until_ = now_ + kHeldBack;
  held_.insert(group.shard);
  return true;
}

void Engine::step_dirty() {
  static metrics::Counter& proposal_total = metrics::counter("kr_raft_proposals_total", "Proposals taken as leader");
  std::vector<Group*> groups;
  groups.swap(dirty_);
  for (Group* group : groups) {
    group->dirty = false;
    if (!group->proposals.empty() && !held_back(*group)) {
      proposal_total.add(static_cast<double>(group->proposals.size()));
      raft::in::ProposeBatch batch{std::move(group->proposals)};
      group->proposals.clear();
      group->proposed = now_;
      held_.erase(group->shard);
      step(*group, std::move(batch));
    }
    if (group->reads.empty()) continue;
    // One ticket stands for every read of this turn.
    const raft::Seq ticket = next_ticket_++;
    read_tickets_.emplace(ticket, std::move(group->reads));
    group->reads.clear();
    step(*group, raft::in::ReadIndex{ticket});
  }
}

void Engine::collect_clients(Group& group) {
  for (const raft::Output::Accepted& accepted : out_.accepted)
    group.in_flight.push_back({.index = accepted.index, .ticket = accepted.ticket});
  static metrics::Counter& round_total = metrics::counter("kr_raft_read_rounds_total", "Rounds of beats, as leader, that confirmed waiting reads");
  if (!out_.reads.empty()) round_total.add();
  for (const raft::Output::ReadOk& read : out_.reads) {
    const auto found = read_tickets_.find(read.ticket);
    if (found == read_tickets_.end()) continue;
    for (const Origin& origin : found->second)
      answer(origin, {.outcome = Reply::Outcome::kDone, .index = raft::raw(read.at)});
    read_tickets_.erase(found);
  }
  for (const raft::Output::Fail& failed : out_.failed) {
    const Reply refusal{.outcome = failed.why == raft::Reject::kAborted      ? Reply::Outcome::kAborted
                                   : failed.why == raft::Reject::kOverloaded ? Reply::Outcome::kOverloaded
                                                                             : Reply::Outcome::kNotLeader,
                        .hint = failed.leader.value_or(raft::ReplicaId{})};
    if (const auto proposal = proposal_tickets_.find(failed.ticket); proposal != proposal_tickets_.end()) {
      answer(proposal->second, refusal);
      proposal_tickets_.erase(proposal);
      std::erase_if(group.in_flight, [&](const Group::InFlight& one) { return one.ticket == failed.ticket; });
    } else if (const auto reads = read_tickets_.find(failed.ticket); reads != read_tickets_.end()) {
      for (const Origin& origin : reads->second) answer(origin, refusal);
      read_tickets_.erase(reads);
    }
  }
}

}  // namespace kraken::group
