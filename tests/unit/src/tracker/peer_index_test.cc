#include "src/tracker/peer_index.h"

#include <algorithm>
#include <map>
#include <set>
#include <thread>

#include "tests/unit/src/tracker/fixture.h"

namespace kraken::tracker::test {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

InfoHash torrent(int number) {
  InfoHash::Raw raw{};
  raw[0] = static_cast<std::uint8_t>(number);
  raw[19] = static_cast<std::uint8_t>(number >> 8);
  return InfoHash(raw);
}

class Index : public ::testing::Test {
 protected:
  Handout announce(int peer, bool complete = false, std::size_t count = 50, int of = 0) {
    return index_->announce(torrent(of), digest_, peer_of(peer, complete), count);
  }
  static PeerRecord record(int peer, bool complete, Duration ttl, int of = 0) {
    const auto info = peer_of(peer, complete);
    return {torrent(of), info.peer_id, info.ip, info.port, complete, ttl};
  }
  void use(PeerIndexOptions options) { index_ = std::make_unique<PeerIndex>(options, clock_); }

  ManualClock clock_;
  Digest digest_ = Digest::of("blob");
  std::unique_ptr<PeerIndex> index_ = std::make_unique<PeerIndex>(PeerIndexOptions{}, clock_);
};

TEST_F(Index, HandsOutTheOthersAndNeverTheOneThatAsks) {
  EXPECT_TRUE(announce(1).peers.empty());
  EXPECT_EQ(announce(2).peers, std::vector{peer_of(1)});
  for (int i = 3; i <= 40; ++i) announce(i);
  for (int asker : {1, 17, 40}) {
    const auto handout = announce(asker);
    EXPECT_EQ(handout.peers.size(), 39U);
    EXPECT_EQ(handout.peers_known, 39U);
    std::set<PeerId> ids;
    for (const auto& peer : handout.peers) ids.insert(peer.peer_id);
    EXPECT_EQ(ids.size(), 39U);
    EXPECT_FALSE(ids.contains(peer_of(asker).peer_id));
  }
}

TEST_F(Index, ASampleIsOfTheSizeAskedForWithoutDoublesAndReachesEveryone) {
  for (int i = 0; i < 300; ++i) announce(i);
  std::map<PeerId, int> seen;
  for (int round = 0; round < 600; ++round) {
    const auto handout = announce(7, false, 50);
    ASSERT_EQ(handout.peers.size(), 50U);
    std::set<PeerId> ids;
    for (const auto& peer : handout.peers) {
      ids.insert(peer.peer_id);
      ++seen[peer.peer_id];
    }
    ASSERT_EQ(ids.size(), 50U);
  }
  EXPECT_EQ(seen.size(), 299U);
  // 100 on average; 50 and 150 are more than five deviations away.
  for (const auto& [id, count] : seen) {
    EXPECT_GT(count, 50);
    EXPECT_LT(count, 150);
  }
}

TEST_F(Index, AnAnnounceChangesWhatIsKnownOfThePeer) {
  announce(1);
  EXPECT_EQ(announce(2).complete_known, 0U);
  announce(1, true);
  const auto handout = announce(2);
  EXPECT_EQ(handout.complete_known, 1U);
  EXPECT_TRUE(handout.peers.at(0).complete);
  EXPECT_EQ(index_->peers(), 2U);
}

TEST_F(Index, ALeecherThatFallsSilentIsGoneInMinutesASeederInHours) {
  announce(1);
  announce(2, true);
  clock_.now += minutes(3);
  EXPECT_EQ(announce(3).peers, std::vector{peer_of(2, true)});
  clock_.now += hours(6);
  EXPECT_TRUE(announce(4).peers.empty());
  for (int i = 0; i < 64; ++i) index_->sweep();
  EXPECT_EQ(index_->peers(), 1U);
  EXPECT_EQ(index_->torrents(), 1U);
}

TEST_F(Index, EachTorrentHasItsOwnPeers) {
  announce(1, false, 50, 1);
  EXPECT_TRUE(announce(2, false, 50, 2).peers.empty());
  EXPECT_EQ(announce(3, false, 50, 1).peers.size(), 1U);
}

TEST_F(Index, APeerIsQueuedOnceHoweverOftenItAnnounces) {
  for (int i = 0; i < 10; ++i) announce(1);
  auto batch = index_->take_batch(0, 64 * 1024);
  ASSERT_EQ(batch.size(), 1U);
  EXPECT_EQ(batch[0], record(1, false, minutes(2)));
  announce(1);
  EXPECT_TRUE(index_->take_batch(0, 64 * 1024).empty()) << "it is on its way";
  clock_.now += seconds(11);
  announce(1);
  EXPECT_EQ(index_->take_batch(0, 64 * 1024).size(), 1U) << "nobody heard of it";
}

TEST_F(Index, ACommittedRecordIsSuppressedForHalfItsTime) {
  announce(1);
  for (const auto& sent : index_->take_batch(0, 64 * 1024)) index_->committed(sent);
  clock_.now += seconds(59);
  announce(1);
  EXPECT_FALSE(index_->has_pending());
  clock_.now += seconds(2);
  announce(1);
  EXPECT_TRUE(index_->has_pending());
}

TEST_F(Index, AChangeIsQueuedAtOnce) {
  announce(1);
  for (const auto& sent : index_->take_batch(0, 64 * 1024)) index_->committed(sent);
  announce(1, true);
  const auto batch = index_->take_batch(0, 64 * 1024);
  ASSERT_EQ(batch.size(), 1U);
  EXPECT_TRUE(batch[0].complete);
  EXPECT_EQ(batch[0].ttl, hours(5));
}

TEST_F(Index, AFailedBatchIsQueuedAgainByTheNextAnnounce) {
  announce(1);
  index_->not_committed(index_->take_batch(0, 64 * 1024));
  EXPECT_FALSE(index_->has_pending());
  announce(1);
  EXPECT_TRUE(index_->has_pending());
}

TEST_F(Index, ABatchIsBounded) {
  for (int i = 0; i < 2000; ++i) announce(i);
  std::size_t records = 0;
  std::size_t batches = 0;
  while (index_->has_pending()) {
    const auto batch = index_->take_batch(0, 16 * 1024);
    EXPECT_LE(batch.size(), 256U);
    records += batch.size();
    ++batches;
  }
  EXPECT_EQ(records, 2000U);
  EXPECT_GE(batches, 8U);
}

TEST_F(Index, WhatTheLogSaysIsKnownAfterARestart) {
  index_->committed(record(1, true, hours(2)));
  index_->committed(record(2, false, minutes(1)));
  EXPECT_EQ(announce(3).peers.size(), 2U);
  clock_.now += minutes(2);
  EXPECT_EQ(announce(3).peers, std::vector{peer_of(1, true)});
  clock_.now += hours(2);
  EXPECT_TRUE(announce(4).peers.size() <= 1U);
}

TEST_F(Index, ARemovedRecordIsRemoved) {
  announce(1, true);
  index_->committed(record(1, true, Duration::zero()));
  EXPECT_TRUE(announce(2).peers.empty());
}

TEST_F(Index, WhatWasHeardHereSinceIsNotUndoneByTheLog) {
  announce(1, true);  // queued
  index_->committed(record(1, false, minutes(2)));
  EXPECT_TRUE(announce(2).peers.at(0).complete);
  // Another node's news about a peer that said nothing new here counts.
  index_->committed(record(1, true, hours(5)));
  index_->committed(record(1, false, minutes(2)));
  EXPECT_FALSE(announce(2).peers.at(0).complete);
}

TEST_F(Index, MemoryIsBoundedAndLeechersLongestSilentGoFirst) {
  PeerIndexOptions options;
  options.peers_max = 64 * 80;
  use(options);
  for (int i = 0; i < 20; ++i) announce(i, true);
  for (int i = 20; i < 5000; ++i) {
    clock_.now += std::chrono::milliseconds(1);
    announce(i);
  }
  EXPECT_LE(index_->peers(), 81U);
  const auto handout = announce(4999, false, 1000);
  EXPECT_EQ(handout.complete_known, 20U);
  std::set<PeerId> ids;
  for (const auto& peer : handout.peers) ids.insert(peer.peer_id);
  EXPECT_TRUE(ids.contains(peer_of(4998).peer_id));
  EXPECT_FALSE(ids.contains(peer_of(20).peer_id));
}

TEST_F(Index, WhatWaitsForTheLogIsBoundedAndSeedersArePreferred) {
  PeerIndexOptions options;
  options.pending_max = 100;
  use(options);
  for (int i = 0; i < 200; ++i) announce(i);
  for (int i = 200; i < 400; ++i) announce(i, true);
  const auto batch = index_->take_batch(0, 1u << 20);
  EXPECT_EQ(batch.size(), 100U);
  EXPECT_EQ(std::ranges::count_if(batch, [](const auto& one) { return one.complete; }), 50);
}

TEST_F(Index, LoopsAndTheApplyThreadMayUseItAtOnce) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      for (int i = 0; i < 2000; ++i) {
        announce(i % 200, i % 3 == 0, 50, i % 7);
        if (thread == 0) {
          for (const auto& sent : index_->take_batch(0, 4096)) index_->committed(sent);
          index_->sweep();
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(index_->torrents(), 7U);
  EXPECT_EQ(index_->peers(), 7U * 200U);
}

}  // namespace
}  // namespace kraken::tracker::test
