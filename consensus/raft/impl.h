// The state of one replica and the rules that change it, one .cc a subject. Internal to this folder.
//
// A step is: one handler, then settle(), which lets the leader commit, send and answer, and last turns what changed into the Output.
// Handlers never write persist_seq or the gated list: reply() and gate() collect, settle() decides what must wait for which write.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "consensus/raft/assert.h"
#include "consensus/raft/core.h"
#include "consensus/raft/log.h"
#include "consensus/raft/mutants.h"
#include "consensus/raft/progress.h"
#include "consensus/raft/quorum.h"
#include "consensus/raft/writer.h"

namespace kraken::raft {

struct Core::Impl {
  Impl(GroupId group, const Boot& boot, const Options& options, const LogView& view, uint64_t rng_seed);

  // core.cc: dispatch, and what ends every step.
  void step(Input&& input, Time now, Output& out);
  void receive(Message&& m);
  void settle();
  void flush_gated();
  void emit_committed();
  void persisted(Seq upto);
  void applied(Index upto);
  Time deadline() const;
  View view() const;

  // fingerprint.cc
  void fingerprint(const std::function<ReplicaId(ReplicaId)>& rename, std::string& out) const;

  // election.cc: who leads (thesis 3.4, 6.2, 9.6).
  void timer();
  void beat_time();
  void reset_election_timer();
  void become_follower(Term term, std::optional<ReplicaId> leader);
  void start_pre_vote();
  void campaign(bool transfer);
  void become_leader();
  void count_votes();
  void handle(VoteReq& m);
  void handle(VoteResp& m);
  void peer_down(ReplicaId peer);
  bool electable() const;
  bool shielded() const;
  bool log_up_to_date(Index last_index, Term last_term) const;
  /// A message of the current term's leader arrived: follow it.
  void follow(ReplicaId leader);

  // follower.cc: receiving the log (thesis 3.5, 3.6).
  void handle(AppendReq& m);
  void handle(BeatReq& m);
  void refuse_append(const AppendReq& m);
  bool well_formed_append(const AppendReq& m) const;
  void take_entries(std::vector<Entry>& entries);
  void learn_commit(Index commit);
  void refuse_stale(const Hdr& h, Index prev);

  // leader.cc: sending it.
  void handle(AppendResp& m);
  void handle(BeatResp& m);
  void propose(std::vector<in::Propose>& proposals);
  Index append_own(Kind kind, Bytes data);
  void try_send(ReplicaId peer, Progress& pr);
  void send_entries(ReplicaId peer, Progress& pr, std::vector<Entry>&& entries);
  void acknowledged(ReplicaId peer, Progress& pr, Index match);
  void fetched(in::Fetched& in);
  void advance_commit();
  void tell_commit();
  void send_beat(ReplicaId peer, Progress& pr);
  void broadcast_beat();
  void drop_proposals();
  size_t cost(const Entry& e) const { return e.bytes() + 64; }

  // read.cc: linearizable reads (thesis 6.4).
  void read_index(Seq ticket);
  void start_read_round();
  void confirm_reads();
  void fail_reads();

  // reconfigure.cc: who is in the group (thesis 4).
  void change_conf(in::ChangeConf& in);
  void conf_may_have_changed();
  void sync_progress();
  void after_conf_commit();
  const ConfState& conf() const;
  bool own_term_committed() const;

  // snapshot.cc
  void handle(SnapReq& m);
  void handle(SnapResp& m);
  void snap_ready(in::SnapReady& in);
  void snap_installed(in::SnapInstalled& in);
  void compacted(Index first);

  // transfer.cc: handing leadership over (thesis 3.10), sick storage.
  void transfer(ReplicaId to);
  void try_timeout_now();
  void handle(TimeoutNow& m);
  void storage_sick(bool sick);
  ReplicaId best_successor() const;

  // Helpers.
  Hdr to(ReplicaId peer) const { return {group_, self_, peer, hs_.term}; }
  void send(Message m) { out_->send_now.push_back(std::move(m)); }
  /// Leaves once everything that is in memory now is durable.
  void gate(Message m) { gated_.push_back(std::move(m)); }
  /// Leaves once the term and vote it speaks of are durable.
  void reply(Message m) { replies_.push_back(std::move(m)); }
  void fail(Seq ticket, Reject why) { out_->failed.push_back({ticket, why, leader_}); }
  uint64_t random(uint64_t below);
  bool leading() const { return role_ == Role::kLeader; }

  // Constant.
  const GroupId group_;
  const ReplicaId self_;
  const Options opt_;

  // Of this step only.
  Time now_{};
  Output* out_ = nullptr;
  std::vector<Message> gated_, replies_;

  // Every role.
  HardState hs_;
  Log log_;
  Writer writer_;
  Index commit_, emitted_, applied_;  // emitted_: highest index handed out for apply
  Role role_ = Role::kFollower;
  std::optional<ReplicaId> leader_;
  ConfState adopted_;        // what conf_changed last said
  Output::Leader announced_; // what leader_changed last said
  bool sick_ = false;
  uint64_t rng_;

  // Follower. verified_: up to where this term's leader proved our log equal to its own.
  Time leader_seen_{}, election_deadline_{};
  unsigned lost_elections_ = 0;
  Index verified_{};
  std::optional<SnapMeta> installing_;
  ReplicaId install_from_{};

  // Candidate.
  std::map<ReplicaId, bool> votes_;
  bool transfer_campaign_ = false;

  // Leader.
  std::map<ReplicaId, Progress> peers_;
  Time next_beat_{}, leading_since_{};
  Index term_start_{};           // the no-op of this term
  size_t uncommitted_bytes_ = 0; // of this term's entries above commit_
  std::deque<Output::Accepted> in_flight_;  // accepted proposals not yet emitted; also kept by a follower up to commit_
  std::optional<ReplicaId> transferee_;
  Time transfer_deadline_{};
  bool check_conf_ = false;

  struct Read {
    Seq ticket;
    Seq round;  // 0: waits for the next round
    Index at;
  };
  std::deque<Read> waiting_reads_;
  Seq read_seq_ = 0;
  Index read_at_{};  // highest index that a read was answered with, and that a follower may therefore wait to apply
};

}  // namespace kraken::raft
