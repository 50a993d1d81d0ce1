// One replica under test: the test plays its disk, its network and its clock, and reads what it wants done.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "consensus/raft/core.h"

namespace kraken::raft::test {

using namespace std::chrono_literals;

inline ReplicaId operator""_r(unsigned long long n) { return ReplicaId{n}; }
inline Term operator""_t(unsigned long long n) { return Term{n}; }
inline Index operator""_i(unsigned long long n) { return Index{n}; }

inline Bytes bytes(std::string s) { return std::make_shared<const std::string>(std::move(s)); }

/// A log by the terms of its entries: {1, 1, 2} is entries 1 and 2 of term 1, and 3 of term 2.
using Terms = std::vector<uint64_t>;

inline std::vector<Entry> entries(Index first, const Terms& terms) {
  std::vector<Entry> out;
  for (uint64_t t : terms) {
    out.push_back({Term{t}, first, Kind::kData, bytes("t" + std::to_string(t) + "i" + std::to_string(raw(first)))});
    first = first + 1;
  }
  return out;
}

inline ConfState voters(std::initializer_list<uint64_t> ids) {
  ConfState c;
  for (uint64_t id : ids) c.voters.push_back(ReplicaId{id});
  return c;
}

struct Start {
  uint64_t self = 1;
  Terms log = {};
  uint64_t term = 0;
  std::optional<uint64_t> vote = {};
  uint64_t applied = 0;
  uint64_t snap_index = 0, snap_term = 0;
  ConfState conf = voters({1, 2, 3});
  Options options = {};
};

class Replica {
 public:
  explicit Replica(const Start& s) : core_(make(s)), log_(entries(Index{s.snap_index} + 1, s.log)) {}

  // ---- what happens to it ----
  Output& step(Input input) {
    core_.step(input, now, out);
    if (follows) follow_log();
    if (out.persist_seq != 0) seq_ = out.persist_seq;
    for (auto& g : out.send_after) waiting_.push_back(g);
    return out;
  }
  Output& receive(Message m) { return step(in::Receive{std::move(m)}); }
  /// The disk has caught up: releases what waited for it, as a driver does.
  std::vector<Message> persist() {
    std::vector<Message> released;
    while (!waiting_.empty() && waiting_.front().after <= seq_) {
      released.push_back(waiting_.front().m);
      waiting_.erase(waiting_.begin());
    }
    step(in::Persisted{seq_});
    return released;
  }
  Output& pass(Time t) {
    now += t;
    return step(in::Timer{});
  }
  /// Lets time pass until its timer is due.
  Output& timeout() {
    now = std::max(now, core_.deadline());
    return step(in::Timer{});
  }

  // ---- messages to it; `from` defaults to replica 2 ----
  Hdr from(uint64_t peer, uint64_t term) const { return {GroupId{7}, ReplicaId{peer}, core_.self(), Term{term}}; }
  Output& append(uint64_t term, uint64_t prev_index, uint64_t prev_term, const Terms& terms, uint64_t commit = 0, uint64_t leader = 2) {
    return receive(AppendReq{from(leader, term), Index{prev_index}, Term{prev_term}, Index{commit}, entries(Index{prev_index} + 1, terms), 0});
  }
  Output& ack(uint64_t peer, uint64_t term, uint64_t match, Seq read_seq = 0) {
    return receive(AppendResp{from(peer, term), true, Index{match}, {}, {}, read_seq});
  }

  // ---- shortcuts to roles ----
  void become_candidate() {
    timeout();
    const uint64_t next = raw(core_.view().term) + 1;
    for (uint64_t peer : others())
      if (core_.view().role == Core::Role::kPreCandidate) receive(VoteResp{from(peer, next), true, true});
  }
  /// Leader of the next term, with its no-op durable and acknowledged by everyone if `committed`.
  void become_leader(bool committed = true) {
    become_candidate();
    persist();
    const uint64_t term = raw(core_.view().term);
    for (uint64_t peer : others())
      if (!core_.view().is_leader) receive(VoteResp{from(peer, term), false, true});
    ASSERT_TRUE(core_.view().is_leader);
    if (!committed) return;
    persist();
    for (uint64_t peer : others()) ack(peer, term, raw(core_.view().last));
    ASSERT_EQ(core_.view().commit, core_.view().last);
  }

  // ---- what it wants ----
  const Core& core() const { return core_; }
  Core::View view() const { return core_.view(); }
  Terms log() const {
    Terms t;
    for (const Entry& e : log_) t.push_back(raw(e.term));
    return t;
  }
  const std::vector<Entry>& log_entries() const { return log_; }
  template <typename M>
  std::vector<M> sent() const {
    std::vector<M> found;
    for (const Message& m : out.send_now)
      if (const M* x = std::get_if<M>(&m)) found.push_back(*x);
    return found;
  }
  template <typename M>
  std::vector<M> gated() const {
    std::vector<M> found;
    for (const auto& g : out.send_after)
      if (const M* x = std::get_if<M>(&g.m)) found.push_back(*x);
    return found;
  }
  template <typename M>
  std::optional<M> to(uint64_t peer) const {
    std::optional<M> last;
    for (const M& m : sent<M>())
      if (m.h.to == ReplicaId{peer}) last = m;
    return last;
  }

  Output out;
  Time now{1s};
  bool follows = true;  // keep log() up to date; not with inputs that replace the log

 private:
  struct View : LogView {
    explicit View(const Start& s) : start(s) {}
    std::optional<Term> term_at(Index i) const override { return Term{start.log.at(raw(i) - start.snap_index - 1)}; }
    Index first() const override { return Index{start.snap_index} + 1; }
    const Start& start;
  };

  static Core make(const Start& s) {
    Boot b;
    b.self = ReplicaId{s.self};
    b.hs.term = Term{std::max(s.term, s.log.empty() ? s.snap_term : s.log.back())};
    if (s.vote) b.hs.vote = ReplicaId{*s.vote};
    b.conf = s.conf;
    b.snap_index = Index{s.snap_index};
    b.snap_term = Term{s.snap_term};
    b.first = b.snap_index + 1;
    b.last = b.snap_index + s.log.size();
    b.applied = Index{std::max(s.applied, s.snap_index)};
    b.boot_time = 1s;
    return Core(GroupId{7}, b, s.options, View(s), 42);
  }

  std::vector<uint64_t> others() const {
    std::vector<uint64_t> ids;
    for (const auto* list : {&core_.conf().voters, &core_.conf().outgoing})
      for (ReplicaId id : *list)
        if (id != core_.self()) ids.push_back(raw(id));
    return ids;
  }

  void follow_log() {
    if (out.truncate_from)
      while (!log_.empty() && log_.back().index >= *out.truncate_from) log_.pop_back();
    for (const Entry& e : out.append) {
      ASSERT_TRUE(log_.empty() || e.index == log_.back().index + 1);
      log_.push_back(e);
    }
  }

  Core core_;
  std::vector<Entry> log_;  // what storage was given
  Seq seq_ = 0;
  std::vector<Output::Gated> waiting_;
};

}  // namespace kraken::raft::test
