// The log as the core sees it: the term of every index, the entries of a bounded tail, and the configurations in it.
//
// Indexes: snap_index() < first() == snap_index() + 1 <= ... <= last(). Terms never fall along the log, so they are kept as runs
// (one per leader), from snap_index() on. The tail [tail_first(), last()] holds payloads; what is below must be read from disk.
// Nothing here knows what is durable; Writer (writer.h) does.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "consensus/raft/core.h"
#include "consensus/raft/types.h"

namespace kraken::raft {

class Log {
 public:
  Log(const Boot& boot, const LogView& view);

  Index snap_index() const { return snap_index_; }
  Index first() const { return snap_index_ + 1; }
  Index last() const { return last_; }
  Term last_term() const { return runs_.back().term; }
  /// Nothing outside [snap_index, last].
  std::optional<Term> term_at(Index index) const;
  bool matches(Index index, Term term) const { return term_at(index) == term; }
  /// The largest index in [snap_index, min(from, last)] whose term is <= `term`; snap_index if there is none.
  Index last_not_above(Index from, Term term) const;

  /// REQUIRES: entry.index == last() + 1, entry.term >= last_term().
  void append(Entry entry);
  /// Drops all entries at or above `from`. REQUIRES: from > snap_index().
  void truncate(Index from);
  /// The log now starts at `first`. REQUIRES: first() <= first <= last() + 1.
  void compact(Index first);
  /// The log is now empty, after a snapshot.
  void reset(const SnapMeta& meta);

  Index tail_first() const { return tail_.empty() ? last_ + 1 : tail_.front().index; }
  size_t tail_bytes() const { return tail_bytes_; }
  /// REQUIRES: tail_first() <= index <= last().
  const Entry& entry(Index index) const { return tail_[distance(tail_first(), index)]; }
  Index copy_tail(Index lo, Index hi, size_t max_bytes, std::vector<Entry>& out) const;
  /// Forgets payloads from the front, none above `upto`, until at most `max_bytes` are left.
  void trim_tail(Index upto, size_t max_bytes);

  /// The latest configuration, committed or not, and where it stands (snap_index if it is older than the log).
  const ConfAt& conf() const { return confs_.back(); }
  const ConfState& conf_at(Index index) const;

 private:
  struct Run {
    Index first;
    Term term;
  };
  static size_t cost(const Entry& entry) { return entry.bytes() + sizeof(Entry); }

  Index snap_index_, last_;
  std::vector<Run> runs_;      // never empty; runs_[0].first == snap_index_
  std::deque<Entry> tail_;     // ends at last_
  size_t tail_bytes_ = 0;
  std::vector<ConfAt> confs_;  // never empty; confs_[0].index <= snap_index_
};

}  // namespace kraken::raft
