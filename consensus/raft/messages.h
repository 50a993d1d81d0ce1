// What replicas of one group say to each other: one struct per RPC, in the words of the thesis.
//
// The transport may lose, delay, repeat and reorder messages, but never alters them. The transport also decides how they look
// on the wire; beats of all groups between two nodes are meant to share a frame.
#pragma once

#include <variant>
#include <vector>

#include "consensus/raft/types.h"

namespace kraken::raft {

/// `term` is the sender's term, except in pre-vote: there it is the term the candidate would run in, both in the request and
/// in a granted answer (a refusal carries the refuser's own term).
struct Hdr {
  GroupId group{};
  ReplicaId from{}, to{};
  Term term{};
};

/// Asks for a vote (thesis 3.4), or, with `pre`, whether one would be given (9.6): that changes nobody's state.
/// `transfer`: the old leader asked for this election, so voters do not shield it (3.10).
struct VoteReq {
  Hdr h;
  Index last_index{};
  Term last_term{};
  bool pre = false;
  bool transfer = false;
};
struct VoteResp {
  Hdr h;
  bool pre = false;
  bool granted = false;
};

/// Replicates `entries`, which follow (prev_index, prev_term) without a gap; may be empty.
/// `commit` is the leader's, unclamped: the receiver believes it only as far as this message proves its log.
struct AppendReq {
  Hdr h;
  Index prev_index{};
  Term prev_term{};
  Index commit{};
  std::vector<Entry> entries;
  Seq read_seq = 0;
};
/// ok: everything up to `match` is durable here and equals the leader's log.
/// Not ok: `match` is the prev_index that was refused, (hint_index, hint_term) an entry of the receiver at or below it that may fit.
/// `read_seq` echoes the request's.
struct AppendResp {
  Hdr h;
  bool ok = false;
  Index match{};
  Index hint_index{};
  Term hint_term{};
  Seq read_seq = 0;
};

/// Keeps the leader's followers from electing another. `commit` never exceeds what the receiver acknowledged to this leader.
struct BeatReq {
  Hdr h;
  Index commit{};
  Seq read_seq = 0;
};
/// `match`: up to where the receiver's log is durable and proven equal to this leader's (0 until its first AppendReq).
struct BeatResp {
  Hdr h;
  Index match{};
  Seq read_seq = 0;
};

/// Offers a snapshot to a follower whose next entry the leader no longer has. The bytes move outside the core.
struct SnapReq {
  Hdr h;
  SnapMeta meta;
};
/// ok: the snapshot (or more) is installed and durable.
struct SnapResp {
  Hdr h;
  uint64_t snap_id = 0;
  bool ok = false;
};

/// Start an election at once (leadership transfer, thesis 3.10).
struct TimeoutNow {
  Hdr h;
};

using Message = std::variant<VoteReq, VoteResp, AppendReq, AppendResp, BeatReq, BeatResp, SnapReq, SnapResp, TimeoutNow>;

inline const Hdr& header(const Message& m) {
  return std::visit([](const auto& x) -> const Hdr& { return x.h; }, m);
}

}  // namespace kraken::raft
