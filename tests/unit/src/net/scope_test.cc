#include "src/net/scope.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "src/net/deadline.h"
#include "src/net/event.h"
#include "src/net/loop.h"

namespace kraken::net {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

Task<void> sleep_then_count(Duration duration, std::atomic<int>& ended, std::atomic<int>& cancelled) {
  auto slept = co_await sleep_for(duration);
  if (!slept) ++cancelled;
  ++ended;
  co_return slept;
}

Task<int> give(int value, Duration after) {
  KR_CO_CHECK(co_await sleep_for(after));
  co_return value;
}

TEST(Scope, StoppingCancelsAndJoinsEverything) {
  Loop loop;
  std::atomic<int> ended{0};
  std::atomic<int> cancelled{0};
  Scope scope(loop.executor());
  for (int i = 0; i < 100; ++i) scope.spawn("sleeper", sleep_then_count(hours(1), ended, cancelled));
  EXPECT_EQ(100u, scope.size());
  scope.stop_and_wait();
  EXPECT_EQ(100, ended);
  EXPECT_EQ(100, cancelled);
  EXPECT_EQ(0u, scope.size());
  scope.spawn("too late", sleep_then_count(hours(1), ended, cancelled));
  EXPECT_EQ(0u, scope.size());
  scope.stop_and_wait();
}

TEST(Scope, DrainingLetsTasksEndByThemselves) {
  Loop loop;
  std::atomic<int> ended{0};
  std::atomic<int> cancelled{0};
  Scope scope(loop.executor());
  scope.spawn("short", sleep_then_count(milliseconds(50), ended, cancelled));
  scope.stop_and_wait(seconds(20));
  EXPECT_EQ(1, ended);
  EXPECT_EQ(0, cancelled);
}

Task<void> stubborn(std::atomic<bool>& stop) {
  // Ignores that it was cancelled until told otherwise, and is often between two waits.
  while (!stop) (void)co_await sleep_for(milliseconds(1));
  auto slept = co_await sleep_for(hours(1));
  co_return slept;
}

TEST(Scope, ATaskThatMissedTheCancellationGetsItAgain) {
  Loop loop;
  std::atomic<bool> stop{false};
  Scope scope(loop.executor());
  scope.spawn("stubborn", stubborn(stop));
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(120));
    stop = true;
  });
  scope.stop_and_wait();
  later.join();
  EXPECT_EQ(0u, scope.size());
}

TEST(Scope, SpawningFromManyThreadsLosesNothing) {
  Loops loops(2);
  std::atomic<int> ended{0};
  std::atomic<int> cancelled{0};
  Scope scope(loops.at(0).executor());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 250; ++i) scope.spawn("task", sleep_then_count(milliseconds(i % 3), ended, cancelled));
    });
  for (auto& thread : threads) thread.join();
  scope.stop_and_wait(seconds(20));
  EXPECT_EQ(1000, ended);
}

TEST(Deadline, AnEndInTimeIsTheResultAndALateOneAnError) {
  Loop loop;
  auto in_time = block_on(loop.executor(), with_deadline(seconds(20), give(7, milliseconds(1))));
  EXPECT_EQ(7, in_time);
  auto late = block_on(loop.executor(), with_deadline(milliseconds(20), give(7, hours(1)), "giving"));
  ASSERT_FALSE(late);
  EXPECT_EQ(Code::kDeadlineExceeded, late.error().code);
  EXPECT_TRUE(late.error().detail.starts_with("giving:"));
}

TEST(Deadline, CancellingTheOuterCancelsTheInner) {
  Loop loop;
  auto inner = with_deadline(hours(1), give(7, hours(1)));
  auto outer = block_on(loop.executor(), with_deadline(milliseconds(20), std::move(inner)));
  ASSERT_FALSE(outer);
  EXPECT_EQ(Code::kDeadlineExceeded, outer.error().code);
}

Task<std::thread::id> where_am_i() { co_return std::this_thread::get_id(); }

Task<bool> goes_and_comes_back(Executor other) {
  const auto here = std::this_thread::get_id();
  KR_CO_TRY(const auto there, co_await on(other, where_am_i()));
  co_return here != there && here == std::this_thread::get_id();
}

TEST(On, RunsElsewhereAndComesBack) {
  Loops loops(2);
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(true, block_on(loops.at(0).executor(), goes_and_comes_back(loops.at(1).executor())));
}

TEST(On, CancellingTheCallerCancelsWhatRunsElsewhere) {
  Loops loops(2);
  for (int i = 0; i < 20; ++i) {
    auto away = on(loops.at(1).executor(), give(7, hours(1)));
    auto result = block_on(loops.at(0).executor(), with_deadline(milliseconds(5), std::move(away)));
    ASSERT_FALSE(result);
    EXPECT_EQ(Code::kDeadlineExceeded, result.error().code);
  }
}

Task<void> wait_until(Event& event, std::atomic<int>& value, int wanted) {
  for (;;) {
    const auto seen = event.version();
    if (value >= wanted) co_return Result<>{};
    KR_CO_CHECK(co_await event.wait(seen, seconds(20)));
  }
}

TEST(Event, NoNotificationIsLost) {
  Loops loops(2);
  Event event;
  std::atomic<int> value{0};
  Scope first(loops.at(0).executor());
  Scope second(loops.at(1).executor());
  for (int i = 1; i <= 200; ++i) (i % 2 == 0 ? first : second).spawn("waiter", wait_until(event, value, i));
  for (int i = 0; i < 200; ++i) {
    ++value;
    event.notify();
  }
  first.stop_and_wait(seconds(20));
  second.stop_and_wait(seconds(20));
}

TEST(Event, NothingInTimeIsADeadline) {
  Loop loop;
  Event event;
  auto result = block_on(loop.executor(), event.wait(event.version(), milliseconds(10)));
  ASSERT_FALSE(result);
  EXPECT_EQ(Code::kDeadlineExceeded, result.error().code);
}

TEST(Latch, OpensWhenTheCountIsDown) {
  Loop loop;
  Latch latch(3);
  std::thread other([&] {
    for (int i = 0; i < 3; ++i) latch.count_down();
  });
  EXPECT_TRUE(block_on(loop.executor(), latch.wait(seconds(20))));
  other.join();
}

Task<void> take_a_turn(Semaphore& semaphore, int& inside, int& most) {
  KR_CO_TRY(auto permit, co_await semaphore.acquire(seconds(20)));
  most = std::max(most, ++inside);
  KR_CO_CHECK(co_await sleep_for(milliseconds(1)));
  --inside;
  permit.release();
  co_return Result<>{};
}

Task<Code> overfill(Semaphore& semaphore) {
  KR_CO_TRY(auto first, co_await semaphore.acquire(seconds(20)));
  auto late = co_await semaphore.acquire(milliseconds(10));
  (void)first;
  co_return late ? Code::kInternal : late.error().code;
}

TEST(Semaphore, LetsInSoManyAndBoundsTheQueue) {
  Loop loop;
  Semaphore semaphore(3, 100);
  int inside = 0;
  int most = 0;
  Scope scope(loop.executor());
  for (int i = 0; i < 50; ++i) scope.spawn("turn", take_a_turn(semaphore, inside, most));
  scope.stop_and_wait(seconds(20));
  EXPECT_EQ(3, most);
  EXPECT_EQ(0, inside);
  Semaphore one(1, 1);
  EXPECT_EQ(Code::kDeadlineExceeded, block_on(loop.executor(), overfill(one)));
  Semaphore none_waiting(1, 0);
  EXPECT_EQ(Code::kOverloaded, block_on(loop.executor(), overfill(none_waiting)));
}

}  // namespace
}  // namespace kraken::net
