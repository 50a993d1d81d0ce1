// Handing leadership over (thesis 3.10), on request or because the disk is sick.

#include "consensus/raft/impl.h"

namespace kraken::raft {

void Core::Impl::transfer(ReplicaId to) {
  if (!leading() || to == self_ || !is_voter(conf(), to) || !peers_.contains(to) || transferee_ == to) return;
  transferee_ = to;
  transfer_deadline_ = now_ + opt_.election_min;
  try_timeout_now();
}

// Once it has everything, the successor may start its election: nobody can have a longer log.
void Core::Impl::try_timeout_now() {
  if (transferee_ && peers_.at(*transferee_).match == log_.last()) send(TimeoutNow{to(*transferee_)});
}

void Core::Impl::handle(TimeoutNow& m) {
  if (m.h.term < hs_.term) return;
  if (m.h.term > hs_.term) become_follower(m.h.term, m.h.from);
  if (role_ != Role::kFollower || leader_ != m.h.from || installing_ || sick_ || !is_voter(conf(), self_)) return;
  campaign(true);
}

ReplicaId Core::Impl::best_successor() const {
  ReplicaId best{};
  Index match{};
  for (const auto& [id, pr] : peers_) {
    if (!contains(conf().voters, id) || now_ - pr.last_contact >= opt_.election_min) continue;
    if (raw(best) == 0 || pr.match > match) {
      best = id;
      match = pr.match;
    }
  }
  return best;
}

void Core::Impl::storage_sick(bool sick) {
  sick_ = sick;
  if (!sick || !leading()) return;
  const ReplicaId successor = best_successor();
  if (raw(successor) != 0) transfer(successor);
}

}  // namespace kraken::raft
