#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

// A leader of term 2 whose log starts after entry 10, with follower 2 found to be at entry 5.
Replica leader_beyond() {
  Replica r({.log = {1, 1}, .term = 1, .snap_index = 10, .snap_term = 1});
  r.become_leader(false);
  r.receive(AppendResp{r.from(2, 2), false, 12_i, 5_i, 1_t, 0});
  return r;
}

SnapMeta meta(uint64_t index, uint64_t term, uint64_t id) { return {Index{index}, Term{term}, voters({1, 2, 3}), id}; }

TEST(Snapshot, IsAskedForWhenTheLogNoLongerReachesBack) {
  Replica r = leader_beyond();
  EXPECT_EQ(r.out.need_snapshot, std::vector{2_r});
  r.step(in::Propose{1, bytes("x")});
  EXPECT_FALSE(r.to<AppendReq>(2)) << "nothing is sent meanwhile";
  EXPECT_TRUE(r.out.need_snapshot.empty()) << "nor asked again";
}

TEST(Snapshot, IsOfferedRepeatedlyUntilItIsIn) {
  Replica r = leader_beyond();
  r.step(in::SnapReady{2_r, meta(11, 1, 99), true});
  EXPECT_EQ(r.to<SnapReq>(2)->meta.snap_id, 99u);
  r.receive(BeatResp{r.from(2, 2), 0_i, 0});
  EXPECT_TRUE(r.to<SnapReq>(2));
  r.receive(SnapResp{r.from(2, 2), 99, true});
  ASSERT_TRUE(r.to<AppendReq>(2) || !r.out.fetch.empty());
  EXPECT_EQ(r.core().peers().at(0).match, 11_i);
}

TEST(Snapshot, AFailedOneIsTriedAgainAfterABeat) {
  Replica r = leader_beyond();
  r.step(in::SnapReady{2_r, {}, false});
  EXPECT_TRUE(r.out.need_snapshot.empty());
  r.receive(BeatResp{r.from(2, 2), 0_i, 0});
  EXPECT_EQ(r.out.need_snapshot, std::vector{2_r});
}

TEST(Snapshot, OneThatTheLogHasOutgrownStartsOver) {
  Replica r = leader_beyond();
  r.step(in::SnapReady{2_r, meta(10, 1, 99), true});
  r.persist();
  r.ack(3, 2, 13);
  r.step(in::Applied{13_i});
  r.step(in::Compacted{14_i});
  r.receive(SnapResp{r.from(2, 2), 99, true});
  EXPECT_EQ(r.out.need_snapshot, std::vector{2_r});
}

TEST(Snapshot, OneThatTheFollowerAlreadyHasStartsOverIfTheLogWentOn) {
  Replica r = leader_beyond();
  r.step(in::SnapReady{2_r, meta(10, 1, 99), true});
  r.persist();
  r.ack(3, 2, 13);
  r.step(in::Applied{13_i});
  r.step(in::Compacted{14_i});
  r.ack(2, 2, 10);  // how a follower answers an offer of what it has
  EXPECT_EQ(r.out.need_snapshot, std::vector{2_r});
}

TEST(Snapshot, IsDueWhenTheLogWasCompactedUnderLostAppends) {
  Options o;
  o.max_inflight_msgs = 1;
  Replica r({.options = o});
  r.become_leader();
  r.step(in::Propose{1, bytes("a")});  // lost on its way to 2, whose window is full now
  r.step(in::Propose{2, bytes("b")});
  r.persist();
  r.ack(3, 1, 2);
  r.ack(3, 1, 3);
  r.step(in::Applied{3_i});
  r.step(in::Compacted{4_i});
  r.timeout();
  r.receive(BeatResp{r.from(2, 1), 1_i, 0});
  EXPECT_EQ(r.out.need_snapshot, std::vector{2_r});
}

TEST(Snapshot, ReplacesTheLogOfTheReceiver) {
  Replica r({.log = {1, 1, 1}, .applied = 1});
  r.receive(SnapReq{r.from(2, 4), meta(20, 3, 7)});
  ASSERT_TRUE(r.out.install);
  EXPECT_EQ(r.out.install->from, 2_r);
  r.append(4, 20, 3, {4});
  EXPECT_EQ(r.log(), (Terms{1, 1, 1})) << "no append while it is being installed";
  r.step(in::SnapInstalled{meta(20, 3, 7), true});
  EXPECT_EQ(r.view().commit, 20_i);
  EXPECT_EQ(r.view().applied, 20_i);
  EXPECT_EQ(r.view().first, 21_i);
  EXPECT_EQ(r.view().last, 20_i);
  r.persist();
  r.receive(AppendReq{r.from(2, 4), 20_i, 3_t, 20_i, {}, 0});
  EXPECT_EQ(r.sent<AppendResp>().at(0).match, 20_i);
}

TEST(Snapshot, ThatFailedToInstallLeavesTheLogAlone) {
  Replica r({.log = {1, 1, 1}, .term = 4, .applied = 1});
  r.receive(SnapReq{r.from(2, 4), meta(20, 3, 7)});
  r.step(in::SnapInstalled{meta(20, 3, 7), false});
  EXPECT_EQ(r.view().last, 3_i);
  EXPECT_FALSE(r.sent<SnapResp>().at(0).ok);
  r.append(4, 3, 1, {4});
  EXPECT_EQ(r.log().size(), 4u);
}

TEST(Snapshot, OlderThanTheCommitIsAnsweredWithTheCommit) {
  Replica r({.log = {1, 1, 1}, .term = 1, .applied = 3});
  r.receive(SnapReq{r.from(2, 1), meta(2, 1, 7)});
  EXPECT_FALSE(r.out.install);
  EXPECT_EQ(r.sent<AppendResp>().at(0).match, 3_i);
}

TEST(Snapshot, OfWhatTheLogHoldsOnlyCommitsIt) {
  Replica r({.log = {1, 1, 1}, .term = 1});
  r.receive(SnapReq{r.from(2, 1), meta(2, 1, 7)});
  EXPECT_FALSE(r.out.install);
  EXPECT_EQ(r.view().commit, 2_i);
  EXPECT_EQ(r.view().last, 3_i);
}

TEST(Snapshot, BringsItsConfiguration) {
  Replica r({});
  SnapMeta m = meta(20, 3, 7);
  m.conf = voters({1, 2, 4});
  r.receive(SnapReq{r.from(2, 4), m});
  r.step(in::SnapInstalled{m, true});
  ASSERT_TRUE(r.out.conf_changed);
  EXPECT_EQ(r.core().conf(), m.conf);
  EXPECT_EQ(r.core().conf_at(20_i), m.conf);
}

TEST(Snapshot, CompactionNeverGoesAboveWhatIsApplied) {
  Replica r({.log = {1, 1, 1, 1}, .applied = 2});
  r.step(in::Compacted{4_i});
  EXPECT_EQ(r.view().first, 1_i);
  r.step(in::Compacted{3_i});
  EXPECT_EQ(r.view().first, 3_i);
  EXPECT_EQ(r.core().term_at(2_i), 1_t);
  EXPECT_FALSE(r.core().term_at(1_i));
}

}  // namespace
}  // namespace kraken::raft::test
