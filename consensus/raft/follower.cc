// Receiving the log. The four rules that are easy to get wrong (each has its test in tests/unit/consensus/raft/follower_test.cc):
//  1. truncate only at a real conflict: same index, other term; never because a message is shorter, older, or starts below our log;
//  2. on a conflict everything after it goes;
//  3. the commit index follows the leader's only as far as this very message proved our log;
//  4. nothing at or below the commit index is ever truncated.

#include <algorithm>

#include "consensus/raft/impl.h"

namespace kraken::raft {

// An older leader must learn of the newer term, or it would go on beating and hold this replica out for ever.
void Core::Impl::refuse_stale(const Hdr& h, Index prev) { reply(AppendResp{to(h.from), false, prev, log_.last(), log_.last_term(), 0}); }

bool Core::Impl::well_formed_append(const AppendReq& m) const {
  Index index = m.prev_index;
  Term term = m.prev_term;
  for (const Entry& e : m.entries) {
    index = index + 1;
    if (e.index != index || e.term < term || e.term > m.h.term) return false;
    if (e.kind == Kind::kConfig && (!e.data || !decode_conf(*e.data))) return false;
    term = e.term;
  }
  return m.prev_term <= m.h.term;
}

void Core::Impl::handle(AppendReq& m) {
  if (m.h.term < hs_.term) return refuse_stale(m.h, m.prev_index);
  if (!well_formed_append(m)) return;
  if (m.h.term > hs_.term) become_follower(m.h.term, m.h.from);
  if (leading()) return;  // a second leader of our term cannot be; believe neither
  follow(m.h.from);
  if (installing_) return;  // the log is about to be replaced

  // What lies at or below our commit index is committed, so it equals the leader's log whether or not we still have it.
  const Index proven = m.prev_index + m.entries.size();
  if (m.prev_index < commit_) {
    if (proven <= commit_) {
      gate(AppendResp{to(m.h.from), true, commit_, {}, {}, m.read_seq});
      return;
    }
    const uint64_t known = distance(m.prev_index, commit_);
    const Entry& at_commit = m.entries[known - 1];
    if (!log_.matches(commit_, at_commit.term)) {
      out_->conflict = Output::Conflict{m.h.from, commit_, *log_.term_at(commit_), at_commit.term};
      return;
    }
    m.prev_index = commit_;
    m.prev_term = at_commit.term;
    m.entries.erase(m.entries.begin(), m.entries.begin() + static_cast<std::ptrdiff_t>(known));
  } else if (!log_.matches(m.prev_index, m.prev_term)) {
    if (m.prev_index == commit_) {
      out_->conflict = Output::Conflict{m.h.from, commit_, *log_.term_at(commit_), m.prev_term};
      return;
    }
    return refuse_append(m);
  }

  take_entries(m.entries);
  verified_ = std::max(verified_, proven);
  const Index commit_limit = mutant(Mutant::kCommitToLastIndex) ? log_.last() : proven;
  learn_commit(std::min(m.commit, commit_limit));
  gate(AppendResp{to(m.h.from), true, proven, {}, {}, m.read_seq});
}

void Core::Impl::refuse_append(const AppendReq& m) {
  // The highest entry of ours that could agree: at or below prev, of no later term (thesis 3.5, accelerated).
  const Index hint = log_.last_not_above(m.prev_index, m.prev_term);
  reply(AppendResp{to(m.h.from), false, m.prev_index, hint, log_.term_at(hint).value_or(Term{}), m.read_seq});
}

void Core::Impl::take_entries(std::vector<Entry>& entries) {
  size_t fresh = 0;
  if (mutant(Mutant::kTruncateAlways) && !entries.empty()) {
    log_.truncate(entries.front().index);
    writer_.truncated(entries.front().index);
  }
  while (fresh < entries.size() && log_.matches(entries[fresh].index, entries[fresh].term)) fresh++;
  if (fresh == entries.size()) return;
  std::vector<Entry> kept;
  const Index from = entries[fresh].index;
  if (from <= log_.last()) {
    KR_RAFT_ASSERT(from > commit_);
    if (mutant(Mutant::kKeepAfterConflict) && entries.back().index < log_.last()) log_.copy_tail(entries.back().index + 1, log_.last(), SIZE_MAX, kept);
    log_.truncate(from);
    writer_.truncated(from);
  }
  for (; fresh < entries.size(); fresh++) log_.append(std::move(entries[fresh]));
  for (Entry& e : kept) {
    e.term = std::max(e.term, log_.last_term());
    log_.append(std::move(e));
  }
}

void Core::Impl::learn_commit(Index commit) {
  commit = std::min(commit, log_.last());
  if (commit > commit_) commit_ = commit;
}

void Core::Impl::handle(BeatReq& m) {
  if (m.h.term < hs_.term) return refuse_stale(m.h, Index{});
  if (m.h.term > hs_.term) become_follower(m.h.term, m.h.from);
  if (leading()) return;
  follow(m.h.from);
  if (!installing_) learn_commit(mutant(Mutant::kBeatCommitUnclamped) ? m.commit : std::min(m.commit, verified_));
  // What is committed equals the log of any later leader.
  reply(BeatResp{to(m.h.from), std::min(std::max(verified_, commit_), writer_.stable()), m.read_seq});
}

}  // namespace kraken::raft
