#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

TEST(ReadIndex, IsAnsweredAfterAQuorumAnsweredALaterMessage) {
  Replica r({});
  r.become_leader();
  r.step(in::ReadIndex{5});
  EXPECT_TRUE(r.out.reads.empty());
  const Seq round = r.to<BeatReq>(2)->read_seq;
  r.receive(BeatResp{r.from(2, 1), 1_i, round - 1});
  EXPECT_TRUE(r.out.reads.empty()) << "an answer to an earlier message proves nothing";
  r.receive(BeatResp{r.from(2, 1), 1_i, round});
  ASSERT_EQ(r.out.reads.size(), 1u);
  EXPECT_EQ(r.out.reads[0].ticket, 5u);
  EXPECT_EQ(r.out.reads[0].at, 1_i);
}

TEST(ReadIndex, AppendsConfirmToo) {
  Replica r({});
  r.become_leader();
  r.step(in::ReadIndex{5});
  const Seq round = r.to<BeatReq>(2)->read_seq;
  r.step(in::Propose{1, bytes("x")});
  EXPECT_EQ(r.to<AppendReq>(2)->read_seq, round);
  r.ack(2, 1, 2, round);
  EXPECT_EQ(r.out.reads.size(), 1u);
}

TEST(ReadIndex, ManyShareOneRound) {
  Replica r({});
  r.become_leader();
  r.step(in::ReadIndex{1});
  const Seq first = r.to<BeatReq>(2)->read_seq;
  for (Seq t = 2; t <= 50; t++) {
    r.step(in::ReadIndex{t});
    EXPECT_TRUE(r.out.send_now.empty()) << "they wait for the round that is out";
  }
  r.receive(BeatResp{r.from(2, 1), 1_i, first});
  EXPECT_EQ(r.out.reads.size(), 1u);
  const Seq second = r.to<BeatReq>(2)->read_seq;
  EXPECT_GT(second, first);
  r.receive(BeatResp{r.from(3, 1), 1_i, second});
  EXPECT_EQ(r.out.reads.size(), 49u);
}

TEST(ReadIndex, RoundsNeverShareANumber) {
  Replica r({});
  r.become_leader();
  Seq last = 0;
  for (int i = 0; i < 5; i++) {
    r.timeout();
    EXPECT_GT(r.to<BeatReq>(2)->read_seq, last);
    last = r.to<BeatReq>(2)->read_seq;
    r.receive(BeatResp{r.from(2, 1), 1_i, last});
  }
}

TEST(ReadIndex, WaitsForTheLeadersFirstCommit) {
  Replica r({.log = {1, 1}, .term = 1});
  r.become_leader(false);
  r.persist();
  r.step(in::ReadIndex{5});
  EXPECT_TRUE(r.sent<BeatReq>().empty());
  r.timeout();
  r.receive(BeatResp{r.from(2, 2), 0_i, r.to<BeatReq>(2)->read_seq});
  EXPECT_TRUE(r.out.reads.empty());
  r.ack(2, 2, 3);
  ASSERT_FALSE(r.sent<BeatReq>().empty());
  r.receive(BeatResp{r.from(2, 2), 3_i, r.to<BeatReq>(2)->read_seq});
  ASSERT_EQ(r.out.reads.size(), 1u);
  EXPECT_EQ(r.out.reads[0].at, 3_i);
}

TEST(ReadIndex, FollowersNameTheLeader) {
  Replica r({});
  r.append(1, 0, 0, {1}, 0, 3);
  r.step(in::ReadIndex{5});
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kNotLeader);
  EXPECT_EQ(r.out.failed[0].leader, 3_r);
}

TEST(ReadIndex, FailsWhenLeadershipIsLost) {
  Replica r({});
  r.become_leader();
  r.step(in::ReadIndex{5});
  r.append(2, 1, 1, {2}, 0, 3);
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].ticket, 5u);
}

TEST(ReadIndex, OfASingleVoterIsImmediate) {
  Replica r({.conf = voters({1})});
  r.timeout();
  r.persist();
  r.persist();
  r.step(in::ReadIndex{5});
  EXPECT_EQ(r.out.reads.size(), 1u);
}

TEST(ReadIndex, IsBounded) {
  Options o;
  o.max_pending_reads = 2;
  Replica r({.options = o});
  r.become_leader();
  for (Seq t = 1; t <= 3; t++) r.step(in::ReadIndex{t});
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kOverloaded);
}

}  // namespace
}  // namespace kraken::raft::test
