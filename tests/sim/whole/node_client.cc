// This node as a server of its groups (consensus/group/serve.cc) and as a client of all shards (client.cc).
#include <algorithm>

#include <fmt/format.h>

#include "consensus/raft/quorum.h"
#include "src/base/codec.h"
#include "tests/sim/whole/history.h"
#include "tests/sim/whole/mutants.h"
#include "tests/sim/whole/node.h"

namespace kraken::sim::whole {

using namespace raft;
using raft::raw;
using group::Reply;
using group::Request;

namespace {

constexpr Time kNoLeaderPause = std::chrono::milliseconds(20);
constexpr Time kRetryPause = std::chrono::milliseconds(10);
constexpr Time kAnswerPatience = std::chrono::milliseconds(600);

}  // namespace

// ---- from handlers ----

void Node::propose(ShardId shard, std::string command, Time patience, uint64_t op, Finish finish) {
  if (!up()) return finish(fail(Code::kUnavailable, "nobody listens"));
  auto pending = std::make_shared<Pending>(Pending{.deadline = local() + patience, .op = op, .finish = std::move(finish)});
  open_.push_back(pending);
  input([this, shard, command = std::move(command), pending]() mutable {
    ClientShard& c = clients_[shard.value()];
    if (c.waiting.size() >= 256) return this->finish(pending, fail(Code::kOverloaded, "too many proposals wait"));
    c.waiting.push_back({.pending = pending, .command = std::move(command)});
  });
}

void Node::query(ShardId shard, std::string query, metadata::Read read, Time patience, uint64_t op, Finish finish) {
  if (!up()) return finish(fail(Code::kUnavailable, "nobody listens"));
  auto pending = std::make_shared<Pending>(Pending{.deadline = local() + patience, .op = op, .finish = std::move(finish)});
  open_.push_back(pending);
  input([this, shard, query = std::move(query), read, pending]() mutable {
    Question q{.pending = pending, .query = std::move(query), .read = read};
    ClientShard& c = clients_[shard.value()];
    Group* g = group(shard);
    const bool local = g != nullptr && !g->stopped && g->local;
    if (local && read == metadata::Read::kLocal) return run_query(shard, q);
    if (local && mutant(DriverMutant::kReadAtFollower)) return run_query(shard, q);
    (local ? c.reads : c.remote).push_back(std::move(q));
  });
}

void Node::finish(const PendingPtr& p, Result<std::string> result) {
  if (std::exchange(p->done, true)) return;
  // The answer reaches the handler on its own loop, a moment later.
  world_.events.after(us(5), [p, result = std::move(result)]() mutable { p->finish(std::move(result)); });
}

void Node::run_query(ShardId shard, const Question& q) {
  const Group* g = group(shard);
  const Duration now = g == nullptr ? Duration{} : g->state.now;
  const Index at = g == nullptr ? Index{} : g->state.index;
  flush_rows();
  std::string result = machine_->query(shard, q.query, *store_, now);
  if (q.origin_peer != SIZE_MAX) {
    Reply reply{.id = 0, .outcome = Reply::Outcome::kDone};
    reply.index = raw(at);
    reply.result = std::move(result);
    return answer(q.origin_peer, q.origin_id, std::move(reply));
  }
  world_.history->read_at(q.pending->op, shard, at);
  finish(q.pending, std::move(result));
}

void Node::fail_all(const char* why) {
  for (const PendingPtr& p : std::exchange(open_, {})) finish(p, fail(Code::kOutcomeUnknown, "{}", why));
}

bool Node::idle() const {
  return std::all_of(clients_.begin(), clients_.end(), [](const ClientShard& c) { return c.empty(); }) && tries_.empty() && open_.empty();
}

std::string Node::describe_clients() const {
  std::string text;
  for (size_t i = 0; i < clients_.size(); i++) {
    const ClientShard& c = clients_[i];
    if (!c.empty())
      text += fmt::format(" [shard {}: session {}{} in flight {} waiting {} reads {} remote {}]", i, c.session, c.opening ? " opening" : "", c.in_flight.size(), c.waiting.size(),
                          c.reads.size(), c.remote.size());
  }
  return text + fmt::format(" tries {}", tries_.size());
}

// ---- as a client ----

/// The leader as far as it is known; else, for a shard that is not local, or whose replica here has not heard a leader for so
/// long that it may have been removed, those where the ring has it, and then everybody: whoever has no replica says so.
size_t Node::target_of(ShardId shard, ClientShard& c) {
  if (targets_.empty()) return SIZE_MAX;
  const Time patience = 2 * world_.options.raft.election_max;
  if (const Group* g = group(shard); g != nullptr && !g->stopped) {
    const auto leader = g->core.view().leader;
    const auto at = leader ? peer_of(*leader) : std::nullopt;
    if (at && (*at == number_ || now_ - g->led < patience)) return *at;
    if (now_ - g->led < patience) return SIZE_MAX;
  }
  if (c.hint != SIZE_MAX) return c.hint;
  std::vector<size_t> wanted;
  const auto add = [&](size_t node) {
    if (node != number_ && hears(node) && std::ranges::find(wanted, node) == wanted.end()) wanted.push_back(node);
  };
  for (const uint32_t member : targets_[shard.value()].voters)
    if (const auto node = node_by_member_.find(member); node != node_by_member_.end()) add(node->second);
  for (const auto& [member, node] : node_by_member_) add(node);
  return wanted.empty() ? SIZE_MAX : wanted[c.rotation % wanted.size()];
}

void Node::dispatch(size_t target, Request request) {
  if (target == number_) return serve(number_, std::move(request));
  group::encode_request(request, out_to_[target].requests);
}

void Node::pump(ShardId shard) {
  ClientShard& c = clients_[shard.value()];
  if (c.empty()) return;
  const size_t target = target_of(shard, c);
  if (target == SIZE_MAX) return;
  const auto stamp = [&](const Proposal& p, uint64_t sequence) {
    return Stamp{.incarnation = identity_.incarnation, .boot_epoch = identity_.boot_epoch, .session = p.session, .sequence = sequence, .low = c.in_flight.begin()->first};
  };
  while (!c.waiting.empty() && c.session != 0 && c.in_flight.size() < world_.options.in_flight_max) {
    Proposal p = std::move(c.waiting.front());
    c.waiting.pop_front();
    if (p.pending->done) continue;
    p.session = c.session;
    c.in_flight.emplace(c.next_sequence++, std::move(p));
  }
  for (auto& [sequence, p] : c.in_flight) {
    if (p.try_id != 0 || p.next_try > now_) continue;
    p.try_id = next_id_++;
    const bool again = p.tries++ > 0;
    Stamp s = stamp(p, sequence);
    if (again && mutant(DriverMutant::kRetryNewStamp)) s.sequence += 500 + p.tries;
    world_.history->stamped(p.pending->op, shard, s);
    tries_.emplace(p.try_id, Try{.kind = Try::Kind::kPropose, .shard = shard, .target = target, .sent = now_, .sequence = sequence, .questions = {}});
    dispatch(target, {.kind = Request::Kind::kPropose, .id = p.try_id, .shard = shard, .stamp = s, .body = p.command});
  }
  if (now_ < c.pause) return;
  if (!c.waiting.empty() && c.session == 0 && !c.opening) {
    c.opening = true;
    const uint64_t id = next_id_++;
    tries_.emplace(id, Try{.kind = Try::Kind::kOpen, .shard = shard, .target = target, .sent = now_, .questions = {}});
    dispatch(target, {.kind = Request::Kind::kOpenSession, .id = id, .shard = shard, .stamp = {.incarnation = identity_.incarnation, .boot_epoch = identity_.boot_epoch}, .body = {}});
  }
  if (!c.reads.empty()) {
    const uint64_t id = next_id_++;
    tries_.emplace(id, Try{.kind = Try::Kind::kRead, .shard = shard, .target = target, .sent = now_, .questions = std::exchange(c.reads, {})});
    dispatch(target, {.kind = Request::Kind::kReadIndex, .id = id, .shard = shard, .stamp = {}, .body = {}});
  }
  for (Question& q : std::exchange(c.remote, {})) {
    if (q.pending->done) continue;
    if (target == number_) {  // it has a replica by now
      c.reads.push_back(std::move(q));
      continue;
    }
    const uint64_t id = next_id_++;
    Request r{.kind = q.read == metadata::Read::kLinearizable ? Request::Kind::kQuery : Request::Kind::kQueryLocal, .id = id, .shard = shard, .stamp = {}, .patience_ms = 500, .body = q.query};
    Try t{.kind = Try::Kind::kQuery, .shard = shard, .target = target, .sent = now_, .questions = {}};
    t.questions.push_back(std::move(q));
    tries_.emplace(id, std::move(t));
    dispatch(target, std::move(r));
  }
}

void Node::on_reply(Reply reply) {
  if (question_answered(reply)) return wake();
  const auto found = tries_.find(reply.id);
  if (found == tries_.end()) return;  // too late, or repeated
  Try t = std::move(found->second);
  tries_.erase(found);
  ClientShard& c = clients_[t.shard.value()];
  const bool done = reply.outcome == Reply::Outcome::kDone;
  if (!done) {
    c.hint = SIZE_MAX;
    c.rotation++;
    if (const auto at = peer_of(reply.hint); at && *at != number_) c.hint = *at;
  }
  switch (t.kind) {
    case Try::Kind::kPropose:
      proposal_answered(c, t, reply);
      break;
    case Try::Kind::kOpen:
      c.opening = false;
      if (done && reply.verdict == group::Verdict::kApplied && reply.result.size() == 8) {
        c.session = Reader(reply.result).u64();
      } else {
        c.pause = now_ + kNoLeaderPause;
      }
      break;
    case Try::Kind::kRead: {
      Group* g = group(t.shard);
      for (Question& q : t.questions) {
        if (q.pending && q.pending->done) continue;
        if (g == nullptr) {
          read_elsewhere(c, std::move(q));
        } else if (!done) {
          c.reads.push_back(std::move(q));
        } else if (g->applied >= Index{reply.index} || mutant(DriverMutant::kReadBeforeApplied)) {
          run_query(t.shard, q);
        } else {
          g->waiting.emplace(Index{reply.index}, std::move(q));
        }
      }
      if (!done) c.pause = now_ + kRetryPause;
      break;
    }
    case Try::Kind::kQuery:
      for (Question& q : t.questions) {
        if (done) {
          if (!q.pending->done) {
            world_.history->read_at(q.pending->op, t.shard, Index{reply.index});
            finish(q.pending, std::move(reply.result));
          }
        } else {
          c.remote.push_back(std::move(q));
          c.pause = now_ + kRetryPause;
        }
      }
      break;
  }
  wake();
}

void Node::proposal_answered(ClientShard& c, Try& t, Reply& reply) {
  const auto found = c.in_flight.find(t.sequence);
  if (found == c.in_flight.end()) return;
  Proposal& p = found->second;
  p.try_id = 0;
  switch (reply.outcome) {
    case Reply::Outcome::kDone: {
      Proposal mine = std::move(p);
      c.in_flight.erase(found);
      if (reply.verdict == group::Verdict::kApplied) {
        world_.history->answered(mine.pending->op, t.shard, reply.result);
        return finish(mine.pending, std::move(reply.result));
      }
      if (reply.verdict == group::Verdict::kNoSession) {
        if (c.session == mine.session) c.session = 0;
        if (mine.tries == 1) {  // sent once and not executed then: as good as new
          world_.history->unstamped(mine.pending->op);
          mine.tries = 0;
          c.waiting.push_front(std::move(mine));
          return;
        }
      }
      return finish(mine.pending, fail(Code::kOutcomeUnknown, "the proposal's session is gone"));
    }
    case Reply::Outcome::kAborted:
    case Reply::Outcome::kLost:
      p.next_try = now_ + kRetryPause;
      return;
    case Reply::Outcome::kNotLeader:
    case Reply::Outcome::kNotReplica:
      p.tries--;
      p.next_try = now_ + kRetryPause;
      return;
    case Reply::Outcome::kOverloaded:
    case Reply::Outcome::kDiskFull:
      if (--p.tries > 0) {
        p.next_try = now_ + ms(50);
        return;
      }
      world_.history->refused(p.pending->op);
      finish(p.pending, fail(reply.outcome == Reply::Outcome::kOverloaded ? Code::kOverloaded : Code::kDiskFull, "refused"));
      c.in_flight.erase(found);
      return;
  }
}

void Node::expire() {
  // Those whose place was lost with a replica that was destroyed.
  for (const PendingPtr& p : open_)
    if (p->deadline + ms(200) <= now_) finish(p, fail(Code::kOutcomeUnknown, "no answer in time"));
  std::erase_if(open_, [](const PendingPtr& p) { return p->done; });
  std::vector<uint64_t> lost;
  for (const auto& [id, t] : tries_)
    if (t.target != number_ && now_ - t.sent > kAnswerPatience) lost.push_back(id);
  for (const uint64_t id : lost) on_reply({.id = id, .outcome = Reply::Outcome::kLost});
  const auto late = [&](const PendingPtr& p) { return p && p->deadline <= now_ && !p->done; };
  const auto expire_questions = [&](std::vector<Question>& all) {
    for (Question& q : all)
      if (late(q.pending)) finish(q.pending, fail(Code::kDeadlineExceeded, "no answer in time"));
    std::erase_if(all, [](const Question& q) { return q.pending->done; });
  };
  for (ClientShard& c : clients_) {
    for (auto& [sequence, p] : c.in_flight) {
      if (!late(p.pending)) continue;
      if (p.tries == 0) world_.history->refused(p.pending->op);
      finish(p.pending, p.tries > 0 ? fail(Code::kOutcomeUnknown, "no answer in time") : fail(Code::kUnavailable, "no leader took it"));
    }
    std::erase_if(c.in_flight, [](const auto& one) { return one.second.pending->done; });
    for (Proposal& p : c.waiting)
      if (late(p.pending)) {
        world_.history->refused(p.pending->op);
        finish(p.pending, fail(Code::kUnavailable, "no leader was found"));
      }
    std::erase_if(c.waiting, [](const Proposal& p) { return p.pending->done; });
    expire_questions(c.reads);
    expire_questions(c.remote);
  }
  for (auto& [id, t] : tries_) expire_questions(t.questions);
  for (const auto& g : groups_) {
    if (!g) continue;
    for (auto& [index, q] : g->waiting)
      if (late(q.pending)) finish(q.pending, fail(Code::kDeadlineExceeded, "this replica is behind"));
    std::erase_if(g->waiting, [](const auto& one) { return one.second.pending->done; });
  }
}

// ---- as a server ----

void Node::answer(size_t peer, uint64_t id, Reply reply) {
  reply.id = id;
  if (peer == number_) {
    local_replies_.push_back(std::move(reply));
    wake();
    return;
  }
  group::encode_reply(reply, out_to_[peer].replies);
}

void Node::serve(size_t peer, Request request) {
  if (request.shard.value() >= groups_.size()) return answer(peer, request.id, {.id = 0, .outcome = Reply::Outcome::kNotReplica});
  if (request.kind == Request::Kind::kDestroy) return serve_destroy(peer, request);
  if (request.kind == Request::Kind::kAmIGone) return serve_am_i_gone(peer, request);
  Group* g = group(request.shard);
  if (g == nullptr || g->stopped) return answer(peer, request.id, {.id = 0, .outcome = Reply::Outcome::kNotReplica});
  const Core::View v = g->core.view();
  const Reply not_leader{.id = 0, .outcome = Reply::Outcome::kNotLeader, .hint = v.leader.value_or(ReplicaId{})};
  switch (request.kind) {
    case Request::Kind::kPropose:
    case Request::Kind::kOpenSession: {
      if (!v.is_leader) return answer(peer, request.id, not_leader);
      if (disk_full_) return answer(peer, request.id, {.id = 0, .outcome = Reply::Outcome::kDiskFull});
      const Duration advance = now_ - g->stamped;
      g->stamped = now_;
      const group::Envelope envelope{.kind = request.kind == Request::Kind::kOpenSession ? group::Envelope::Kind::kOpenSession : group::Envelope::Kind::kCommand,
                                     .advance = advance,
                                     .stamp = request.stamp,
                                     .command = request.body};
      const Seq ticket = next_ticket_++;
      proposal_tickets_.emplace(ticket, Origin{peer, request.id});
      g->proposals.push_back({.ticket = ticket, .data = std::make_shared<const std::string>(group::encode(envelope))});
      return;
    }
    case Request::Kind::kReadIndex:
      if (!v.is_leader) return answer(peer, request.id, not_leader);
      g->reads.push_back({peer, request.id});
      return;
    case Request::Kind::kQuery:
    case Request::Kind::kQueryStale:
    case Request::Kind::kQueryLocal: {
      if (!g->local) return answer(peer, request.id, {.id = 0, .outcome = Reply::Outcome::kNotReplica});
      auto pending = std::make_shared<Pending>(Pending{.deadline = now_ + ms(request.patience_ms), .op = 0, .finish = {}});
      pending->finish = [](Result<std::string>) {};
      Question q{.pending = std::move(pending), .query = std::move(request.body), .read = metadata::Read::kLinearizable, .origin_peer = peer, .origin_id = request.id};
      if (request.kind != Request::Kind::kQuery) return run_query(request.shard, q);
      clients_[request.shard.value()].reads.push_back(std::move(q));
      return;
    }
    case Request::Kind::kDestroy:
    case Request::Kind::kAmIGone:
      return;
  }
}

void Node::step_dirty() {
  for (const auto& g : groups_) {
    if (!g) continue;
    if (!g->proposals.empty()) {
      in::ProposeBatch batch{std::move(g->proposals)};
      g->proposals.clear();
      step(*g, std::move(batch));
    }
    if (g->reads.empty()) continue;
    const Seq ticket = next_ticket_++;
    read_tickets_.emplace(ticket, std::exchange(g->reads, {}));
    step(*g, in::ReadIndex{ticket});
  }
}

void Node::collect_clients(Group& g) {
  for (const Output::Accepted& a : out_.accepted) {
    // A change of configuration has a ticket that nobody waits for.
    if (proposal_tickets_.contains(a.ticket)) g.in_flight.push_back({.index = a.index, .ticket = a.ticket});
  }
  for (const Output::ReadOk& read : out_.reads) {
    const auto found = read_tickets_.find(read.ticket);
    if (found == read_tickets_.end()) continue;
    for (const Origin& origin : found->second) {
      Reply reply{.id = 0, .outcome = Reply::Outcome::kDone};
      reply.index = raw(read.at);
      answer(origin.peer, origin.id, std::move(reply));
    }
    read_tickets_.erase(found);
  }
  for (const Output::Fail& failed : out_.failed) {
    const Reply refusal{.id = 0,
                        .outcome = failed.why == Reject::kAborted      ? Reply::Outcome::kAborted
                                   : failed.why == Reject::kOverloaded ? Reply::Outcome::kOverloaded
                                                                       : Reply::Outcome::kNotLeader,
                        .hint = failed.leader.value_or(ReplicaId{})};
    if (const auto proposal = proposal_tickets_.find(failed.ticket); proposal != proposal_tickets_.end()) {
      answer(proposal->second.peer, proposal->second.id, refusal);
      proposal_tickets_.erase(proposal);
      std::erase_if(g.in_flight, [&](const Group::InFlight& one) { return one.ticket == failed.ticket; });
    } else if (const auto reads = read_tickets_.find(failed.ticket); reads != read_tickets_.end()) {
      for (const Origin& origin : reads->second) answer(origin.peer, origin.id, refusal);
      read_tickets_.erase(reads);
    }
  }
}

}  // namespace kraken::sim::whole
