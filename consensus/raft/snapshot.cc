// Snapshots: offered to followers whose next entry is gone, installed as one atomic step; and compaction of our own log.

#include <algorithm>

#include "consensus/raft/impl.h"

namespace kraken::raft {

void Core::Impl::snap_ready(in::SnapReady& in) {
  const auto it = peers_.find(in.for_peer);
  if (!leading() || it == peers_.end() || it->second.state != Progress::State::kSnapshot) return;
  Progress& pr = it->second;
  if (!in.ok || in.meta.index < log_.snap_index()) {
    // Probing needs an entry that is gone, so the next answer to a beat asks for a snapshot again.
    pr.probe_from(pr.match + 1);
    pr.probe_sent = true;
    return;
  }
  pr.snapshot = std::move(in.meta);
  send(SnapReq{to(in.for_peer), *pr.snapshot});
}

void Core::Impl::handle(SnapReq& m) {
  if (m.h.term < hs_.term) return refuse_stale(m.h, m.meta.index);
  if (m.meta.term > m.h.term || raw(m.meta.index) >> 62 != 0 || !well_formed(m.meta.conf)) return;
  if (m.h.term > hs_.term) become_follower(m.h.term, m.h.from);
  if (leading()) return;
  follow(m.h.from);
  if (installing_) return;  // one at a time; the leader repeats itself
  if (m.meta.index <= commit_) {
    gate(AppendResp{to(m.h.from), true, commit_, {}, {}, 0});
    return;
  }
  if (log_.matches(m.meta.index, m.meta.term)) {
    // We have it all: the snapshot only proves that it is committed.
    verified_ = std::max(verified_, m.meta.index);
    learn_commit(m.meta.index);
    gate(AppendResp{to(m.h.from), true, m.meta.index, {}, {}, 0});
    return;
  }
  installing_ = m.meta;
  install_from_ = m.h.from;
  out_->install = Output::Install{m.h.from, std::move(m.meta)};
}

void Core::Impl::snap_installed(in::SnapInstalled& in) {
  if (!installing_ || installing_->snap_id != in.meta.snap_id || installing_->index != in.meta.index) return;
  const SnapMeta meta = std::move(*installing_);
  installing_.reset();
  if (!in.ok) {
    reply(SnapResp{to(install_from_), meta.snap_id, false});
    return;
  }
  KR_RAFT_ASSERT(meta.index > commit_ && !leading());
  // Proposals of an earlier leadership that were committed but not handed out yet: their entries are in the snapshot.
  for (const Output::Accepted& a : in_flight_) fail(a.ticket, Reject::kAborted);
  in_flight_.clear();
  log_.reset(meta);
  writer_.reset(meta.index);
  commit_ = emitted_ = applied_ = meta.index;
  reply(SnapResp{to(install_from_), meta.snap_id, true});
}

void Core::Impl::handle(SnapResp& m) {
  if (m.h.term > hs_.term) return become_follower(m.h.term, std::nullopt);
  const auto it = peers_.find(m.h.from);
  if (m.h.term < hs_.term || !leading() || it == peers_.end()) return;
  Progress& pr = it->second;
  pr.last_contact = now_;
  if (pr.state != Progress::State::kSnapshot || !pr.snapshot || pr.snapshot->snap_id != m.snap_id) return;
  if (m.ok) {
    acknowledged(m.h.from, pr, pr.snapshot->index);
  } else {
    pr.probe_from(pr.match + 1);
    pr.probe_sent = true;  // try again after the next answer to a beat
  }
}

void Core::Impl::compacted(Index first) {
  if (first <= log_.first()) return;
  // Above what is applied nothing may go (cockroach #70109).
  if (first - 1 > applied_) return;
  log_.compact(first);
}

}  // namespace kraken::raft
