#include "tests/sim/whole/oracle.h"

#include <xxhash.h>

#include <algorithm>

#include <fmt/format.h>

#include "consensus/group/replica.h"
#include "consensus/raft/quorum.h"
#include "src/base/codec.h"
#include "tests/sim/majority.h"
#include "tests/sim/whole/mutants.h"

namespace kraken::sim::whole {

using namespace raft;
using raft::raw;

namespace {

uint64_t hash_of(const Entry& e) {
  const uint64_t seed = mix(raw(e.term), static_cast<uint64_t>(e.kind));
  return e.data ? XXH3_64bits_withSeed(e.data->data(), e.data->size(), seed) : seed;
}

uint64_t hash_of(const std::optional<Answer>& a) {
  if (!a) return 1;
  return XXH3_64bits_withSeed(a->result.data(), a->result.size(), static_cast<uint64_t>(a->verdict) + 2);
}

std::string stamp_key(ShardId shard, const Stamp& s) {
  Writer out;
  out.u16(shard.value()).raw(s.incarnation.view()).u64(s.boot_epoch).u64(s.session).u64(s.sequence);
  return std::move(out).take();
}

}  // namespace

void DurableLog::write(const std::optional<HardState>& state, std::optional<Index> truncate_from, const std::vector<Entry>& append) {
  if (state) hs = *state;
  if (truncate_from && *truncate_from <= last() && *truncate_from > base) terms.resize(distance(base + 1, *truncate_from));
  for (const Entry& e : append) {
    if (e.index <= base) continue;  // a snapshot overtook it
    terms.resize(distance(base + 1, e.index));
    terms.push_back(e.term);
  }
}

void DurableLog::compact(Index to, Term term) {
  if (to <= base) return;
  terms.erase(terms.begin(), terms.begin() + static_cast<std::ptrdiff_t>(std::min<uint64_t>(distance(base, to), terms.size())));
  base = to;
  base_term = term;
}

void DurableLog::install(const SnapMeta& meta) {
  base = meta.index;
  base_term = meta.term;
  terms.clear();
}

Oracle::Oracle(size_t nodes, metadata::Shards shards, Directory& directory, Membership& membership, CommitListener& listener)
    : directory_(directory), membership_(membership), listener_(listener), tracks_(nodes, std::vector<Track>(shards.count() + 1)), groups_(shards.count() + 1),
      started_(nodes), reference_view_(reference_), commands_(shards), machine_(commands_, [](const group::SystemState&) {}) {}

void Oracle::formed(const group::SystemState& state) {
  for (const group::RingNode& row : state.nodes) change(reference_, group::first_replicas(state, row.member, hrw));
  std::vector<ConfState> confs;
  for (size_t i = 0; i < groups_.size(); i++) {
    const ShardId shard{static_cast<uint16_t>(i)};
    Group& g = groups_[i];
    const auto log = group::load_log(reference_view_, shard);
    require(log.has_value(), "simulator", "the first rows of a shard cannot be read");
    g.at = log->applied;
    g.committed.assign(raw(group::kGenesisIndex), Committed{.chain = 0, .by = group::kGenesisTerm, .answer = 0, .digest = g.at.digest});
    g.chains.emplace(std::pair{group::kGenesisIndex, group::kGenesisTerm}, std::pair{0, Entry{}});
    confs.push_back(log->boot.conf);
  }
  membership_.formed(state, confs, group::kGenesisIndex);
}

const DurableLog* Oracle::disk_of(ShardId shard, ReplicaId id) {
  const Directory::Replica* replica = directory_.find(shard, id);
  if (replica == nullptr) return nullptr;
  if (const auto lost = lost_.find({shard, id}); lost != lost_.end()) return &lost->second;
  const DurableLog& disk = track(replica->node, shard).disk;
  return disk.self == id ? &disk : nullptr;
}

void Oracle::remember(Group& g, const Entry& e, uint64_t chain) {
  const auto [it, fresh] = g.chains.emplace(std::pair{e.index, e.term}, std::pair{chain, e});
  if (!fresh && it->second.first != chain) violated("3 log matching", fmt::format("two histories end in entry {} of term {}", raw(e.index), raw(e.term)));
}

uint64_t Oracle::extend(Track& t, const Entry& e) {
  require(e.index == t.chain_base + t.chain.size(), "3 log matching", "an entry does not follow the log");
  t.chain.push_back(mix(t.chain.back(), hash_of(e)));
  return t.chain.back();
}

void Oracle::started(size_t node, const Incarnation& incarnation, uint64_t boot_epoch) {
  Started& s = started_[node];
  if (s.incarnation == incarnation && boot_epoch <= s.boot_epoch)
    violated("6 monotonicity", fmt::format("node {} starts for the {}. time again", node, boot_epoch));
  s.incarnation = incarnation;
  s.boot_epoch = boot_epoch;
  s.suspect = s.lost == incarnation;
}

void Oracle::disk_changed(size_t node) {
  Started& s = started_[node];
  s = Started{.incarnation = {}, .boot_epoch = 0, .lost = s.incarnation, .suspect = false};
  for (size_t g = 0; g < groups_.size(); g++) {
    Track& t = tracks_[node][g];
    if (raw(t.disk.self) != 0) lost_.emplace(std::pair{ShardId{static_cast<uint16_t>(g)}, t.disk.self}, t.disk);
    t = Track{};
  }
}

void Oracle::destroyed(size_t node, ShardId shard, ReplicaId id) {
  if (!started_[node].suspect) membership_.destroyed(shard, id);
  Track& t = track(node, shard);
  if (t.disk.self == id) {
    lost_.emplace(std::pair{shard, id}, t.disk);
    t = Track{};
  }
  groups_[shard.value()].destroyed[id] = true;
}

void Oracle::found(size_t node, ShardId shard, std::optional<ReplicaId> replica, uint64_t min_sequence) {
  Track& t = track(node, shard);
  const ReplicaId was = t.disk.self;
  if (raw(was) == 0 || replica == was) return;
  if (min_sequence > sequence_of(was)) return destroyed(node, shard, was);
  if (t.durable_term != Term{} || raw(t.disk.last()) != 0) violated("6 monotonicity", fmt::format("replica {} of shard {} has vanished from its disk", raw(was), shard.value()));
  t = Track{};
}

void Oracle::booted(size_t node, ShardId shard, ReplicaId self, const std::vector<Entry>& log, const SnapMeta& snap, const Core& core) {
  Group& g = groups_[shard.value()];
  Track& t = track(node, shard);
  const Core::View v = core.view();
  if (g.destroyed.contains(self) && !started_[node].suspect) violated("11 replica ids", fmt::format("replica {} of shard {} was destroyed and is back", raw(self), shard.value()));
  if (v.term < t.durable_term) violated("6 monotonicity", fmt::format("node {} starts in term {} after {}", node, raw(v.term), raw(t.durable_term)));
  if (v.applied < t.applied) violated("6 monotonicity", fmt::format("node {} has applied {} after {} was durable", node, raw(v.applied), raw(t.applied)));
  if (raw(snap.index) > g.committed.size()) violated("5 state machine safety", "a log begins behind what is committed");
  t.chain_base = snap.index;
  t.chain.assign(1, raw(snap.index) == 0 ? 0 : g.committed[raw(snap.index) - 1].chain);
  t.disk.self = self;
  t.disk.hs = HardState{v.term, v.vote};
  t.disk.base = snap.index;
  t.disk.base_term = snap.term;
  t.disk.terms.clear();
  for (const Entry& e : log) {
    remember(g, e, extend(t, e));
    t.disk.terms.push_back(e.term);
  }
  durable(node, shard);
  t.conf_index = v.conf_index;
  t.conf = core.conf();
  t.leader = false;
  t.commit = v.commit;
  t.last = v.last;
}

void Oracle::durable(size_t node, ShardId shard) {
  Track& t = track(node, shard);
  if (raw(t.disk.self) == 0) return;
  if (t.disk.hs.term < t.durable_term) violated("6 monotonicity", fmt::format("durable term of node {} went back", node));
  t.durable_term = t.disk.hs.term;
  // A disk that went back may vote again, as long as nobody listens (11).
  if (lost_.contains({shard, t.disk.self})) return;
  auto& votes = groups_[shard.value()].votes[t.disk.self];
  const auto known = votes.find(t.disk.hs.term);
  if (known != votes.end() && t.disk.hs.vote != known->second)
    violated("7 one vote", fmt::format("replica {} of shard {} changed its vote of term {}", raw(t.disk.self), shard.value(), raw(t.disk.hs.term)));
  if (t.disk.hs.vote) votes.emplace(t.disk.hs.term, *t.disk.hs.vote);
}

void Oracle::check_log(Group& g, Track& t, const Output& out) {
  if (out.truncate_from) {
    require(*out.truncate_from > t.chain_base, "3 log matching", "truncation below the snapshot");
    const uint64_t keep = distance(t.chain_base, *out.truncate_from);
    if (keep < t.chain.size()) t.chain.resize(keep);
  }
  for (const Entry& e : out.append) remember(g, e, extend(t, e));
}

void Oracle::check_roles(ShardId shard, size_t node, Group& g, Track& t, const Core& core, const Output& out) {
  const Core::View v = core.view();
  if (v.is_leader) {
    const auto [it, fresh] = g.leaders.emplace(v.term, core.self());
    if (it->second != core.self())
      violated("1 election safety", fmt::format("replicas {} and {} of shard {} both lead term {}", raw(it->second), raw(core.self()), shard.value(), raw(v.term)));
    if (t.leader && t.leader_term == v.term) {
      if (out.truncate_from || v.last < t.last) violated("2 leader append-only", fmt::format("leader {} of term {} shortened its log", node, raw(v.term)));
    } else {
      const auto end = std::partition_point(g.committed.begin(), g.committed.end(), [&](const Committed& c) { return c.by < v.term; });
      const uint64_t must = static_cast<uint64_t>(end - g.committed.begin());
      if (must > raw(t.chain_base)) {
        const uint64_t at = must - raw(t.chain_base);
        if (at >= t.chain.size() || t.chain[at] != g.committed[must - 1].chain)
          violated("4 leader completeness", fmt::format("leader {} of term {} of shard {} lacks committed entry {}", node, raw(v.term), shard.value(), must));
      }
    }
  }
  t.leader = v.is_leader;
  t.leader_term = v.term;
  t.last = v.last;
}

void Oracle::check_commit(ShardId shard, size_t node, Group& g, Track& t, const Core& core) {
  const Core::View v = core.view();
  if (v.commit < t.commit) violated("6 monotonicity", fmt::format("commit of node {} went back", node));
  if (v.commit == t.commit) return;
  if (v.is_leader) {
    const std::optional<Term> term = core.term_at(v.commit);
    if (term != v.term) violated("9 commit rule", fmt::format("leader {} of term {} committed entry {} of an older term by counting", node, raw(v.term), raw(v.commit)));
    const auto holds = [&](ReplicaId id) {
      const DurableLog* d = disk_of(shard, id);
      return d != nullptr && (d->base >= v.commit || d->term_at(v.commit) == term);
    };
    if (!quorum_holds(core.conf(), holds))
      violated("9 commit rule", fmt::format("entry {} of shard {} is committed by {} but not durable on a quorum", raw(v.commit), shard.value(), node));
  }
  for (Index k = std::max(t.commit, t.chain_base) + 1; k <= v.commit; k = k + 1) {
    const uint64_t at = distance(t.chain_base, k);
    if (at >= t.chain.size()) violated("21 local", fmt::format("node {} has committed {}, which it does not have", node, raw(k)));
    if (raw(k) > g.committed.size()) {
      require(raw(k) == g.committed.size() + 1, "5 state machine safety", "a gap in what is committed");
      const auto found = g.chains.find({k, *core.term_at(k)});
      require(found != g.chains.end(), "5 state machine safety", "an entry from nowhere is committed");
      commit(shard, g, found->second.second, t.chain[at], v.term);
    } else if (g.committed[raw(k) - 1].chain != t.chain[at]) {
      violated("5 state machine safety", fmt::format("node {} committed another entry at {} of shard {}", node, raw(k), shard.value()));
    }
  }
  t.commit = v.commit;
}

void Oracle::commit(ShardId shard, Group& g, const Entry& e, uint64_t chain, Term by) {
  const MutantsOff off;
  group::ApplyTurn turn(reference_view_, machine_, sessions_);
  turn.begin(shard, g.at);
  auto answer = turn.apply(shard, e);
  if (!answer) violated("5 state machine safety", "an entry that cannot be applied is committed: " + answer.error().detail);
  g.at = turn.at(shard);
  change(reference_, turn.take_batch());
  g.committed.push_back({chain, by, hash_of(*answer), g.at.digest});
  if (raw(e.index) % kCompareEvery == 0) digest(g, shard, e.index, digest_of(reference_view_, shard), "the reference");
  if (e.kind == Kind::kConfig) membership_.committed(shard, e.index, *decode_conf(*e.data));
  if (e.kind != Kind::kData) return;
  const auto envelope = group::decode_envelope(*e.data);
  if (const auto command = shard == kSystemShard ? group::decode_system_command(envelope->command) : fail(Code::kCorrupt, "of a data shard"); command)
    membership_.committed(*command, **group::load_system_state(reference_view_));
  check_session(shard, e, *envelope, **answer);
  bool first = true;
  if (envelope->kind == group::Envelope::Kind::kCommand && (*answer)->verdict == group::Verdict::kApplied) {
    const auto [it, fresh] = stamps_.emplace(stamp_key(shard, envelope->stamp), Executed{g.committed.back().answer});
    first = fresh;
    if (!fresh && it->second.answer != g.committed.back().answer) violated("16 sessions", fmt::format("entry {} of shard {} executes a stamp again", raw(e.index), shard.value()));
  }
  listener_.committed(shard, e.index, *envelope, **answer, first);
}

/// Consensus §2.8 in a few lines: a newer start replaces a session and is never replaced, nothing is executed without one, and a
/// result is kept as long as its proposer may ask for it.
void Oracle::check_session(ShardId shard, const Entry& e, const group::Envelope& envelope, const Answer& answer) {
  const Stamp& s = envelope.stamp;
  Session& session = open_sessions_[{shard, s.incarnation}];
  const auto bad = [&](const char* what) { violated("16 sessions", fmt::format("entry {} of shard {}: {}", raw(e.index), shard.value(), what)); };
  if (envelope.kind == group::Envelope::Kind::kOpenSession) {
    if (answer.verdict != group::Verdict::kApplied) return;
    if (s.boot_epoch < session.boot_epoch) bad("an older start of a node takes the newer one's session over");
    if (s.boot_epoch > session.boot_epoch) session = {s.boot_epoch, raw(e.index), 1};
    if (Reader(answer.result).u64() != session.id) bad("a session has two names");
    return;
  }
  const bool known = session.boot_epoch == s.boot_epoch && session.id == s.session;
  if (answer.verdict == group::Verdict::kApplied && !known) bad("is executed without a session");
  if (!known) return;
  if (answer.verdict == group::Verdict::kNoSession) bad("its session is forgotten");
  if (s.low <= s.sequence) session.low = std::max(session.low, s.low);
  if (answer.verdict == group::Verdict::kForgotten && s.sequence >= session.low) bad("a result is forgotten that may be asked for");
}

// What a leader believes of its followers must be on their disks: it commits on the strength of it.
void Oracle::check_match(ShardId shard, size_t node, const Core& core) {
  for (const Core::Peer& peer : core.peers()) {
    const DurableLog* d = disk_of(shard, peer.id);
    if (d == nullptr || raw(peer.match) == 0 || d->base >= peer.match || d->hs.term > core.view().term) continue;
    const std::optional<Term> term = core.term_at(peer.match);
    if (term && d->term_at(peer.match) != term)
      violated("9 commit rule", fmt::format("leader {} of shard {} believes that {} holds entry {}", node, shard.value(), raw(peer.id), raw(peer.match)));
  }
}

void Oracle::check_conf(ShardId shard, const Track& t, const Core& core, const Output& out) {
  const Core::View v = core.view();
  if (!v.is_leader) return;
  Index last = t.conf_index;  // before this step
  for (const Entry& e : out.append) {
    if (e.kind != Kind::kConfig || e.term != v.term) continue;
    if (core.term_at(v.commit) != v.term) violated("10 configurations", "changed before an entry of the leader's term was committed");
    const ConfState& before = core.conf_at(v.commit);
    const std::optional<ConfState> after = decode_conf(*e.data);
    require(after.has_value(), "10 configurations", "undecodable");
    if (!same_voters(before, *after) && !after->joint()) violated("10 configurations", "voters changed in one step");
    if (last > v.commit) violated("10 configurations", fmt::format("a change of shard {} begins before the one at {} is committed", shard.value(), raw(last)));
    last = e.index;
    const auto durable_to = [&](ReplicaId id) {
      const DurableLog* d = disk_of(shard, id);
      return d == nullptr ? Index{} : d->last();
    };
    membership_.promoted(shard, t.conf, *after, durable_to);
  }
}

void Oracle::check_local(size_t node, ShardId shard, const Core& core) {
  const Core::View v = core.view();
  const auto bad = [&](const char* what) { violated("21 local", fmt::format("node {} shard {}: {}", node, shard.value(), what)); };
  if (v.commit > v.last) bad("commit is behind the log");
  if (v.commit + 1 < v.first) bad("commit is before the log");
  if (v.applied > v.commit) bad("more is applied than committed");
  if (v.stable > v.last) bad("more is durable than there is");
  if (v.is_leader && v.vote != core.self()) bad("a leader that did not vote for itself");
  if (v.serving && !v.is_leader) bad("serves and does not lead");
  if (!v.is_leader && is_voter(core.conf(), core.self()) && core.deadline() == Time::max()) bad("a voter without a timer");
}

void Oracle::check_pre_vote(const Input& input, const Output& out, const Core::View& v) const {
  const auto* receive = std::get_if<in::Receive>(&input);
  const auto* req = receive ? std::get_if<VoteReq>(&receive->m) : nullptr;
  if (req == nullptr) return;
  const bool older = req->last_term != v.last_term ? req->last_term < v.last_term : req->last_index < v.last;
  if (!older) return;
  const auto check = [](const Message& m) {
    const auto* r = std::get_if<VoteResp>(&m);
    if (r != nullptr && r->granted && r->pre) violated("4 leader completeness", "a pre-vote for a candidate whose log is older");
  };
  for (const Message& m : out.send_now) check(m);
  for (const auto& gated : out.send_after) check(gated.m);
}

void Oracle::stepped(size_t node, ShardId shard, const Input& input, const Output& out, const Core& core) {
  Group& g = groups_[shard.value()];
  Track& t = track(node, shard);
  if (out.conflict) violated("5 state machine safety", fmt::format("node {} was asked to overwrite committed entry {}", node, raw(out.conflict->index)));
  check_log(g, t, out);
  require(t.chain_base + (t.chain.size() - 1) == core.view().last, "3 log matching", "the log is not what was given to storage");
  check_roles(shard, node, g, t, core, out);
  check_commit(shard, node, g, t, core);
  check_conf(shard, t, core, out);
  t.conf_index = core.view().conf_index;
  t.conf = core.conf();
  check_local(node, shard, core);
  if (core.view().is_leader && std::holds_alternative<in::Receive>(input)) check_match(shard, node, core);
  check_pre_vote(input, out, core.view());
}

void Oracle::sent(size_t node, ShardId shard, const Message& m) {
  const DurableLog& d = track(node, shard).disk;
  const Hdr& h = header(m);
  const auto undurable = [&](const char* what) { violated("8 nothing undurable said", fmt::format("node {} shard {}: {}", node, shard.value(), what)); };
  if (groups_[shard.value()].destroyed.contains(h.from) && !started_[node].suspect) violated("11 replica ids", fmt::format("destroyed replica {} of shard {} speaks", raw(h.from), shard.value()));
  if (const auto* vote = std::get_if<VoteResp>(&m); vote != nullptr && vote->granted && !vote->pre) {
    if (d.hs.term < h.term || (d.hs.term == h.term && d.hs.vote != h.to)) undurable("a vote");
  } else if (const auto* ask = std::get_if<VoteReq>(&m); ask != nullptr && !ask->pre) {
    if (d.hs.term < h.term || (d.hs.term == h.term && d.hs.vote != h.from)) undurable("a candidacy");
  } else if (const auto* ack = std::get_if<AppendResp>(&m); ack != nullptr && ack->ok) {
    if (d.hs.term < h.term || (d.hs.term == h.term && d.last() < ack->match)) undurable("an acknowledgement");
  } else if (const auto* beat = std::get_if<BeatResp>(&m)) {
    if (d.hs.term == h.term && d.last() < beat->match) undurable("an acknowledgement in a beat");
  }
}

void Oracle::applied(size_t node, ShardId shard, const Entry& e, const std::optional<Answer>& answer, const group::StateDigest& digest) {
  Group& g = groups_[shard.value()];
  const uint64_t k = raw(e.index);
  if (k > g.committed.size()) violated("5 state machine safety", fmt::format("node {} applied {} of shard {}, which nobody committed", node, k, shard.value()));
  if (g.committed[k - 1].answer != hash_of(answer))
    violated("5 state machine safety", fmt::format("node {} has another result at {} of shard {}", node, k, shard.value()));
  if (g.committed[k - 1].digest != digest)
    violated("13 equal states", fmt::format("node {} has another rolling digest at {} of shard {}", node, k, shard.value()));
}

void Oracle::digest(Group& g, ShardId shard, Index at, uint64_t digest, const std::string& who) {
  const auto [it, fresh] = g.digests.emplace(at, digest);
  if (!fresh) compared_++;
  if (!fresh && it->second != digest) violated("13 equal states", fmt::format("{} has other rows at {} of shard {}", who, raw(at), shard.value()));
}

void Oracle::rows(size_t node, ShardId shard, Index at, const kv::View& view, const char* what) {
  if (raw(at) == 0) return;
  digest(groups_[shard.value()], shard, at, digest_of(view, shard), fmt::format("node {} ({})", node, what));
}

void Oracle::applied_durable(size_t node, ShardId shard, Index at) {
  Track& t = track(node, shard);
  t.applied = std::max(t.applied, at);
}

void Oracle::installed(size_t node, ShardId shard, const SnapMeta& meta) {
  Group& g = groups_[shard.value()];
  Track& t = track(node, shard);
  if (raw(meta.index) > g.committed.size()) violated("12 snapshots", "a snapshot holds what is not committed");
  if (const auto found = g.chains.find({meta.index, meta.term}); found == g.chains.end() || found->second.first != g.committed[raw(meta.index) - 1].chain)
    violated("12 snapshots", fmt::format("the snapshot at {} of shard {} is of another history", raw(meta.index), shard.value()));
  membership_.snapshot(shard, meta.index, meta.conf);
  t.chain_base = meta.index;
  t.chain.assign(1, g.committed[raw(meta.index) - 1].chain);
  t.commit = std::max(t.commit, meta.index);
}

uint64_t Oracle::elections() const {
  uint64_t sum = 0;
  for (const Group& g : groups_) sum += g.leaders.size();
  return sum;
}
uint64_t Oracle::commits() const {
  uint64_t sum = 0;
  for (const Group& g : groups_) sum += g.committed.size();
  return sum;
}

}  // namespace kraken::sim::whole
