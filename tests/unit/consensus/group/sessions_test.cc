#include "consensus/group/sessions.h"

#include <gtest/gtest.h>

#include "src/base/codec.h"
#include "storage/kv/keys.h"
#include "storage/kv/memory/memory_store.h"

namespace kraken::group {
namespace {

using namespace std::chrono_literals;

constexpr ShardId kShard{2};

/// Applies envelopes one after the other, as the applier does, and can start again from the rows.
class SessionsTest : public ::testing::Test {
 protected:
  Answer apply(Envelope::Kind kind, const Stamp& stamp, Duration later = 1s) {
    now_ += later;
    const ApplyContext context{.shard = kShard, .index = ++index_, .term = 1, .now = now_};
    kv::Overlay rows(store_);
    auto check = sessions_.check(context, {.kind = kind, .stamp = stamp, .command = {}}, rows);
    if (check.fresh) {
      check.answer.result = "result " + std::to_string(++executed_);
      sessions_.executed(context, stamp, check.answer.result, rows);
    }
    EXPECT_TRUE(store_.write(rows.take_batch(), kv::Durability::kSynced));
    return check.answer;
  }
  std::uint64_t open(const Incarnation& who, std::uint64_t boot, Duration later = 1s) {
    const Answer answer = apply(Envelope::Kind::kOpenSession, {.incarnation = who, .boot_epoch = boot}, later);
    EXPECT_EQ(answer.verdict, Verdict::kApplied);
    return Reader(answer.result).u64();
  }
  Answer propose(std::uint64_t session, std::uint64_t sequence, std::uint64_t low, std::uint64_t boot = 1) {
    return apply(Envelope::Kind::kCommand, {.incarnation = a_, .boot_epoch = boot, .session = session, .sequence = sequence, .low = low});
  }
  std::size_t rows() const {
    std::size_t count = 0;
    EXPECT_TRUE(store_.scan(kv::Family::kSession, {}, {}, false, [&](std::string_view, std::string_view) {
      ++count;
      return true;
    }));
    return count;
  }
  void restart() {
    sessions_ = Sessions();
    ASSERT_TRUE(sessions_.load(kShard, store_));
  }

  kv::MemoryStore store_;
  Sessions sessions_;
  Incarnation a_ = Incarnation::random();
  Incarnation b_ = Incarnation::random();
  std::uint64_t index_ = 0;
  int executed_ = 0;
  Duration now_{};
};

TEST_F(SessionsTest, ASecondOccurrenceGetsTheFirstResult) {
  const auto session = open(a_, 1);
  EXPECT_EQ(propose(session, 1, 1).result, "result 1");
  EXPECT_EQ(propose(session, 2, 1).result, "result 2");
  EXPECT_EQ(propose(session, 1, 1).result, "result 1");
  restart();
  EXPECT_EQ(propose(session, 2, 1).result, "result 2");
  EXPECT_EQ(executed_, 2);
}

TEST_F(SessionsTest, WhatTheProposerHasSeenIsForgottenAndNeverExecutedAgain) {
  const auto session = open(a_, 1);
  propose(session, 1, 1);
  propose(session, 2, 2);
  EXPECT_EQ(propose(session, 1, 1).verdict, Verdict::kForgotten);
  restart();
  EXPECT_EQ(propose(session, 1, 1).verdict, Verdict::kForgotten);
  EXPECT_EQ(executed_, 2);
}

TEST_F(SessionsTest, OrderWithinTheWindowDoesNotMatter) {
  const auto session = open(a_, 1);
  EXPECT_EQ(propose(session, 5, 1).verdict, Verdict::kApplied);
  EXPECT_EQ(propose(session, 3, 1).verdict, Verdict::kApplied);
  EXPECT_EQ(propose(session, 1 + kSessionWindow, 1).verdict, Verdict::kOutOfWindow);
  EXPECT_EQ(propose(session, kSessionWindow, 1).verdict, Verdict::kApplied);
  EXPECT_EQ(executed_, 3);
}

// A retry after a start finds its result, whatever came since.
TEST_F(SessionsTest, ASlotIsWrittenOverOnlyWhenWhatItHasIsForgotten) {
  const auto session = open(a_, 1);
  for (std::uint64_t sequence = 1; sequence <= 200; ++sequence) propose(session, sequence, 1);
  EXPECT_EQ(rows(), 1U + 200U);
  // Half of the slots are free, also to one that starts anew; the others' results stay.
  propose(session, 201, 101);
  restart();
  for (std::uint64_t sequence = 202; sequence <= 300; ++sequence) propose(session, sequence, 101);
  EXPECT_EQ(rows(), 1U + 200U);
  restart();
  EXPECT_EQ(propose(session, 100, 101).verdict, Verdict::kForgotten);
  for (std::uint64_t sequence = 101; sequence <= 300; ++sequence) EXPECT_EQ(propose(session, sequence, 101).result, fmt::format("result {}", sequence));
  EXPECT_EQ(executed_, 300);
}

TEST_F(SessionsTest, ALowThatComesWithARepetitionSurvivesAStart) {
  const auto session = open(a_, 1);
  propose(session, 1, 1);
  propose(session, 2, 1);
  EXPECT_EQ(propose(session, 2, 2).result, "result 2");
  restart();
  EXPECT_EQ(propose(session, 1, 1).verdict, Verdict::kForgotten);
}

TEST_F(SessionsTest, AReplacedSessionLeavesNoResultsBehind) {
  const auto old = open(a_, 1);
  for (std::uint64_t sequence = 1; sequence < kSessionWindow; ++sequence) propose(old, sequence, 1);
  const auto session = open(a_, 2);
  EXPECT_EQ(rows(), 1U);
  restart();
  EXPECT_EQ(propose(session, 3, 1, 2).result, fmt::format("result {}", kSessionWindow));
}

TEST_F(SessionsTest, ResultsDoNotAccumulate) {
  const auto session = open(a_, 1);
  for (std::uint64_t sequence = 1; sequence <= 5000; ++sequence) propose(session, sequence, std::max<std::uint64_t>(sequence, 3) - 2);
  EXPECT_EQ(rows(), 1U + 3U);
}

TEST_F(SessionsTest, AWholeWindowIsKept) {
  const auto session = open(a_, 1);
  for (std::uint64_t sequence = 1; sequence <= kSessionWindow; ++sequence) propose(session, sequence, 1);
  EXPECT_EQ(rows(), 1U + kSessionWindow);
  restart();
  EXPECT_EQ(propose(session, 1, 1).result, "result 1");
  EXPECT_EQ(propose(session, kSessionWindow, 1).result, fmt::format("result {}", kSessionWindow));
  propose(session, kSessionWindow + 1, 2);
  EXPECT_EQ(rows(), 1U + kSessionWindow);
}

TEST_F(SessionsTest, RowsOfAnOlderReleaseAreReadAndRemoved) {
  const auto session = open(a_, 1);
  Writer row, result_key;
  row.u8(1).u64(1).u64(session).u64(3).i64(0);
  result_key.u16(kShard.value()).u8(2).raw(a_.view()).u64(4);
  kv::Batch batch;
  batch.put(kv::Family::kSession, kv::shard_prefix(kShard) + '\1' + std::string(a_.view()), row.str());
  batch.put(kv::Family::kSession, result_key.str(), "of before");
  ASSERT_TRUE(store_.write(batch, kv::Durability::kSynced));
  restart();
  EXPECT_EQ(propose(session, 2, 1).verdict, Verdict::kForgotten);
  EXPECT_EQ(propose(session, 4, 3).result, "of before");
  EXPECT_EQ(propose(session, 5, 5).result, "result 1");
  EXPECT_EQ(rows(), 2U);
}

TEST_F(SessionsTest, WithoutASessionNothingIsExecuted) {
  EXPECT_EQ(propose(1, 1, 1).verdict, Verdict::kNoSession);
  const auto session = open(a_, 1);
  EXPECT_EQ(propose(session + 1, 1, 1).verdict, Verdict::kNoSession);
  EXPECT_EQ(executed_, 0);
}

TEST_F(SessionsTest, ANewerStartReplacesAnOlderOneAndNotTheOtherWayRound) {
  const auto old = open(a_, 1);
  propose(old, 1, 1);
  const auto session = open(a_, 2);
  EXPECT_NE(session, old);
  EXPECT_EQ(propose(old, 1, 1).verdict, Verdict::kNoSession);
  EXPECT_EQ(apply(Envelope::Kind::kOpenSession, {.incarnation = a_, .boot_epoch = 1}).verdict, Verdict::kNoSession);
  EXPECT_EQ(propose(session, 1, 1, 2).result, "result 2");
}

TEST_F(SessionsTest, AnOpeningThatIsSentTwiceOpensOnce) {
  const auto session = open(a_, 1);
  propose(session, 1, 1);
  EXPECT_EQ(open(a_, 1), session);
  EXPECT_EQ(propose(session, 1, 1).result, "result 1");
}

TEST_F(SessionsTest, AnUnusedSessionEndsWithALaterOpening) {
  const auto session = open(a_, 1);
  propose(session, 1, 1);
  open(b_, 1, kSessionLife + 1h);
  EXPECT_EQ(sessions_.size(kShard), 1U);
  EXPECT_EQ(propose(session, 2, 1).verdict, Verdict::kNoSession);
  restart();
  EXPECT_EQ(sessions_.size(kShard), 1U);
}

TEST_F(SessionsTest, AUsedSessionStays) {
  const auto session = open(a_, 1);
  now_ += kSessionLife / 2;
  propose(session, 1, 1);
  open(b_, 1, kSessionLife / 2 + 1h);
  EXPECT_EQ(propose(session, 2, 1).verdict, Verdict::kApplied);
}

TEST_F(SessionsTest, TheirNumberIsBounded) {
  for (std::size_t i = 0; i < kSessionsMax + 50; ++i) open(Incarnation::random(), 1);
  EXPECT_EQ(sessions_.size(kShard), kSessionsMax);
}

}  // namespace
}  // namespace kraken::group
