// Messages and options in words, for `raft_sim -v`.
#pragma once

#include <string>

#include <fmt/format.h>

#include "consensus/raft/messages.h"
#include "tests/sim/options.h"

namespace kraken::sim {

inline std::string describe(const raft::Message& m) {
  using namespace raft;
  struct Visitor {
    std::string operator()(const VoteReq& x) const { return fmt::format("{}VoteReq last ({}, {}){}", x.pre ? "Pre" : "", raw(x.last_index), raw(x.last_term), x.transfer ? " transfer" : ""); }
    std::string operator()(const VoteResp& x) const { return fmt::format("{}VoteResp {}", x.pre ? "Pre" : "", x.granted ? "granted" : "refused"); }
    std::string operator()(const AppendReq& x) const {
      return fmt::format("AppendReq prev ({}, {}) {} entries commit {} read {}", raw(x.prev_index), raw(x.prev_term), x.entries.size(), raw(x.commit), x.read_seq);
    }
    std::string operator()(const AppendResp& x) const {
      return x.ok ? fmt::format("AppendResp ok match {} read {}", raw(x.match), x.read_seq)
                  : fmt::format("AppendResp refused {} hint ({}, {})", raw(x.match), raw(x.hint_index), raw(x.hint_term));
    }
    std::string operator()(const BeatReq& x) const { return fmt::format("BeatReq commit {} read {}", raw(x.commit), x.read_seq); }
    std::string operator()(const BeatResp& x) const { return fmt::format("BeatResp match {} read {}", raw(x.match), x.read_seq); }
    std::string operator()(const SnapReq& x) const { return fmt::format("SnapReq id {} index {}", x.meta.snap_id, raw(x.meta.index)); }
    std::string operator()(const SnapResp& x) const { return fmt::format("SnapResp id {} {}", x.snap_id, x.ok ? "ok" : "failed"); }
    std::string operator()(const TimeoutNow&) const { return "TimeoutNow"; }
  };
  const Hdr& h = header(m);
  return fmt::format("{} -> {} term {} {}", raw(h.from), raw(h.to), raw(h.term), std::visit(Visitor{}, m));
}

inline std::string describe(const RunOptions& o) {
  return fmt::format(
      "nodes {} membership {} delay_max {} us loss {} repeat {} slow {} sync_max {} us stall {} apply_max {} us compact every {} keep {} | append {} B, inflight {} / {} B, "
      "uncommitted {} B, tail {} B",
      o.nodes, o.membership, o.link.delay_max.count() / 1000, o.link.loss, o.link.repeat, o.link.slow, o.sync_max.count() / 1000, o.sync_stall, o.apply_max.count() / 1000,
      o.compact_every, o.compact_keep, o.raft.max_append_bytes, o.raft.max_inflight_msgs, o.raft.max_inflight_bytes, o.raft.max_uncommitted_bytes, o.raft.max_tail_bytes);
}

}  // namespace kraken::sim
