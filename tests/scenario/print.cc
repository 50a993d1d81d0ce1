#include "tests/scenario/print.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace kraken::scenario {

using namespace raft;

namespace {

std::string ids(const std::vector<ReplicaId>& list) {
  std::vector<uint64_t> numbers;
  for (ReplicaId id : list) numbers.push_back(raw(id));
  return fmt::format("({})", fmt::join(numbers, " "));
}

std::string at(Index index, Term term) { return fmt::format("{}/{}", raw(index), raw(term)); }
std::string read(Seq seq) { return seq == 0 ? "" : fmt::format(" read {}", seq); }

struct Body {
  std::string operator()(const VoteReq& m) const { return fmt::format("log {}{}", at(m.last_index, m.last_term), m.transfer ? " transfer" : ""); }
  std::string operator()(const VoteResp& m) const { return m.granted ? "yes" : "no"; }
  std::string operator()(const AppendReq& m) const {
    return fmt::format("after {} {}commit {}{}", at(m.prev_index, m.prev_term), m.entries.empty() ? "" : text(m.entries) + " ", raw(m.commit), read(m.read_seq));
  }
  std::string operator()(const AppendResp& m) const {
    if (m.ok) return fmt::format("ok to {}{}", raw(m.match), read(m.read_seq));
    return fmt::format("no at {}, try {}{}", raw(m.match), at(m.hint_index, m.hint_term), read(m.read_seq));
  }
  std::string operator()(const BeatReq& m) const { return fmt::format("commit {}{}", raw(m.commit), read(m.read_seq)); }
  std::string operator()(const BeatResp& m) const { return fmt::format("has {}{}", raw(m.match), read(m.read_seq)); }
  std::string operator()(const SnapReq& m) const { return fmt::format("snapshot {} at {} {}", m.meta.snap_id, at(m.meta.index, m.meta.term), text(m.meta.conf)); }
  std::string operator()(const SnapResp& m) const { return fmt::format("snapshot {} {}", m.snap_id, m.ok ? "installed" : "failed"); }
  std::string operator()(const TimeoutNow&) const { return ""; }
};

struct KindOf {
  std::string operator()(const VoteReq& m) const { return m.pre ? "PreVoteReq" : "VoteReq"; }
  std::string operator()(const VoteResp& m) const { return m.pre ? "PreVoteResp" : "VoteResp"; }
  std::string operator()(const AppendReq&) const { return "AppendReq"; }
  std::string operator()(const AppendResp&) const { return "AppendResp"; }
  std::string operator()(const BeatReq&) const { return "BeatReq"; }
  std::string operator()(const BeatResp&) const { return "BeatResp"; }
  std::string operator()(const SnapReq&) const { return "SnapReq"; }
  std::string operator()(const SnapResp&) const { return "SnapResp"; }
  std::string operator()(const TimeoutNow&) const { return "TimeoutNow"; }
};

}  // namespace

std::string kind_of(const Message& m) { return std::visit(KindOf{}, m); }

std::string text(const Message& m) {
  const std::string body = std::visit(Body{}, m);
  return fmt::format("{} t{}{}{}", kind_of(m), raw(header(m).term), body.empty() ? "" : " ", body);
}

std::string text(const Entry& e) {
  switch (e.kind) {
    case Kind::kNoop: return fmt::format("[{} noop]", at(e.index, e.term));
    case Kind::kData: return fmt::format("[{} {}]", at(e.index, e.term), e.data ? *e.data : "");
    case Kind::kConfig: return fmt::format("[{} conf {}]", at(e.index, e.term), text(decode_conf(*e.data).value()));
  }
  return "?";
}

std::string text(const std::vector<Entry>& entries) {
  std::string out;
  for (const Entry& e : entries) out += (out.empty() ? "" : " ") + text(e);
  return out;
}

std::string text(const ConfState& conf) {
  std::string out = ids(conf.voters);
  if (conf.joint()) out += "&" + ids(conf.outgoing);
  if (!conf.learners.empty()) out += " learners " + ids(conf.learners);
  if (!conf.learners_next.empty()) out += " next learners " + ids(conf.learners_next);
  if (conf.placement_epoch != 0) out += fmt::format(" epoch {}", conf.placement_epoch);
  return out;
}

std::string text(Core::Role role) {
  switch (role) {
    case Core::Role::kFollower: return "follower";
    case Core::Role::kPreCandidate: return "pre-candidate";
    case Core::Role::kCandidate: return "candidate";
    case Core::Role::kLeader: return "leader";
  }
  return "?";
}

std::string text(Core::Peer::State state) {
  switch (state) {
    case Core::Peer::State::kProbe: return "probe";
    case Core::Peer::State::kReplicate: return "replicate";
    case Core::Peer::State::kSnapshot: return "snapshot";
  }
  return "?";
}

}  // namespace kraken::scenario
