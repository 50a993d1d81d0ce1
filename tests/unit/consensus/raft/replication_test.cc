// The leader's side: proposals, pipelining, backtracking, commits, flow control.
#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

Output& propose(Replica& r, Seq ticket, std::string data = "x") { return r.step(in::Propose{ticket, bytes(std::move(data))}); }

TEST(Leader, SendsBeforeItsOwnSyncAndCommitsWithoutIt) {
  Replica r({});
  r.become_leader();
  propose(r, 7);
  ASSERT_EQ(r.out.accepted.size(), 1u);
  EXPECT_EQ(r.out.accepted[0].ticket, 7u);
  EXPECT_EQ(r.out.accepted[0].index, 2_i);
  EXPECT_EQ(r.out.accepted[0].term, 1_t);
  EXPECT_EQ(r.sent<AppendReq>().size(), 2u);
  r.ack(2, 1, 2);
  EXPECT_EQ(r.view().commit, 1_i) << "one follower alone is no quorum while our own sync is out";
  r.ack(3, 1, 2);
  EXPECT_EQ(r.view().commit, 2_i);
  EXPECT_EQ(r.out.commit_to, 0_i) << "committed, but not durable here";
  r.persist();
  EXPECT_EQ(r.out.commit_from, 2_i);
  EXPECT_EQ(r.out.commit_to, 2_i);
}

TEST(Leader, CountsItselfOnlyWhenDurable) {
  Replica r({.conf = voters({1})});
  r.timeout();
  r.persist();
  r.persist();
  propose(r, 1);
  EXPECT_EQ(r.view().commit, 1_i);
  r.persist();
  EXPECT_EQ(r.view().commit, 2_i);
}

TEST(Leader, ABatchIsOneAppendAndOneMessagePerFollower) {
  Replica r({});
  r.become_leader();
  r.step(in::ProposeBatch{{{1, bytes("a")}, {2, bytes("b")}, {3, bytes("c")}}});
  EXPECT_EQ(r.out.accepted.size(), 3u);
  EXPECT_EQ(r.out.append.size(), 3u);
  EXPECT_EQ(r.sent<AppendReq>().size(), 2u);
  EXPECT_EQ(r.to<AppendReq>(2)->entries.size(), 3u);
}

TEST(Leader, PipelinesWithoutWaitingForAnswers) {
  Replica r({});
  r.become_leader();
  for (Seq t = 1; t <= 5; t++) {
    propose(r, t);
    EXPECT_EQ(r.to<AppendReq>(2)->prev_index, Index{t});
  }
}

TEST(Leader, StopsAtTheWindowAndGoesOnWithAnAnswer) {
  Options o;
  o.max_inflight_msgs = 2;
  Replica r({.options = o});
  r.become_leader();
  propose(r, 1);
  propose(r, 2);
  propose(r, 3);
  EXPECT_FALSE(r.to<AppendReq>(2));
  r.ack(2, 1, 2);
  EXPECT_EQ(r.to<AppendReq>(2)->prev_index, 3_i);
  EXPECT_FALSE(r.to<AppendReq>(3)) << "a slow follower holds back nobody else";
}

TEST(Leader, AppendsAreLimitedInBytes) {
  Options o;
  o.max_append_bytes = 1000;
  Replica r({.options = o});
  r.become_leader();
  r.step(in::ProposeBatch{{{1, bytes(std::string(700, 'a'))}, {2, bytes(std::string(700, 'b'))}, {3, bytes(std::string(5000, 'c'))}}});
  EXPECT_EQ(r.sent<AppendReq>().size(), 6u);
}

// Figure 3.7 of the thesis: entry 2 of term 2 is on a majority, yet may still be overwritten until an entry of term 4 covers it.
TEST(Leader, AnEntryOfAnOlderTermIsNotCommittedByCounting) {
  Replica r({.log = {1, 2}, .term = 3, .conf = voters({1, 2, 3, 4, 5})});
  r.become_leader(false);
  ASSERT_EQ(r.view().term, 4_t);
  r.persist();
  r.ack(2, 4, 2);
  r.ack(3, 4, 2);
  EXPECT_EQ(r.view().commit, 0_i);
  r.ack(2, 4, 3);
  r.ack(3, 4, 3);
  EXPECT_EQ(r.view().commit, 3_i);
}

TEST(Leader, FindsWhereAFollowerDivergedInOneRoundTripPerTerm) {
  Replica r({.log = {1, 1, 1, 1, 5, 5}, .term = 5});
  r.become_leader(false);
  ASSERT_EQ(r.to<AppendReq>(2)->prev_index, 6_i);
  // The follower has {1, 1, 1, 1, 2, 2, 2}.
  r.receive(AppendResp{r.from(2, 6), false, 6_i, 6_i, 2_t, 0});
  ASSERT_EQ(r.out.fetch.size(), 1u) << "entries from before the boot are on disk only";
  EXPECT_EQ(r.out.fetch[0].lo, 5_i);
  r.step(in::Fetched{2_r, entries(5_i, {5, 5})});
  EXPECT_EQ(r.to<AppendReq>(2)->prev_index, 4_i);
  EXPECT_EQ(r.to<AppendReq>(2)->prev_term, 1_t);
}

TEST(Leader, AProbeIsOneMessageAtATime) {
  Replica r({});
  r.become_leader(false);
  propose(r, 1);
  EXPECT_FALSE(r.to<AppendReq>(2));
  r.ack(2, 1, 1);
  EXPECT_EQ(r.to<AppendReq>(2)->entries.size(), 1u);
}

TEST(Leader, LateRefusalsAreIgnored) {
  Replica r({});
  r.become_leader();
  propose(r, 1);
  r.ack(2, 1, 2);
  r.receive(AppendResp{r.from(2, 1), false, 1_i, 0_i, 0_t, 0});
  EXPECT_TRUE(r.sent<AppendReq>().empty());
  EXPECT_EQ(r.core().peers().at(0).match, 2_i);
}

TEST(Leader, AnswersOfAnOlderTermCountForNothing) {
  Replica r({.log = {1}, .term = 1});
  r.become_leader(false);
  r.persist();
  r.ack(2, 1, 2);
  r.ack(3, 1, 2);
  EXPECT_EQ(r.view().commit, 0_i);
}

TEST(Leader, AcknowledgementsBeyondTheLogAreIgnored) {
  Replica r({});
  r.become_leader();
  r.ack(2, 1, 99);
  EXPECT_EQ(r.core().peers().at(0).match, 1_i);
}

TEST(Leader, LostAppendsAreFoundByABeat) {
  Replica r({});
  r.become_leader();
  propose(r, 1);  // lost on its way to 2
  r.timeout();    // a beat
  r.receive(BeatResp{r.from(2, 1), 1_i, 0});
  ASSERT_TRUE(r.to<AppendReq>(2));
  EXPECT_EQ(r.to<AppendReq>(2)->prev_index, 2_i);
  r.receive(AppendResp{r.from(2, 1), false, 2_i, 1_i, 1_t, 0});
  EXPECT_EQ(r.to<AppendReq>(2)->prev_index, 1_i);
  EXPECT_EQ(r.to<AppendReq>(2)->entries.size(), 1u);
}

TEST(Leader, ACommitGoesWithWhatIsSentNext) {
  Replica r({});
  r.become_leader();
  propose(r, 1);
  r.persist();
  r.ack(2, 1, 2);
  EXPECT_EQ(r.view().commit, 2_i);
  EXPECT_TRUE(r.sent<BeatReq>().empty()) << "nobody waits for it";
  propose(r, 2);
  ASSERT_TRUE(r.to<AppendReq>(2));
  EXPECT_EQ(r.to<AppendReq>(2)->commit, 2_i);
  r.persist();
  r.ack(2, 1, 3);
  r.timeout();
  EXPECT_EQ(r.to<BeatReq>(2)->commit, 3_i);
}

TEST(Leader, WhoMayHoldAReadHearsOfTheCommitAtOnce) {
  Replica r({});
  r.become_leader();
  propose(r, 1);
  r.persist();
  r.ack(2, 1, 2);
  r.step(in::ReadIndex{5});
  const Seq round = r.to<BeatReq>(2)->read_seq;
  EXPECT_EQ(r.to<BeatReq>(2)->commit, 2_i) << "the round brings it along";
  EXPECT_EQ(r.to<BeatReq>(3)->commit, 1_i) << "as far as the follower has it";
  r.receive(BeatResp{r.from(2, 1), 2_i, round});
  ASSERT_EQ(r.out.reads.size(), 1u);
  EXPECT_EQ(r.out.reads[0].at, 2_i);
  EXPECT_TRUE(r.sent<BeatReq>().empty());
  r.ack(3, 1, 2);
  ASSERT_TRUE(r.to<BeatReq>(3));
  EXPECT_EQ(r.to<BeatReq>(3)->commit, 2_i);
  propose(r, 2);
  r.persist();
  r.ack(2, 1, 3);
  EXPECT_TRUE(r.sent<BeatReq>().empty()) << "no read was answered at that one";
}

// An answer and what it commits may come in one step: the follower that held its read is told even so.
TEST(Leader, AReadThatIsConfirmedByTheLastAcknowledgementIsTold) {
  Replica r({});
  r.become_leader();
  propose(r, 1);
  r.persist();
  r.ack(3, 1, 2);
  r.step(in::ReadIndex{5});
  const Seq round = r.to<BeatReq>(2)->read_seq;
  EXPECT_EQ(r.to<BeatReq>(2)->commit, 1_i);
  r.ack(2, 1, 2, round);
  ASSERT_EQ(r.out.reads.size(), 1u);
  ASSERT_TRUE(r.to<BeatReq>(2));
  EXPECT_EQ(r.to<BeatReq>(2)->commit, 2_i);
}

TEST(Leader, BeatsNeverClaimMoreThanTheFollowerHas) {
  Replica r({});
  r.become_leader();
  propose(r, 1);
  r.persist();
  r.ack(2, 1, 2);
  r.timeout();
  EXPECT_EQ(r.to<BeatReq>(2)->commit, 2_i);
  EXPECT_EQ(r.to<BeatReq>(3)->commit, 1_i);
}

TEST(Leader, BeatsFallOnACommonGrid) {
  Replica r({});
  r.become_leader();
  EXPECT_EQ(r.core().deadline().count() % Time(50ms).count(), 0);
}

TEST(Leader, OverloadIsRefusedAndEnds) {
  Options o;
  o.max_uncommitted_bytes = 1000;
  Replica r({.options = o});
  r.become_leader();
  propose(r, 1, std::string(800, 'a'));
  propose(r, 2, std::string(800, 'b'));
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kOverloaded);
  r.persist();
  r.ack(2, 1, 2);
  EXPECT_EQ(r.view().uncommitted_bytes, 0u);
  propose(r, 3, std::string(5000, 'c'));
  EXPECT_EQ(r.out.accepted.size(), 1u) << "one entry larger than the limit still goes when nothing else is uncommitted";
}

TEST(Leader, LosingLeadershipAbortsWhatIsInFlight) {
  Replica r({});
  r.become_leader();
  propose(r, 1);
  r.persist();
  r.ack(2, 1, 2);
  propose(r, 2);
  r.append(2, 2, 1, {2}, 0, 3);
  ASSERT_EQ(r.out.failed.size(), 1u) << "1 is committed, 2 nobody knows";
  EXPECT_EQ(r.out.failed[0].ticket, 2u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kAborted);
}

TEST(Leader, OthersSayWhoLeads) {
  Replica r({});
  r.append(1, 0, 0, {1}, 0, 3);
  propose(r, 9);
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kNotLeader);
  EXPECT_EQ(r.out.failed[0].leader, 3_r);
}

TEST(Leader, AsksForEntriesItDoesNotHold) {
  Replica r({.log = {1, 1, 1, 1}, .term = 1});
  r.become_leader(false);
  r.receive(AppendResp{r.from(2, 2), false, 4_i, 1_i, 1_t, 0});
  ASSERT_EQ(r.out.fetch.size(), 1u);
  EXPECT_EQ(r.out.fetch[0].lo, 2_i);
  EXPECT_EQ(r.out.fetch[0].hi, 5_i);
  EXPECT_FALSE(r.to<AppendReq>(2));
  r.step(in::Fetched{2_r, entries(2_i, {1, 1})});
  EXPECT_EQ(r.to<AppendReq>(2)->prev_index, 1_i);
  EXPECT_EQ(r.to<AppendReq>(2)->entries.size(), 2u);
  // Once the probe is answered it goes on from disk, then from memory.
  r.ack(2, 2, 3);
  ASSERT_EQ(r.out.fetch.size(), 1u);
  r.step(in::Fetched{2_r, entries(4_i, {1})});
  EXPECT_EQ(r.sent<AppendReq>().size(), 2u);
}

TEST(Leader, FetchedEntriesThatDoNotFitAreDropped) {
  Replica r({.log = {1, 1, 1, 1}, .term = 1});
  r.become_leader(false);
  r.receive(AppendResp{r.from(2, 2), false, 4_i, 1_i, 1_t, 0});
  r.step(in::Fetched{2_r, entries(3_i, {1, 1})});
  EXPECT_FALSE(r.to<AppendReq>(2)) << "not where it asked";
  EXPECT_EQ(r.out.fetch.size(), 1u) << "so it asks again";
}

TEST(Leader, KeepsABoundedTail) {
  Options o;
  o.keep_tail_bytes = 2000;
  Replica r({.conf = voters({1}), .options = o});
  r.timeout();
  r.persist();
  for (Seq t = 1; t <= 100; t++) {
    propose(r, t, std::string(100, 'x'));
    r.persist();
    r.step(in::Applied{r.view().commit});
  }
  EXPECT_LE(r.view().tail_bytes, 2000u);
  std::vector<Entry> out;
  EXPECT_EQ(r.core().copy_tail(1_i, 5_i, SIZE_MAX, out), 1_i) << "must be read from disk";
  EXPECT_EQ(r.core().copy_tail(100_i, 101_i, SIZE_MAX, out), 102_i);
}

}  // namespace
}  // namespace kraken::raft::test
