#include "src/tracker/batcher.h"

#include "tests/unit/src/metadata/fake_port.h"
#include "tests/unit/src/tracker/fixture.h"

namespace kraken::tracker::test {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

/// One node's tracker on a metadata that may be shared with another's.
struct TrackerNode {
  explicit TrackerNode(metadata::Client& metadata, net::Executor executor, const Clock& clock)
      : index(index_options(metadata.shards()), clock), feed(index), batcher({}, index, feed, metadata, executor) {}
  PeerIndex index;
  PeerFeed feed;
  Batcher batcher;
};

/// Tells every node, as replication would.
class Everybody final : public metadata::state::Observer {
 public:
  std::vector<PeerFeed*> feeds;
  void peers_changed(metadata::ShardId shard, std::span<const metadata::state::NamedPeer> peers,
                     Duration now) override {
    for (auto* feed : feeds) feed->peers_changed(shard, peers, now);
  }
};

class Batches : public ::testing::Test {
 protected:
  ~Batches() override {
    loop_.stop();
    loop_.join();
  }
  void tick(TrackerNode& node) { EXPECT_TRUE(net::block_on(loop_.executor(), node.batcher.tick_and_wait())); }

  ManualClock clock_;
  net::Loop loop_;
  Everybody everybody_;
  metadata::test::FakePort port_{{}, &everybody_};
  metadata::Client metadata_{port_, port_.shards()};
  Digest digest_ = Digest::of("blob");
  InfoHash infohash_ = make_metainfo("blob", 4u << 20).infohash();
};

TEST_F(Batches, APeerThatAnnouncedToOneNodeIsKnownToTheOthers) {
  TrackerNode a(metadata_, loop_.executor(), clock_);
  TrackerNode b(metadata_, loop_.executor(), clock_);
  everybody_.feeds = {&a.feed, &b.feed};
  a.index.announce(infohash_, digest_, peer_of(1, true), 0);
  EXPECT_TRUE(b.index.announce(infohash_, digest_, peer_of(2), 50).peers.empty());
  tick(a);
  EXPECT_EQ(b.index.announce(infohash_, digest_, peer_of(2), 50).peers, std::vector{peer_of(1, true)});
  const auto before = port_.proposals();
  a.index.announce(infohash_, digest_, peer_of(1, true), 0);
  tick(a);
  EXPECT_EQ(port_.proposals(), before) << "the log has it";
}

TEST_F(Batches, ManyPeersOfAShardAreOneProposal) {
  TrackerNode a(metadata_, loop_.executor(), clock_);
  everybody_.feeds = {&a.feed};
  for (int i = 0; i < 200; ++i) a.index.announce(infohash_, digest_, peer_of(i), 0);
  tick(a);
  EXPECT_EQ(port_.proposals(), 1U);
  EXPECT_FALSE(a.index.has_pending());
}

TEST_F(Batches, WithoutAQuorumAnnouncesGoOnAndAreLoggedLater) {
  TrackerNode a(metadata_, loop_.executor(), clock_);
  TrackerNode b(metadata_, loop_.executor(), clock_);
  everybody_.feeds = {&a.feed, &b.feed};
  port_.set_down(true);
  a.index.announce(infohash_, digest_, peer_of(1), 50);
  tick(a);
  EXPECT_EQ(a.index.announce(infohash_, digest_, peer_of(2), 50).peers.size(), 1U);
  port_.set_down(false);
  a.index.announce(infohash_, digest_, peer_of(1), 50);
  tick(a);
  EXPECT_EQ(b.index.announce(infohash_, digest_, peer_of(3), 50).peers.size(), 2U);
}

TEST_F(Batches, ARestartedNodeReadsTheSeedersThatNeverAnnounceAgain) {
  TrackerNode a(metadata_, loop_.executor(), clock_);
  everybody_.feeds = {&a.feed};
  for (int i = 0; i < 1500; ++i) a.index.announce(infohash_, digest_, peer_of(i, true), 0);
  a.index.announce(infohash_, digest_, peer_of(2000, false), 0);
  while (a.index.has_pending()) tick(a);
  port_.advance(hours(1));

  TrackerNode again(metadata_, loop_.executor(), clock_);
  again.feed.restored(port_.shards().of(digest_), port_.rows());
  tick(again);
  const auto handout = again.index.announce(infohash_, digest_, peer_of(3000), 50);
  EXPECT_EQ(handout.peers_known, 1500U) << "the leecher's time was over";
  EXPECT_EQ(handout.complete_known, 1500U);
  clock_.now += hours(4) + minutes(1);
  EXPECT_TRUE(again.index.announce(infohash_, digest_, peer_of(3000), 50).peers.empty())
      << "what is left of a record's time goes with it";
}

}  // namespace
}  // namespace kraken::tracker::test
