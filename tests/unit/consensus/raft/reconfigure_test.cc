#include "consensus/raft/quorum.h"
#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

ConfState with_learners(ConfState c, std::initializer_list<uint64_t> ids) {
  for (uint64_t id : ids) c.learners.push_back(ReplicaId{id});
  return c;
}

Entry config(uint64_t term, uint64_t index, const ConfState& conf) { return {Term{term}, Index{index}, Kind::kConfig, encode_conf(conf)}; }

TEST(Reconfigure, LearnersAloneTakeOneStep) {
  Replica r({});
  r.become_leader();
  r.step(in::ChangeConf{1, with_learners(voters({1, 2, 3}), {4})});
  EXPECT_EQ(r.out.accepted.size(), 1u);
  ASSERT_TRUE(r.out.conf_changed) << "in force from its append on";
  EXPECT_FALSE(r.core().conf().joint());
  EXPECT_TRUE(r.to<AppendReq>(4)) << "the learner is fed at once";
}

TEST(Reconfigure, VotersChangeThroughAJointConfigurationThatLeavesItself) {
  Replica r({});
  r.become_leader();
  r.step(in::ChangeConf{1, with_learners(voters({1, 2, 4}), {3})});
  EXPECT_TRUE(r.core().conf().joint());
  EXPECT_EQ(r.core().conf().learners_next, std::vector{3_r});
  r.persist();
  r.ack(3, 1, 2);
  EXPECT_EQ(r.view().commit, 1_i) << "1 and 3 are a majority of the old voters only";
  r.ack(4, 1, 2);
  EXPECT_EQ(r.view().commit, 2_i);
  ASSERT_TRUE(r.out.conf_changed);
  EXPECT_EQ(*r.out.conf_changed, with_learners(voters({1, 2, 4}), {3}));
  EXPECT_EQ(r.log_entries().back().kind, Kind::kConfig);
}

TEST(Reconfigure, ElectionsInAJointConfigurationNeedBothMajorities) {
  ConfState joint = voters({1, 2, 4});
  joint.outgoing = {1_r, 3_r, 5_r};
  Replica r({.conf = joint});
  r.timeout();
  EXPECT_EQ(r.sent<VoteReq>().size(), 4u);
  r.receive(VoteResp{r.from(2, 1), true, true});
  r.receive(VoteResp{r.from(4, 1), true, true});
  EXPECT_EQ(r.view().role, Core::Role::kPreCandidate);
  r.receive(VoteResp{r.from(3, 1), true, true});
  EXPECT_EQ(r.view().role, Core::Role::kCandidate);
}

TEST(Reconfigure, AFollowerAdoptsAtAppendAndRollsBackWithTheEntry) {
  Replica r({});
  ConfState joint = voters({1, 2, 4});
  joint.outgoing = voters({1, 2, 3}).voters;
  r.receive(AppendReq{r.from(2, 1), 0_i, 0_t, 0_i, {config(1, 1, joint)}, 0});
  EXPECT_EQ(r.core().conf(), joint);
  r.append(2, 0, 0, {2}, 0, 3);
  ASSERT_TRUE(r.out.conf_changed);
  EXPECT_EQ(r.core().conf(), voters({1, 2, 3}));
}

TEST(Reconfigure, OnlyOneAtATime) {
  Replica r({});
  r.become_leader();
  r.step(in::ChangeConf{1, with_learners(voters({1, 2, 3}), {4})});
  r.step(in::ChangeConf{2, with_learners(voters({1, 2, 3}), {5})});
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kConfInFlight);
}

TEST(Reconfigure, NotBeforeTheLeaderCommittedInItsTerm) {
  Replica r({});
  r.become_leader(false);
  r.step(in::ChangeConf{1, with_learners(voters({1, 2, 3}), {4})});
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kNoTermCommit);
}

TEST(Reconfigure, RefusesNonsenseAndStaleEpochs) {
  ConfState base = voters({1, 2, 3});
  base.placement_epoch = 5;
  Replica r({.conf = base});
  r.become_leader();
  const auto why = [&](ConfState target) {
    r.step(in::ChangeConf{1, std::move(target)});
    return r.out.failed.empty() ? std::optional<Reject>() : r.out.failed[0].why;
  };
  EXPECT_EQ(why({}), Reject::kInvalid);
  EXPECT_EQ(why(voters({1, 1})), Reject::kInvalid);
  EXPECT_EQ(why(with_learners(voters({1, 2}), {2})), Reject::kInvalid);
  ConfState joint = voters({1, 2});
  joint.outgoing = {1_r};
  EXPECT_EQ(why(joint), Reject::kInvalid);
  EXPECT_EQ(why(voters({1, 2})), Reject::kStaleEpoch);
}

TEST(Reconfigure, ALeaderThatRemovedItselfStopsOnceThatIsCommitted) {
  Replica r({});
  r.become_leader();
  r.step(in::ChangeConf{1, voters({2, 3})});
  r.persist();
  r.ack(2, 1, 2);
  r.ack(3, 1, 2);
  EXPECT_TRUE(r.view().is_leader) << "it still has to commit the last step";
  r.ack(2, 1, 3);
  r.ack(3, 1, 3);
  EXPECT_FALSE(r.view().is_leader);
  r.persist();
  EXPECT_EQ(r.core().deadline(), Time::max()) << "and never stands again";
}

// Thesis 4.2.2: the only replica that can still commit a configuration may be one that it leaves out.
TEST(Reconfigure, AReplicaLeftOutByAnUncommittedConfigurationStillStands) {
  Replica r({});
  r.receive(AppendReq{r.from(2, 1), 0_i, 0_t, 0_i, {config(1, 1, voters({2, 3}))}, 0});
  EXPECT_NE(r.core().deadline(), Time::max());
  r.persist();
  r.timeout();
  EXPECT_EQ(r.sent<VoteReq>().size(), 2u);
}

TEST(Reconfigure, AJointConfigurationOfAnEarlierLeaderIsLeftByTheNext) {
  ConfState joint = voters({1, 2, 4});
  joint.outgoing = voters({1, 2, 3}).voters;
  Replica r({.conf = joint});
  r.become_leader();
  EXPECT_FALSE(r.core().conf().joint());
}

TEST(ConfState, RoundTripsThroughItsEncoding) {
  ConfState c = voters({1, 2, 300});
  c.outgoing = {1_r, 5_r};
  c.learners = {9_r};
  c.learners_next = {5_r};
  c.placement_epoch = 77;
  c.next_replica = 301;
  EXPECT_EQ(decode_conf(*encode_conf(c)), c);
}

TEST(ConfState, DecodesNothingButWholeValidOnes) {
  const std::string good = *encode_conf(with_learners(voters({1, 2, 3}), {4}));
  for (size_t n = 0; n < good.size(); n++) EXPECT_FALSE(decode_conf(std::string_view(good).substr(0, n))) << n;
  EXPECT_FALSE(decode_conf(good + "x"));
  std::string version = good;
  version[0] = 1;
  EXPECT_FALSE(decode_conf(version));
  EXPECT_FALSE(decode_conf(*encode_conf(voters({}))));
  EXPECT_FALSE(decode_conf(*encode_conf(voters({1, 1}))));
  EXPECT_FALSE(decode_conf(*encode_conf(voters({0}))));
  ConfState behind = voters({1, 2});
  behind.next_replica = 2;
  EXPECT_FALSE(decode_conf(*encode_conf(behind)));
}

TEST(ConfState, AnIdSaysWhoseReplicaItIs) {
  const ReplicaId id = replica_id(0x12345678, 0xabcdef);
  EXPECT_EQ(member_of(id), 0x12345678u);
  EXPECT_EQ(sequence_of(id), 0xabcdefu);
}

TEST(ConfState, NewReplicasGetSequencesThatWereNeverGiven) {
  ConfState current = voters({1, 2, 3});
  current.next_replica = 5;  // 4 was given, and is gone
  ConfState target = with_learners(current, {5});
  target.next_replica = 6;
  EXPECT_TRUE(allocates_fresh_ids(current, target));
  target.learners = {4_r};
  EXPECT_FALSE(allocates_fresh_ids(current, target));
  target.learners = {replica_id(9, 4)};
  EXPECT_FALSE(allocates_fresh_ids(current, target));
  target.learners = {replica_id(9, 5), replica_id(8, 5)};
  EXPECT_FALSE(allocates_fresh_ids(current, target));
  target.learners.clear();
  target.next_replica = 4;
  EXPECT_FALSE(allocates_fresh_ids(current, target));
}

TEST(Reconfigure, AnIdThatWasGivenBeforeIsRefused) {
  ConfState conf = voters({1});
  conf.next_replica = 3;
  Replica r({.conf = conf});
  r.become_leader();
  ConfState target = with_learners(conf, {2});
  target.next_replica = 4;
  r.persist();
  r.step(in::ChangeConf{7, target});
  ASSERT_EQ(r.out.failed.size(), 1u);
  EXPECT_EQ(r.out.failed[0].why, Reject::kInvalid);
}

TEST(ConfState, HasStableBytes) {
  EXPECT_EQ(*encode_conf(voters({1, 2})), std::string("\x02"
                                                      "\0\0\0\0\0\0\0\0"
                                                      "\0\0\0\0\0\0\0\0"
                                                      "\0\x02"
                                                      "\0\0\0\0\0\0\0\x01"
                                                      "\0\0\0\0\0\0\0\x02"
                                                      "\0\0\0\0\0\0",
                                                      41));
}

}  // namespace
}  // namespace kraken::raft::test
