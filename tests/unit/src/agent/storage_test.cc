#include "src/agent/storage.h"

#include <gtest/gtest.h>

#include <fcntl.h>

#include "tests/unit/src/p2p/test_peers.h"

namespace kraken::agent {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using p2p::testing::random_blob;
using p2p::testing::TemporaryFolder;

constexpr std::uint64_t kPiece = 4096;

class StorageTest : public ::testing::Test {
 protected:
  void open(Duration ttl = 24h) {
    auto opened = Storage::open({folder.path() / "download", folder.path() / "cache", 0, ttl, 24h}, pool);
    ASSERT_TRUE(opened) << opened.error().to_string();
    storage = *std::move(opened);
  }
  template <class T>
  Result<T> run(net::Task<T> task) {
    return net::block_on(loop.executor(), std::move(task));
  }
  fs::path part_folder() const { return where("download"); }
  fs::path cache_folder() const { return where("cache"); }
  fs::path where(const char* top) const {
    const std::string hex = metainfo.digest.hex();
    return folder.path() / top / hex.substr(0, 2) / hex.substr(2, 2) / hex;
  }
  void write_piece(p2p::Torrent& torrent, std::uint32_t piece) {
    const std::string_view bytes = std::string_view(blob).substr(metainfo.piece_offset(piece), metainfo.piece_bytes(piece));
    ASSERT_TRUE(file::write_at(torrent.fd(), bytes, metainfo.piece_offset(piece)));
    ASSERT_TRUE(torrent.mark(piece));
  }
  void download_all() {
    auto torrent = run(storage->create(metainfo));
    ASSERT_TRUE(torrent);
    for (std::uint32_t piece = 0; piece < metainfo.piece_count(); ++piece) write_piece(**torrent, piece);
    ASSERT_TRUE((*torrent)->finish());
  }
  static void flip(const fs::path& path, std::uint64_t offset) {
    auto fd = file::open(path, O_RDWR);
    ASSERT_TRUE(fd);
    std::string byte(1, '\0');
    ASSERT_TRUE(file::read_at(fd->get(), byte, offset));
    byte[0] = static_cast<char>(byte[0] ^ 1);
    ASSERT_TRUE(file::write_at(fd->get(), byte, offset));
  }

  TemporaryFolder folder;
  net::Loop loop{"test"};
  net::FilePool pool{1, 64};
  std::string blob = random_blob(5 * kPiece + 100, 8);
  MetaInfo metainfo = make_metainfo(blob, kPiece);
  std::unique_ptr<Storage> storage;
};

TEST_F(StorageTest, AKilledDownloadGoesOnFromThePiecesItHasAndDamagedOnesAreFetchedAgain) {
  open();
  {
    auto torrent = run(storage->create(metainfo));
    ASSERT_TRUE(torrent);
    for (const std::uint32_t piece : {0U, 2U, 5U}) write_piece(**torrent, piece);
  }
  storage.reset();  // no close(): killed
  flip(part_folder() / "data", 2 * kPiece + 7);
  open();
  auto torrent = run(storage->find(metainfo.digest, "ns"));
  ASSERT_TRUE(torrent) << torrent.error().to_string();
  const Bitfield have = (*torrent)->have();
  EXPECT_TRUE(have.test(0));
  EXPECT_FALSE(have.test(2));
  EXPECT_TRUE(have.test(5));
  EXPECT_EQ(have.count(), 2U);
  EXPECT_EQ((*torrent)->metainfo(), metainfo);
  EXPECT_FALSE((*torrent)->finished());
}

TEST_F(StorageTest, AfterACleanStopPiecesAreTakenAsMarked) {
  open();
  {
    auto torrent = run(storage->create(metainfo));
    ASSERT_TRUE(torrent);
    for (const std::uint32_t piece : {1U, 3U}) write_piece(**torrent, piece);
  }
  storage->close();
  open();
  EXPECT_FALSE(fs::exists(folder.path() / "cache" / "_clean"));
  auto torrent = run(storage->find(metainfo.digest, "ns"));
  ASSERT_TRUE(torrent);
  EXPECT_EQ((*torrent)->have().count(), 2U);
}

TEST_F(StorageTest, AFinishedBlobIsMovedToTheCacheInStocksLayout) {
  open();
  download_all();
  EXPECT_FALSE(fs::exists(part_folder()));
  EXPECT_TRUE(fs::exists(cache_folder() / "data"));
  EXPECT_EQ(file::read_all(cache_folder() / "_torrentmeta", 1 << 20).value(), metainfo.json());
  auto cached = run(storage->open_cached(metainfo.digest));
  ASSERT_TRUE(cached && *cached);
  EXPECT_EQ((*cached)->bytes, blob.size());
  auto torrent = run(storage->find(metainfo.digest, "ns"));
  ASSERT_TRUE(torrent);
  EXPECT_TRUE((*torrent)->finished());
  EXPECT_TRUE((*torrent)->have().all());
  EXPECT_EQ(storage->complete(), std::vector{metainfo.digest});
}

TEST_F(StorageTest, AWholeBlobIsVerifiedAfterAnUncleanStopAndForgottenIfItIsDamaged) {
  open();
  download_all();
  storage.reset();
  open();
  EXPECT_TRUE(storage->complete().empty());  // nothing unverified is announced
  auto cached = run(storage->open_cached(metainfo.digest));
  ASSERT_TRUE(cached && *cached);
  EXPECT_EQ(storage->complete().size(), 1U);
  storage.reset();
  flip(cache_folder() / "data", 3);
  open();
  cached = run(storage->open_cached(metainfo.digest));
  ASSERT_TRUE(cached);
  EXPECT_FALSE(*cached);
  EXPECT_FALSE(fs::exists(cache_folder()));
}

TEST_F(StorageTest, WhatWasNotVerifiedSinceAnUncleanStopStaysSuspectAcrossACleanOne) {
  open();
  download_all();
  storage.reset();
  open();
  storage->close();
  flip(cache_folder() / "data", 3);
  open();
  auto cached = run(storage->open_cached(metainfo.digest));
  ASSERT_TRUE(cached);
  EXPECT_FALSE(*cached);
}

TEST_F(StorageTest, ASmallBlobWithoutMetainfoIsServedButNotShared) {
  open();
  const Digest digest = Digest::of("small");
  ASSERT_TRUE(run(storage->put(digest, "small", nullptr)));
  auto cached = run(storage->open_cached(digest));
  ASSERT_TRUE(cached && *cached);
  auto torrent = run(storage->find(digest, "ns"));
  ASSERT_FALSE(torrent);
  EXPECT_EQ(torrent.error().code, Code::kNotFound);
  EXPECT_TRUE(storage->complete().empty());
  EXPECT_EQ(storage->cached_bytes(digest), 5U);
}

TEST_F(StorageTest, RemovingLeavesNothingAndRemovingNothingIsNoError) {
  open();
  download_all();
  ASSERT_TRUE(run(storage->remove(metainfo.digest)));
  EXPECT_FALSE(fs::exists(cache_folder()));
  EXPECT_FALSE(storage->cached_bytes(metainfo.digest));
  EXPECT_TRUE(run(storage->remove(metainfo.digest)));
}

TEST_F(StorageTest, BlobsNotUsedForTheirTimeAreCleaned) {
  open(1ns);
  download_all();
  auto gone = run(storage->clean());
  ASSERT_TRUE(gone);
  EXPECT_EQ(*gone, std::vector{metainfo.digest});
  EXPECT_FALSE(fs::exists(cache_folder()));
}

TEST_F(StorageTest, AWallClockThatJumpedCleansNothing) {
  open(1h);
  download_all();
  for (const time_t at : {time_t{1000}, time_t{4'000'000'000}}) {  // used long ago, or in the future, if the clock is to be believed
    const timespec times[2] = {{at, 0}, {at, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (cache_folder() / "data").c_str(), times, 0), 0);
    storage->close();
    open(1h);
    const auto gone = run(storage->clean());
    ASSERT_TRUE(gone);
    EXPECT_TRUE(gone->empty());
    EXPECT_TRUE(run(storage->open_cached(metainfo.digest)).value());
  }
}

TEST_F(StorageTest, AFullDiskRefusesWhatDoesNotFitBesideItsReserve) {
  auto opened = Storage::open({folder.path() / "download", folder.path() / "cache", UINT64_MAX / 4, 24h, 24h}, pool);
  ASSERT_TRUE(opened);
  storage = *std::move(opened);
  auto torrent = run(storage->create(metainfo));
  ASSERT_FALSE(torrent);
  EXPECT_EQ(torrent.error().code, Code::kDiskFull);
}

TEST_F(StorageTest, APartWhoseMetainfoIsDamagedIsDropped) {
  open();
  ASSERT_TRUE(run(storage->create(metainfo)));
  ASSERT_TRUE(file::replace(part_folder() / "_torrentmeta", "{"));
  auto torrent = run(storage->find(metainfo.digest, "ns"));
  ASSERT_FALSE(torrent);
  EXPECT_EQ(torrent.error().code, Code::kNotFound);
  EXPECT_FALSE(fs::exists(part_folder()));
}

}  // namespace
}  // namespace kraken::agent
