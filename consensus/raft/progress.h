// How far one follower is, as its leader knows it.
//
// match < next always. kProbe: one append is outstanding at most (probe_sent), to find where the logs agree. kReplicate: appends
// are pipelined, `next` runs ahead of what is acknowledged. kSnapshot: nothing is sent until a snapshot is installed.
#pragma once

#include <deque>
#include <optional>

#include "consensus/raft/core.h"

namespace kraken::raft {

struct Progress {
  using State = Core::Peer::State;

  Index match{}, next{1};
  State state = State::kProbe;
  bool probe_sent = false;
  bool fetching = false;      // one Output::Fetch is open
  bool moved = false;         // acknowledged something since the last beat
  Index commit_sent{};        // highest commit index this follower was told, as far as it can believe it
  Seq read_acked = 0;         // highest read number it has answered in this term
  Time last_contact{};        // when it last answered in this term
  std::optional<SnapMeta> snapshot;  // kSnapshot: ready, to be offered

  struct Inflight {
    Index last;
    size_t bytes;
  };
  std::deque<Inflight> inflight;
  size_t inflight_bytes = 0;

  bool full(const Options& o) const { return inflight.size() >= o.max_inflight_msgs || inflight_bytes >= o.max_inflight_bytes; }

  void sent(Index last, size_t bytes) {
    next = last + 1;
    inflight.push_back({last, bytes});
    inflight_bytes += bytes;
  }

  void probe_from(Index from) {
    state = State::kProbe;
    next = from;
    probe_sent = false;
    snapshot.reset();
    inflight.clear();
    inflight_bytes = 0;
  }

  /// Everything up to `index` is durable there. True if that is news.
  bool acknowledge(Index index) {
    while (!inflight.empty() && inflight.front().last <= index) {
      inflight_bytes -= inflight.front().bytes;
      inflight.pop_front();
    }
    if (index <= match) return false;
    match = index;
    if (next <= match) next = match + 1;
    moved = true;
    return true;
  }
};

}  // namespace kraken::raft
