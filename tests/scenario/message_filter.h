// Which messages a command means: `1->2`, `1->`, `->2`, a kind, `first`, `last`; nothing means all that are in flight.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <string>

#include "tests/scenario/print.h"
#include "tests/scenario/words.h"

namespace kraken::scenario {

class MessageFilter {
 public:
  explicit MessageFilter(Line& line) {
    first_ = line.flag("first");
    last_ = line.flag("last");
    for (const std::string& word : line.words) {
      const size_t arrow = word.find("->");
      if (arrow == std::string::npos) {
        kind_ = word;
        continue;
      }
      if (arrow != 0) from_ = to_number(word.substr(0, arrow));
      if (arrow + 2 != word.size()) to_ = to_number(word.substr(arrow + 2));
    }
  }

  /// Those of `pool` that fit, in order; removed from it if `remove`.
  std::deque<raft::Message> take(std::deque<raft::Message>& pool, bool remove) const {
    std::deque<size_t> places;
    for (size_t i = 0; i < pool.size(); i++)
      if (fits(pool[i])) places.push_back(i);
    if (first_ && places.size() > 1) places.resize(1);
    if (last_ && places.size() > 1) places = {places.back()};
    std::deque<raft::Message> out;
    for (size_t i : places) out.push_back(pool[i]);
    if (remove)
      for (; !places.empty(); places.pop_back()) pool.erase(pool.begin() + static_cast<std::ptrdiff_t>(places.back()));
    return out;
  }

 private:
  bool fits(const raft::Message& m) const {
    const raft::Hdr& h = raft::header(m);
    return (!from_ || raw(h.from) == *from_) && (!to_ || raw(h.to) == *to_) && (kind_.empty() || kind_of(m) == kind_);
  }

  std::optional<uint64_t> from_, to_;
  std::string kind_;
  bool first_ = false, last_ = false;
};

}  // namespace kraken::scenario
