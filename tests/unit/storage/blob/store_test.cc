#include "storage/blob/store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace kraken::blob {
namespace {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "kraken-blob-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    open();
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void open(std::uint64_t reserve_bytes = 0) {
    store_.reset();
    Options options{.path = folder_ / "blobs", .uploads_path = folder_ / "uploads", .reserve_bytes = reserve_bytes};
    options.window_bytes = 1u << 20;
    options.windows_max = 2;
    auto opened = Store::open(options);
    ASSERT_TRUE(opened) << opened.error().to_string();
    store_ = *std::move(opened);
  }
  static std::string bytes(std::size_t size) {
    std::string made(size, '\0');
    for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<char>(i % 251);
    return made;
  }
  void put(const std::string& content) {
    auto upload = store_->create_upload("put", 0);
    ASSERT_TRUE(upload);
    ASSERT_TRUE((*upload)->append(content));
    ASSERT_TRUE((*upload)->finish(Digest::of(content)));
    ASSERT_TRUE((*upload)->place());
  }
  void flip(const Digest& digest, std::uint64_t offset) {
    const auto fd = file::open(store_->path_of(digest), O_RDWR);
    ASSERT_TRUE(fd);
    char byte = 0;
    ASSERT_TRUE(file::read_at(fd->get(), {&byte, 1}, offset));
    byte = static_cast<char>(byte ^ 1);
    ASSERT_TRUE(file::write_at(fd->get(), {&byte, 1}, offset));
  }
  std::size_t uploads() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder_ / "uploads"), {}));
  }

  std::filesystem::path folder_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, AnUploadBecomesABlobWithItsSums) {
  const std::string content = bytes((5u << 20) + 17);
  const Digest digest = Digest::of(content);
  auto upload = store_->create_upload("a", content.size());
  ASSERT_TRUE(upload);
  for (std::size_t at = 0; at < content.size(); at += 700001) {
    ASSERT_TRUE((*upload)->append(std::string_view(content).substr(at, 700001)));
  }
  ASSERT_TRUE((*upload)->finish(digest));
  EXPECT_EQ((*upload)->piece_sums(4u << 20), make_metainfo(content, 4u << 20).piece_sums);
  EXPECT_FALSE(store_->has(digest));
  ASSERT_TRUE((*upload)->place());
  upload->reset();
  const auto blob = store_->open_blob(digest);
  ASSERT_TRUE(blob);
  EXPECT_EQ(blob->bytes, content.size());
  std::string read(content.size(), '\0');
  ASSERT_TRUE(file::read_at(blob->fd.get(), read, 0));
  EXPECT_EQ(read, content);
  EXPECT_EQ(store_->path_of(digest), folder_ / "blobs" / digest.hex().substr(0, 2) / digest.hex().substr(2, 2) / digest.hex());
  EXPECT_EQ(uploads(), 0U);
  EXPECT_EQ(store_->in_flight_bytes(), 0U);
}

TEST_F(StoreTest, AWrongDigestIsRefusedAndLeavesNothing) {
  auto upload = store_->create_upload("a", 0);
  ASSERT_TRUE(upload);
  ASSERT_TRUE((*upload)->append("hello"));
  const auto refused = (*upload)->finish(Digest::of("hellp"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kDigestMismatch);
  EXPECT_NE(refused.error().detail.find(Digest::of("hello").str()), std::string::npos);
  EXPECT_EQ((*upload)->append("more").error().code, Code::kConflict);
  upload->reset();
  EXPECT_EQ(uploads(), 0U);
  EXPECT_FALSE(store_->has(Digest::of("hello")));
}

TEST_F(StoreTest, TheEmptyBlobIsABlob) {
  put("");
  EXPECT_EQ(store_->size_of(Digest::of("")).value(), 0U);
  const auto blob = store_->open_blob(Digest::of(""));
  ASSERT_TRUE(blob);
  EXPECT_TRUE(store_->verify(*blob, make_metainfo("", 4u << 20), 0, 0));
}

TEST_F(StoreTest, LeftoverUploadsAreRemovedAtOpenAndTheIdStays) {
  const StoreId id = store_->id();
  EXPECT_TRUE(store_->id_is_new());
  put("kept");
  store_.reset();
  std::ofstream(folder_ / "uploads" / "half-done") << "bytes";
  open();
  EXPECT_EQ(uploads(), 0U);
  EXPECT_EQ(store_->id(), id);
  EXPECT_FALSE(store_->id_is_new());
  EXPECT_TRUE(store_->has(Digest::of("kept")));
}

TEST_F(StoreTest, ASecondProcessIsRefused) {
  const auto second = Store::open({.path = folder_ / "blobs", .uploads_path = folder_ / "uploads"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
}

TEST_F(StoreTest, NamesThatCouldLeaveTheFolderAreRefused) {
  using std::string_view_literals::operator""sv;
  for (const std::string_view name : {""sv, ".."sv, "."sv, "a/b"sv, "../x"sv, "a\0b"sv}) {
    EXPECT_EQ(store_->create_upload(name, 0).error().code, Code::kInvalidArgument) << name;
  }
}

TEST_F(StoreTest, WhatUploadsStillHaveToWriteCountsAsUsed) {
  const std::uint64_t free = file::disk_space(folder_)->available_bytes;
  ASSERT_GT(free, 64u << 20);
  EXPECT_EQ(store_->create_upload("big", free * 2).error().code, Code::kDiskFull);
  auto most = store_->create_upload("most", free - (free / 4));
  ASSERT_TRUE(most);
  EXPECT_EQ(store_->create_upload("second", free / 2).error().code, Code::kDiskFull);
  EXPECT_EQ(uploads(), 1U);
  most->reset();
  EXPECT_EQ(store_->in_flight_bytes(), 0U);
  EXPECT_TRUE(store_->create_upload("second", free / 2));
}

TEST_F(StoreTest, UploadsBelowTheReserveAreRefused) {
  open(1ULL << 60);
  EXPECT_EQ(store_->create_upload("y", 0).error().code, Code::kDiskFull);
}

TEST_F(StoreTest, ADamagedPieceIsFoundAndOnlyWhereItIsRead) {
  const std::string content = bytes(3u << 20);
  const MetaInfo metainfo = make_metainfo(content, 1u << 20);
  put(content);
  {
    const auto blob = store_->open_blob(metainfo.digest);
    ASSERT_TRUE(blob);
    EXPECT_TRUE(store_->verify(*blob, metainfo, 0, content.size()));
  }
  flip(metainfo.digest, (2u << 20) + 5);
  const auto blob = store_->open_blob(metainfo.digest);
  ASSERT_TRUE(blob);
  EXPECT_TRUE(store_->verify(*blob, metainfo, 0, 2u << 20));
  const auto found = store_->verify(*blob, metainfo, (2u << 20) - 1, 2);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kCorrupt);
  EXPECT_NE(found.error().detail.find("piece 2"), std::string::npos);

  ASSERT_TRUE(store_->set_aside(metainfo.digest));
  EXPECT_FALSE(store_->has(metainfo.digest));
  EXPECT_TRUE(std::filesystem::exists(store_->path_of(metainfo.digest).string() + ".damaged"));
  put(content);
  const auto again = store_->open_blob(metainfo.digest);
  ASSERT_TRUE(again);
  EXPECT_TRUE(store_->verify(*again, metainfo, 0, content.size()));
}

TEST_F(StoreTest, DecayThatChangesNoTimesIsFoundOnceTheFileIsDoubted) {
  const std::string content = bytes(1000);
  const MetaInfo metainfo = make_metainfo(content, 4u << 20);
  put(content);
  const auto blob = store_->open_blob(metainfo.digest);
  ASSERT_TRUE(blob);
  ASSERT_TRUE(store_->verify(*blob, metainfo, 0, 1000));
  // The sums are what changes here; to the store it is the same as bytes that decayed behind its back.
  MetaInfo other = metainfo;
  other.piece_sums[0] ^= 1;
  EXPECT_TRUE(store_->verify(*blob, other, 0, 1000));
  store_->doubt(metainfo.digest);
  EXPECT_EQ(store_->verify(*blob, other, 0, 1000).error().code, Code::kCorrupt);
}

TEST_F(StoreTest, AShortenedFileIsDamage) {
  const std::string content = bytes(1000);
  put(content);
  ASSERT_EQ(::truncate(store_->path_of(Digest::of(content)).c_str(), 999), 0);
  const auto blob = store_->open_blob(Digest::of(content));
  ASSERT_TRUE(blob);
  EXPECT_EQ(store_->verify(*blob, make_metainfo(content, 4u << 20), 0, 10).error().code, Code::kCorrupt);
}

TEST_F(StoreTest, ListsInOrderWithoutWhatIsDamaged) {
  std::vector<Digest> expected;
  for (const std::string content : {"a", "b", "c", "d"}) {
    put(content);
    expected.push_back(Digest::of(content));
  }
  put("bad");
  ASSERT_TRUE(store_->set_aside(Digest::of("bad")));
  std::ranges::sort(expected);
  std::vector<Digest> listed;
  ASSERT_TRUE(store_->list([&](const Digest& digest, std::uint64_t size) {
    EXPECT_EQ(size, 1U);
    listed.push_back(digest);
    return true;
  }));
  EXPECT_EQ(listed, expected);
  ASSERT_TRUE(store_->remove(expected[0]));
  EXPECT_EQ(store_->remove(expected[0]).error().code, Code::kNotFound);
}

}  // namespace
}  // namespace kraken::blob
