// Sending the log: proposals, pipelined appends, commits, beats.

#include <algorithm>

#include "consensus/raft/impl.h"

namespace kraken::raft {

void Core::Impl::propose(std::vector<in::Propose>& proposals) {
  for (in::Propose& p : proposals) {
    if (!leading()) {
      fail(p.ticket, Reject::kNotLeader);
      continue;
    }
    if (transferee_) {
      fail(p.ticket, Reject::kTransferring);
      continue;
    }
    const size_t size = p.data ? p.data->size() : 0;
    if (uncommitted_bytes_ != 0 && uncommitted_bytes_ + size > opt_.max_uncommitted_bytes) {
      fail(p.ticket, Reject::kOverloaded);
      continue;
    }
    const Index index = append_own(Kind::kData, std::move(p.data));
    in_flight_.push_back({p.ticket, index, hs_.term});
    out_->accepted.push_back(in_flight_.back());
  }
}

Index Core::Impl::append_own(Kind kind, Bytes data) {
  Entry e{hs_.term, log_.last() + 1, kind, std::move(data)};
  uncommitted_bytes_ += cost(e);
  const Index index = e.index;
  log_.append(std::move(e));
  if (kind == Kind::kConfig) sync_progress();
  return index;
}

void Core::Impl::drop_proposals() {
  // Up to commit_ they are committed and will come out; above, nobody can say yet.
  while (!in_flight_.empty() && in_flight_.back().index > commit_) {
    fail(in_flight_.back().ticket, Reject::kAborted);
    in_flight_.pop_back();
  }
}

// Sends whatever the follower's state, its window and our memory allow.
void Core::Impl::try_send(ReplicaId peer, Progress& pr) {
  if (sick_ && transferee_ != peer) return;
  for (;;) {
    if (pr.state == Progress::State::kSnapshot || pr.fetching) return;
    if (pr.state == Progress::State::kProbe ? pr.probe_sent : pr.full(opt_) || pr.next > log_.last()) return;
    if (pr.next <= log_.snap_index()) {
      pr.probe_from(pr.match + 1);
      pr.state = Progress::State::kSnapshot;
      out_->need_snapshot.push_back(peer);
      return;
    }
    if (pr.next < log_.tail_first() && pr.next <= log_.last()) {
      pr.fetching = true;
      out_->fetch.push_back({peer, pr.next, log_.tail_first(), opt_.max_append_bytes});
      return;
    }
    std::vector<Entry> entries;
    log_.copy_tail(pr.next, log_.last(), opt_.max_append_bytes, entries);
    send_entries(peer, pr, std::move(entries));
  }
}

// REQUIRES: `entries` follow pr.next - 1.
void Core::Impl::send_entries(ReplicaId peer, Progress& pr, std::vector<Entry>&& entries) {
  const Index prev = pr.next - 1;
  const Index end = prev + entries.size();
  size_t bytes = 0;
  for (const Entry& e : entries) bytes += cost(e);
  AppendReq m{to(peer), prev, *log_.term_at(prev), commit_, std::move(entries), read_seq_};
  if (pr.state == Progress::State::kProbe) {
    pr.probe_sent = true;
  } else {
    if (end > prev) pr.sent(end, bytes);
    pr.commit_sent = std::max(pr.commit_sent, std::min(commit_, end));
  }
  send(std::move(m));
}

void Core::Impl::fetched(in::Fetched& in) {
  const auto it = peers_.find(in.for_peer);
  if (!leading() || it == peers_.end() || !it->second.fetching) return;
  Progress& pr = it->second;
  pr.fetching = false;
  if (pr.state == Progress::State::kSnapshot) return;
  if (in.entries.empty()) {
    // Gone or unreadable: again after the next answer to a beat, not in a circle with the disk.
    pr.probe_from(pr.next);
    pr.probe_sent = true;
    return;
  }
  if (in.entries.front().index != pr.next || pr.next <= log_.snap_index()) return;
  // An answer to a question of an earlier leadership may be wrong for this log: keep only what fits.
  size_t fit = 0;
  while (fit < in.entries.size() && in.entries[fit].index == pr.next + fit && log_.matches(in.entries[fit].index, in.entries[fit].term)) fit++;
  if (fit == 0 || (pr.state == Progress::State::kProbe && pr.probe_sent)) return;
  in.entries.resize(fit);
  send_entries(it->first, pr, std::move(in.entries));
}

void Core::Impl::handle(AppendResp& m) {
  if (m.h.term > hs_.term) return become_follower(m.h.term, std::nullopt);
  if (m.h.term < hs_.term) return;
  const auto it = peers_.find(m.h.from);
  if (!leading() || it == peers_.end()) return;
  Progress& pr = it->second;
  pr.last_contact = now_;
  pr.read_acked = std::max(pr.read_acked, std::min(m.read_seq, read_seq_));
  if (m.ok) return acknowledged(m.h.from, pr, m.match);

  // Refused: m.match is the prev_index we sent. Ignore what an earlier message already settled.
  if (m.match <= pr.match) return;
  if (pr.state == Progress::State::kSnapshot) return;
  if (pr.state == Progress::State::kProbe && m.match != pr.next - 1) return;
  const Index below = std::min(m.hint_index, m.match - 1);
  // If our log no longer reaches down to where they may agree, a snapshot is due: try_send sees next <= snap_index.
  const Index next = below < log_.snap_index() ? log_.snap_index() : log_.last_not_above(below, m.hint_term) + 1;
  pr.probe_from(std::max(next, pr.match + 1));
}

// The follower holds everything up to `match`, durably and equal to ours.
void Core::Impl::acknowledged(ReplicaId peer, Progress& pr, Index match) {
  if (match > log_.last()) return;  // nobody honest says that
  pr.acknowledge(match);
  if (pr.state == Progress::State::kProbe && match + 1 >= pr.next) {
    pr.state = Progress::State::kReplicate;
    pr.probe_sent = false;
    pr.next = match + 1;
  } else if (pr.state == Progress::State::kSnapshot && (match >= log_.snap_index() || (pr.snapshot && match >= pr.snapshot->index))) {
    // The snapshot is in, or it caught up by other means. If our log has moved on meanwhile, try_send starts over.
    pr.probe_from(pr.match + 1);
    pr.state = Progress::State::kReplicate;
  }
  if (transferee_ == peer) try_timeout_now();
}

void Core::Impl::handle(BeatResp& m) {
  if (m.h.term > hs_.term) return become_follower(m.h.term, std::nullopt);
  const auto it = peers_.find(m.h.from);
  if (m.h.term < hs_.term || !leading() || it == peers_.end()) return;
  Progress& pr = it->second;
  pr.last_contact = now_;
  pr.read_acked = std::max(pr.read_acked, std::min(m.read_seq, read_seq_));
  pr.probe_sent = false;
  acknowledged(m.h.from, pr, m.match);
  switch (pr.state) {
    case Progress::State::kProbe:
      break;  // settle() sends the next probe
    case Progress::State::kReplicate:
      // Behind, and nothing moved since the last beat: something may be lost. An append without entries at the end of what
      // was sent finds out: it is acknowledged, or refused with a hint.
      if (m.match >= log_.last() || pr.moved || sick_) break;
      if (pr.next > log_.snap_index())
        send_entries(m.h.from, pr, {});
      else
        pr.probe_from(pr.match + 1);  // the log was compacted under what is in flight
      break;
    case Progress::State::kSnapshot:
      if (pr.snapshot) {
        send(SnapReq{to(m.h.from), *pr.snapshot});
      }
      break;
  }
}

// The highest entry a quorum holds durably is committed, and all before it, if it is of our own term: an older one that is
// merely counted could still be overwritten (thesis 3.6.2, figure 3.7).
void Core::Impl::advance_commit() {
  const Index own = mutant(Mutant::kLeaderCountsUnsynced) ? log_.last() : writer_.stable();
  const Index reached = quorum_value(conf(), [&](ReplicaId id) {
    if (id == self_) return own;
    const auto it = peers_.find(id);
    return it == peers_.end() ? Index{} : it->second.match;
  });
  if (reached > commit_ && (log_.term_at(reached) == hs_.term || mutant(Mutant::kCommitOldTerm))) {
    for (Index i = std::max(commit_ + 1, term_start_); i <= reached; i = i + 1) uncommitted_bytes_ -= cost(log_.entry(i));
    commit_ = reached;
    check_conf_ = true;
  }
  if (check_conf_ && own_term_committed()) after_conf_commit();
}

// A follower hears of a commit with what is sent next, a beat at the latest, and then applies several entries in one go. One that
// may hold a read at that index hears of it now, once its pipeline has gone quiet, as all do with commit_at_once.
void Core::Impl::tell_commit() {
  if (sick_) return;
  for (auto& [id, pr] : peers_) {
    if ((pr.commit_sent >= read_at_ && !opt_.commit_at_once) || pr.state != Progress::State::kReplicate || !pr.inflight.empty()) continue;
    if (std::min(commit_, pr.match) > pr.commit_sent) send_beat(id, pr);
  }
}

void Core::Impl::send_beat(ReplicaId peer, Progress& pr) {
  // Clamped: the follower has nothing but our word that its log is ours, and up to match it gave us its own.
  const Index commit = mutant(Mutant::kBeatCommitUnclamped) ? commit_ : std::min(commit_, pr.match);
  pr.commit_sent = std::max(pr.commit_sent, commit);
  send(BeatReq{to(peer), commit, read_seq_});
}

void Core::Impl::broadcast_beat() {
  // Every round has its own number, and takes along all reads that wait.
  if (!mutant(Mutant::kReadSeqReuse) || read_seq_ == 0) read_seq_++;
  if (own_term_committed() || mutant(Mutant::kReadBeforeNoop)) {
    for (Read& r : waiting_reads_)
      if (r.round == 0) r = {r.ticket, read_seq_, commit_};
  }
  for (auto& [id, pr] : peers_) {
    send_beat(id, pr);
    pr.moved = false;
  }
}

}  // namespace kraken::raft
