#include "src/tasks/repair.h"

#include <gmock/gmock.h>

#include <mutex>

#include "tests/unit/src/blobs/cluster.h"

namespace kraken::tasks {
namespace {

using blobs::test::Cluster;
using blobs::test::pattern;
using metadata::ShardId;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class RepairTest : public ::testing::Test {
 protected:
  explicit RepairTest(std::size_t nodes = 4, std::size_t max_replica = 2) : cluster_(nodes, max_replica) {}
  void SetUp() override {
    options_.settle = std::chrono::milliseconds(1);
    options_.probe_interval = std::chrono::milliseconds(30);
    options_.backoff_min = std::chrono::milliseconds(10);
    options_.backoff_max = std::chrono::milliseconds(50);
    options_.records_per_second = 1'000'000;
    options_.interval = std::chrono::hours(1);
    options_.page = 3;  // several pages
  }
  void TearDown() override {
    if (repair_) repair_->stop();
  }
  /// On node 0, which leads every shard.
  void start() {
    repair_ = std::make_unique<Repair>(options_, cluster_.metadata(), cluster_.service(0), cluster_.loops().at(0),
                                       [this](ShardId shard, std::uint64_t epoch) { return note(this, shard, epoch); });
    repair_->start();
    for (std::uint32_t i = 0; i < cluster_.port().shards().count(); ++i) repair_->leadership(cluster_.port().shards().at(i), true);
  }
  static net::Task<void> note(RepairTest* test, ShardId shard, std::uint64_t epoch) {
    const std::scoped_lock lock(test->mutex_);
    if (test->reports_fail_ > 0) {
      --test->reports_fail_;
      co_return fail(Code::kUnavailable, "no quorum");
    }
    ++test->reported_[{shard, epoch}];
    co_return Result<>();
  }
  /// Every shard was reported for the epoch.
  bool settled(std::uint64_t epoch) {
    return Cluster::eventually([&] {
      const std::scoped_lock lock(mutex_);
      return static_cast<std::size_t>(std::ranges::count_if(reported_, [&](const auto& entry) { return entry.first.second == epoch; })) ==
             cluster_.port().shards().count();
    });
  }
  bool reported(const Digest& digest, std::uint64_t epoch) {
    const std::scoped_lock lock(mutex_);
    return reported_.contains({cluster_.port().shards().of(digest), epoch});
  }
  /// The first `count` nodes, with this epoch.
  void adopt(std::size_t count, std::uint64_t epoch, std::vector<double> weights = {}) {
    std::vector<ring::Member> members;
    for (std::size_t i = 0; i < count; ++i) {
      members.push_back({"127.0.0." + std::to_string(i + 1), cluster_.node(i).label, weights.empty() ? 100 : weights[i]});
    }
    ASSERT_TRUE(cluster_.ring().set(ring::Ring::make(std::move(members), ring::Hash::kMurmur3, epoch).value()));
    if (repair_) repair_->ring_changed();
  }
  std::vector<Digest> push(int count, std::size_t bytes = 2000) {
    std::vector<Digest> digests;
    for (int i = 0; i < count; ++i) {
      const std::string content = pattern(bytes + static_cast<std::size_t>(i), static_cast<char>(i));
      EXPECT_TRUE(cluster_.push(0, content));
      digests.push_back(Digest::of(content));
    }
    return digests;
  }
  /// Files and record are exactly the owners'.
  bool as_the_ring_wants(const Digest& digest) {
    const auto owners = cluster_.owners(digest);
    const auto found = cluster_.record(digest);
    if (found.row->holders.size() != owners.size()) return false;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      const bool owns = std::ranges::find(owners, i) != owners.end();
      const bool named = found.row->holder(cluster_.node(i).store->id()) != nullptr;
      if (owns != cluster_.holds(i, digest) || owns != named) return false;
    }
    return true;
  }
  std::size_t copies(const Digest& digest) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < cluster_.size(); ++i) count += cluster_.holds(i, digest) ? 1 : 0;
    return count;
  }
  RepairProgress progress(std::uint64_t request, std::string label = "", std::uint64_t after = 0) {
    return cluster_.run(repair_->progress(request, after, std::move(label), 100'000)).value();
  }
  bool done(std::uint64_t request, const std::string& label = "") {
    return Cluster::eventually([&] { return progress(request, label).pending.empty(); });
  }

  Cluster cluster_;
  RepairOptions options_;
  std::unique_ptr<Repair> repair_;
  std::mutex mutex_;
  std::map<std::pair<ShardId, std::uint64_t>, int> reported_;
  int reports_fail_ = 0;
};

TEST_F(RepairTest, ANodeMoreTakesItsShareAndTheSurplusHoldersLetGo) {
  adopt(3, 1);
  const auto digests = push(60);
  start();
  ASSERT_TRUE(settled(1));
  for (const Digest& digest : digests) ASSERT_TRUE(as_the_ring_wants(digest));
  EXPECT_EQ(repair_->status().copies_done, 0U);
  adopt(4, 2);
  std::size_t gained = 0;
  for (const Digest& digest : digests) {
    const auto owners = cluster_.owners(digest);
    gained += std::ranges::find(owners, 3U) != owners.end() ? 1 : 0;
  }
  ASSERT_GT(gained, 0U);
  ASSERT_TRUE(settled(2));
  for (const Digest& digest : digests) {
    EXPECT_TRUE(as_the_ring_wants(digest));
    EXPECT_GE(copies(digest), 2U);
  }
  const RepairStatus status = repair_->status();
  EXPECT_EQ(status.copies_done, gained);  // only what the new node owns has moved
  EXPECT_EQ(status.let_go_done, gained);
  EXPECT_EQ(status.copies_left, 0U);
  EXPECT_EQ(status.bytes_left, 0U);
  EXPECT_EQ(status.shards_satisfied, status.shards_led);
}

TEST_F(RepairTest, ANodeThatLeavesTheRingHandsItsBlobsOver) {
  adopt(4, 1);
  const auto digests = push(40);
  start();
  ASSERT_TRUE(settled(1));
  adopt(3, 2);
  ASSERT_TRUE(settled(2));
  for (const Digest& digest : digests) EXPECT_TRUE(as_the_ring_wants(digest));
}

TEST_F(RepairTest, AnotherWeightMovesWhatTheRingMoves) {
  adopt(3, 1);
  const auto digests = push(40);
  start();
  ASSERT_TRUE(settled(1));
  adopt(3, 2, {100, 100, 300});
  ASSERT_TRUE(settled(2));
  for (const Digest& digest : digests) EXPECT_TRUE(as_the_ring_wants(digest));
  EXPECT_GT(repair_->status().copies_done, 0U);
}

TEST_F(RepairTest, ALostStoreIsForgottenAndItsBlobsAreCopiedAgainUnasked) {
  const auto digests = push(1);
  const Digest digest = digests[0];
  const auto owners = cluster_.owners(digest);
  // As if the owner's disk had been another one when it entered.
  const StoreId gone(StoreId::Raw{7});
  const metadata::BlobFound found = cluster_.record(digest);
  ASSERT_TRUE(cluster_.run(cluster_.metadata().enter(digest, {.store = gone, .label = cluster_.node(owners[1]).label, .suspect = false}, found.row->generation)));
  ASSERT_TRUE(cluster_.run(cluster_.metadata().lost(digest, cluster_.node(owners[1]).store->id(), 0)));
  std::filesystem::remove(cluster_.node(owners[1]).store->path_of(digest));
  start();
  ASSERT_TRUE(settled(0));
  EXPECT_EQ(cluster_.record(digest).row->holder(gone), nullptr);
  EXPECT_TRUE(as_the_ring_wants(digest));
}

TEST_F(RepairTest, ADiskThatWasReplacedWhileNobodyLookedIsFilledAgain) {
  adopt(3, 1);
  const auto digests = push(30);
  start();
  ASSERT_TRUE(settled(1));
  const std::string label = cluster_.node(2).label;
  // The probes see it silent first, as when a process takes a while to start again.
  cluster_.set_down(2, true);
  ASSERT_TRUE(Cluster::eventually([&] { return repair_->status().silent == std::vector{label}; }));
  cluster_.replace_disk(2);
  std::size_t lost = 0;
  for (const Digest& digest : digests) lost += copies(digest) < 2 ? 1 : 0;
  ASSERT_GT(lost, 0U);
  cluster_.set_down(2, false);
  ASSERT_TRUE(Cluster::eventually([&] { return std::ranges::all_of(digests, [&](const Digest& digest) { return as_the_ring_wants(digest); }); }));
  EXPECT_EQ(repair_->status().copies_done, lost);
}

TEST_F(RepairTest, ANewStoreThatARecordNamesBeforeAnyProbeMetItIsFilledAgain) {
  adopt(3, 1);
  const auto digests = push(30);
  options_.probe_interval = std::chrono::hours(1);  // after the first
  start();
  ASSERT_TRUE(settled(1));
  cluster_.replace_disk(2);
  const auto is_of_2 = [&](const Digest& digest) {
    const auto owners = cluster_.owners(digest);
    return std::ranges::find(owners, 2U) != owners.end();
  };
  std::optional<Digest> fresh;
  for (int i = 0; i < 100 && !fresh; ++i) {
    const std::string content = pattern(5000 + static_cast<std::size_t>(i));
    if (!is_of_2(Digest::of(content))) continue;
    ASSERT_TRUE(cluster_.push(0, content));
    fresh = Digest::of(content);
  }
  ASSERT_TRUE(fresh);
  const ShardId shard = cluster_.port().shards().of(*fresh);
  repair_->leadership(shard, false);
  repair_->leadership(shard, true);
  EXPECT_TRUE(Cluster::eventually([&] { return std::ranges::all_of(digests, [&](const Digest& digest) { return as_the_ring_wants(digest); }); }));
  EXPECT_TRUE(as_the_ring_wants(*fresh));
}

TEST_F(RepairTest, TheLastHolderOfABlobIsMarkedAndStaysNamed) {
  const Digest digest = push(1)[0];
  const auto owners = cluster_.owners(digest);
  const StoreId gone(StoreId::Raw{7});
  const metadata::BlobFound found = cluster_.record(digest);
  ASSERT_TRUE(cluster_.run(cluster_.metadata().enter(digest, {.store = gone, .label = cluster_.node(owners[1]).label, .suspect = false}, found.row->generation)));
  for (const std::size_t owner : owners) {
    ASSERT_TRUE(cluster_.run(cluster_.metadata().lost(digest, cluster_.node(owner).store->id(), 0)));
    std::filesystem::remove(cluster_.node(owner).store->path_of(digest));
  }
  start();
  ASSERT_TRUE(Cluster::eventually([&] { return cluster_.record(digest).row->holders[0].suspect; }));
  EXPECT_EQ(cluster_.record(digest).row->holders[0].store, gone);
  ASSERT_TRUE(Cluster::eventually([&] { return repair_->status().without_copy == 1; }));
  EXPECT_FALSE(reported(digest, 0));
}

TEST_F(RepairTest, NothingLetsGoAndNothingIsReportedWhileAnOwnerIsSilent) {
  adopt(3, 1);
  const auto digests = push(30);
  start();
  ASSERT_TRUE(settled(1));
  repair_->stop();
  cluster_.set_down(3, true);
  adopt(4, 2);
  start();
  std::vector<Digest> moving;
  for (const Digest& digest : digests) {
    const auto owners = cluster_.owners(digest);
    if (std::ranges::find(owners, 3U) != owners.end()) moving.push_back(digest);
  }
  ASSERT_FALSE(moving.empty());
  ASSERT_TRUE(Cluster::eventually([&] { return repair_->status().waits_for == std::vector{cluster_.node(3).label}; }));
  for (const Digest& digest : moving) {
    EXPECT_EQ(copies(digest), 2U);
    EXPECT_FALSE(reported(digest, 2));
  }
  cluster_.set_down(3, false);  // and it is noticed without being asked
  ASSERT_TRUE(settled(2));
  for (const Digest& digest : digests) EXPECT_TRUE(as_the_ring_wants(digest));
}

TEST_F(RepairTest, ACopyThatFailsIsTriedAgain) {
  adopt(3, 1);
  const auto digests = push(30);
  adopt(4, 2);
  std::atomic<int> refused{0};
  cluster_.port().before([&](ShardId, const std::string&) -> Result<> {
    if (refused++ < 5) return fail(Code::kUnavailable, "no quorum");
    return {};
  });
  start();
  ASSERT_TRUE(settled(2));
  for (const Digest& digest : digests) EXPECT_TRUE(as_the_ring_wants(digest));
  EXPECT_GE(refused, 5);
}

TEST_F(RepairTest, AReportThatFailsIsMadeAgainAndOneThatSucceededIsNot) {
  reports_fail_ = 3;
  start();
  ASSERT_TRUE(settled(0));
  const std::uint64_t request = repair_->request();
  ASSERT_TRUE(done(request));
  const std::scoped_lock lock(mutex_);
  for (const auto& [of, times] : reported_) EXPECT_EQ(times, 1);
}

TEST_F(RepairTest, ARequestIsDoneOnlyByAWalkThatBeganAfterIt) {
  start();
  ASSERT_TRUE(settled(0));
  const Digest digest = push(1)[0];
  const auto owners = cluster_.owners(digest);
  // A walk has seen the shard before this happened.
  ASSERT_TRUE(cluster_.run(cluster_.metadata().lost(digest, cluster_.node(owners[0]).store->id(), 0)));
  std::filesystem::remove(cluster_.node(owners[0]).store->path_of(digest));
  const std::uint64_t request = repair_->request();
  EXPECT_FALSE(progress(request + 1).pending.empty());  // nothing began after a request that was not made yet
  ASSERT_TRUE(done(request));
  EXPECT_TRUE(as_the_ring_wants(digest));
}

TEST_F(RepairTest, EventsSayWhatWasDoneWhereAndForWhom) {
  adopt(3, 1);
  const auto digests = push(30);
  adopt(4, 2);
  start();
  ASSERT_TRUE(settled(2));
  const RepairProgress all = progress(0);
  std::set<std::pair<std::string, std::string>> repaired, deleted;
  for (const RepairEvent& event : all.events) {
    EXPECT_EQ(event.error, "");
    (event.deleted ? deleted : repaired).insert({event.digest.hex(), event.origin});
  }
  std::size_t moved = 0;
  for (const Digest& digest : digests) {
    const auto owners = cluster_.owners(digest);
    if (std::ranges::find(owners, 3U) == owners.end()) continue;
    ++moved;
    EXPECT_TRUE(repaired.contains({digest.hex(), cluster_.node(3).label}));
  }
  EXPECT_EQ(repaired.size(), moved);
  EXPECT_EQ(deleted.size(), moved);
  // Of one origin: what it owns or owned. And nothing twice.
  for (const RepairEvent& event : progress(0, cluster_.node(1).label).events) {
    EXPECT_THAT(event.labels, ::testing::Contains(cluster_.node(1).label));
  }
  EXPECT_TRUE(progress(0, "", all.next).events.empty());
  EXPECT_LT(progress(0, cluster_.node(1).label).events.size(), all.events.size());
}

TEST_F(RepairTest, APreviewSaysWhatThereIsToDoAndDoesNothing) {
  adopt(3, 1);
  const auto digests = push(20);
  start();
  ASSERT_TRUE(settled(1));
  repair_->stop();  // so that only the preview walks
  adopt(4, 2);
  repair_ = nullptr;
  options_.settle = std::chrono::hours(1);
  start();
  ASSERT_TRUE(Cluster::eventually([&] { return repair_->status().shards_led > 0 && !progress(0).led.empty(); }));
  const std::uint64_t before = cluster_.port().proposals();
  const auto steps = cluster_.run(repair_->preview("", 1000)).value();
  std::set<std::string> copied;
  for (const RepairStep& step : steps) {
    if (step.kind == RepairStep::Kind::kCopy) copied.insert(step.digest.hex());
  }
  std::set<std::string> wanted;
  for (const Digest& digest : digests) {
    const auto owners = cluster_.owners(digest);
    if (std::ranges::find(owners, 3U) != owners.end()) wanted.insert(digest.hex());
  }
  EXPECT_EQ(copied, wanted);
  EXPECT_EQ(steps.size(), 2 * wanted.size());  // a copy, and a surplus one that goes
  EXPECT_EQ(cluster_.port().proposals(), before);
  for (const std::string& hex : wanted) EXPECT_FALSE(cluster_.holds(3, Digest::from_hex(hex).value()));
}

TEST_F(RepairTest, CopiesAreBegunNoFasterThanAllowed) {
  adopt(3, 1);
  push(40, 20'000);
  adopt(4, 2);
  options_.bytes_per_second = 400'000;
  const MonotonicTime began = system_clock().monotonic();
  start();
  ASSERT_TRUE(settled(2));
  const RepairStatus status = repair_->status();
  ASSERT_GE(status.copies_done, 5U);
  // The last copy may begin when all before it are paid for.
  const double least = static_cast<double>(status.bytes_done - 21'000) / 400'000;
  EXPECT_GE(std::chrono::duration<double>(system_clock().monotonic() - began).count(), least);
}

TEST_F(RepairTest, AShardOfAnotherLeaderIsLeftAlone) {
  adopt(3, 1);
  const auto digests = push(20);
  adopt(4, 2);
  repair_ = std::make_unique<Repair>(options_, cluster_.metadata(), cluster_.service(0), cluster_.loops().at(0), nullptr);
  repair_->start();
  const ShardId mine = cluster_.port().shards().of(digests[0]);
  repair_->leadership(mine, true);
  ASSERT_TRUE(Cluster::eventually([&] { return repair_->status().shards_satisfied == 1; }));
  for (const Digest& digest : digests) {
    if (cluster_.port().shards().of(digest) == mine) {
      EXPECT_TRUE(as_the_ring_wants(digest));
    } else {
      EXPECT_FALSE(cluster_.holds(3, digest));
    }
  }
}

}  // namespace
}  // namespace kraken::tasks
