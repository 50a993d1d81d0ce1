// How a store ceases to have a blob, and the scrub: src/blobs/leave.cc, scrubber.cc.

#include <fstream>

#include "src/blobs/scrubber.h"
#include "tests/unit/src/blobs/cluster.h"

namespace kraken::blobs {
namespace {

using test::Cluster;
using test::pattern;

/// Four nodes with two copies of each blob, so that two nodes are no owners.
class Leave : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(cluster_.push(0, content_));
    owners_ = cluster_.owners(digest_);
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (std::ranges::find(owners_, i) == owners_.end()) others_.push_back(i);
    }
    ASSERT_TRUE(Cluster::eventually([&] { return cluster_.record(digest_).row->holders.size() == 2; }));
  }
  /// A file of the blob on the node, which the record does not name.
  void place(std::size_t node, const std::string& bytes) {
    const auto path = cluster_.node(node).store->path_of(digest_);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
  }
  /// Makes the node a holder, as a stand-in is.
  void enter(std::size_t node) { ASSERT_TRUE(cluster_.run(cluster_.service(node).ensure_local(digest_))); }
  bool named(std::size_t node) { return cluster_.record(digest_).row->holder(cluster_.node(node).store->id()) != nullptr; }
  /// Nothing: it went well.
  std::optional<Code> let_go(std::size_t node, std::uint64_t epoch = 0) {
    const auto left = cluster_.run(cluster_.service(node).let_go_here(digest_, epoch));
    if (left) return std::nullopt;
    return left.error().code;
  }
  Scrubbed scrub(std::size_t node) {
    const auto found = cluster_.run(cluster_.service(node).scrub(digest_));
    EXPECT_TRUE(found) << found.error().to_string();
    return found.value_or(Scrubbed::kGood);
  }
  void remove(std::size_t node) { std::filesystem::remove(cluster_.node(node).store->path_of(digest_)); }

  Cluster cluster_{4, 2};
  const std::string content_ = pattern(600'000);
  const Digest digest_ = Digest::of(content_);
  std::vector<std::size_t> owners_, others_;
};

TEST_F(Leave, ASurplusHolderLeavesTheRecordAndThenUnlinks) {
  enter(others_[0]);
  ASSERT_TRUE(named(others_[0]));
  const std::uint64_t before = cluster_.record(digest_).row->generation;
  EXPECT_EQ(let_go(others_[0]), std::nullopt);
  EXPECT_FALSE(named(others_[0]));
  EXPECT_FALSE(cluster_.holds(others_[0], digest_));
  EXPECT_GT(cluster_.record(digest_).row->generation, before);
  EXPECT_EQ(cluster_.record(digest_).row->holders.size(), 2U);
}

TEST_F(Leave, AnOwnerNeverDoes) {
  EXPECT_EQ(let_go(owners_[0]), Code::kConflict);
  EXPECT_TRUE(cluster_.holds(owners_[0], digest_));
}

TEST_F(Leave, NotWhileAnOwnerIsSilent) {
  enter(others_[0]);
  cluster_.set_down(owners_[1], true);
  EXPECT_EQ(let_go(others_[0]), Code::kUnavailable);
  EXPECT_TRUE(cluster_.holds(others_[0], digest_));
  EXPECT_TRUE(named(others_[0]));
}

TEST_F(Leave, NotWhileAnOwnersFileIsMissingThoughTheRecordNamesIt) {
  enter(others_[0]);
  remove(owners_[1]);
  EXPECT_EQ(let_go(others_[0]), Code::kUnavailable);
  EXPECT_TRUE(cluster_.holds(others_[0], digest_));
}

TEST_F(Leave, NotWhileAnOwnersFileIsShort) {
  enter(others_[0]);
  std::filesystem::resize_file(cluster_.node(owners_[1]).store->path_of(digest_), 1000);
  EXPECT_EQ(let_go(others_[0]), Code::kUnavailable);
  EXPECT_TRUE(cluster_.holds(others_[0], digest_));
}

TEST_F(Leave, NotForARingThatThisNodeHasNotAdopted) {
  enter(others_[0]);
  EXPECT_EQ(let_go(others_[0], 7), Code::kUnavailable);
  EXPECT_TRUE(cluster_.holds(others_[0], digest_));
}

TEST_F(Leave, ARefusedOrUnknownLeaveKeepsTheFile) {
  enter(others_[0]);
  cluster_.port().fail_next(Code::kUnavailable);
  EXPECT_EQ(let_go(others_[0]), Code::kUnavailable);
  EXPECT_TRUE(cluster_.holds(others_[0], digest_));
  cluster_.port().lose_next_answer();
  EXPECT_EQ(let_go(others_[0]), Code::kOutcomeUnknown);
  EXPECT_TRUE(cluster_.holds(others_[0], digest_));
  EXPECT_FALSE(named(others_[0]));
  EXPECT_EQ(let_go(others_[0]), std::nullopt);  // the file that no record names any more
  EXPECT_FALSE(cluster_.holds(others_[0], digest_));
}

TEST_F(Leave, IsDoneForAnotherNodeOverTheWire) {
  enter(others_[0]);
  const auto left = cluster_.run(cluster_.service(owners_[0]).peers().let_go(cluster_.node(others_[0]).label, digest_, 0));
  EXPECT_TRUE(left) << left.error().to_string();
  EXPECT_FALSE(cluster_.holds(others_[0], digest_));
}

TEST_F(Leave, ScrubLeavesWhatAgreesAlone) {
  const std::uint64_t before = cluster_.port().proposals();
  for (std::size_t i = 0; i < cluster_.size(); ++i) EXPECT_EQ(scrub(i), Scrubbed::kGood);
  EXPECT_EQ(cluster_.port().proposals(), before);
}

TEST_F(Leave, ScrubUnlinksAFileWithoutARecord) {
  const std::string other = pattern(5000, 3);
  const Digest orphan = Digest::of(other);
  const auto path = cluster_.node(0).store->path_of(orphan);
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << other;
  EXPECT_EQ(cluster_.run(cluster_.service(0).scrub(orphan)).value(), Scrubbed::kOrphan);
  EXPECT_FALSE(cluster_.holds(0, orphan));
}

TEST_F(Leave, ScrubKeepsTheFileOfAPushThatGoesOn) {
  const std::string other = pattern(5000, 4);
  const Digest arriving = Digest::of(other);
  ASSERT_TRUE(cluster_.run(cluster_.metadata().arrive(arriving, cluster_.metadata().new_mark())));
  const auto path = cluster_.node(0).store->path_of(arriving);
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << other;
  EXPECT_EQ(cluster_.run(cluster_.service(0).scrub(arriving)).value(), Scrubbed::kWaits);
  EXPECT_TRUE(cluster_.holds(0, arriving));
}

TEST_F(Leave, ScrubKeepsEverythingWithoutAQuorum) {
  place(others_[0], content_);
  cluster_.port().set_down(true);
  EXPECT_FALSE(cluster_.run(cluster_.service(others_[0]).scrub(digest_)));
  EXPECT_FALSE(cluster_.run(cluster_.service(others_[0]).scrub(Digest::of("nobody's"))));
  EXPECT_TRUE(cluster_.holds(others_[0], digest_));
}

TEST_F(Leave, ScrubLetsAnUnnamedFileGoByLeave) {
  place(others_[0], content_);
  const std::uint64_t before = cluster_.record(digest_).row->generation;
  EXPECT_EQ(scrub(others_[0]), Scrubbed::kLeft);
  EXPECT_FALSE(cluster_.holds(others_[0], digest_));
  EXPECT_GT(cluster_.record(digest_).row->generation, before);  // an Enter under way does not apply any more
}

TEST_F(Leave, ScrubKeepsAnUnnamedFileWhileAnOwnerLacksTheBlob) {
  place(others_[0], content_);
  remove(owners_[0]);
  EXPECT_EQ(scrub(others_[0]), Scrubbed::kWaits);
  EXPECT_TRUE(cluster_.holds(others_[0], digest_));
}

TEST_F(Leave, ScrubEntersAnOwnersUnnamedFile) {
  ASSERT_TRUE(cluster_.run(cluster_.metadata().lost(digest_, cluster_.node(owners_[1]).store->id(), 0)));
  ASSERT_FALSE(named(owners_[1]));
  EXPECT_EQ(scrub(owners_[1]), Scrubbed::kEntered);
  EXPECT_TRUE(named(owners_[1]));
}

TEST_F(Leave, ScrubTakesTheNameOffAMissingFile) {
  remove(owners_[0]);
  EXPECT_EQ(scrub(owners_[0]), Scrubbed::kMissing);
  EXPECT_FALSE(named(owners_[0]));
  EXPECT_EQ(cluster_.run(cluster_.service(0).placement(digest_)).value().missing.size(), 1U);
}

TEST_F(Leave, ScrubSetsAFileOfTheWrongSizeAside) {
  std::filesystem::resize_file(cluster_.node(owners_[0]).store->path_of(digest_), 1000);
  EXPECT_EQ(scrub(owners_[0]), Scrubbed::kMissing);
  EXPECT_FALSE(cluster_.holds(owners_[0], digest_));
  EXPECT_FALSE(named(owners_[0]));
  EXPECT_EQ(cluster_.read(others_[0], digest_).value(), content_);
}

TEST_F(Leave, ScrubMarksTheLastHolderAndNamesItStill) {
  ASSERT_TRUE(cluster_.run(cluster_.metadata().lost(digest_, cluster_.node(owners_[1]).store->id(), 0)));
  remove(owners_[1]);
  remove(owners_[0]);
  EXPECT_EQ(scrub(owners_[0]), Scrubbed::kSuspect);
  ASSERT_TRUE(named(owners_[0]));
  EXPECT_TRUE(cluster_.record(digest_).row->holders.front().suspect);
}

TEST_F(Leave, ScrubEntersTheOnlyCopyThereIs) {
  ASSERT_TRUE(cluster_.run(cluster_.metadata().lost(digest_, cluster_.node(owners_[1]).store->id(), 0)));
  ASSERT_TRUE(cluster_.run(cluster_.metadata().suspect(digest_, cluster_.node(owners_[0]).store->id())));
  remove(owners_[0]);
  remove(owners_[1]);
  place(others_[0], content_);
  EXPECT_EQ(scrub(others_[0]), Scrubbed::kEntered);
  EXPECT_TRUE(named(others_[0]));
}

class ScrubberTest : public ::testing::Test {
 protected:
  void start(std::size_t node) {
    ScrubberOptions& options = options_;
    options.first = std::chrono::milliseconds(1);
    options.interval = std::chrono::hours(1);
    options.undecided = std::chrono::hours(1);
    options.retry = std::chrono::milliseconds(20);
    options.records_per_second = 1'000'000;
    scrubber_ = std::make_unique<Scrubber>(options, cluster_.metadata(), cluster_.service(node), *cluster_.node(node).store, pool_,
                                           cluster_.loops().at(0));
    scrubber_->start();
  }
  void TearDown() override {
    if (scrubber_) scrubber_->stop();
  }
  bool round(std::uint64_t number) {
    return Cluster::eventually([&] { return scrubber_->status().rounds >= number; });
  }

  Cluster cluster_{3, 2};
  ScrubberOptions options_;
  net::FilePool pool_{1, 64};
  std::unique_ptr<Scrubber> scrubber_;
};

TEST_F(ScrubberTest, ARoundFindsWhatDiffersInEveryShardAndNothingElse) {
  std::vector<Digest> pushed;
  for (int i = 0; i < 40; ++i) {
    const std::string content = pattern(3000, static_cast<char>(i));
    ASSERT_TRUE(cluster_.push(0, content));
    pushed.push_back(Digest::of(content));
  }
  // A missing file of an owner, a file without a record, and one that its record does not name.
  std::vector<Digest> mine, others;
  for (const Digest& digest : pushed) (cluster_.holds(0, digest) ? mine : others).push_back(digest);
  ASSERT_GE(mine.size(), 2U);
  ASSERT_GE(others.size(), 1U);
  std::filesystem::remove(cluster_.node(0).store->path_of(mine[0]));
  const std::string orphan = "nobody's";
  for (const auto& [digest, content] : {std::pair(Digest::of(orphan), orphan), std::pair(others[0], std::string())}) {
    const auto path = cluster_.node(0).store->path_of(digest);
    std::filesystem::create_directories(path.parent_path());
    if (content.empty()) {
      std::filesystem::copy_file(cluster_.node(cluster_.owners(digest)[0]).store->path_of(digest), path);
    } else {
      std::ofstream(path, std::ios::binary) << content;
    }
  }
  start(0);
  ASSERT_TRUE(round(1));
  const ScrubberStatus status = scrubber_->status();
  EXPECT_EQ(status.records, pushed.size());
  EXPECT_EQ(status.orphans, 1U);
  EXPECT_EQ(status.left, 1U);
  EXPECT_EQ(status.missing, 1U);
  EXPECT_EQ(status.entered, 0U);
  EXPECT_FALSE(cluster_.holds(0, Digest::of(orphan)));
  EXPECT_FALSE(cluster_.holds(0, others[0]));
  for (std::size_t i = 1; i < mine.size(); ++i) EXPECT_TRUE(cluster_.holds(0, mine[i]));
  const std::uint64_t before = cluster_.port().proposals();
  scrubber_->now();
  ASSERT_TRUE(round(2));
  EXPECT_EQ(cluster_.port().proposals(), before);
}

TEST_F(ScrubberTest, AStoreOfAnotherClusterIsNotEmptied) {
  const auto path = cluster_.node(0).store->path_of(Digest::of("another cluster's"));
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << "another cluster's";
  options_.orphans_go = [] { return false; };
  start(0);
  ASSERT_TRUE(round(1));
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(scrubber_->status().waits, 1U);
}

TEST_F(ScrubberTest, WithoutMetadataItWaitsAndUnlinksNothing) {
  const auto path = cluster_.node(0).store->path_of(Digest::of("nobody's"));
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << "nobody's";
  cluster_.port().set_down(true);
  const std::uint64_t asked = cluster_.port().queries();
  start(0);
  ASSERT_TRUE(Cluster::eventually([&] { return cluster_.port().queries() > asked + 5; }));
  EXPECT_TRUE(std::filesystem::exists(path));
  cluster_.port().set_down(false);
  ASSERT_TRUE(round(1));
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace kraken::blobs
