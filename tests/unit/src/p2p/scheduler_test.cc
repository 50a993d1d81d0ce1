#include "src/p2p/scheduler.h"

#include <gtest/gtest.h>

#include "tests/unit/src/p2p/test_peers.h"

namespace kraken::p2p::testing {
namespace {

struct Blob {
  explicit Blob(std::size_t bytes, std::uint64_t piece_length = 256 * 1024, std::uint64_t seed = 1)
      : content(random_blob(bytes, seed)), metainfo(make_metainfo(content, piece_length)), infohash(metainfo.infohash()) {}
  std::string content;
  MetaInfo metainfo;
  InfoHash infohash;
};

void offer(MemoryTracker& tracker, Peer& seeder, const Blob& blob, bool origin = true) {
  seeder.store.put(blob.metainfo, blob.content);
  seeder.is_origin = origin;
  tracker.know(blob.metainfo);
  tracker.add(blob.infohash, seeder.info(true));
}

TEST(Scheduler, FetchesABlobFromAnOriginAndLeavesItCompleteOnTheDisk) {
  MemoryTracker tracker;
  Peer origin(nullptr);
  Peer agent(&tracker);
  const Blob blob(10 * 256 * 1024 + 77);
  offer(tracker, origin, blob);
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle) << handle.error().to_string();
  auto done = agent.wait(*handle);
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(agent.store.read(blob.metainfo.digest), blob.content);
  const auto stats = agent.stats();
  EXPECT_EQ(stats.bytes_from_origins, blob.content.size());
  EXPECT_EQ(stats.bytes_from_peers, 0U);
  EXPECT_EQ(origin.stats().bytes_given, blob.content.size());
}

TEST(Scheduler, AnEmptyBlobIsCompleteAtOnce) {
  MemoryTracker tracker;
  Peer agent(&tracker);
  const Blob blob(0);
  tracker.know(blob.metainfo);
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle);
  EXPECT_TRUE(agent.wait(*handle));
}

TEST(Scheduler, WhatTheClusterDoesNotHaveIsNotFound) {
  MemoryTracker tracker;
  Peer agent(&tracker);
  auto handle = agent.download(Digest::of("nobody has it"));
  ASSERT_FALSE(handle);
  EXPECT_EQ(handle.error().code, Code::kNotFound);
}

TEST(Scheduler, ThreeAgentsExchangePiecesAndOriginsSendLessThanACopyEach) {
  MemoryTracker tracker;
  Peer first_origin(nullptr);
  Peer second_origin(nullptr);
  const Blob blob(96 * 64 * 1024, 64 * 1024);
  offer(tracker, first_origin, blob);
  offer(tracker, second_origin, blob);
  std::vector<std::unique_ptr<Peer>> agents;
  std::vector<std::shared_ptr<Download>> handles;
  for (int i = 0; i < 3; ++i) {
    agents.push_back(std::make_unique<Peer>(&tracker));
    auto handle = agents.back()->download(blob.metainfo.digest);
    ASSERT_TRUE(handle);
    handles.push_back(*handle);
  }
  std::uint64_t from_peers = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    auto done = agents[i]->wait(handles[i]);
    ASSERT_TRUE(done) << done.error().to_string();
    EXPECT_EQ(agents[i]->store.read(blob.metainfo.digest), blob.content);
    from_peers += agents[i]->stats().bytes_from_peers;
    EXPECT_EQ(agents[i]->stats().bytes_from_peers + agents[i]->stats().bytes_from_origins, blob.content.size());
  }
  RecordProperty("bytes_from_peers", static_cast<int>(from_peers));
  handles.clear();
}

TEST(Scheduler, AReaderGetsBytesInOrderWhileTheyArriveAndTheLastPieceAfterTheWholeWasVerified) {
  MemoryTracker tracker;
  Peer origin(nullptr);
  SchedulerOptions slow;
  slow.ingress_bytes_per_second = 4 << 20;
  Peer agent(&tracker, slow);
  const Blob blob(16 * 256 * 1024 + 5);
  offer(tracker, origin, blob);
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle);
  std::string got;
  int steps = 0;
  for (;;) {
    auto bytes = net::block_on(agent.loop.executor(), (*handle)->readable(got.size(), 30s));
    ASSERT_TRUE(bytes) << bytes.error().to_string();
    if (*bytes == 0) break;
    std::string part(*bytes, '\0');
    ASSERT_TRUE(file::read_at((*handle)->fd(), part, got.size()));
    if (got.size() + part.size() > blob.metainfo.piece_offset(16)) {
      EXPECT_TRUE((*handle)->complete());
    }
    got += part;
    ++steps;
  }
  EXPECT_EQ(got, blob.content);
  EXPECT_GT(steps, 2);
}

TEST(Scheduler, ADownloadGoesOnFromThePiecesThatAreHere) {
  MemoryTracker tracker;
  Peer origin(nullptr);
  Peer agent(&tracker);
  const Blob blob(8 * 64 * 1024, 64 * 1024);
  offer(tracker, origin, blob);
  Bitfield have(8);
  for (const std::uint32_t piece : {0U, 3U, 7U}) have.set(piece);
  std::string part(blob.content.size(), '\0');
  for (const std::uint32_t piece : {0U, 3U, 7U})
    part.replace(piece * 64 * 1024, 64 * 1024, blob.content, piece * 64 * 1024, 64 * 1024);
  agent.store.put_part(blob.metainfo, part, have, false);
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle);
  ASSERT_TRUE(agent.wait(*handle));
  EXPECT_EQ(agent.store.read(blob.metainfo.digest), blob.content);
  EXPECT_EQ(agent.stats().bytes_from_origins, 5U * 64 * 1024);
}

TEST(Scheduler, APeerThatSendsWrongBytesIsBannedAndTheDownloadCompletes) {
  MemoryTracker tracker;
  Peer liar(nullptr);
  Peer origin(nullptr);
  Peer agent(&tracker);
  const Blob blob(24 * 64 * 1024, 64 * 1024);
  offer(tracker, origin, blob);
  offer(tracker, liar, blob, false);
  liar.store.put(blob.metainfo, random_blob(blob.content.size(), 99));
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle);
  auto done = agent.wait(*handle);
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(agent.store.read(blob.metainfo.digest), blob.content);
  EXPECT_GE(agent.stats().bad_pieces, 1U);
  EXPECT_EQ(agent.stats().bytes_from_peers, 0U);
}

TEST(Scheduler, ABlobWhosePiecesMatchButNotItsDigestIsDiscardedAndNeverHandedOutWhole) {
  MemoryTracker tracker;
  Peer origin(nullptr);
  Peer agent(&tracker);
  Blob blob(5 * 64 * 1024, 64 * 1024);
  blob.metainfo.digest = Digest::of("another blob");
  blob.infohash = blob.metainfo.infohash();
  offer(tracker, origin, blob);
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle);
  auto done = agent.wait(*handle);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kDigestMismatch);
  auto last = net::block_on(agent.loop.executor(), (*handle)->readable(blob.metainfo.piece_offset(4), 1s));
  EXPECT_FALSE(last);
  EXPECT_FALSE((*handle)->complete());
}

TEST(Scheduler, AnOriginChecksAPieceBeforeItGivesItAndSaysWhenItIsDamaged) {
  MemoryTracker tracker;
  Peer damaged(nullptr);
  Peer sound(nullptr);
  Peer agent(&tracker);
  const Blob blob(6 * 64 * 1024, 64 * 1024);
  offer(tracker, sound, blob);
  offer(tracker, damaged, blob);
  auto torrent = damaged.store.put(blob.metainfo, random_blob(blob.content.size(), 5));
  torrent->checks = true;
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle);
  ASSERT_TRUE(agent.wait(*handle));
  EXPECT_GT(torrent->damage, 0);
  EXPECT_EQ(agent.stats().bad_pieces, 0U);
}

TEST(Scheduler, RemovingATorrentFailsItsDownloads) {
  MemoryTracker tracker;
  Peer agent(&tracker);
  const Blob blob(64 * 1024, 64 * 1024);
  tracker.know(blob.metainfo);
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle);
  ASSERT_TRUE(net::block_on(agent.loop.executor(), agent.scheduler->remove(blob.metainfo.digest)));
  auto done = agent.wait(*handle);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kCancelled);
}

TEST(Scheduler, ADownloadThatGetsNothingFailsAfterTheLeecherTti) {
  MemoryTracker tracker;
  SchedulerOptions impatient;
  impatient.leecher_tti = 300ms;
  Peer agent(&tracker, impatient);
  const Blob blob(64 * 1024, 64 * 1024);
  tracker.know(blob.metainfo);
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle);
  auto done = agent.wait(*handle);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnavailable);
}

TEST(Scheduler, SettingsCanBeReplacedInTheMiddleOfADownload) {
  MemoryTracker tracker;
  Peer origin(nullptr);
  SchedulerOptions slow;
  slow.ingress_bytes_per_second = 1 << 20;
  Peer agent(&tracker, slow);
  const Blob blob(64 * 64 * 1024, 64 * 1024);
  offer(tracker, origin, blob);
  auto handle = agent.download(blob.metainfo.digest);
  ASSERT_TRUE(handle);
  ASSERT_TRUE(eventually([&] { return agent.stats().bytes_from_origins > 0; }));
  SchedulerOptions fast;
  fast.swarm.refused_pause = 50ms;
  ASSERT_TRUE(net::block_on(agent.loop.executor(), agent.scheduler->reconfigure(fast)));
  auto done = agent.wait(*handle);
  ASSERT_TRUE(done) << done.error().to_string();
}

TEST(Scheduler, APortThatIsTakenIsAnErrorThatNamesIt) {
  Peer first(nullptr);
  net::Loop loop;
  net::FilePool pool(1, 16);
  FileStore store;
  SchedulerOptions options;
  options.port = first.scheduler->port();
  options.peer_id = random_peer_id();
  Scheduler second(loop, pool, options, store, nullptr);
  auto started = second.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kAlreadyExists);
}

}  // namespace
}  // namespace kraken::p2p::testing
