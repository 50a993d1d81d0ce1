// What of the hard state and the log has been handed to storage, and what of that is durable.
//
// Writes are numbered; storage completes them in order. stable() is the last index whose entry, as the log now has it, is durable:
// an entry that was truncated and written again counts only when the second write is durable.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>

#include "consensus/raft/core.h"
#include "consensus/raft/log.h"

namespace kraken::raft {

class Writer {
 public:
  explicit Writer(Index last) : submitted_(last), stable_(last) {}

  Index stable() const { return stable_; }
  Seq last_seq() const { return seq_; }
  Seq durable_seq() const { return durable_; }
  bool all_durable() const { return durable_ == seq_; }
  /// Nothing of the hard state is waiting or on its way.
  bool hard_state_durable() const { return !hard_state_dirty_ && hard_state_seq_ <= durable_; }

  void hard_state_changed() { hard_state_dirty_ = true; }

  void truncated(Index from) {
    if (from <= submitted_) {
      truncate_from_ = truncate_from_ ? std::min(*truncate_from_, from) : from;
      submitted_ = from - 1;
    }
    stable_ = std::min(stable_, from - 1);
    for (Write& w : writes_) w.last = std::min(w.last, from - 1);
  }

  /// Storage replaced the whole log by a snapshot at `index`.
  void reset(Index index) {
    submitted_ = stable_ = index;
    truncate_from_.reset();
    for (Write& w : writes_) w.last = index;
  }

  /// Puts into `out` what storage does not have yet; numbers it if there is anything.
  void submit(const Log& log, const HardState& hs, Output& out) {
    if (!hard_state_dirty_ && !truncate_from_ && submitted_ == log.last()) return;
    out.persist_seq = ++seq_;
    if (hard_state_dirty_) {
      out.hard_state = hs;
      hard_state_dirty_ = false;
      hard_state_seq_ = seq_;
    }
    out.truncate_from = truncate_from_;
    truncate_from_.reset();
    for (Index i = submitted_ + 1; i <= log.last(); i = i + 1) out.append.push_back(log.entry(i));
    submitted_ = log.last();
    writes_.push_back({seq_, submitted_});
  }

  /// What decides its further answers, as numbers that do not grow with time (Core::fingerprint).
  template <typename Put>
  void describe(Put&& put) const {
    put(hard_state_dirty_);
    put(hard_state_seq_ > durable_ ? hard_state_seq_ - durable_ : 0);
    put(truncate_from_ ? raw(*truncate_from_) + 1 : 0);
    put(raw(submitted_));
    put(raw(stable_));
    put(seq_ - durable_);
    for (const Write& w : writes_) {
      put(w.seq - durable_);
      put(raw(w.last));
    }
  }

  void durable(Seq upto) {
    durable_ = std::max(durable_, std::min(upto, seq_));
    while (!writes_.empty() && writes_.front().seq <= durable_) {
      stable_ = std::max(stable_, writes_.front().last);
      writes_.pop_front();
    }
  }

 private:
  struct Write {
    Seq seq;
    Index last;  // the last entry that is durable once this write is
  };
  Seq seq_ = 0, durable_ = 0, hard_state_seq_ = 0;
  bool hard_state_dirty_ = false;
  std::optional<Index> truncate_from_;
  Index submitted_, stable_;
  std::deque<Write> writes_;
};

}  // namespace kraken::raft
