// This node as a client of the shards, local or not: proposals under a session, reads, queries; each is tried until it is answered,
// refused for good, or its deadline comes. A try is one request to one node; losing it or its answer only costs time.

#include "consensus/group/engine.h"

#include <algorithm>

#include <boost/asio/post.hpp>

#include "src/base/codec.h"
#include "src/base/log.h"
#include "src/base/metrics.h"

namespace kraken::group {
namespace {

constexpr std::size_t kFrameFull = std::size_t{1} << 20;
constexpr Duration kNoLeaderPause = std::chrono::milliseconds(20);
constexpr Duration kRetryPause = std::chrono::milliseconds(10);
constexpr Duration kBusyPause = std::chrono::milliseconds(50);
constexpr Duration kAnswerPatience = std::chrono::milliseconds(1500);  // for another node's answer, before asking again

void refuse(const PendingPtr& pending) {
  if (pending->done.exchange(true)) return;
  boost::asio::post(pending->executor, [pending] { pending->finish(fail(Code::kCancelled, "this node is stopping")); });
}

}  // namespace

// ---- from any thread ----

void Engine::propose(ShardId shard, std::string command, PendingPtr pending) {
  const bool taken = post([this, shard, command = std::move(command), pending]() mutable {
    if (stopped_) return answers_.add(pending, fail(Code::kCancelled, "this node is stopping"));
    ClientShard& client = clients_[shard.value()];
    if (client.waiting.size() >= options_.limits.requests_waiting)
      return answers_.add(pending, fail(Code::kOverloaded, "shard {}: {} proposals wait", shard.value(), client.waiting.size()));
    Proposal& proposal = client.waiting.emplace_back();
    proposal.pending = std::move(pending);
    proposal.command = std::move(command);
    active_.insert(shard);
    pump(shard);
  });
  if (!taken) refuse(pending);
}

void Engine::read(ShardId shard, PendingPtr pending) {
  const bool taken = post([this, shard, pending]() mutable {
    if (stopped_) return answers_.add(pending, fail(Code::kCancelled, "this node is stopping"));
    ClientShard& client = clients_[shard.value()];
    if (client.reads.size() >= options_.limits.requests_waiting)
      return answers_.add(pending, fail(Code::kOverloaded, "shard {}: {} reads wait", shard.value(), client.reads.size()));
    client.reads.push_back(std::move(pending));
    active_.insert(shard);
    pump(shard);
  });
  if (!taken) refuse(pending);
}

void Engine::query(ShardId shard, std::string query, Read read, PendingPtr pending) {
  ask(shard, std::move(query), read == Read::kLinearizable ? Request::Kind::kQuery : Request::Kind::kQueryLocal, std::move(pending));
}

void Engine::query_stale(ShardId shard, std::string query, PendingPtr pending) {
  ask(shard, std::move(query), Request::Kind::kQueryStale, std::move(pending));
}

void Engine::ask(ShardId shard, std::string query, Request::Kind kind, PendingPtr pending) {
  const bool taken = post([this, shard, query = std::move(query), kind, pending]() mutable {
    if (stopped_) return answers_.add(pending, fail(Code::kCancelled, "this node is stopping"));
    ClientShard& client = clients_[shard.value()];
    if (client.queries.size() >= options_.limits.requests_waiting)
      return answers_.add(pending, fail(Code::kOverloaded, "shard {}: {} queries wait", shard.value(), client.queries.size()));
    client.queries.push_back({.pending = std::move(pending), .query = std::move(query), .kind = kind});
    active_.insert(shard);
    pump(shard);
  });
  if (!taken) refuse(pending);
}

// ---- sending ----

void Engine::pump(ShardId shard) {
  ClientShard& client = clients_[shard.value()];
  if (client.dirty || client.empty()) return;
  client.dirty = true;
  dirty_clients_.push_back(shard);
}

void Engine::pump_later(ShardId shard, MonotonicTime when) {
  ClientShard& client = clients_[shard.value()];
  client.due = std::min(client.due, when);
}

void Engine::pump_now(ShardId shard) {
  ClientShard& client = clients_[shard.value()];
  client.dirty = false;
  client.due = MonotonicTime::max();
  if (client.empty()) {
    active_.erase(shard);
    return;
  }
  active_.insert(shard);
  // The replica that was to be read is gone: whoever waits asks another node.
  if (!client.reads.empty() && !group_of(shard)) {
    for (PendingPtr& read : client.reads) answers_.add(std::move(read), fail(Code::kNotLeader, "shard {} has moved away from this node", shard.value()));
    client.reads.clear();
  }
  const std::size_t target = target_of(shard, client);
  if (target == kNobody) {
    pump_later(shard, now_ + kNoLeaderPause);
    // A replica's own word needs no leader.
    if (now_ >= client.pause && std::ranges::any_of(client.queries, [](const RemoteQuery& one) { return one.kind == Request::Kind::kQueryStale; }))
      send_queries(shard, client);
    return;
  }
  send_proposals(shard, client, target);
  if (now_ < client.pause) return pump_later(shard, client.pause);
  if (!client.waiting.empty() && client.session == 0 && !client.opening) open_session(shard, client, target);
  if (!client.reads.empty()) send_reads(shard, client, target);
  if (!client.queries.empty()) send_queries(shard, client);
}

/// A request goes over one connection, its answer over the other.
bool Engine::answers(std::size_t peer) const { return transport_->up_both(peer); }

/// Where to send: the leader as far as it is known and can be reached; else, for a shard that is not local, or whose replica here
/// has not heard a leader for so long that it may have been removed, those where the ring has it, and then everybody: whoever has
/// no replica says so.
std::size_t Engine::target_of(ShardId shard, ClientShard& client) {
  if (!system_ || targets_.empty()) return kNobody;
  if (const Group* group = group_of(shard)) {
    const auto leader = group->core.view().leader;
    const auto peer = leader ? peer_of(*leader) : std::nullopt;
    if (peer && (*peer == self_ || answers(*peer)) && (*peer == self_ || now_ - group->led < 2 * options_.timings.election_max)) return *peer;
    if (now_ - group->led < 2 * options_.timings.election_max) return kNobody;
  }
  if (client.hint != kNobody && answers(client.hint)) return client.hint;
  std::vector<std::size_t> wanted;
  for (const std::uint32_t number : targets_[shard.value()].voters)
    if (const auto slot = slot_by_member_.find(number); slot != slot_by_member_.end() && slot->second != self_ && answers(slot->second))
      wanted.push_back(slot->second);
  for (const auto& [number, slot] : slot_by_member_)
    if (slot != self_ && answers(slot) && std::ranges::find(wanted, slot) == wanted.end()) wanted.push_back(slot);
  return wanted.empty() ? kNobody : wanted[client.rotation % wanted.size()];
}

std::size_t Engine::stale_target_of(ShardId shard, ClientShard& client) {
  const Group* group = group_of(shard);
  return group && group->fenced.empty() && !group->stopped && local(shard) != 0 ? self_ : target_of(shard, client);
}

void Engine::dispatch(std::size_t target, Request request) {
  if (target == self_) {
    const std::uint64_t id = request.id;
    return serve({.peer = kNobody, .id = id}, std::move(request));
  }
  PeerOut& out = peer_out_[target];
  encode_request(request, out.requests);
  if (out.requests.size() < kFrameFull) return;
  append_frame(FrameKind::kRequests, out.requests, out.request_frames);
  out.requests.clear();
}

void Engine::open_session(ShardId shard, ClientShard& client, std::size_t target) {
  client.opening = true;
  const std::uint64_t id = next_id_++;
  tries_.emplace(id, Try{.kind = Try::Kind::kOpen, .shard = shard, .target = target, .sent = now_, .readers = {}, .query = {}});
  dispatch(target, {.kind = Request::Kind::kOpenSession,
                    .id = id,
                    .shard = shard,
                    .stamp = {.incarnation = identity_.incarnation, .boot_epoch = identity_.boot_epoch},
                    .body = {}});
}

void Engine::send_proposals(ShardId shard, ClientShard& client, std::size_t target) {
  const auto low = [&] { return client.in_flight.empty() ? client.next_sequence : client.in_flight.begin()->first; };
  while (!client.waiting.empty() && client.session != 0 && client.in_flight.size() < options_.limits.proposals_in_flight &&
         client.next_sequence - low() < kSessionWindow) {
    Proposal proposal = std::move(client.waiting.front());
    client.waiting.pop_front();
    if (proposal.pending->done) continue;
    proposal.session = client.session;
    client.in_flight.emplace(client.next_sequence++, std::move(proposal));
  }
  for (auto& [sequence, proposal] : client.in_flight) {
    if (proposal.try_id != 0) continue;
    if (proposal.next_try > now_) {
      pump_later(shard, proposal.next_try);
    } else {
      send_proposal(shard, client, sequence, target);
    }
  }
}

void Engine::send_proposal(ShardId shard, ClientShard& client, std::uint64_t sequence, std::size_t target) {
  Proposal& proposal = client.in_flight.at(sequence);
  proposal.try_id = next_id_++;
  ++proposal.tries;
  tries_.emplace(proposal.try_id, Try{.kind = Try::Kind::kPropose, .shard = shard, .target = target, .sent = now_,
                                      .sequence = sequence, .readers = {}, .query = {}});
  dispatch(target, {.kind = Request::Kind::kPropose,
                    .id = proposal.try_id,
                    .shard = shard,
                    .stamp = {.incarnation = identity_.incarnation,
                              .boot_epoch = identity_.boot_epoch,
                              .session = proposal.session,
                              .sequence = sequence,
                              .low = client.in_flight.begin()->first},
                    .body = proposal.command});
}

void Engine::send_reads(ShardId shard, ClientShard& client, std::size_t target) {
  static metrics::Counter& read_total = metrics::counter("kr_raft_reads_total", "Linearizable reads of local replicas");
  read_total.add(static_cast<double>(client.reads.size()));
  const std::uint64_t id = next_id_++;
  tries_.emplace(id, Try{.kind = Try::Kind::kRead, .shard = shard, .target = target, .sent = now_,
                         .readers = std::exchange(client.reads, {}), .query = {}});
  dispatch(target, {.kind = Request::Kind::kReadIndex, .id = id, .shard = shard, .stamp = {}, .body = {}});
}

void Engine::send_queries(ShardId shard, ClientShard& client) {
  std::deque<RemoteQuery> queries = std::exchange(client.queries, {});
  for (RemoteQuery& query : queries) {
    if (query.pending->done) continue;
    const std::size_t target = query.kind == Request::Kind::kQueryStale ? stale_target_of(shard, client) : target_of(shard, client);
    if (target == kNobody) {
      client.queries.push_back(std::move(query));
      continue;
    }
    const std::uint64_t id = next_id_++;
    const Duration left = std::max(query.pending->deadline - now_, Duration::zero());
    Request request{.kind = query.kind,
                    .id = id,
                    .shard = shard,
                    .stamp = {},
                    .patience_ms = static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(left).count()),
                    .body = query.query};
    tries_.emplace(id, Try{.kind = Try::Kind::kQuery, .shard = shard, .target = target, .sent = now_, .readers = {},
                           .query = std::move(query)});
    dispatch(target, std::move(request));
  }
}

// ---- answers ----

void Engine::on_reply(Reply reply) {
  if (question_answered(reply)) return;
  const auto found = tries_.find(reply.id);
  if (found == tries_.end()) return;  // too late, or asked twice
  Try tried = std::move(found->second);
  tries_.erase(found);
  ClientShard& client = clients_[tried.shard.value()];
  take_hint(tried.shard, client, reply);
  switch (tried.kind) {
    case Try::Kind::kPropose:
      proposal_answered(tried, reply);
      break;
    case Try::Kind::kOpen:
      session_answered(tried, reply);
      break;
    case Try::Kind::kRead:
      read_answered(tried, reply);
      break;
    case Try::Kind::kQuery:
      query_answered(tried, reply);
      break;
  }
  if (client.empty()) {
    active_.erase(tried.shard);
  } else {
    pump(tried.shard);
  }
}

void Engine::take_hint(ShardId, ClientShard& client, const Reply& reply) {
  if (reply.outcome == Reply::Outcome::kDone) return;
  client.hint = kNobody;
  ++client.rotation;
  if (const auto peer = peer_of(reply.hint); peer && *peer != self_) client.hint = *peer;
}

void Engine::proposal_answered(Try& tried, Reply& reply) {
  ClientShard& client = clients_[tried.shard.value()];
  const auto found = client.in_flight.find(tried.sequence);
  if (found == client.in_flight.end()) return;
  Proposal& proposal = found->second;
  proposal.try_id = 0;
  switch (reply.outcome) {
    case Reply::Outcome::kDone:
      return proposal_applied(client, tried.sequence, reply);
    case Reply::Outcome::kAborted:
    case Reply::Outcome::kLost:
      return retry_proposal(client, tried.sequence, kRetryPause);
    case Reply::Outcome::kNotLeader:
    case Reply::Outcome::kNotReplica:
      --proposal.tries;
      return retry_proposal(client, tried.sequence, kRetryPause);
    case Reply::Outcome::kOverloaded:
      return refuse_proposal(client, tried.sequence, Code::kOverloaded, "the shard's leader has too much in flight");
    case Reply::Outcome::kDiskFull:
      return refuse_proposal(client, tried.sequence, Code::kDiskFull, "the disk of the shard's leader is too full");
  }
}

void Engine::proposal_applied(ClientShard& client, std::uint64_t sequence, Reply& reply) {
  const auto found = client.in_flight.find(sequence);
  Proposal proposal = std::move(found->second);
  client.in_flight.erase(found);
  switch (reply.verdict) {
    case Verdict::kApplied:
      return answers_.add(std::move(proposal.pending), std::move(reply.result));
    case Verdict::kNoSession:
      if (client.session == proposal.session) client.session = 0;
      // Sent once and not executed then: it is as good as new.
      if (proposal.tries == 1) {
        proposal.tries = 0;
        client.waiting.push_front(std::move(proposal));
        return;
      }
      [[fallthrough]];
    case Verdict::kForgotten:
    case Verdict::kOutOfWindow:
      return answers_.add(std::move(proposal.pending), fail(Code::kOutcomeUnknown, "the proposal's session is gone"));
  }
}

void Engine::retry_proposal(ClientShard& client, std::uint64_t sequence, Duration pause) {
  Proposal& proposal = client.in_flight.at(sequence);
  proposal.next_try = now_ + pause;
}

/// Nothing happened this time. If nothing happened before either, the caller may know; else only trying again tells.
void Engine::refuse_proposal(ClientShard& client, std::uint64_t sequence, Code code, std::string_view why) {
  Proposal& proposal = client.in_flight.at(sequence);
  if (--proposal.tries > 0) return retry_proposal(client, sequence, kBusyPause);
  answers_.add(std::move(proposal.pending), fail(code, "{}", why));
  client.in_flight.erase(sequence);
}

void Engine::session_answered(Try& tried, const Reply& reply) {
  ClientShard& client = clients_[tried.shard.value()];
  client.opening = false;
  if (reply.outcome == Reply::Outcome::kDone && reply.verdict == Verdict::kApplied && reply.result.size() == 8) {
    client.session = Reader(reply.result).u64();
    return;
  }
  if (reply.outcome == Reply::Outcome::kDiskFull) {
    // A session is an entry too: what waits for it gets the answer that it would get itself.
    std::erase_if(client.waiting, [&](Proposal& proposal) {
      if (proposal.tries > 0) return false;
      answers_.add(std::move(proposal.pending), fail(Code::kDiskFull, "the disk of the shard's leader is too full"));
      return true;
    });
  }
  if (reply.outcome == Reply::Outcome::kDone)
    log::error("raft.session", "shard={} A newer start of this node has used the shard: another process runs with this node's folder or a copy of it",
               tried.shard.value());
  client.pause = now_ + kNoLeaderPause;
}

void Engine::read_answered(Try& tried, const Reply& reply) {
  ClientShard& client = clients_[tried.shard.value()];
  Group* group = group_of(tried.shard);
  if (reply.outcome == Reply::Outcome::kDone && group) {
    const raft::Index at{reply.index};
    for (PendingPtr& reader : tried.readers) {
      if (group->applied >= at) {
        answers_.add(std::move(reader), std::string());
      } else {
        group->waiting_reads.emplace(at, std::move(reader));
      }
    }
    return;
  }
  // (Without a replica here pump_now sends them elsewhere.)
  for (PendingPtr& reader : tried.readers)
    if (!reader->done) client.reads.push_back(std::move(reader));
  // Not at once: a leader that does not know yet that it is none would be asked without end.
  client.pause = now_ + kRetryPause;
}

void Engine::query_answered(Try& tried, Reply& reply) {
  ClientShard& client = clients_[tried.shard.value()];
  if (reply.outcome == Reply::Outcome::kDone) return answers_.add(std::move(tried.query.pending), std::move(reply.result));
  if (reply.outcome == Reply::Outcome::kOverloaded)
    return answers_.add(std::move(tried.query.pending), fail(Code::kUnavailable, "the replica that was asked could not answer in time"));
  client.queries.push_back(std::move(tried.query));
  client.pause = now_ + kRetryPause;
}

void Engine::lose(const std::function<bool(const Try&)>& which) {
  std::vector<std::uint64_t> lost;
  for (const auto& [id, tried] : tries_)
    if (which(tried)) lost.push_back(id);
  for (const std::uint64_t id : lost) on_reply({.id = id, .outcome = Reply::Outcome::kLost});
}

void Engine::expire() {
  if (active_.empty() && tries_.empty()) return;
  lose([this](const Try& tried) { return tried.target != self_ && now_ - tried.sent > kAnswerPatience; });
  for (auto& [id, tried] : tries_) {
    for (PendingPtr& reader : tried.readers)
      if (reader->deadline <= now_) answers_.add(reader, fail(Code::kDeadlineExceeded, "shard {}: no quorum answered in time", tried.shard.value()));
    std::erase_if(tried.readers, [](const PendingPtr& reader) { return reader->done.load(); });
    if (tried.query.pending && tried.query.pending->deadline <= now_)
      answers_.add(tried.query.pending, fail(Code::kDeadlineExceeded, "shard {}: no replica answered in time", tried.shard.value()));
  }
  for (const auto& group : groups_) {
    if (!group) continue;
    std::erase_if(group->waiting_reads, [&](const auto& one) {
      if (one.second->deadline <= now_)
        answers_.add(one.second, fail(Code::kDeadlineExceeded, "shard {}: this replica is behind", group->shard.value()));
      return one.second->done.load();
    });
  }
  for (auto shard = active_.begin(); shard != active_.end();) {
    const ShardId id = *shard++;
    expire_shard(id, clients_[id.value()]);
    if (clients_[id.value()].empty()) active_.erase(id);
  }
}

void Engine::expire_shard(ShardId shard, ClientShard& client) {
  const auto late = [&](const PendingPtr& pending) { return pending->deadline <= now_; };
  for (auto& [sequence, proposal] : client.in_flight) {
    if (!late(proposal.pending)) continue;
    answers_.add(proposal.pending,
                 proposal.tries > 0 ? fail(Code::kOutcomeUnknown, "shard {}: no answer in time; the write may or may not happen", shard.value())
                                    : fail(Code::kUnavailable, "shard {}: no leader took the proposal in time", shard.value()));
  }
  // What has been answered leaves the window, so that `low` can move on.
  std::erase_if(client.in_flight, [](const auto& one) { return one.second.pending->done.load(); });
  for (Proposal& proposal : client.waiting)
    if (late(proposal.pending))
      answers_.add(proposal.pending, fail(Code::kUnavailable, "shard {}: no leader was found in time", shard.value()));
  std::erase_if(client.waiting, [](const Proposal& one) { return one.pending->done.load(); });
  for (PendingPtr& read : client.reads)
    if (late(read)) answers_.add(read, fail(Code::kUnavailable, "shard {}: no leader was found in time", shard.value()));
  std::erase_if(client.reads, [](const PendingPtr& one) { return one->done.load(); });
  for (RemoteQuery& query : client.queries)
    if (late(query.pending))
      answers_.add(query.pending, fail(Code::kUnavailable, "shard {}: no replica was found in time", shard.value()));
  std::erase_if(client.queries, [](const RemoteQuery& one) { return one.pending->done.load(); });
}

}  // namespace kraken::group
