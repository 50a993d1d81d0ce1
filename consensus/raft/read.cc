// Linearizable reads without a log entry (thesis 6.4).
//
// A read takes the commit index as of the start of a round, and is answered once a quorum answered a message that was sent in
// that round or later, in this term: then no newer leader existed when the round began. Rounds are numbered by read_seq_, which
// never repeats within a boot; beats and appends carry it, answers echo it. One round of reads is out at a time, and everything that
// arrives meanwhile shares the next one. Nothing is answered before an entry of our own term is committed: until then our commit
// index may lie below what an earlier leader acknowledged.

#include <algorithm>

#include "consensus/raft/impl.h"

namespace kraken::raft {

void Core::Impl::read_index(Seq ticket) {
  if (!leading()) return fail(ticket, Reject::kNotLeader);
  if (waiting_reads_.size() >= opt_.max_pending_reads) return fail(ticket, Reject::kOverloaded);
  if (mutant(Mutant::kReadWithoutQuorum) && own_term_committed()) {
    out_->reads.push_back({ticket, commit_});
    return;
  }
  waiting_reads_.push_back({ticket, 0, Index{}});
}

void Core::Impl::start_read_round() {
  if (waiting_reads_.empty() || waiting_reads_.front().round != 0) return;  // none, or one is out
  if (sick_ && !peers_.empty()) return;  // it no longer beats
  if (!own_term_committed() && !mutant(Mutant::kReadBeforeNoop)) return;
  broadcast_beat();
}

void Core::Impl::confirm_reads() {
  if (waiting_reads_.empty() || waiting_reads_.front().round == 0) return;
  const Seq confirmed = quorum_value(conf(), [&](ReplicaId id) {
    if (id == self_) return read_seq_;
    const auto it = peers_.find(id);
    return it == peers_.end() ? Seq{0} : it->second.read_acked;
  });
  while (!waiting_reads_.empty() && waiting_reads_.front().round != 0 && waiting_reads_.front().round <= confirmed) {
    out_->reads.push_back({waiting_reads_.front().ticket, waiting_reads_.front().at});
    read_at_ = std::max(read_at_, waiting_reads_.front().at);
    waiting_reads_.pop_front();
  }
  start_read_round();
}

void Core::Impl::fail_reads() {
  for (const Read& r : waiting_reads_) fail(r.ticket, Reject::kNotLeader);
  waiting_reads_.clear();
}

}  // namespace kraken::raft
