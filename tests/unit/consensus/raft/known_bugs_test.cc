// Bugs that other systems shipped, each as the fact that holds here instead. The number is the row of the table "Known bugs of
// others" in docs/consensus.md, which names the tests of the rows that are decided outside the core, too.
#include "consensus/raft/quorum.h"
#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

ConfState with_learner(ConfState c, uint64_t id) {
  c.learners.push_back(ReplicaId{id});
  return c;
}

Entry config(uint64_t term, uint64_t index, const ConfState& conf) { return {Term{term}, Index{index}, Kind::kConfig, encode_conf(conf)}; }

// raft-dev 2015 "bug in single-server membership changes"; atomix/copycat#23; databendlabs/openraft#2051: two leaders that each build on
// the same old configuration can end with majorities that do not meet.
TEST(KnownBug01, NoConfigurationChangeBeforeTheLeaderCommittedInItsTerm) {
  Replica r({});
  r.become_leader(false);
  r.persist();
  r.step(in::ChangeConf{1, voters({1, 2, 3, 4})});
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kNoTermCommit);
  EXPECT_EQ(r.view().last, 1_i) << "nothing but the no-op";
  r.ack(2, 1, 1);
  r.step(in::ChangeConf{2, voters({1, 2, 3, 4})});
  EXPECT_EQ(r.out.accepted.size(), 1u);
}

// etcd#7625, #11284, #7280, #2397: with configurations in force from their commit, a leader and a follower can count by different ones.
TEST(KnownBug02, AConfigurationDecidesFromItsAppendAtTheLeader) {
  Replica r({});
  r.become_leader();
  r.step(in::ChangeConf{1, voters({1, 4, 5})});
  r.persist();
  r.ack(2, 1, 2);
  r.ack(3, 1, 2);
  EXPECT_EQ(r.view().commit, 1_i) << "all old voters are not enough any more";
  r.ack(4, 1, 2);
  EXPECT_EQ(r.view().commit, 2_i);
}

TEST(KnownBug02, AConfigurationDecidesFromItsAppendAtAFollowerAndGoesWithItsEntry) {
  Replica r({});
  ConfState joint = voters({1, 4, 5});
  joint.outgoing = voters({1, 2, 3}).voters;
  r.receive(AppendReq{r.from(2, 1), 0_i, 0_t, 0_i, {config(1, 1, joint)}, 0});
  r.persist();
  r.timeout();
  r.receive(VoteResp{r.from(2, 2), true, true});
  r.receive(VoteResp{r.from(3, 2), true, true});
  EXPECT_EQ(r.view().role, Core::Role::kPreCandidate) << "the old voters alone elect nobody, committed or not";
  r.append(3, 0, 0, {3}, 0, 3);
  EXPECT_EQ(r.core().conf(), voters({1, 2, 3}));
}

// etcd#14370, #10508: a cluster of one acknowledged a write before its own disk had it.
TEST(KnownBug04, ASingleReplicaCommitsOnlyAfterItsOwnSync) {
  Replica r({.conf = voters({1})});
  r.timeout();
  r.persist();
  r.persist();
  ASSERT_TRUE(r.view().serving);
  r.step(in::Propose{1, bytes("x")});
  EXPECT_EQ(r.view().commit, 1_i);
  EXPECT_EQ(r.out.commit_from, 0_i);
  r.persist();
  EXPECT_EQ(r.view().commit, 2_i);
  EXPECT_EQ(r.out.commit_to, 2_i);
}

// etcd#7331, tikv#9239, redisraft#22: a fresh leader's commit index may lie below what its predecessor acknowledged.
TEST(KnownBug05, NoReadIsAnsweredBeforeALeadersFirstCommit) {
  Replica r({.log = {1, 1}, .term = 1, .applied = 1});
  r.become_leader(false);
  r.step(in::ReadIndex{7});
  r.pass(50ms);
  for (uint64_t peer : {2u, 3u}) {
    r.receive(BeatResp{r.from(peer, 2), 0_i, 99});
    EXPECT_TRUE(r.out.reads.empty());
  }
  r.persist();
  r.ack(2, 2, 3);
  ASSERT_EQ(r.view().commit, 3_i);
  const auto beat = r.to<BeatReq>(3);
  ASSERT_TRUE(beat) << "the round starts with the commit";
  r.receive(BeatResp{r.from(3, 2), 0_i, beat->read_seq});
  ASSERT_EQ(r.out.reads.size(), 1u);
  EXPECT_EQ(r.out.reads[0].at, 3_i) << "not 1, as it was known at the start";
}

// etcd#20418 (raft PR 397): after a pause, late answers to an old round confirmed a new one that had reused its number.
TEST(KnownBug06, AnswersToAnOldRoundNeverConfirmANewerRead) {
  Replica r({});
  r.become_leader();
  r.step(in::ReadIndex{1});
  const Seq first = r.to<BeatReq>(2).value().read_seq;
  r.receive(BeatResp{r.from(2, 1), 1_i, first});
  ASSERT_EQ(r.out.reads.size(), 1u);
  r.step(in::ReadIndex{2});
  const Seq second = r.to<BeatReq>(2).value().read_seq;
  EXPECT_GT(second, first);
  r.receive(BeatResp{r.from(3, 1), 1_i, first});
  EXPECT_TRUE(r.out.reads.empty());
  r.receive(BeatResp{r.from(3, 1), 1_i, second});
  EXPECT_EQ(r.out.reads.size(), 1u);
  r.receive(BeatResp{r.from(3, 1), 1_i, second + 1000});  // of nobody honest: must not vouch for rounds to come
  r.step(in::ReadIndex{3});
  EXPECT_TRUE(r.out.reads.empty());
}

// Jepsen on etcd and Consul, 2014: a leader that was cut off answered reads from its own state.
TEST(KnownBug07, ALeaderThatNobodyAnswersAnswersNoRead) {
  Replica r({});
  r.become_leader();
  r.step(in::ReadIndex{1});
  while (r.view().is_leader) {
    EXPECT_TRUE(r.out.reads.empty());
    r.timeout();
  }
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kNotLeader);
}

// tikv#15035, #15085: a voter that restarted had forgotten its promise to the lease. There are no leases here to break.
TEST(KnownBug08, ReadsRestOnAnswersNeverOnTime) {
  Replica r({});
  r.become_leader();
  for (Seq ticket = 1; ticket <= 3; ticket++) {  // in one instant: no lease could be fresher
    r.step(in::ReadIndex{ticket});
    EXPECT_TRUE(r.out.reads.empty());
    r.receive(BeatResp{r.from(2, 1), 1_i, r.to<BeatReq>(2).value().read_seq});
    EXPECT_EQ(r.out.reads.size(), 1u);
  }
}

// etcd#12704, braft#405: the old leader went on serving under its lease while its successor was elected.
TEST(KnownBug09, AHandoverGivesTheOldLeaderNoRead) {
  Replica r({});
  r.become_leader();
  r.step(in::Transfer{2_r});
  ASSERT_TRUE(r.to<TimeoutNow>(2));
  r.step(in::ReadIndex{1});
  EXPECT_TRUE(r.out.reads.empty());
  r.receive(VoteReq{r.from(2, 2), 1_i, 1_t, false, true});
  EXPECT_FALSE(r.view().is_leader);
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kNotLeader);
}

// scylladb#9965, copycat#265, #110: min(leader's commit, own last index) commits leftovers of an older term.
TEST(KnownBug10, AFollowerCommitsOnlyWhatTheMessageProved) {
  Replica r({.log = {1, 1, 1}, .term = 2});
  r.append(2, 1, 1, {}, 3);
  EXPECT_EQ(r.view().commit, 1_i) << "2 and 3 may not be the leader's";
  r.receive(BeatReq{r.from(2, 2), 3_i, 0});
  EXPECT_EQ(r.view().commit, 1_i);
}

// hashicorp/raft#113: a late, shorter append made a follower drop entries it had acknowledged.
TEST(KnownBug11, OnlyAConflictTruncates) {
  Replica r({});
  r.append(1, 0, 0, {1, 1, 1});
  r.append(1, 0, 0, {1});
  EXPECT_FALSE(r.out.truncate_from);
  EXPECT_EQ(r.log(), (Terms{1, 1, 1}));
  r.append(1, 1, 1, {1});
  EXPECT_FALSE(r.out.truncate_from);
  r.append(1, 0, 0, {});
  EXPECT_FALSE(r.out.truncate_from);
  EXPECT_EQ(r.log(), (Terms{1, 1, 1}));
}

// openraft#511: prev_log was purged, which was taken for a conflict.
TEST(KnownBug12, WhatWasCompactedAwayIsNoConflict) {
  Replica r({.log = {2}, .term = 2, .snap_index = 5, .snap_term = 1});
  r.append(2, 3, 1, {1, 1, 2, 2});
  EXPECT_FALSE(r.out.truncate_from);
  ASSERT_EQ(r.out.append.size(), 1u);
  EXPECT_EQ(r.out.append[0].index, 7_i);
  r.persist();
  r.append(2, 3, 1, {1});
  ASSERT_TRUE(r.to<AppendResp>(2));
  EXPECT_TRUE(r.to<AppendResp>(2)->ok);
  EXPECT_EQ(r.to<AppendResp>(2)->match, 5_i) << "all up to the snapshot is committed";
}

// hashicorp/raft#661: term and vote were two writes; a crash between them left a vote in the wrong term.
TEST(KnownBug13, TermAndVoteAreOneWriteAndTheAnswerWaitsForIt) {
  Replica r({});
  r.receive(VoteReq{r.from(2, 5), 0_i, 0_t, false, false});
  ASSERT_NE(r.out.persist_seq, 0u);
  EXPECT_EQ(r.out.hard_state, (HardState{5_t, 2_r}));
  EXPECT_TRUE(r.sent<VoteResp>().empty());
  ASSERT_EQ(r.out.send_after.size(), 1u);
  EXPECT_EQ(r.out.send_after[0].after, r.out.persist_seq);
}

// microsoft/CCF#8094: stepping down within a term cleared the vote, and the term got two leaders.
TEST(KnownBug16, SteppingDownWithinATermKeepsTheVote) {
  Replica candidate({});
  candidate.become_candidate();
  candidate.persist();
  candidate.append(1, 0, 0, {1});  // 2 has won the term
  EXPECT_EQ(candidate.view().vote, 1_r);
  candidate.pass(2s);
  candidate.receive(VoteReq{candidate.from(3, 1), 9_i, 1_t, false, false});
  candidate.persist();
  EXPECT_EQ(candidate.view().vote, 1_r);

  Replica leader({});
  leader.become_leader();
  while (leader.view().is_leader) leader.timeout();  // nobody answers
  ASSERT_EQ(leader.view().term, 1_t);
  leader.receive(VoteReq{leader.from(3, 1), 9_i, 1_t, false, false});
  ASSERT_TRUE(leader.to<VoteResp>(3));
  EXPECT_FALSE(leader.to<VoteResp>(3)->granted);
}

// ClickHouse#121252: pre-vote looked at liveness only; etcd#8501: switched on in half of a cluster it blocked elections.
TEST(KnownBug17, APreVoteIsNotGivenToAShorterLog) {
  Replica r({.log = {1, 2}, .term = 2});
  r.receive(VoteReq{r.from(2, 3), 1_i, 1_t, true, false});
  ASSERT_TRUE(r.to<VoteResp>(2));
  EXPECT_FALSE(r.to<VoteResp>(2)->granted);
  r.receive(VoteReq{r.from(3, 3), 2_i, 2_t, true, false});
  EXPECT_TRUE(r.to<VoteResp>(3).value().granted);
}

TEST(KnownBug17, EveryElectionBeginsWithPreVotes) {
  Replica r({});
  for (int i = 0; i < 3; i++) {
    r.timeout();
    for (const VoteReq& m : r.sent<VoteReq>()) EXPECT_TRUE(m.pre);
    EXPECT_EQ(r.view().term, 0_t) << "there is no switch";
  }
}

// openraft#2080, Cloudflare 2020-11-02: with pre-vote alone, a leader that reaches a minority stays, since that minority shields it.
TEST(KnownBug18, ALeaderThatReachesOnlyAMinorityMakesRoom) {
  Replica leader({.conf = voters({1, 2, 3, 4, 5})});
  leader.become_leader();
  for (Time t{0}; t < 1s && leader.view().is_leader; t += 50ms) {
    leader.pass(50ms);
    leader.receive(BeatResp{leader.from(2, 1), 1_i, 1});
  }
  EXPECT_FALSE(leader.view().is_leader);
}

TEST(KnownBug18, APreCandidateShieldsNobody) {
  Replica bridge({});
  bridge.append(1, 0, 0, {1}, 0, 3);
  bridge.persist();
  bridge.receive(VoteReq{bridge.from(2, 2), 1_i, 1_t, true, false});
  EXPECT_FALSE(bridge.to<VoteResp>(2).value().granted) << "it hears its leader";
  bridge.timeout();
  bridge.receive(VoteReq{bridge.from(2, 2), 1_i, 1_t, true, false});
  EXPECT_TRUE(bridge.to<VoteResp>(2).value().granted);
}

// hashicorp/raft#503, #612, #666, consul#22064: a leader whose disk hung went on beating, and nothing was ever committed again.
TEST(KnownBug19, ALeaderWithASickDiskStopsBeatingAndGoes) {
  Replica r({});
  r.become_leader();
  r.step(in::StorageSick{true});
  EXPECT_TRUE(r.to<TimeoutNow>(2) || r.to<TimeoutNow>(3)) << "the best follower is asked to stand";
  for (int i = 0; i < 20 && r.view().is_leader; i++) {
    r.timeout();
    EXPECT_TRUE(r.sent<BeatReq>().empty());
  }
  EXPECT_FALSE(r.view().is_leader);
}

// rethinkdb#5289, eBay/NuRaft#185, ClickHouse#118740, redisraft#17, #28, #44: a replica that forgot its log voted under its old name.
// A wiped disk gets another replica id here (Membership.AWipedDiskIsRefusedAndNeverVotes); the core is deaf to the old one.
TEST(KnownBug20, MessagesToAnotherReplicaIdAreIgnored) {
  Replica r({.self = 4, .conf = with_learner(voters({1, 2, 3}), 4)});
  VoteReq request{{GroupId{7}, 2_r, 1_r, 9_t}, 9_i, 9_t, false, false};
  r.receive(request);
  EXPECT_EQ(r.view().term, 0_t);
  EXPECT_TRUE(r.out.send_now.empty() && r.out.send_after.empty());
  EXPECT_EQ(r.core().deadline(), Time::max()) << "and who is no voter never stands";
}

// cockroach#25173, #128663: a follower whose log had lost its tail panicked on the leader's commit index.
TEST(KnownBug21, ACommitIndexBeyondTheLogIsNoReasonToDie) {
  Replica r({.log = {1}, .term = 1});
  r.append(1, 1, 1, {}, 9);
  EXPECT_EQ(r.view().commit, 1_i);
  r.receive(BeatReq{r.from(2, 1), 9_i, 0});
  EXPECT_EQ(r.view().commit, 1_i);
}

TEST(KnownBug21, ALeaderSurvivesAFollowerThatWentBack) {
  Replica r({});
  r.become_leader();
  r.step(in::Propose{1, bytes("x")});
  r.persist();
  r.ack(2, 1, 2);
  ASSERT_EQ(r.view().commit, 2_i);
  r.receive(BeatResp{r.from(2, 1), 0_i, 0});
  r.receive(AppendResp{r.from(2, 1), false, 2_i, 0_i, 0_t, 0});
  EXPECT_TRUE(r.view().is_leader);
  EXPECT_EQ(r.view().commit, 2_i);
  for (const Core::Peer& peer : r.core().peers())
    if (peer.id == 2_r) {
      EXPECT_EQ(peer.match, 2_i) << "what was durable once is never asked for again";
    }
}

// ClickHouse#102629, #112101: entries were acknowledged before the rollback of those they replace was durable.
TEST(KnownBug22, TheRollbackAndWhatReplacesItAreOneWriteThatTheAnswerWaitsFor) {
  Replica r({});
  r.append(1, 0, 0, {1, 1, 1});
  const Seq old_write = r.out.persist_seq;
  r.append(2, 1, 1, {2}, 0, 3);
  EXPECT_EQ(r.out.truncate_from, 2_i);
  EXPECT_EQ(r.out.append.size(), 1u);
  const auto acks = r.gated<AppendResp>();
  ASSERT_EQ(acks.size(), 1u);
  EXPECT_GT(r.out.send_after.back().after, old_write);
  r.step(in::Persisted{old_write});
  EXPECT_EQ(r.view().stable, 1_i) << "the old entries 2 and 3 on disk count for nothing";
}

// cockroach#63302: the cache of entries kept what the log had truncated.
TEST(KnownBug22, TheTailForgetsWhatWasTruncated) {
  Replica r({});
  r.append(1, 0, 0, {1, 1, 1});
  r.append(2, 1, 1, {2}, 0, 3);
  std::vector<Entry> tail;
  EXPECT_EQ(r.core().copy_tail(1_i, 9_i, SIZE_MAX, tail), 3_i);
  ASSERT_EQ(tail.size(), 2u);
  EXPECT_EQ(tail[1].term, 2_t);
}

// cockroach#70109: the log was truncated above what was applied.
TEST(KnownBug23, TheLogIsNeverCompactedAboveWhatIsApplied) {
  Replica r({.log = {1, 1, 1}, .term = 1, .applied = 1});
  r.append(1, 3, 1, {}, 3);
  ASSERT_EQ(r.view().commit, 3_i);
  r.step(in::Compacted{4_i});
  EXPECT_EQ(r.view().first, 1_i);
  r.step(in::Applied{3_i});
  r.step(in::Compacted{4_i});
  EXPECT_EQ(r.view().first, 4_i);
}

// cockroach#8629, #8639: each snapshot was useless on arrival because the log had been truncated behind it, so the next one was sent.
TEST(KnownBug24, ASnapshotIsAskedForOnceAndTheLogFollowsIt) {
  size_t asked = 0;
  Replica leader({.log = {1, 1}, .term = 1, .snap_index = 5, .snap_term = 1});
  leader.become_leader(false);
  leader.persist();
  leader.ack(3, 2, 8);
  leader.receive(AppendResp{leader.from(2, 2), false, 7_i, 2_i, 1_t, 0});
  asked += leader.out.need_snapshot.size();
  leader.step(in::SnapReady{2_r, {8_i, 2_t, voters({1, 2, 3}), 77}, true});
  for (int i = 0; i < 20; i++) {  // it takes a while, and the log goes on
    leader.step(in::Propose{Seq(i + 1), bytes("x")});
    leader.persist();
    leader.ack(3, 2, raw(leader.view().last));
    leader.timeout();
    leader.receive(BeatResp{leader.from(2, 2), 0_i, 1});
    asked += leader.out.need_snapshot.size();
  }
  EXPECT_EQ(asked, 1u);
  leader.receive(SnapResp{leader.from(2, 2), 77, true});
  EXPECT_TRUE(leader.out.need_snapshot.empty());
  ASSERT_TRUE(leader.to<AppendReq>(2));
  EXPECT_EQ(leader.to<AppendReq>(2)->prev_index, 8_i);
}

// cockroach#76295, #32046: a snapshot that never ends pinned the log for ever. The driver gives up; the core asks again, in its time.
TEST(KnownBug24, AnAbandonedSnapshotIsAskedForAgainOnlyWhenTheFollowerAnswers) {
  Replica r({.log = {1, 1}, .term = 1, .snap_index = 5, .snap_term = 1});
  r.become_leader(false);
  r.receive(AppendResp{r.from(2, 2), false, 7_i, 2_i, 1_t, 0});
  ASSERT_EQ(r.out.need_snapshot.size(), 1u);
  r.step(in::SnapReady{2_r, {}, false});
  EXPECT_TRUE(r.out.need_snapshot.empty());
  r.timeout();
  EXPECT_TRUE(r.out.need_snapshot.empty());
  r.receive(BeatResp{r.from(2, 2), 0_i, 1});
  EXPECT_EQ(r.out.need_snapshot.size(), 1u);
}

// ClickHouse#105784, canonical/raft#323, #250: a snapshot recorded a configuration that was not committed, and a truncation left it there.
TEST(KnownBug25, ASnapshotRecordsTheCommittedConfigurationOfItsIndex) {
  Replica r({});
  r.become_leader();
  r.step(in::ChangeConf{1, with_learner(voters({1, 2, 3}), 4)});
  ASSERT_EQ(r.core().conf(), with_learner(voters({1, 2, 3}), 4));
  EXPECT_EQ(r.core().conf_at(1_i), voters({1, 2, 3}));
  r.persist();
  r.ack(2, 1, 2);
  EXPECT_EQ(r.core().conf_at(2_i), with_learner(voters({1, 2, 3}), 4));
  EXPECT_EQ(r.core().conf_at(1_i), voters({1, 2, 3})) << "also later";
}

// ClickHouse#40571, redisraft#43, etcd#18055: entries were applied while, or before, a snapshot replaced the state below them.
TEST(KnownBug26, NothingIsAppliedWhileASnapshotIsInstalled) {
  Replica r({.log = {1}, .term = 1});
  r.follows = false;
  const SnapMeta meta{5_i, 1_t, voters({1, 2, 3}), 9};
  r.receive(SnapReq{r.from(2, 1), meta});
  ASSERT_TRUE(r.out.install);
  r.append(1, 0, 0, {1, 1}, 2);
  EXPECT_EQ(r.out.commit_from, 0_i);
  EXPECT_TRUE(r.out.append.empty());
  r.receive(BeatReq{r.from(2, 1), 1_i, 0});
  EXPECT_EQ(r.out.commit_from, 0_i);
  r.step(in::SnapInstalled{meta, true});
  EXPECT_EQ(r.out.commit_from, 0_i) << "it is in the snapshot";
  r.append(1, 5, 1, {1}, 6);
  r.persist();
  EXPECT_EQ(r.out.commit_from, 6_i);
}

// yugabyte#32876, hashicorp/raft#612: leader and follower exchanged the same two messages for ever, and all lights were green.
TEST(KnownBug27, EveryRefusalBringsTheLogsCloser) {
  uint64_t state = 7;
  const auto random_log = [&] {
    Terms log;
    uint64_t term = 1;
    for (int i = 0; i < 12; i++) {
      state = state * 6364136223846793005 + 1442695040888963407;
      term += (state >> 60) < 6;
      log.push_back(term);
    }
    log.resize(1 + (state >> 40) % 12);
    return log;
  };
  for (int run = 0; run < 300; run++) {
    const Terms ours = random_log();
    Terms theirs = random_log();
    // A log of theirs that agrees with ours at (index, term) agrees before it, too.
    for (size_t i = std::min(ours.size(), theirs.size()); i-- > 0;)
      if (ours[i] == theirs[i]) {
        std::copy_n(ours.begin(), i, theirs.begin());
        break;
      }
    const uint64_t term = std::max(ours.back(), theirs.back());
    Replica leader({.log = ours, .term = term});
    leader.become_leader(false);
    leader.persist();
    Replica follower({.self = 2, .log = theirs, .term = term});
    const uint64_t goal = ours.size() + 1;
    auto next = leader.to<AppendReq>(2);
    if (!next) {
      leader.receive(BeatResp{leader.from(2, term + 1), 0_i, 0});
      next = leader.to<AppendReq>(2);
    }
    size_t rounds = 0;
    for (Index match{}; raw(match) < goal; rounds++) {
      ASSERT_LE(rounds, std::max(ours.size(), theirs.size()) + 2) << "run " << run;
      if (!next) {  // the window moved in send_now of an earlier answer
        leader.timeout();
        leader.receive(BeatResp{leader.from(2, term + 1), 0_i, 0});
        next = leader.to<AppendReq>(2);
        ASSERT_TRUE(next) << "run " << run;
      }
      follower.receive(*next);
      std::vector<Message> answers = follower.out.send_now;
      for (const Message& m : follower.persist()) answers.push_back(m);
      next.reset();
      for (const Message& m : answers) {
        const auto* resp = std::get_if<AppendResp>(&m);
        if (resp == nullptr) continue;
        if (resp->ok) match = std::max(match, resp->match);
        leader.receive(*resp);
        if (!leader.out.fetch.empty()) {
          const Output::Fetch f = leader.out.fetch.front();
          const auto at = [&](Index i) { return leader.log_entries().begin() + static_cast<std::ptrdiff_t>(raw(i) - 1); };
          leader.step(in::Fetched{2_r, {at(f.lo), at(f.hi)}});
        }
        if (const auto more = leader.to<AppendReq>(2)) next = more;
      }
    }
    EXPECT_EQ(follower.log(), leader.log());
  }
}

// logcabin#160: a message whose entries had a gap was appended as if it had none.
TEST(KnownBug28, EntriesWithAGapAreNotTaken) {
  Replica r({});
  std::vector<Entry> gap = entries(1_i, {1, 1, 1});
  gap.erase(gap.begin() + 1);
  r.receive(AppendReq{r.from(2, 1), 0_i, 0_t, 0_i, gap, 0});
  EXPECT_EQ(r.view().last, 0_i);
  r.receive(AppendReq{r.from(2, 1), 0_i, 0_t, 0_i, entries(2_i, {1}), 0});
  EXPECT_EQ(r.view().last, 0_i) << "nor if the gap is at the start";
}

// etcd#13196, #20967: members lived in two stores, and a restart brought a removed one back. Here they are in the log alone.
TEST(KnownBug30, AfterARestartTheMembersAreThoseOfTheLog) {
  struct Terms1 : LogView {
    std::optional<Term> term_at(Index) const override { return 1_t; }
    Index first() const override { return 1_i; }
  } log;
  Boot boot;
  boot.self = 1_r;
  boot.hs.term = 1_t;
  boot.conf = voters({1, 2, 3});
  boot.confs = {{2_i, with_learner(voters({1, 2, 3}), 4)}, {3_i, voters({1, 2, 3})}};
  boot.last = 3_i;
  boot.applied = 1_i;
  Core core(GroupId{7}, boot, {}, log, 1);
  EXPECT_EQ(core.conf(), voters({1, 2, 3})) << "4 was removed by the last entry";
  Output out;
  core.step(in::Receive{AppendReq{{GroupId{7}, 2_r, 1_r, 2_t}, 2_i, 1_t, 0_i, entries(3_i, {2}), 0}}, 1s, out);
  EXPECT_EQ(core.conf(), with_learner(voters({1, 2, 3}), 4)) << "and with that entry gone, by the one before it";
}

// etcd#3505, #10329: a member that could not be reached was added as a voter, and the group had no quorum any more.
TEST(KnownBug31, ALearnerThatNobodyReachesCostsNothing) {
  Replica r({});
  r.become_leader();
  r.step(in::ChangeConf{1, with_learner(voters({1, 2, 3}), 4)});
  r.persist();
  r.ack(2, 1, 2);
  EXPECT_EQ(r.view().commit, 2_i);
  for (int i = 0; i < 40; i++) {  // 2 s
    r.pass(50ms);
    r.receive(BeatResp{r.from(2, 1), 2_i, 1});
  }
  EXPECT_TRUE(r.view().is_leader);
}

// tikv#16429, #6668: a group that had gone to sleep elected nobody when its leader was gone. None sleeps here.
TEST(KnownBug32, AnIdleGroupKeepsBeatingAndAFollowerKeepsCounting) {
  Replica leader({});
  leader.become_leader();
  Replica follower({.self = 2});
  for (int i = 0; i < 1000; i++) {
    leader.timeout();
    const auto beat = leader.to<BeatReq>(2);
    ASSERT_TRUE(beat && leader.to<BeatReq>(3)) << i;
    follower.now = leader.now;
    follower.receive(*beat);
    ASSERT_LE(follower.core().deadline(), follower.now + 1s);
    follower.persist();
    for (uint64_t peer : {2u, 3u}) leader.receive(BeatResp{leader.from(peer, 1), 1_i, beat->read_seq});
  }
  follower.timeout();
  EXPECT_EQ(follower.view().role, Core::Role::kPreCandidate);
}

// cockroach#75793 (by way of #76295): an unbounded batch was written, and applying it ended every replica.
TEST(KnownBug33, WhatIsInFlightIsBoundedInBytes) {
  Options options;
  options.max_append_bytes = 4096;
  options.max_inflight_bytes = 16'384;
  options.max_uncommitted_bytes = 65'536;
  Replica r({.options = options});
  r.become_leader();
  size_t accepted = 0, sent_most = 0, sent_total = 0;
  for (Seq i = 1; i <= 200; i++) {
    r.step(in::Propose{i, bytes(std::string(1000, 'x'))});
    accepted += r.out.accepted.size();
    for (const AppendReq& m : r.sent<AppendReq>()) {
      if (m.h.to != 2_r) continue;
      size_t size = 0;
      for (const Entry& e : m.entries) size += e.bytes();
      sent_most = std::max(sent_most, size);
      sent_total += size;
    }
  }
  EXPECT_EQ(r.out.failed.at(0).why, Reject::kOverloaded);
  EXPECT_LE(accepted * 1000, 65'536u + 1000);
  EXPECT_LE(sent_most, 4096u);
  EXPECT_LE(sent_total, 16'384u + 4096);
}

// redpanda#5090: a new leader served before it had caught up with what its predecessor had committed.
TEST(KnownBug34, ANewLeaderServesOnlyAfterItsFirstCommit) {
  Replica r({.log = {1, 1}, .term = 1});
  r.become_leader(false);
  EXPECT_FALSE(r.view().serving);
  r.persist();
  r.ack(2, 2, 2);
  EXPECT_FALSE(r.view().serving) << "older entries on a quorum are not enough";
  EXPECT_EQ(r.view().commit, 0_i);
  r.ack(2, 2, 3);
  EXPECT_TRUE(r.view().serving);
}

}  // namespace
}  // namespace kraken::raft::test
