#include "tests/history/linearizability.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/history/generate.h"
#include "tests/history/register_model.h"
#include "tests/history/task_model.h"

namespace kraken::history {
namespace {

using Kind = RegisterOp::Kind;
using Conflict = RegisterOp::Result;
using History = std::vector<Event<RegisterOp>>;

Event<RegisterOp> put(std::int64_t from, std::int64_t to, std::uint64_t value, std::uint64_t revision = 0) {
  return {from, to, 0, {.kind = Kind::kWrite, .value = value, .revision = revision}};
}
Event<RegisterOp> put_if(std::int64_t from, std::int64_t to, std::uint64_t value, std::uint64_t expect,
                         std::uint64_t revision = 0) {
  return {from, to, 0, {.kind = Kind::kWrite, .value = value, .expect = expect, .revision = revision}};
}
Event<RegisterOp> lost(std::int64_t from, std::int64_t to, std::uint64_t value, std::uint64_t expect,
                       std::uint64_t seen, std::uint64_t revision) {
  return {from,
          to,
          0,
          {.kind = Kind::kWrite,
           .value = value,
           .expect = expect,
           .result = Conflict::kConflict,
           .seen = seen,
           .revision = revision}};
}
Event<RegisterOp> get(std::int64_t from, std::int64_t to, std::uint64_t value, std::uint64_t revision = 0) {
  return {from, to, 0, {.kind = Kind::kRead, .seen = value, .revision = revision}};
}
Event<RegisterOp> remove(std::int64_t from, std::int64_t to) { return {from, to, 0, {.kind = Kind::kRemove}}; }

Verdict verdict(const History& history) { return check(RegisterModel{}, history).verdict; }

// The definition, tried in every order. For a handful of operations.
bool some_order_explains(const History& history, std::vector<bool>& done, const RegisterModel::State& state) {
  std::int64_t first_return = kNever;
  for (std::size_t i = 0; i < history.size(); ++i) {
    if (!done[i]) first_return = std::min(first_return, history[i].ret);
  }
  if (first_return == kNever) return true;
  for (std::size_t i = 0; i < history.size(); ++i) {
    if (done[i] || history[i].invoke > first_return) continue;
    RegisterModel::State after = state;
    if (!RegisterModel{}.step(after, history[i].op, history[i].ret == kNever)) continue;
    done[i] = true;
    if (some_order_explains(history, done, after)) return true;
    done[i] = false;
  }
  return false;
}

TEST(Linearizability, AnEmptyHistoryAndOneThatIsInOrderAreLegal) {
  EXPECT_EQ(verdict({}), Verdict::kOk);
  EXPECT_EQ(verdict({get(0, 1, 0), put(2, 3, 7), get(4, 5, 7), put(6, 7, 8), get(8, 9, 8)}), Verdict::kOk);
}

TEST(Linearizability, AReadOfWhatWasOverwrittenBeforeItBeganIsIllegal) {
  EXPECT_EQ(verdict({put(0, 1, 7), put(2, 3, 8), get(4, 5, 7)}), Verdict::kIllegal);
  EXPECT_EQ(verdict({put(0, 1, 7), get(2, 3, 0)}), Verdict::kIllegal);
}

TEST(Linearizability, AReadDuringAWriteMayGoEitherWayButNotBack) {
  EXPECT_EQ(verdict({put(0, 1, 7), put(2, 9, 8), get(3, 4, 7), get(5, 6, 8)}), Verdict::kOk);
  EXPECT_EQ(verdict({put(0, 1, 7), put(2, 9, 8), get(3, 4, 8), get(5, 6, 7)}), Verdict::kIllegal);
}

TEST(Linearizability, IntervalsThatTouchOverlap) {
  EXPECT_EQ(verdict({put(0, 1, 7), put(2, 5, 8), get(5, 6, 7)}), Verdict::kOk);
  EXPECT_EQ(verdict({put(0, 1, 7), put(2, 5, 8), get(6, 7, 7)}), Verdict::kIllegal);
}

TEST(Linearizability, AWriteThatWasNeverHeardOfMayShowAtAnyTimeAfterOrNever) {
  EXPECT_EQ(verdict({put(0, 1, 7), put(2, kNever, 8), get(3, 4, 7), get(50, 60, 7), get(70, 80, 8)}), Verdict::kOk);
  EXPECT_EQ(verdict({put(0, 1, 7), put(2, kNever, 8), get(3, 4, 7)}), Verdict::kOk);
  EXPECT_EQ(verdict({put(0, 1, 7), put(2, kNever, 8), get(3, 4, 8), get(5, 6, 7)}), Verdict::kIllegal);
  EXPECT_EQ(verdict({put(0, 1, 7), get(2, 3, 8), put(4, kNever, 8)}), Verdict::kIllegal);
}

TEST(Linearizability, OfTwoWritesIfAtTheSameRevisionOneMustLose) {
  EXPECT_EQ(verdict({put(0, 1, 7, 1), put_if(2, 9, 8, 1, 2), put_if(3, 8, 9, 1, 3)}), Verdict::kIllegal);
  EXPECT_EQ(verdict({put(0, 1, 7, 1), put_if(2, 9, 8, 1, 2), lost(3, 8, 9, 1, 8, 2)}), Verdict::kOk);
  EXPECT_EQ(verdict({put_if(2, 9, 8, 0), put_if(3, 8, 9, 0)}), Verdict::kIllegal);
}

TEST(Linearizability, AConflictMustHaveMetWhatItSays) {
  EXPECT_EQ(verdict({put(0, 1, 7, 1), lost(2, 3, 8, 1, 7, 1)}), Verdict::kIllegal);  // its condition held
  EXPECT_EQ(verdict({put(0, 1, 7, 1), put(2, 3, 8, 2), lost(4, 5, 9, 1, 7, 1)}), Verdict::kIllegal);
  EXPECT_EQ(verdict({put(0, 1, 7, 1), remove(2, 3), lost(4, 5, 9, 1, 0, 0)}), Verdict::kOk);
}

TEST(Linearizability, RevisionsGrow) {
  EXPECT_EQ(verdict({put(0, 1, 7, 5), put(2, 3, 8, 4)}), Verdict::kIllegal);
  EXPECT_EQ(verdict({put(0, 1, 7, 5), put(2, kNever, 8), get(3, 4, 8, 5)}), Verdict::kIllegal);
  EXPECT_EQ(verdict({put(0, 1, 7, 5), put(2, kNever, 8), get(3, 4, 8, 6), put_if(5, 6, 9, 6, 7)}), Verdict::kOk);
}

TEST(Linearizability, AWriteOfTheSameValueIsNotTakenForAnObservation) {
  // Only put 1, put 2, put 1, get 1 explains it: the second put 1, tried first, would leave the state as it is.
  EXPECT_EQ(verdict({put(0, 1, 1), put(2, 9, 1), put(2, 8, 2), get(10, 11, 1)}), Verdict::kOk);
}

TEST(Linearizability, TheReportShowsHowFarItGot) {
  const History history{put(0, 1, 7), put(2, 3, 8), get(4, 5, 7), get(6, 7, 8)};
  const auto report = check(RegisterModel{}, history);
  EXPECT_EQ(report.verdict, Verdict::kIllegal);
  EXPECT_EQ(report.longest, (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(report.reached.value, 8u);
  EXPECT_EQ(report.stuck, std::vector<std::size_t>{2});
}

TEST(Linearizability, AgreesWithEveryOrderTriedOnSmallHistories) {
  std::size_t illegal = 0, runs = 60'000;
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    std::mt19937_64 random(seed);
    GenerateOptions options{.operations = 3 + seed % 5, .clients = 4, .step_max = 6, .writes = 0.6, .removes = 0.15};
    options.lost = seed % 3 == 0 ? 0.3 : 0;
    options.revisions = seed % 2 == 0;
    options.values = seed % 7 == 0 ? 0 : 2;
    History history = Generator(seed, options).run();
    for (int i = 0; i < 2; ++i) {  // spoil it, perhaps
      Event<RegisterOp>& event = history[random() % history.size()];
      if (event.ret == kNever) continue;
      if (event.op.seen && random() % 2 == 0) event.op.seen = random() % 3;
      if (random() % 4 == 0) event.op.revision = random() % 4;
      if (random() % 4 == 0) event.ret = event.invoke + (event.ret - event.invoke) / 3;
    }
    std::vector<bool> done(history.size());
    const bool legal = some_order_explains(history, done, {});
    illegal += !legal;
    ASSERT_EQ(verdict(history) == Verdict::kOk, legal) << "seed " << seed;
    if (options.values == 0) {
      ASSERT_EQ(verdict(settle_pending(history)) == Verdict::kOk, legal) << "settled, seed " << seed;
    }
  }
  EXPECT_GT(illegal, runs / 10);
  EXPECT_LT(illegal, runs * 9 / 10);
}

// 200 histories of 1,000 operations by 10 clients on one key.
void accept_and_reject(const char* what, GenerateOptions options) {
  using std::chrono::steady_clock;
  double worst[2] = {}, sum[2] = {};
  int planted = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    History history = Generator(seed, options).run();
    for (const bool stale : {false, true}) {
      if (stale) {
        ASSERT_TRUE(plant_stale_read(history, seed)) << seed;
        ++planted;
      }
      const auto began = steady_clock::now();
      const auto report = check(RegisterModel{}, settle_pending(history));
      const double ms = std::chrono::duration<double, std::milli>(steady_clock::now() - began).count();
      worst[stale] = std::max(worst[stale], ms), sum[stale] += ms;
      ASSERT_EQ(report.verdict, stale ? Verdict::kIllegal : Verdict::kOk) << what << ", seed " << seed;
    }
  }
  fmt::print("{}: legal {:.2f} ms each, slowest {:.2f}; {} with a stale read, all rejected, {:.2f} ms each, slowest {:.2f}\n",
             what, sum[0] / 200, worst[0], planted, sum[1] / 200, worst[1]);
}

TEST(Linearizability, EveryPlantedStaleReadOf200HistoriesIsFound) {
  accept_and_reject("with revisions", {});
  accept_and_reject("without revisions", {.conditional = 0, .revisions = false});
  accept_and_reject("one in twenty lost", {.lost = 0.05});
  accept_and_reject("one in twenty lost, without revisions", {.conditional = 0, .removes = 0, .lost = 0.05, .revisions = false});
}

TEST(Linearizability, ABudgetThatRunsOutIsNoVerdict) {
  const History history = Generator(1, {}).run();
  const auto report = check(RegisterModel{}, history, {.configurations_max = 10});
  EXPECT_EQ(report.verdict, Verdict::kUnknown);
  EXPECT_FALSE(report.longest.empty());
}

using Task = TaskOp::Kind;
using Held = TaskOp::Result;

Event<TaskOp> task(std::int64_t from, std::int64_t to, Task kind, std::uint64_t claimant, Held result = Held::kDone,
                   std::uint64_t holder = 0, std::uint64_t id = 1) {
  return {from, to, 0, {.kind = kind, .task = id, .claimant = claimant, .result = result, .holder = holder}};
}
Verdict verdict(const std::vector<Event<TaskOp>>& history) { return check(TaskModel{}, history).verdict; }

TEST(TaskHistories, ATaskIsHeldByOneAtATimeAndCompletedOnce) {
  const auto added = task(0, 1, Task::kAdd, 1);
  EXPECT_EQ(verdict({added, task(2, 9, Task::kClaim, 1), task(3, 8, Task::kClaim, 2)}), Verdict::kIllegal);
  EXPECT_EQ(verdict({added, task(2, 9, Task::kClaim, 1), task(3, 8, Task::kClaim, 2, Held::kTaken, 1)}), Verdict::kOk);
  EXPECT_EQ(verdict({added, task(2, 9, Task::kClaim, 1), task(3, 8, Task::kRelease, 1), task(4, 8, Task::kClaim, 2)}),
            Verdict::kOk);
  EXPECT_EQ(verdict({added, task(2, 3, Task::kClaim, 1), task(4, 5, Task::kComplete, 1), task(6, 7, Task::kComplete, 1)}),
            Verdict::kIllegal);
  EXPECT_EQ(verdict({added, task(2, 3, Task::kClaim, 1), task(4, kNever, Task::kComplete, 1),
                     task(6, 7, Task::kClaim, 2, Held::kTaken, 1), task(8, 9, Task::kClaim, 2, Held::kGone)}),
            Verdict::kOk);
}

TEST(TaskHistories, ACompletedTaskDoesNotComeBackAndAnOpenOneIsNotLost) {
  const auto added = task(0, 1, Task::kAdd, 1);
  EXPECT_EQ(verdict({added, task(2, 3, Task::kClaim, 1), task(4, 5, Task::kComplete, 1), task(6, 7, Task::kLook, 1)}),
            Verdict::kIllegal);
  EXPECT_EQ(verdict({added, task(2, 3, Task::kLook, 1, Held::kGone)}), Verdict::kIllegal);
  EXPECT_EQ(verdict({task(0, 9, Task::kAdd, 1), task(2, 3, Task::kLook, 1, Held::kGone), task(4, 5, Task::kLook, 1)}),
            Verdict::kOk);
}

}  // namespace
}  // namespace kraken::history
