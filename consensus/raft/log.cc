#include "consensus/raft/log.h"

#include <algorithm>

#include "consensus/raft/assert.h"

namespace kraken::raft {

Log::Log(const Boot& boot, const LogView& view) : snap_index_(boot.snap_index), last_(std::max(boot.last, boot.snap_index)) {
  runs_.push_back({snap_index_, boot.snap_term});
  for (Index i = first(); i <= last_; i = i + 1) {
    const std::optional<Term> term = view.term_at(i);
    KR_RAFT_ASSERT(term && *term >= runs_.back().term);
    if (*term != runs_.back().term) runs_.push_back({i, *term});
  }
  confs_.push_back({snap_index_, boot.conf});
  for (const ConfAt& c : boot.confs) {
    KR_RAFT_ASSERT(c.index > confs_.back().index && c.index <= last_);
    confs_.push_back(c);
  }
}

std::optional<Term> Log::term_at(Index index) const {
  if (index < snap_index_ || index > last_) return std::nullopt;
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), index, [](Index i, const Run& run) { return i < run.first; });
  return std::prev(after)->term;
}

Index Log::last_not_above(Index from, Term term) const {
  from = std::min(from, last_);
  for (size_t i = runs_.size(); i-- > 0;) {
    if (runs_[i].term > term || runs_[i].first > from) continue;
    const Index end = i + 1 < runs_.size() ? runs_[i + 1].first - 1 : last_;
    return std::min(end, from);
  }
  return snap_index_;
}

void Log::append(Entry entry) {
  KR_RAFT_ASSERT(entry.index == last_ + 1 && entry.term >= last_term());
  if (entry.term != last_term()) runs_.push_back({entry.index, entry.term});
  if (entry.kind == Kind::kConfig) {
    std::optional<ConfState> conf = decode_conf(entry.data ? std::string_view(*entry.data) : std::string_view());
    KR_RAFT_ASSERT(conf.has_value());  // checked where entries come in
    confs_.push_back({entry.index, std::move(*conf)});
  }
  last_ = entry.index;
  tail_bytes_ += cost(entry);
  tail_.push_back(std::move(entry));
}

void Log::truncate(Index from) {
  KR_RAFT_ASSERT(from > snap_index_);
  if (from > last_) return;
  while (!tail_.empty() && tail_.back().index >= from) {
    tail_bytes_ -= cost(tail_.back());
    tail_.pop_back();
  }
  while (runs_.size() > 1 && runs_.back().first >= from) runs_.pop_back();
  while (confs_.size() > 1 && confs_.back().index >= from) confs_.pop_back();
  last_ = from - 1;
}

void Log::compact(Index new_first) {
  KR_RAFT_ASSERT(new_first >= first() && new_first <= last_ + 1);
  const Index base = new_first - 1;
  while (runs_.size() > 1 && runs_[1].first <= base) runs_.erase(runs_.begin());
  runs_[0].first = base;
  while (confs_.size() > 1 && confs_[1].index <= base) confs_.erase(confs_.begin());
  while (!tail_.empty() && tail_.front().index <= base) {
    tail_bytes_ -= cost(tail_.front());
    tail_.pop_front();
  }
  snap_index_ = base;
}

void Log::reset(const SnapMeta& meta) {
  snap_index_ = last_ = meta.index;
  runs_.assign(1, {meta.index, meta.term});
  confs_.assign(1, {meta.index, meta.conf});
  tail_.clear();
  tail_bytes_ = 0;
}

Index Log::copy_tail(Index lo, Index hi, size_t max_bytes, std::vector<Entry>& out) const {
  hi = std::min(hi, last_);
  if (lo < tail_first() || lo > hi) return lo;
  size_t bytes = 0;
  size_t at = distance(tail_first(), lo);
  for (; lo <= hi; lo = lo + 1, at++) {
    const Entry& e = tail_[at];
    if (bytes != 0 && bytes + cost(e) > max_bytes) break;
    bytes += cost(e);
    out.push_back(e);
  }
  return lo;
}

void Log::trim_tail(Index upto, size_t max_bytes) {
  while (tail_bytes_ > max_bytes && !tail_.empty() && tail_.front().index <= upto) {
    tail_bytes_ -= cost(tail_.front());
    tail_.pop_front();
  }
}

const ConfState& Log::conf_at(Index index) const {
  const auto after = std::upper_bound(confs_.begin(), confs_.end(), index, [](Index i, const ConfAt& c) { return i < c.index; });
  return (after == confs_.begin() ? after : std::prev(after))->conf;
}

}  // namespace kraken::raft
