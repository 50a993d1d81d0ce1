#include "consensus/raft/quorum.h"

#include <map>

#include <gtest/gtest.h>

#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

TEST(Quorum, ValueIsTheBestThatAMajorityReached) {
  std::map<uint64_t, uint64_t> match{{1, 9}, {2, 5}, {3, 2}, {4, 7}, {5, 1}};
  const auto value = [&](ReplicaId id) { return match[raw(id)]; };
  EXPECT_EQ(quorum_value(voters({1}), value), 9u);
  EXPECT_EQ(quorum_value(voters({1, 2}), value), 5u);
  EXPECT_EQ(quorum_value(voters({1, 2, 3}), value), 5u);
  EXPECT_EQ(quorum_value(voters({1, 2, 3, 4}), value), 5u);
  EXPECT_EQ(quorum_value(voters({1, 2, 3, 4, 5}), value), 5u);
}

TEST(Quorum, JointIsTheWorseOfBoth) {
  ConfState c = voters({1, 2, 4});
  c.outgoing = {3_r, 5_r, 1_r};
  std::map<uint64_t, uint64_t> match{{1, 9}, {2, 5}, {3, 2}, {4, 7}, {5, 1}};
  EXPECT_EQ(quorum_value(c, [&](ReplicaId id) { return match[raw(id)]; }), 2u);
}

// Against the definition: n is committed by a set iff more than half of it has at least n.
TEST(Quorum, AgreesWithTheDefinition) {
  for (uint64_t seed = 0; seed < 2000; seed++) {
    uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
    const auto next = [&](uint64_t n) {
      x = x * 6364136223846793005 + 1442695040888963407;
      return (x >> 33) % n;
    };
    ConfState c;
    std::map<uint64_t, uint64_t> match;
    const uint64_t n = 1 + next(7);
    for (uint64_t i = 1; i <= n; i++) {
      c.voters.push_back(ReplicaId{i});
      match[i] = next(10);
    }
    const uint64_t got = quorum_value(c, [&](ReplicaId id) { return match[raw(id)]; });
    uint64_t want = 0;
    for (uint64_t v = 0; v < 10; v++) {
      uint64_t have = 0;
      for (const auto& [id, m] : match) have += m >= v;
      if (have * 2 > n) want = v;
    }
    EXPECT_EQ(got, want);
  }
}

TEST(Quorum, TallyOfVotes) {
  const auto of = [](std::map<uint64_t, bool> votes) {
    return [votes](ReplicaId id) -> std::optional<bool> {
      const auto it = votes.find(raw(id));
      return it == votes.end() ? std::nullopt : std::optional(it->second);
    };
  };
  EXPECT_EQ(tally(voters({1, 2, 3}), of({{1, true}})), Tally::kPending);
  EXPECT_EQ(tally(voters({1, 2, 3}), of({{1, true}, {3, true}})), Tally::kWon);
  EXPECT_EQ(tally(voters({1, 2, 3}), of({{2, false}, {3, false}})), Tally::kLost);
  EXPECT_EQ(tally(voters({1, 2, 3, 4}), of({{1, true}, {2, true}})), Tally::kPending);
  EXPECT_EQ(tally(voters({1, 2, 3, 4}), of({{1, false}, {2, false}})), Tally::kLost);
  EXPECT_EQ(tally(voters({1, 2, 3}), of({{8, true}, {9, true}})), Tally::kPending) << "strangers do not vote";
}

TEST(Quorum, EnterAndLeaveKeepMajoritiesMeeting) {
  const ConfState from = voters({1, 2, 3});
  ConfState target = voters({2, 3, 4});
  target.learners = {1_r, 7_r};
  const ConfState joint = enter(from, target);
  EXPECT_TRUE(well_formed(joint));
  EXPECT_EQ(joint.outgoing, from.voters);
  EXPECT_EQ(joint.learners, std::vector{7_r});
  EXPECT_EQ(joint.learners_next, std::vector{1_r});
  const ConfState after = leave(joint);
  EXPECT_TRUE(well_formed(after));
  EXPECT_EQ(after.voters, target.voters);
  EXPECT_EQ(after.learners, (std::vector{7_r, 1_r}));
}

}  // namespace
}  // namespace kraken::raft::test
