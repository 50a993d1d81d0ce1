#include "src/tasks/executor.h"

#include "tests/unit/src/blobs/cluster.h"

namespace kraken::tasks {
namespace {

using blobs::test::Cluster;
using blobs::test::pattern;
using metadata::ShardId;

class ExecutorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Options options;
    options.look_interval = std::chrono::milliseconds(50);
    options.probe_interval = std::chrono::milliseconds(20);
    options.backoff_min = std::chrono::milliseconds(10);
    options.backoff_max = std::chrono::milliseconds(100);
    executor_ = std::make_unique<Executor>(options, cluster_.metadata(), cluster_.service(0), cluster_.loops().at(0));
    executor_->start();
  }
  void TearDown() override { executor_->stop(); }

  std::size_t tasks(const Digest& digest) {
    return cluster_.run(cluster_.metadata().list_tasks(shard(digest), {.runnable = false, .kind = {}, .after = {}})).value().tasks.size();
  }
  ShardId shard(const Digest& digest) { return cluster_.port().shards().of(digest); }

  Cluster cluster_{3};
  std::unique_ptr<Executor> executor_;
};

TEST_F(ExecutorTest, AnOwnerThatWasDownGetsItsCopyWhenItReturns) {
  const std::string content = pattern(500000);
  const Digest digest = Digest::of(content);
  cluster_.set_down(2, true);
  ASSERT_TRUE(cluster_.push(0, content));
  ASSERT_EQ(tasks(digest), 1U);
  executor_->leadership(shard(digest), true);
  const std::uint64_t before = cluster_.port().proposals();
  const std::uint64_t reads = cluster_.port().queries();
  ASSERT_TRUE(Cluster::eventually([&] { return cluster_.port().queries() > reads + 20; }));
  EXPECT_EQ(cluster_.port().proposals(), before);  // waiting for it costs the log nothing
  cluster_.set_down(2, false);
  EXPECT_TRUE(Cluster::eventually([&] { return tasks(digest) == 0; }));
  EXPECT_TRUE(cluster_.holds(2, digest));
  EXPECT_EQ(cluster_.record(digest).row->holders.size(), 3U);
}

TEST_F(ExecutorTest, ALedShardIsReadAtOnceWhenItIsWoken) {
  const std::string content = pattern(1000);
  const Digest digest = Digest::of(content);
  executor_->leadership(shard(digest), true);
  cluster_.set_down(1, true);
  ASSERT_TRUE(cluster_.push(0, content));
  cluster_.set_down(1, false);
  executor_->wake(shard(digest));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster_.holds(1, digest) && tasks(digest) == 0; }));
}

TEST_F(ExecutorTest, ShardsOfOtherLeadersAreLeftAlone) {
  const std::string content = pattern(1000);
  const Digest digest = Digest::of(content);
  executor_->leadership(shard(digest), true);
  executor_->leadership(shard(digest), false);
  cluster_.set_down(1, true);
  ASSERT_TRUE(cluster_.push(0, content));
  cluster_.set_down(1, false);
  executor_->wake(shard(digest));
  executor_->stop();  // whatever it began has ended
  EXPECT_EQ(tasks(digest), 1U);
}

TEST_F(ExecutorTest, AFailedRunIsRepeated) {
  const std::string content = pattern(1000);
  const Digest digest = Digest::of(content);
  cluster_.set_down(2, true);
  ASSERT_TRUE(cluster_.push(0, content));
  std::atomic<int> refused{0};
  cluster_.port().before([&](ShardId, const std::string&) -> Result<> {
    if (refused++ < 3) return fail(Code::kUnavailable, "no quorum");
    return {};
  });
  cluster_.set_down(2, false);
  executor_->leadership(shard(digest), true);
  EXPECT_TRUE(Cluster::eventually([&] { return tasks(digest) == 0; }));
  EXPECT_TRUE(cluster_.holds(2, digest));
  EXPECT_GE(refused, 3);
}

TEST_F(ExecutorTest, AReferenceWhosePushNeverEndedIsRemovedAfterItsHour) {
  const std::string content = pattern(1000);
  const Digest digest = Digest::of(content);
  ASSERT_TRUE(cluster_.push(0, content));
  const Repository repository = Repository::parse("library/app").value();
  metadata::state::AddRef command{.digest = digest, .ref = {.repository = repository, .manifest = Digest::of("manifest"), .push = cluster_.metadata().new_push(cluster_.port().now())}};
  const auto added = cluster_.run(cluster_.metadata().propose(command));
  ASSERT_TRUE(added && added->done());
  ASSERT_EQ(tasks(digest), 1U);
  executor_->leadership(shard(digest), true);
  EXPECT_EQ(tasks(digest), 1U);
  cluster_.port().advance(std::chrono::hours(2));
  EXPECT_TRUE(Cluster::eventually([&] { return tasks(digest) == 0; }));
}

}  // namespace
}  // namespace kraken::tasks
