// The four rules of receiving the log, and what surrounds them.
#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

struct AppendRow {
  const char* name = "";
  Start start = {};
  uint64_t term = 0, prev_index = 0, prev_term = 0;
  Terms entries = {};
  uint64_t leader_commit = 0;
  // What must come of it.
  bool ok = true;
  uint64_t match = 0;  // if ok
  Terms log = {};
  uint64_t commit = 0;
  uint64_t hint_index = 0, hint_term = 0;  // if not ok
};

class Appends : public testing::TestWithParam<AppendRow> {};

TEST_P(Appends, FollowTheRules) {
  const AppendRow& row = GetParam();
  Replica r(row.start);
  r.append(row.term, row.prev_index, row.prev_term, row.entries, row.leader_commit);
  auto answers = r.gated<AppendResp>();
  for (const auto& m : r.sent<AppendResp>()) answers.push_back(m);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].ok, row.ok);
  EXPECT_EQ(r.log(), row.log);
  EXPECT_EQ(raw(r.view().commit), row.commit);
  if (row.ok) {
    EXPECT_EQ(raw(answers[0].match), row.match);
  } else {
    EXPECT_EQ(raw(answers[0].match), row.prev_index);
    EXPECT_EQ(raw(answers[0].hint_index), row.hint_index);
    EXPECT_EQ(raw(answers[0].hint_term), row.hint_term);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rules, Appends,
    testing::Values(
        AppendRow{.name = "FirstEntries", .start = {}, .term = 1, .prev_index = 0, .prev_term = 0, .entries = {1, 1}, .match = 2, .log = {1, 1}},
        AppendRow{.name = "RepeatedMessageChangesNothing", .start = {.log = {1, 1, 1}}, .term = 1, .prev_index = 0, .prev_term = 0, .entries = {1}, .match = 1, .log = {1, 1, 1}},
        AppendRow{.name = "NoConflictNoTruncation", .start = {.log = {1, 1, 1}}, .term = 1, .prev_index = 1, .prev_term = 1, .entries = {1}, .match = 2, .log = {1, 1, 1}},
        AppendRow{.name = "EmptyAppendDoesNotTruncate", .start = {.log = {1, 1, 1}}, .term = 2, .prev_index = 1, .prev_term = 1, .entries = {}, .match = 1, .log = {1, 1, 1}},
        AppendRow{.name = "ConflictDropsEverythingAfterIt", .start = {.log = {1, 1, 1, 1}}, .term = 2, .prev_index = 1, .prev_term = 1, .entries = {2}, .match = 2, .log = {1, 2}},
        AppendRow{.name = "ConflictInTheMiddleOfAMessage", .start = {.log = {1, 1, 1, 1}}, .term = 3, .prev_index = 1, .prev_term = 1, .entries = {1, 3}, .match = 3, .log = {1, 1, 3}},
        AppendRow{.name = "CommitOnlyAsFarAsProven", .start = {.log = {1, 1, 1}}, .term = 2, .prev_index = 1, .prev_term = 1, .entries = {}, .leader_commit = 3, .match = 1, .log = {1, 1, 1}, .commit = 1},
        AppendRow{.name = "CommitOnlyAsFarAsTheLeaderSays", .start = {.log = {1, 1, 1}}, .term = 1, .prev_index = 3, .prev_term = 1, .entries = {1}, .leader_commit = 2, .match = 4, .log = {1, 1, 1, 1}, .commit = 2},
        AppendRow{.name = "CommitNeverFalls", .start = {.log = {1, 1, 1}, .applied = 3}, .term = 1, .prev_index = 3, .prev_term = 1, .entries = {}, .leader_commit = 1, .match = 3, .log = {1, 1, 1}, .commit = 3},
        AppendRow{.name = "GapIsRefused", .start = {.log = {1, 1}}, .term = 1, .prev_index = 5, .prev_term = 1, .entries = {1}, .ok = false, .log = {1, 1}, .hint_index = 2, .hint_term = 1},
        AppendRow{.name = "OtherTermAtPrevIsRefused", .start = {.log = {1, 1, 2, 2, 2}}, .term = 4, .prev_index = 5, .prev_term = 1, .entries = {4}, .ok = false, .log = {1, 1, 2, 2, 2}, .hint_index = 2, .hint_term = 1},
        AppendRow{.name = "HintSkipsWholeTerms", .start = {.log = {1, 1, 3, 3, 3}}, .term = 5, .prev_index = 4, .prev_term = 2, .entries = {5}, .ok = false, .log = {1, 1, 3, 3, 3}, .hint_index = 2, .hint_term = 1},
        // What was compacted away is committed, so it is no conflict (openraft #511).
        AppendRow{.name = "PurgedPrevIsNoConflict", .start = {.log = {2, 2}, .snap_index = 10, .snap_term = 1}, .term = 2, .prev_index = 8, .prev_term = 1, .entries = {1, 1, 2, 2, 2}, .match = 13, .log = {2, 2, 2}, .commit = 10},
        AppendRow{.name = "AllPurgedAcknowledgesTheCommit", .start = {.log = {2, 2}, .snap_index = 10, .snap_term = 1}, .term = 2, .prev_index = 3, .prev_term = 1, .entries = {1, 1}, .match = 10, .log = {2, 2}, .commit = 10}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Follower, AcknowledgesOnlyWhatIsDurable) {
  Replica r({});
  r.append(1, 0, 0, {1, 1});
  EXPECT_TRUE(r.sent<AppendResp>().empty());
  ASSERT_EQ(r.gated<AppendResp>().size(), 1u);
  EXPECT_EQ(r.out.send_after[0].after, r.out.persist_seq);
  const auto released = r.persist();
  ASSERT_EQ(released.size(), 1u);
  EXPECT_EQ(r.view().stable, 2_i);
  // The same again is durable already.
  r.append(1, 0, 0, {1, 1});
  EXPECT_EQ(r.sent<AppendResp>().at(0).match, 2_i);
}

TEST(Follower, ATruncatedEntryIsDurableOnlyWhenItsSuccessorIs) {
  Replica r({.conf = voters({1, 2, 3})});
  r.append(1, 0, 0, {1, 1});
  const Seq first = r.out.persist_seq;
  r.append(2, 1, 1, {2}, 0, 3);
  EXPECT_EQ(r.out.truncate_from, 2_i);
  r.step(in::Persisted{first});
  EXPECT_EQ(r.view().stable, 1_i) << "the write of the old entry 2 says nothing about the new one";
  r.persist();
  EXPECT_EQ(r.view().stable, 2_i);
}

TEST(Follower, AppliesOnlyWhatIsDurableHere) {
  Replica r({});
  r.append(1, 0, 0, {1, 1}, 2);
  EXPECT_EQ(r.view().commit, 2_i);
  EXPECT_EQ(r.out.commit_from, 0_i);
  r.persist();
  EXPECT_EQ(r.out.commit_from, 1_i);
  EXPECT_EQ(r.out.commit_to, 2_i);
}

TEST(Follower, CommittedEntriesAreNeverOverwritten) {
  Replica r({.log = {1, 1, 1}, .applied = 3});
  r.append(2, 1, 1, {2, 2, 2});
  ASSERT_TRUE(r.out.conflict);
  EXPECT_EQ(r.out.conflict->index, 3_i);
  EXPECT_EQ(r.log(), (Terms{1, 1, 1}));
  r.append(2, 3, 2, {2});
  EXPECT_TRUE(r.out.conflict);
}

TEST(Follower, BeatsCommitNoMoreThanTheTermsLeaderProved) {
  Replica r({.log = {1, 1, 1}});
  r.receive(BeatReq{r.from(2, 2), 3_i, 1});
  EXPECT_EQ(r.view().commit, 0_i) << "entry 3 may not be the leader's";
  r.append(2, 2, 1, {});
  r.persist();
  r.receive(BeatReq{r.from(2, 2), 3_i, 2});
  EXPECT_EQ(r.view().commit, 2_i);
  EXPECT_EQ(r.sent<BeatResp>().at(0).match, 2_i);
  EXPECT_EQ(r.sent<BeatResp>().at(0).read_seq, 2u);
}

TEST(Follower, MalformedAppendsAreIgnored) {
  Replica r({});
  AppendReq gap{r.from(2, 1), 0_i, 0_t, 0_i, entries(2_i, {1}), 0};
  r.receive(gap);
  AppendReq falling{r.from(2, 3), 0_i, 0_t, 0_i, entries(1_i, {2, 1}), 0};
  r.receive(falling);
  AppendReq future{r.from(2, 1), 0_i, 0_t, 0_i, entries(1_i, {5}), 0};
  r.receive(future);
  AppendReq conf{r.from(2, 1), 0_i, 0_t, 0_i, {{1_t, 1_i, Kind::kConfig, bytes("nonsense")}}, 0};
  r.receive(conf);
  EXPECT_TRUE(r.log().empty());
  EXPECT_EQ(r.view().term, 0_t);
}

TEST(Follower, AnIdleOneIsSilent) {
  Replica r({});
  r.append(1, 0, 0, {1}, 1);
  r.persist();
  for (int i = 0; i < 20; i++) {
    r.now += 50ms;
    r.receive(BeatReq{r.from(2, 1), 1_i, 5});
    EXPECT_EQ(r.out.send_now.size(), 1u);
    EXPECT_TRUE(r.out.send_after.empty());
    EXPECT_EQ(r.out.persist_seq, 0u);
  }
  EXPECT_EQ(r.view().role, Core::Role::kFollower);
}

}  // namespace
}  // namespace kraken::raft::test
