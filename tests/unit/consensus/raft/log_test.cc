#include "consensus/raft/log.h"

#include <gtest/gtest.h>

#include "consensus/raft/writer.h"
#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

struct OneTerm : LogView {
  std::optional<Term> term_at(Index) const override { return 1_t; }
  Index first() const override { return 1_i; }
};

Log with(const Terms& terms) {
  Boot b;
  b.conf = voters({1, 2, 3});
  Log log(b, OneTerm{});
  for (Entry& e : entries(1_i, terms)) log.append(std::move(e));
  return log;
}

TEST(Log, RemembersTermsAsRuns) {
  const Log log = with({1, 1, 2, 2, 5});
  const Terms want{1, 1, 2, 2, 5};
  for (uint64_t i = 1; i <= 5; i++) EXPECT_EQ(log.term_at(Index{i}), Term{want[i - 1]});
  EXPECT_EQ(log.term_at(0_i), 0_t);
  EXPECT_FALSE(log.term_at(6_i));
}

TEST(Log, FindsTheLastEntryOfNoLaterTerm) {
  const Log log = with({1, 1, 3, 3, 5});
  EXPECT_EQ(log.last_not_above(5_i, 9_t), 5_i);
  EXPECT_EQ(log.last_not_above(5_i, 4_t), 4_i);
  EXPECT_EQ(log.last_not_above(3_i, 3_t), 3_i);
  EXPECT_EQ(log.last_not_above(9_i, 2_t), 2_i);
  EXPECT_EQ(log.last_not_above(5_i, 0_t), 0_i);
}

TEST(Log, TruncationForgetsTermsTailAndConfigurations) {
  Log log = with({1, 1, 2});
  log.append({2_t, 4_i, Kind::kConfig, encode_conf(voters({1, 2, 4}))});
  log.truncate(3_i);
  EXPECT_EQ(log.last(), 2_i);
  EXPECT_EQ(log.last_term(), 1_t);
  EXPECT_EQ(log.conf().conf, voters({1, 2, 3}));
  EXPECT_EQ(log.tail_first(), 1_i);
}

TEST(Log, CompactionKeepsTheTermAndConfigurationAtItsBase) {
  Log log = with({1, 1});
  log.append({2_t, 3_i, Kind::kConfig, encode_conf(voters({1, 2, 4}))});
  for (Entry& e : entries(4_i, {2, 3})) log.append(std::move(e));
  log.compact(5_i);
  EXPECT_EQ(log.first(), 5_i);
  EXPECT_EQ(log.term_at(4_i), 2_t);
  EXPECT_FALSE(log.term_at(3_i));
  EXPECT_EQ(log.conf_at(4_i), voters({1, 2, 4}));
  EXPECT_EQ(log.last(), 5_i);
  log.compact(6_i);
  EXPECT_EQ(log.last(), 5_i);
  EXPECT_EQ(log.last_term(), 3_t);
}

TEST(Log, CopiesAtLeastOneEntryAndNoGap) {
  Log log = with({1, 1, 1, 1});
  std::vector<Entry> out;
  EXPECT_EQ(log.copy_tail(2_i, 4_i, 1, out), 3_i);
  EXPECT_EQ(out.size(), 1u);
  log.trim_tail(2_i, 0);
  out.clear();
  EXPECT_EQ(log.copy_tail(2_i, 4_i, SIZE_MAX, out), 2_i);
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(log.copy_tail(3_i, 9_i, SIZE_MAX, out), 5_i);
}

TEST(Writer, NumbersWritesAndLearnsWhatIsDurable) {
  Log log = with({1, 1});
  Writer w(0_i);
  Output out;
  w.submit(log, {}, out);
  EXPECT_EQ(out.persist_seq, 1u);
  EXPECT_EQ(out.append.size(), 2u);
  out.clear();
  w.submit(log, {}, out);
  EXPECT_EQ(out.persist_seq, 0u) << "nothing new";
  w.durable(9);
  EXPECT_EQ(w.durable_seq(), 1u) << "never more than was asked for";
  EXPECT_EQ(w.stable(), 2_i);
}

TEST(Writer, AHardStateInFlightIsNotDurable) {
  Log log = with({});
  Writer w(0_i);
  Output out;
  w.hard_state_changed();
  EXPECT_FALSE(w.hard_state_durable());
  w.submit(log, {3_t, 1_r}, out);
  EXPECT_EQ(out.hard_state->term, 3_t);
  EXPECT_FALSE(w.hard_state_durable());
  w.durable(1);
  EXPECT_TRUE(w.hard_state_durable());
}

}  // namespace
}  // namespace kraken::raft::test
