// Changing who is in the group (thesis 4), through a joint configuration whenever voters change.
//
// A configuration is in force from its append on, at the leader and at every follower, and goes again with its entry. One change at a
// time: a new one starts only when the last one is committed and the leader has committed an entry of its own term (raft-dev 2015).

#include <algorithm>

#include "consensus/raft/impl.h"

namespace kraken::raft {

const ConfState& Core::Impl::conf() const {
  if (mutant(Mutant::kConfAtApply)) return log_.conf_at(commit_);
  return log_.conf().conf;
}

bool Core::Impl::own_term_committed() const { return log_.term_at(commit_) == hs_.term; }

void Core::Impl::change_conf(in::ChangeConf& in) {
  if (!leading()) return fail(in.ticket, Reject::kNotLeader);
  if (transferee_) return fail(in.ticket, Reject::kTransferring);
  if (in.target.joint() || !in.target.learners_next.empty() || !well_formed(in.target)) return fail(in.ticket, Reject::kInvalid);
  if (!own_term_committed()) return fail(in.ticket, Reject::kNoTermCommit);
  if ((conf().joint() || log_.conf().index > commit_) && !mutant(Mutant::kChangesOverlap)) return fail(in.ticket, Reject::kConfInFlight);
  if (in.target.placement_epoch < conf().placement_epoch) return fail(in.ticket, Reject::kStaleEpoch);
  if (!allocates_fresh_ids(conf(), in.target)) return fail(in.ticket, Reject::kInvalid);
  const Index index = append_own(Kind::kConfig, encode_conf(enter(conf(), in.target)));
  in_flight_.push_back({in.ticket, index, hs_.term});
  out_->accepted.push_back(in_flight_.back());
}

// Called by a leader when commits moved, once it has committed in its own term.
void Core::Impl::after_conf_commit() {
  check_conf_ = false;
  if (log_.conf().index > commit_ && !(mutant(Mutant::kJointLeftEarly) && conf().joint())) return;
  if (conf().joint()) {
    append_own(Kind::kConfig, encode_conf(leave(conf())));
    return;
  }
  if (is_voter(conf(), self_)) return;
  // We led the group out of our own membership (thesis 4.2.2): say what is committed, then stop.
  for (auto& [id, pr] : peers_) send_beat(id, pr);
  become_follower(hs_.term, std::nullopt);
}

void Core::Impl::sync_progress() {
  const std::vector<ReplicaId> now_in = members(conf());
  for (auto it = peers_.begin(); it != peers_.end();) it = contains(now_in, it->first) ? std::next(it) : peers_.erase(it);
  if (transferee_ && !peers_.contains(*transferee_)) transferee_.reset();
  for (ReplicaId id : now_in) {
    if (id == self_ || peers_.contains(id)) continue;
    Progress& pr = peers_[id];
    pr.next = log_.last() + 1;
    pr.last_contact = now_;
  }
}

void Core::Impl::conf_may_have_changed() {
  if (adopted_ == conf()) return;
  adopted_ = conf();
  out_->conf_changed = adopted_;
  if (leading()) {
    sync_progress();
  } else if (election_deadline_ == Time::max()) {
    reset_election_timer();  // it may stand for election from now on
  }
}

}  // namespace kraken::raft
