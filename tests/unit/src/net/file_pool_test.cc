#include "src/net/file_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>

#include "src/net/loop.h"
#include "src/net/scope.h"

namespace kraken::net {
namespace {

using std::chrono::seconds;

Task<std::string> compute(FilePool& pool, int value) {
  auto job = [value]() -> Result<std::string> {
    if (value < 0) return fail(Code::kIo, "negative");
    return std::to_string(value);
  };
  auto result = co_await pool.run(job);
  co_return result;
}

TEST(FilePool, RunsElsewhereAndGivesTheResult) {
  Loop loop;
  FilePool pool(2, 16);
  EXPECT_EQ("7", block_on(loop.executor(), compute(pool, 7)));
  auto failed = block_on(loop.executor(), compute(pool, -1));
  ASSERT_FALSE(failed);
  EXPECT_EQ(Code::kIo, failed.error().code);
}

Task<void> count_in_pool(FilePool& pool, std::atomic<int>& ran, std::atomic<int>& overloaded) {
  auto job = [&ran]() -> Result<int> { return ++ran; };
  auto result = co_await pool.run(job);
  if (!result && result.error().code == Code::kOverloaded) ++overloaded;
  co_return Result<>{};
}

TEST(FilePool, ManyJobsFromTwoLoopsAllRunOnce) {
  Loops loops(2);
  FilePool pool(3, 10'000);
  std::atomic<int> ran{0};
  std::atomic<int> overloaded{0};
  Scope first(loops.at(0).executor());
  Scope second(loops.at(1).executor());
  for (int i = 0; i < 2000; ++i) (i % 2 == 0 ? first : second).spawn("job", count_in_pool(pool, ran, overloaded));
  first.stop_and_wait(seconds(20));
  second.stop_and_wait(seconds(20));
  EXPECT_EQ(2000, ran);
  EXPECT_EQ(0, overloaded);
}

TEST(FilePool, AFullQueueIsAnErrorAtOnce) {
  Loop loop;
  FilePool pool(1, 1);
  std::promise<void> release;
  std::promise<void> running;
  ASSERT_TRUE(pool.post([&] {
    running.set_value();
    release.get_future().wait();
  }));
  running.get_future().wait();
  ASSERT_TRUE(pool.post([] {}));
  std::atomic<int> ran{0};
  std::atomic<int> overloaded{0};
  EXPECT_TRUE(block_on(loop.executor(), count_in_pool(pool, ran, overloaded)));
  EXPECT_EQ(1, overloaded);
  EXPECT_FALSE(pool.post([] {}));
  release.set_value();
  pool.stop();
  EXPECT_EQ(0u, pool.queued());
}

TEST(FilePool, AfterStopNothingIsTaken) {
  Loop loop;
  FilePool pool(1, 1);
  pool.stop();
  auto result = block_on(loop.executor(), compute(pool, 1));
  ASSERT_FALSE(result);
  EXPECT_EQ(Code::kCancelled, result.error().code);
}

}  // namespace
}  // namespace kraken::net
