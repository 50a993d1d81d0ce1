#include "tests/sim/invariants.h"

#include <algorithm>

#include <fmt/format.h>

#include "tests/sim/majority.h"

namespace kraken::sim {

using namespace raft;

void Chain::rebuild(Index base, uint64_t base_hash, const std::vector<Entry>& entries) {
  base_ = base;
  hashes_.assign(1, base_hash);
  for (const Entry& e : entries) append(e);
}

void Chain::truncate(Index from) {
  require(from > base_, "log matching", "truncation below the snapshot");
  if (from <= last()) hashes_.resize(distance(base_, from));
}

uint64_t Chain::append(const Entry& e) {
  require(e.index == last() + 1, "log matching", "an entry does not follow the log");
  hashes_.push_back(mix(hashes_.back(), hash_of(e)));
  return hashes_.back();
}

void Invariants::remember(Index index, Term term, uint64_t chain) {
  const auto [it, fresh] = chains_.emplace(std::pair{index, term}, chain);
  if (!fresh && it->second != chain) violated("3 log matching", fmt::format("two histories end in entry {} of term {}", raw(index), raw(term)));
}

void Invariants::booted(size_t i, const Image& image, const Core& core) {
  Node& n = nodes_[i];
  if (image.hs.term < n.durable_term) violated("6 monotonicity", fmt::format("node {} starts in term {} after {}", i, raw(image.hs.term), raw(n.durable_term)));
  if (image.state.applied < n.durable_applied) violated("6 monotonicity", fmt::format("node {} forgot applied entries", i));
  synced(i, image);
  const Index base = image.snap.index;
  const uint64_t base_hash = raw(base) == 0 ? 0 : committed_.at(raw(base) - 1).chain;
  n.chain.rebuild(base, base_hash, image.log);
  for (const Entry& e : image.log) remember(e.index, e.term, n.chain.at(e.index));
  n.leader = false;
  n.commit = core.view().commit;
  n.last = core.view().last;
}

void Invariants::synced(size_t i, const Image& durable) {
  Node& n = nodes_[i];
  if (durable.hs.term < n.durable_term) violated("6 monotonicity", fmt::format("durable term of node {} went back", i));
  n.durable_term = durable.hs.term;
  n.durable_applied = std::max(n.durable_applied, durable.state.applied);
  const auto known = n.votes.find(durable.hs.term);
  if (known != n.votes.end() && durable.hs.vote != known->second)
    violated("7 one vote", fmt::format("node {} changed its vote of term {}", i, raw(durable.hs.term)));
  if (durable.hs.vote) n.votes.emplace(durable.hs.term, *durable.hs.vote);
}

void Invariants::check_log(Node& n, const Output& out) {
  if (out.truncate_from) n.chain.truncate(*out.truncate_from);
  for (const Entry& e : out.append) remember(e.index, e.term, n.chain.append(e));
}

void Invariants::check_roles(size_t i, Node& n, const Core::View& v, const Output& out) {
  if (v.is_leader) {
    const auto [it, fresh] = leaders_.emplace(v.term, i);
    if (it->second != i) violated("1 election safety", fmt::format("nodes {} and {} both lead term {}", it->second, i, raw(v.term)));
    if (n.leader && n.leader_term == v.term) {
      if (out.truncate_from || v.last < n.last) violated("2 leader append-only", fmt::format("leader {} of term {} shortened its log", i, raw(v.term)));
    } else {
      // Committed in earlier terms: commits are in order of terms, so the last such entry stands for all.
      const auto end = std::partition_point(committed_.begin(), committed_.end(), [&](const Committed& c) { return c.by < v.term; });
      const Index must{static_cast<uint64_t>(end - committed_.begin())};
      if (raw(must) != 0 && must > n.chain.base() && (!n.chain.covers(must) || n.chain.at(must) != committed_[raw(must) - 1].chain))
        violated("4 leader completeness", fmt::format("leader {} of term {} lacks committed entry {}", i, raw(v.term), raw(must)));
    }
  }
  n.leader = v.is_leader;
  n.leader_term = v.term;
  n.last = v.last;
}

void Invariants::check_commit(size_t i, Node& n, const Core& core, const Core::View& v, const std::vector<const Disk*>& disks) {
  if (v.commit < n.commit) violated("6 monotonicity", fmt::format("commit of node {} went back", i));
  if (v.commit == n.commit) return;
  if (v.is_leader) {
    const std::optional<Term> term = core.term_at(v.commit);
    if (term != v.term) violated("9 commit rule", fmt::format("leader {} of term {} committed entry {} of an older term by counting", i, raw(v.term), raw(v.commit)));
    const auto holds = [&](ReplicaId id) {
      const Image& d = disks.at(raw(id) - 1)->durable();
      return d.snap.index >= v.commit || d.term_at(v.commit) == term;
    };
    // The configuration before a change decides together with the one after; the core's conf() is the latest in its log.
    if (!quorum_holds(core.conf(), holds))
      violated("9 commit rule", fmt::format("entry {} is committed by {} but not durable on a quorum", raw(v.commit), i));
  }
  for (Index k = n.commit + 1; k <= v.commit; k = k + 1) {
    if (!n.chain.covers(k)) continue;
    if (raw(k) > committed_.size()) {
      require(raw(k) == committed_.size() + 1, "5 state machine safety", "a gap in what is committed");
      committed_.push_back({n.chain.at(k), v.term});
    } else if (committed_[raw(k) - 1].chain != n.chain.at(k)) {
      violated("5 state machine safety", fmt::format("node {} committed another entry at {}", i, raw(k)));
    }
  }
  n.commit = v.commit;
}

// What a leader believes of its followers must be on their disks: it commits on the strength of it.
void Invariants::check_match(size_t i, const Core& core, const std::vector<const Disk*>& disks) {
  for (const Core::Peer& peer : core.peers()) {
    const Image& d = disks.at(raw(peer.id) - 1)->durable();
    if (raw(peer.match) == 0 || d.snap.index >= peer.match || d.hs.term > core.view().term) continue;
    const std::optional<Term> term = core.term_at(peer.match);
    if (term && d.term_at(peer.match) != term)
      violated("9 commit rule", fmt::format("leader {} believes that {} holds entry {}", i, raw(peer.id), raw(peer.match)));
  }
}

void Invariants::check_conf(const Core& core, const Core::View& v, const Output& out) {
  if (!v.is_leader) return;
  for (const Entry& e : out.append) {
    if (e.kind != Kind::kConfig || e.term != v.term) continue;
    if (core.term_at(v.commit) != v.term) violated("10 configurations", "changed before an entry of the leader's term was committed");
    const ConfState& before = core.conf_at(v.commit);
    const std::optional<ConfState> after = decode_conf(*e.data);
    require(after.has_value(), "10 configurations", "undecodable");
    if (!same_voters(before, *after) && !after->joint()) violated("10 configurations", "voters changed in one step");
  }
}

void Invariants::check_pre_vote(const Input& input, const Output& out, const Core::View& v) const {
  const auto* receive = std::get_if<in::Receive>(&input);
  const auto* req = receive ? std::get_if<VoteReq>(&receive->m) : nullptr;
  if (req == nullptr) return;
  const bool older = req->last_term != v.last_term ? req->last_term < v.last_term : req->last_index < v.last;
  const auto granted = [](const Message& m) {
    const auto* r = std::get_if<VoteResp>(&m);
    return r != nullptr && r->granted && r->pre;
  };
  if (!older) return;
  for (const Message& m : out.send_now)
    if (granted(m)) violated("pre-vote", "granted to a candidate whose log is older");
  for (const auto& g : out.send_after)
    if (granted(g.m)) violated("pre-vote", "granted to a candidate whose log is older");
}

void Invariants::stepped(size_t i, const Input& input, const Output& out, const Core& core, const std::vector<const Disk*>& disks) {
  Node& n = nodes_[i];
  const Core::View v = core.view();
  if (out.conflict) violated("5 state machine safety", fmt::format("node {} was asked to overwrite committed entry {}", i, raw(out.conflict->index)));
  check_log(n, out);
  require(n.chain.last() == v.last, "3 log matching", "the log is not what was given to storage");
  check_roles(i, n, v, out);
  check_commit(i, n, core, v, disks);
  check_conf(core, v, out);
  if (v.is_leader && std::holds_alternative<in::Receive>(input)) check_match(i, core, disks);
  check_pre_vote(input, out, v);
}

void Invariants::installed(size_t i, const SnapMeta& meta) {
  Node& n = nodes_[i];
  if (raw(meta.index) > committed_.size()) violated("5 state machine safety", "a snapshot holds what is not committed");
  n.chain.rebuild(meta.index, committed_[raw(meta.index) - 1].chain, {});
  n.commit = std::max(n.commit, meta.index);
}

void Invariants::sent(size_t i, const Message& m, const Image& durable) {
  const Hdr& h = header(m);
  const auto undurable = [&](const char* what) { violated("8 nothing undurable said", fmt::format("node {}: {}", i, what)); };
  if (const auto* vote = std::get_if<VoteResp>(&m); vote != nullptr && vote->granted && !vote->pre) {
    if (durable.hs.term < h.term || (durable.hs.term == h.term && durable.hs.vote != h.to)) undurable("a vote");
  } else if (const auto* ask = std::get_if<VoteReq>(&m); ask != nullptr && !ask->pre) {
    if (durable.hs.term < h.term || (durable.hs.term == h.term && durable.hs.vote != h.from)) undurable("a candidacy");
  } else if (const auto* ack = std::get_if<AppendResp>(&m); ack != nullptr && ack->ok) {
    if (durable.hs.term < h.term || (durable.hs.term == h.term && durable.last() < ack->match)) undurable("an acknowledgement");
  } else if (const auto* beat = std::get_if<BeatResp>(&m)) {
    if (durable.hs.term == h.term && durable.last() < beat->match) undurable("an acknowledgement in a beat");
  }
}

void Invariants::applied(size_t i, const Entry& e, const State& state) {
  const uint64_t k = raw(e.index);
  if (k > committed_.size()) violated("5 state machine safety", fmt::format("node {} applied {}, which nobody committed", i, k));
  if (states_.size() < k) states_.resize(k, 0);
  if (states_[k - 1] == 0) {
    states_[k - 1] = state.digest;
    if (e.kind == Kind::kData && e.data) {
      const auto [it, fresh] = values_.emplace(decode(*e.data).value, e.index);
      if (!fresh) violated("16 sessions", fmt::format("value {} was committed twice", it->first));
    }
  } else if (states_[k - 1] != state.digest) {
    violated("5 state machine safety", fmt::format("node {} has another state at {}", i, k));
  }
}

void ClientHistory::acknowledged(size_t key, uint64_t value, Index at) {
  acknowledged_.push_back(value);
  seen_[key] = std::max(seen_[key], at);
}

void ClientHistory::read(size_t key, Floor floor, const State::Cell& cell) {
  reads_++;
  if (cell.written < floor.index)
    violated("14 linearizable reads", fmt::format("a read of key {} saw the write at {}, though {} was known before it began", key, raw(cell.written), raw(floor.index)));
  seen_[key] = std::max(seen_[key], cell.written);
}

void ClientHistory::settle(const Invariants& committed) const {
  for (uint64_t value : acknowledged_)
    if (!committed.value_committed(value)) violated("15 durability", fmt::format("acknowledged value {} is gone", value));
  for (uint64_t value : refused_)
    if (committed.value_committed(value)) violated("15 durability", fmt::format("refused value {} came about", value));
}

}  // namespace kraken::sim
