#include "src/tracker/cluster.h"

#include "tests/unit/src/metadata/fake_port.h"
#include "tests/unit/src/tracker/fixture.h"

namespace kraken::tracker::test {
namespace {

class Holders : public ::testing::Test {
 protected:
  Holders() {
    ring_ = ring_of(4, 1);
    current_.set(ring_);
    holders_ = std::make_unique<ClusterHolders>(
        ClusterHolders::Options{}, current_, current_.addresses(15001), metadata_,
        [this](const std::string& label) { return !down_.contains(label); }, clock_);
  }
  ~Holders() override {
    loop_.stop();
    loop_.join();
  }

  static ring::Ring ring_of(int count, std::uint64_t epoch) {
    std::vector<ring::Member> members;
    for (int i = 0; i < count; ++i) members.push_back({"127.0.0." + std::to_string(i + 1), "node" + std::to_string(i), 100});
    return ring::Ring::make(members, ring::Hash::kMurmur3, epoch).value();
  }
  void record(std::vector<std::string> labels) {
    const auto mark = metadata_.new_mark();
    const auto row = run(metadata_.arrive(digest_, mark));
    metadata::state::Commit commit;
    commit.digest = digest_;
    commit.push = mark;
    commit.generation = row->generation;
    std::uint8_t store = 1;
    for (auto& label : labels) commit.holders.push_back({StoreId(StoreId::Raw{store++}), label, false});
    commit.metainfo = make_metainfo("blob", 4u << 20);
    commit.owners = 3;
    ASSERT_TRUE(run(metadata_.commit(std::move(commit))));
  }
  std::vector<std::string> ips() {
    std::vector<std::string> found;
    for (const auto& peer : *run(holders_->holders(digest_))) found.push_back(peer.ip);
    return found;
  }
  std::vector<std::string> ips_of(const std::vector<std::string>& labels) {
    std::vector<std::string> found;
    for (const auto& label : labels) found.push_back(ring_.find(label)->host);
    return found;
  }
  template <class T>
  Result<T> run(net::Task<T> task) {
    return net::block_on(loop_.executor(), std::move(task));
  }

  net::Loop loop_;
  ManualClock clock_;
  metadata::test::FakePort port_;
  metadata::Client metadata_{port_, port_.shards()};
  ring::Ring ring_;
  ring::CurrentRing current_;
  std::set<std::string> down_;
  std::unique_ptr<ClusterHolders> holders_;
  Digest digest_ = Digest::of("blob");
};

TEST_F(Holders, OfARingThatIsAdoptedLaterAnswerWithoutARestart) {
  const ring::Ring wider = ring_of(40, 2);
  const auto owners = wider.owners(digest_, 3);
  ASSERT_NE(owners, ring_.owners(digest_, 3));
  current_.set(wider);
  std::vector<std::string> hosts;
  for (const auto& label : owners) hosts.push_back(wider.find(label)->host);
  EXPECT_EQ(ips(), hosts);
}

TEST_F(Holders, AreThoseOfTheRecordInRingOrderAsOriginsOfTheirAddress) {
  const auto order = ring_.order(digest_.shard_id());
  record({order[3], order[1]});
  const auto peers = *run(holders_->holders(digest_));
  ASSERT_EQ(peers.size(), 2U);
  EXPECT_EQ(ips(), ips_of({order[1], order[3]}));
  EXPECT_TRUE(peers[0].origin && peers[0].complete);
  EXPECT_EQ(peers[0].port, 15001);
  EXPECT_EQ(peers[0].peer_id, peer_id_of_address(peers[0].ip, 15001));
}

TEST_F(Holders, OneThatIsDownIsLeftOutAtOnce) {
  const auto order = ring_.order(digest_.shard_id());
  record({order[0], order[1]});
  EXPECT_EQ(ips(), ips_of({order[0], order[1]}));
  down_.insert(order[0]);
  EXPECT_EQ(ips(), ips_of({order[1]}));
  down_.insert(order[1]);
  EXPECT_EQ(ips(), ips_of({order[0], order[1]})) << "it may be this node that sees nobody";
}

TEST_F(Holders, WithoutARecordTheyAreTheOwners) {
  auto owners = ring_.owners(digest_, 3);
  EXPECT_EQ(ips(), ips_of(owners));
  record({owners[2]});
  EXPECT_EQ(ips().size(), 3U) << "remembered for a while";
  clock_.now += std::chrono::seconds(3);
  EXPECT_EQ(ips(), ips_of({owners[2]}));
}

TEST_F(Holders, AreAnsweredThoughTheMetadataDoesNot) {
  port_.set_down(true);
  EXPECT_EQ(ips(), ips_of(ring_.owners(digest_, 3)));
}

}  // namespace
}  // namespace kraken::tracker::test
