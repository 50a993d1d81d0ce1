#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

TEST(Transfer, TellsACaughtUpVoterToStandAtOnce) {
  Replica r({});
  r.become_leader();
  r.step(in::Transfer{2_r});
  EXPECT_TRUE(r.to<TimeoutNow>(2));
}

TEST(Transfer, CatchesTheSuccessorUpFirst) {
  Replica r({});
  r.become_leader();
  r.step(in::Propose{1, bytes("x")});
  r.step(in::Transfer{2_r});
  EXPECT_FALSE(r.to<TimeoutNow>(2));
  r.ack(2, 1, 2);
  EXPECT_TRUE(r.to<TimeoutNow>(2));
}

TEST(Transfer, RefusesProposalsMeanwhileAndGivesUpInTime) {
  Replica r({});
  r.become_leader();
  r.step(in::Transfer{2_r});
  r.step(in::Propose{1, bytes("x")});
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kTransferring);
  const Time begun = r.now;
  while (r.now < begun + 500ms) {
    r.timeout();
    r.receive(BeatResp{r.from(3, 1), 1_i, 0});
  }
  r.step(in::Propose{2, bytes("x")});
  EXPECT_EQ(r.out.accepted.size(), 1u);
}

TEST(Transfer, ALostCallIsRepeatedWithTheNextAnswer) {
  Replica r({});
  r.become_leader();
  r.step(in::Transfer{2_r});
  r.receive(BeatResp{r.from(2, 1), 1_i, 0});
  EXPECT_TRUE(r.to<TimeoutNow>(2));
}

TEST(Transfer, OnlyToAnotherVoter) {
  ConfState conf = voters({1, 2, 3});
  conf.learners = {4_r};
  Replica r({.conf = conf});
  r.become_leader();
  for (ReplicaId to : {1_r, 4_r, 9_r}) {
    r.step(in::Transfer{to});
    EXPECT_TRUE(r.sent<TimeoutNow>().empty());
  }
  r.step(in::Propose{1, bytes("x")});
  EXPECT_EQ(r.out.accepted.size(), 1u);
}

TEST(Transfer, TheSuccessorSkipsPreVotesAndSaysWhy) {
  Replica r({});
  r.append(1, 0, 0, {1});
  r.persist();
  r.receive(TimeoutNow{r.from(2, 1)});
  EXPECT_EQ(r.view().role, Core::Role::kCandidate);
  EXPECT_EQ(r.view().term, 2_t);
  ASSERT_EQ(r.gated<VoteReq>().size(), 2u);
  EXPECT_TRUE(r.gated<VoteReq>()[0].transfer);
}

TEST(Transfer, OnlyTheLeadersCallCounts) {
  Replica r({});
  r.append(1, 0, 0, {1});
  r.receive(TimeoutNow{r.from(3, 1)});
  EXPECT_EQ(r.view().role, Core::Role::kFollower);
  r.receive(TimeoutNow{r.from(2, 0)});
  EXPECT_EQ(r.view().role, Core::Role::kFollower);
}

TEST(SickStorage, ALeaderStopsBeatingAndHandsOff) {
  Replica r({});
  r.become_leader();
  r.step(in::StorageSick{true});
  EXPECT_EQ(r.sent<TimeoutNow>().size(), 1u);
  const Time begun = r.now;
  while (r.view().is_leader && r.now < begun + 2s) {
    r.timeout();
    EXPECT_TRUE(r.sent<BeatReq>().empty());
  }
  EXPECT_LE(r.now, begun + 600ms) << "and if nobody takes it, makes room";
}

TEST(SickStorage, ASingleVoterGoesOnServing) {
  Replica r({.conf = voters({1})});
  r.timeout();
  r.persist();
  r.persist();
  r.step(in::StorageSick{true});
  r.step(in::Propose{1, bytes("x")});
  EXPECT_EQ(r.out.accepted.size(), 1u);
  r.step(in::ReadIndex{2});
  EXPECT_EQ(r.out.reads.size(), 1u);
}

TEST(SickStorage, AFollowerDoesNotStand) {
  Replica r({});
  r.step(in::StorageSick{true});
  r.timeout();
  EXPECT_TRUE(r.sent<VoteReq>().empty());
  r.step(in::StorageSick{false});
  r.timeout();
  EXPECT_EQ(r.sent<VoteReq>().size(), 2u);
}

}  // namespace
}  // namespace kraken::raft::test
