#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

TEST(Election, StartsAsAFollowerWithNoLeader) {
  Replica r({});
  EXPECT_EQ(r.view().role, Core::Role::kFollower);
  EXPECT_FALSE(r.view().leader);
  EXPECT_GE(r.core().deadline(), r.now + 500ms);
  EXPECT_LT(r.core().deadline(), r.now + 1s);
}

TEST(Election, SilenceBringsPreVotesThatChangeNothing) {
  Replica r({.log = {1, 1, 2}, .term = 4});
  r.timeout();
  const auto asked = r.sent<VoteReq>();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_TRUE(asked[0].pre);
  EXPECT_EQ(asked[0].h.term, 5_t);
  EXPECT_EQ(asked[0].last_index, 3_i);
  EXPECT_EQ(asked[0].last_term, 2_t);
  EXPECT_EQ(r.view().term, 4_t);
  EXPECT_EQ(r.out.persist_seq, 0u);
}

TEST(Election, ACandidacyIsDurableBeforeItIsSpoken) {
  Replica r({});
  r.become_candidate();
  EXPECT_EQ(r.view().term, 1_t);
  ASSERT_TRUE(r.out.hard_state);
  EXPECT_EQ(r.out.hard_state->vote, 1_r);
  EXPECT_TRUE(r.sent<VoteReq>().empty());
  EXPECT_EQ(r.gated<VoteReq>().size(), 2u);
}

TEST(Election, OwnVoteCountsOnlyOnceItIsDurable) {
  Replica r({.conf = voters({1})});
  r.timeout();
  EXPECT_EQ(r.view().role, Core::Role::kCandidate);
  r.persist();
  EXPECT_TRUE(r.view().is_leader);
}

TEST(Election, AQuorumOfVotesMakesALeaderThatAppendsANoop) {
  Replica r({});
  r.become_leader(false);
  EXPECT_EQ(r.out.became_leader, true);
  ASSERT_EQ(r.log_entries().size(), 1u);
  EXPECT_EQ(r.log_entries()[0].kind, Kind::kNoop);
  EXPECT_EQ(r.sent<AppendReq>().size(), 2u);  // before its own sync
}

TEST(Election, RefusalsOfAMajorityEndIt) {
  Replica r({});
  r.become_candidate();
  r.persist();
  r.receive(VoteResp{r.from(2, 1), false, false});
  r.receive(VoteResp{r.from(3, 1), false, false});
  EXPECT_EQ(r.view().role, Core::Role::kFollower);
  EXPECT_EQ(r.view().vote, 1_r) << "stepping down in the same term keeps the vote";
}

TEST(Election, RepeatedVotesOfOneReplicaCountOnce) {
  Replica r({.conf = voters({1, 2, 3, 4, 5})});
  r.become_candidate();
  r.persist();
  for (int i = 0; i < 3; i++) r.receive(VoteResp{r.from(2, 1), false, true});
  EXPECT_EQ(r.view().role, Core::Role::kCandidate);
}

struct VoteRow {
  const char* name = "";
  Start start = {};
  VoteReq ask = {};  // h is filled in from `from` and `term`
  uint64_t from = 2, term = 5;
  bool granted = false;
};

class Votes : public testing::TestWithParam<VoteRow> {};

TEST_P(Votes, AreGivenByTheRules) {
  const VoteRow& row = GetParam();
  Replica r(row.start);
  VoteReq m = row.ask;
  m.h = r.from(row.from, row.term);
  r.receive(m);
  auto answers = r.gated<VoteResp>();
  const auto at_once = r.sent<VoteResp>();
  if (row.granted && !m.pre) EXPECT_TRUE(at_once.empty()) << "a vote must be durable before it leaves";
  answers.insert(answers.end(), at_once.begin(), at_once.end());
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].granted, row.granted);
  EXPECT_EQ(answers[0].pre, m.pre);
  if (m.pre) EXPECT_FALSE(r.out.hard_state) << "a pre-vote changes nothing";
}

INSTANTIATE_TEST_SUITE_P(
    Rules, Votes,
    testing::Values(
        VoteRow{.name = "EqualLog", .start = {.log = {1, 2}, .term = 4}, .ask = {.h = {}, .last_index = 2_i, .last_term = 2_t}, .granted = true},
        VoteRow{.name = "LongerLog", .start = {.log = {1, 2}, .term = 4}, .ask = {.h = {}, .last_index = 3_i, .last_term = 2_t}, .granted = true},
        VoteRow{.name = "ShorterLog", .start = {.log = {1, 2}, .term = 4}, .ask = {.h = {}, .last_index = 1_i, .last_term = 2_t}},
        VoteRow{.name = "LongerLogOfAnOlderTerm", .start = {.log = {1, 2}, .term = 4}, .ask = {.h = {}, .last_index = 9_i, .last_term = 1_t}},
        VoteRow{.name = "ShorterLogOfANewerTerm", .start = {.log = {1, 2, 2}, .term = 4}, .ask = {.h = {}, .last_index = 1_i, .last_term = 3_t}, .granted = true},
        VoteRow{.name = "OlderTerm", .start = {.term = 6}, .ask = {.h = {}, .last_index = 9_i, .last_term = 5_t}},
        VoteRow{.name = "VotedForAnother", .start = {.term = 5, .vote = 3}, .ask = {.h = {}, .last_index = 9_i, .last_term = 5_t}},
        VoteRow{.name = "VotedForAnotherInAnEarlierTerm", .start = {.term = 4, .vote = 3}, .ask = {.h = {}, .last_index = 9_i, .last_term = 4_t}, .granted = true},
        VoteRow{.name = "PreVoteEqualLog", .start = {.log = {1, 2}, .term = 4}, .ask = {.h = {}, .last_index = 2_i, .last_term = 2_t, .pre = true}, .granted = true},
        VoteRow{.name = "PreVoteOlderLog", .start = {.log = {1, 2}, .term = 4}, .ask = {.h = {}, .last_index = 1_i, .last_term = 2_t, .pre = true}},
        VoteRow{.name = "PreVoteForATermAlreadyVotedIn", .start = {.term = 5, .vote = 3}, .ask = {.h = {}, .last_index = 9_i, .last_term = 5_t, .pre = true}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Election, TheSameCandidateGetsTheSameVoteAgain) {
  Replica r({.term = 5, .vote = 2});
  r.receive(VoteReq{r.from(2, 5), 0_i, 0_t, false, false});
  ASSERT_EQ(r.sent<VoteResp>().size(), 1u) << "the vote is durable already";
  EXPECT_TRUE(r.sent<VoteResp>()[0].granted);
}

TEST(Election, AFollowerThatHearsItsLeaderHelpsNobodyToDeposeIt) {
  Replica r({});
  r.append(1, 0, 0, {1});
  r.now += 100ms;
  r.receive(VoteReq{r.from(3, 2), 9_i, 9_t, true, false});
  EXPECT_FALSE(r.sent<VoteResp>().empty() ? r.gated<VoteResp>()[0].granted : r.sent<VoteResp>()[0].granted);
  r.receive(VoteReq{r.from(3, 2), 9_i, 1_t, false, false});
  EXPECT_EQ(r.view().term, 1_t) << "nor does it take the new term";
  r.receive(VoteReq{r.from(3, 2), 9_i, 1_t, false, true});
  EXPECT_EQ(r.view().term, 2_t) << "unless the leader itself wants it";
  EXPECT_EQ(r.view().vote, 3_r);
}

TEST(Election, ALeaderRefusesPreVotes) {
  Replica r({});
  r.become_leader();
  r.receive(VoteReq{r.from(3, 2), 9_i, 9_t, true, false});
  ASSERT_EQ(r.sent<VoteResp>().size(), 1u);
  EXPECT_FALSE(r.sent<VoteResp>()[0].granted);
}

TEST(Election, ALeaderThatNoQuorumAnswersStepsDown) {
  Replica r({});
  r.become_leader();
  const Time elected = r.now;
  while (r.view().is_leader && r.now < elected + 2s) r.timeout();
  EXPECT_FALSE(r.view().is_leader);
  EXPECT_GE(r.now, elected + 500ms);
  EXPECT_LE(r.now, elected + 600ms);
  EXPECT_EQ(r.view().term, 1_t);
  EXPECT_EQ(r.view().vote, 1_r);
}

TEST(Election, AnswersOfAQuorumKeepALeader) {
  Replica r({});
  r.become_leader();
  const Time elected = r.now;
  while (r.now < elected + 3s) {
    r.timeout();
    r.receive(BeatResp{r.from(3, 1), 1_i, 0});
  }
  EXPECT_TRUE(r.view().is_leader);
}

TEST(Election, AHigherTermInAnAnswerEndsLeadership) {
  Replica r({});
  r.become_leader();
  r.receive(AppendResp{r.from(2, 7), false, 1_i, {}, {}, 0});
  EXPECT_EQ(r.out.became_leader, false);
  EXPECT_EQ(r.view().term, 7_t);
  EXPECT_FALSE(r.view().vote);
}

TEST(Election, AnOldLeaderIsToldTheNewTerm) {
  Replica r({.term = 7});
  r.append(3, 0, 0, {3});
  ASSERT_EQ(r.sent<AppendResp>().size(), 1u);
  EXPECT_EQ(r.sent<AppendResp>()[0].h.term, 7_t);
  EXPECT_TRUE(r.log().empty());
}

TEST(Election, ALostConnectionToTheLeaderShortensTheWait) {
  Replica r({});
  r.append(1, 0, 0, {1});
  r.step(in::PeerDown{2_r});
  EXPECT_LE(r.core().deadline(), r.now + 100ms);
  EXPECT_EQ(r.out.leader_changed->leader, std::nullopt);
  r.step(in::PeerDown{3_r});  // of no interest
  r.receive(BeatReq{r.from(2, 1), 0_i, 1});
  EXPECT_GE(r.core().deadline(), r.now + 500ms) << "a beat shows that it lives";
}

TEST(Election, ALearnerNeverStandsButVotes) {
  ConfState conf = voters({2, 3});
  conf.learners = {1_r};
  Replica r({.conf = conf});
  EXPECT_EQ(r.core().deadline(), Time::max());
  r.receive(VoteReq{r.from(2, 1), 0_i, 0_t, false, false});
  EXPECT_TRUE(r.gated<VoteResp>().at(0).granted) << "it may be a voter where the candidate's log goes on";
}

TEST(Election, RanksSpreadTheTimeouts) {
  Options late;
  late.election_rank = 4;
  Replica first({});
  Replica fifth({.options = late});
  EXPECT_GE(fifth.core().deadline(), fifth.now + 700ms);
  EXPECT_LT(fifth.core().deadline(), fifth.now + 1s);
  EXPECT_LT(first.core().deadline(), first.now + 1s);
}

TEST(Election, TheSameInputsGiveTheSameOutputs) {
  Replica a({}), b({});
  a.become_leader();
  b.become_leader();
  EXPECT_EQ(a.now, b.now);
  EXPECT_EQ(a.core().deadline(), b.core().deadline());
}

TEST(Election, MessagesForOthersAreIgnored) {
  Replica r({});
  AppendReq m{r.from(2, 9), 0_i, 0_t, 0_i, entries(1_i, {9}), 0};
  m.h.to = 3_r;
  r.receive(m);
  m.h.to = 1_r;
  m.h.group = GroupId{8};
  r.receive(m);
  m.h.group = GroupId{7};
  m.h.from = 1_r;
  r.receive(m);
  EXPECT_EQ(r.view().term, 0_t);
}

}  // namespace
}  // namespace kraken::raft::test
