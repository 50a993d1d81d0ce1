// Elections: timers, pre-vote, votes, becoming and ceasing to be the leader.

#include <algorithm>

#include "consensus/raft/impl.h"

namespace kraken::raft {

void Core::Impl::timer() {
  if (now_ < deadline()) return;
  if (leading()) return beat_time();
  if (!electable() || sick_ || installing_) {
    reset_election_timer();
    return;
  }
  start_pre_vote();
}

void Core::Impl::beat_time() {
  if (transferee_ && now_ >= transfer_deadline_) {
    transferee_.reset();
    // A sick leader that found no successor makes room; the others elect one.
    if (sick_) return become_follower(hs_.term, std::nullopt);
  }
  if (now_ < next_beat_) return;
  // On the common grid, so that the beats of all groups of a node leave together.
  next_beat_ = Time{(now_.count() / opt_.heartbeat.count() + 1) * opt_.heartbeat.count()};

  // Check-quorum (thesis 6.2): a leader that a quorum has not answered for election_min is none.
  const Time quorum_seen = quorum_value(conf(), [&](ReplicaId id) {
    if (id == self_) return now_;
    const auto it = peers_.find(id);
    return it == peers_.end() ? Time{0} : std::max(it->second.last_contact, leading_since_);
  });
  if (now_ - quorum_seen >= opt_.election_min) return become_follower(hs_.term, std::nullopt);
  if (!sick_) broadcast_beat();
}

// A replica that the latest configuration leaves out may still be the only one with a log long enough to commit it: until that
// has happened it goes on standing for election (thesis 4.2.2).
bool Core::Impl::electable() const {
  if (is_voter(conf(), self_)) return true;
  return log_.conf().index > commit_ && !conf().voters.empty() && is_voter(log_.conf_at(commit_), self_);
}

void Core::Impl::reset_election_timer() {
  if (!electable()) {
    election_deadline_ = Time::max();
    return;
  }
  // Elections that came to nothing one after the other: disks or links are slower than the timeouts, and each new candidacy ends the one before.
  const auto span = (opt_.election_max - opt_.election_min).count() << std::min(lost_elections_, 3u);
  const auto rank = std::min<int64_t>(opt_.election_rank_step.count() * opt_.election_rank, span / 2);
  election_deadline_ = now_ + opt_.election_min + Time{rank} + Time{static_cast<int64_t>(random(static_cast<uint64_t>(span - rank)))};
}

void Core::Impl::become_follower(Term term, std::optional<ReplicaId> leader) {
  KR_RAFT_ASSERT(term >= hs_.term);
  const bool was_leader = leading();
  // The vote belongs to the term: stepping down within it must keep it, or two candidates get one voter's vote.
  if (term > hs_.term) {
    hs_ = {term, std::nullopt};
    writer_.hard_state_changed();
    verified_ = Index{};
  } else if (mutant(Mutant::kClearVote) && role_ != Role::kFollower) {
    hs_.vote.reset();
    writer_.hard_state_changed();
  }
  role_ = Role::kFollower;
  votes_.clear();
  if (was_leader) {
    out_->became_leader = false;
    peers_.clear();
    transferee_.reset();
    uncommitted_bytes_ = 0;
  }
  leader_ = leader;
  if (was_leader) {
    drop_proposals();
    fail_reads();
  }
  if (leader) {
    leader_seen_ = now_;
    lost_elections_ = 0;
  }
  reset_election_timer();
}

void Core::Impl::follow(ReplicaId leader) {
  if (role_ != Role::kFollower || leader_ != leader) return become_follower(hs_.term, leader);
  leader_seen_ = now_;
  reset_election_timer();
}

bool Core::Impl::shielded() const { return leading() || (leader_ && now_ - leader_seen_ < opt_.election_min); }

bool Core::Impl::log_up_to_date(Index last_index, Term last_term) const {
  if (last_term != log_.last_term()) return last_term > log_.last_term();
  return last_index >= log_.last();
}

// Pre-vote (thesis 9.6): ask whether an election could be won before disturbing anyone with a new term.
void Core::Impl::start_pre_vote() {
  role_ = Role::kPreCandidate;
  leader_.reset();
  votes_.clear();
  votes_.emplace(self_, true);
  reset_election_timer();
  for (ReplicaId id : members(conf())) {
    if (id == self_ || !is_voter(conf(), id)) continue;
    VoteReq m{to(id), log_.last(), log_.last_term(), true, false};
    m.h.term = hs_.term + 1;
    send(m);
  }
  count_votes();
}

void Core::Impl::campaign(bool transfer) {
  role_ = Role::kCandidate;
  transfer_campaign_ = transfer;
  ++lost_elections_;
  hs_ = {hs_.term + 1, self_};
  writer_.hard_state_changed();
  verified_ = Index{};
  leader_.reset();
  votes_.clear();  // our own vote is counted once it is durable: persisted()
  reset_election_timer();
  for (ReplicaId id : members(conf()))
    if (id != self_ && is_voter(conf(), id)) reply(VoteReq{to(id), log_.last(), log_.last_term(), false, transfer});
}

void Core::Impl::count_votes() {
  const Tally result = tally(conf(), [&](ReplicaId id) -> std::optional<bool> {
    const auto it = votes_.find(id);
    return it == votes_.end() ? std::nullopt : std::optional<bool>(it->second);
  });
  if (result == Tally::kLost) return become_follower(hs_.term, std::nullopt);
  if (result != Tally::kWon) return;
  if (role_ == Role::kPreCandidate) return campaign(false);
  if (role_ == Role::kCandidate) become_leader();
}

void Core::Impl::become_leader() {
  KR_RAFT_ASSERT(role_ == Role::kCandidate);
  role_ = Role::kLeader;
  lost_elections_ = 0;
  leading_since_ = now_;
  votes_.clear();
  peers_.clear();
  transferee_.reset();
  uncommitted_bytes_ = 0;
  read_at_ = Index{};
  out_->became_leader = true;
  leader_ = self_;
  sync_progress();
  // Commits everything before it (thesis 3.6.2), and opens reads and configuration changes.
  term_start_ = append_own(Kind::kNoop, nullptr);
  check_conf_ = true;
  next_beat_ = Time{(now_.count() / opt_.heartbeat.count() + 1) * opt_.heartbeat.count()};
}

void Core::Impl::handle(VoteReq& m) {
  if (m.h.term < hs_.term) {
    reply(VoteResp{to(m.h.from), m.pre, false});
    return;
  }
  // Who hears a leader does not help to depose it, unless the leader asked for it (thesis 4.2.3).
  const bool shield = shielded() && !m.transfer;
  if (m.pre) {
    const bool fits = log_up_to_date(m.last_index, m.last_term) || mutant(Mutant::kPreVoteIgnoresLog);
    const bool free = m.h.term > hs_.term || !hs_.vote || hs_.vote == m.h.from;
    VoteResp answer{to(m.h.from), true, fits && free && !shield};
    if (answer.granted) answer.h.term = m.h.term;
    reply(answer);
    return;
  }
  if (m.h.term > hs_.term) {
    if (shield) return;
    become_follower(m.h.term, std::nullopt);
  }
  const bool free = !hs_.vote || hs_.vote == m.h.from || mutant(Mutant::kVoteTwice);
  const bool fits = log_up_to_date(m.last_index, m.last_term) || mutant(Mutant::kVoteIgnoresLog);
  const bool granted = free && fits && role_ != Role::kLeader;
  if (granted) {
    if (hs_.vote != m.h.from) {
      hs_.vote = m.h.from;
      writer_.hard_state_changed();
    }
    reset_election_timer();
  }
  reply(VoteResp{to(m.h.from), false, granted});
}

void Core::Impl::handle(VoteResp& m) {
  if (m.pre && m.granted) {
    if (role_ != Role::kPreCandidate || m.h.term != hs_.term + 1) return;
  } else {
    if (m.h.term > hs_.term) return become_follower(m.h.term, std::nullopt);
    if (m.h.term < hs_.term || role_ != (m.pre ? Role::kPreCandidate : Role::kCandidate)) return;
  }
  votes_.emplace(m.h.from, m.granted);
  count_votes();
}

void Core::Impl::peer_down(ReplicaId peer) {
  if (leading()) {
    // Whatever was in flight to it is lost.
    const auto it = peers_.find(peer);
    if (it != peers_.end() && it->second.state == Progress::State::kReplicate) it->second.probe_from(it->second.match + 1);
    return;
  }
  if (leader_ != peer || !electable()) return;
  // Its process is gone: no longer shield it, and ask for pre-votes after a beat instead of election_min.
  leader_.reset();
  const auto rank = opt_.election_rank_step * opt_.election_rank;
  const auto jitter = Time{static_cast<int64_t>(random(static_cast<uint64_t>(opt_.heartbeat.count())))};
  election_deadline_ = std::min(election_deadline_, now_ + opt_.heartbeat + rank + jitter);
}

}  // namespace kraken::raft
