// A disk that fails, or is full: what the store remembers, refuses and keeps free.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "src/base/clock.h"
#include "src/base/fatal.h"
#include "src/base/file.h"
#include "storage/kv/disk_guard.h"
#include "storage/kv/rocksdb/failed_exits.h"
#include "storage/kv/rocksdb/open.h"

namespace kraken::kv {
namespace {

namespace fs = std::filesystem;

class Disk : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "kr_disk_XXXXXX").string();
    root_ = ::mkdtemp(name.data());
  }
  void TearDown() override {
    std::error_code ec;
    fs::remove_all(root_, ec);
  }
  std::string why() const { return read_failed_exits(root_).value().back().why; }

  fs::path root_;
};

void end_here(const fs::path& folder) {
  auto exits = FailedExits::open(folder).value();
  end_process("store.failed", "cause=\"fdatasync: /data/000004.log: Input/output error\"");
}

// Forked without exec: the child has this thread alone.
class DiskDeath : public Disk {
 protected:
  void die_once() { EXPECT_EXIT(end_here(root_), ::testing::ExitedWithCode(70), "store.failed"); }
};

TEST_F(DiskDeath, TheThirdExitInARowKeepsTheNodeDownUntilToldOtherwise) {
  die_once();
  die_once();
  EXPECT_TRUE(check_failed_exits(root_));
  EXPECT_EQ(read_failed_exits(root_).value().size(), 2U);
  EXPECT_NE(why().find("000004.log"), std::string::npos);
  die_once();
  const auto refused = open_rocksdb(root_, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kIo);
  EXPECT_NE(refused.error().detail.find("Input/output error"), std::string::npos);
  EXPECT_NE(refused.error().detail.find("kraken repair --start-again --data " + root_.string()), std::string::npos);
  ASSERT_TRUE(forget_failed_exits(root_));
  EXPECT_TRUE(open_rocksdb(root_, {}));
}

TEST_F(DiskDeath, AnOrderlyStopBreaksTheRow) {
  die_once();
  die_once();
  { ASSERT_TRUE(open_rocksdb(root_, {})); }
  EXPECT_TRUE(read_failed_exits(root_).value().empty());
  die_once();
  EXPECT_TRUE(open_rocksdb(root_, {}));
}

TEST_F(Disk, ThreeExitsFarApartAreNoRow) {
  const std::int64_t now = std::chrono::duration_cast<std::chrono::seconds>(system_clock().wall().time_since_epoch()).count();
  const auto write = [&](std::int64_t apart) {
    std::string text;
    for (int i = 0; i < 3; ++i) {
      std::string slot = fmt::format("{} cause", now - apart + i * apart / 2);
      slot.resize(511, ' ');
      text += slot + "\n";
    }
    std::ofstream(root_ / "FAILED_EXITS", std::ios::binary) << text;
  };
  write(1000);
  EXPECT_TRUE(check_failed_exits(root_));
  write(500);
  EXPECT_FALSE(check_failed_exits(root_));
  std::ofstream(root_ / "FAILED_EXITS", std::ios::binary) << std::string(5000, 'x');
  EXPECT_TRUE(check_failed_exits(root_)) << "what cannot be read keeps nobody down";
}

/// A store with a table file, closed.
void make_store(const fs::path& folder) {
  auto store = open_rocksdb(folder, {}).value();
  for (int i = 0; i < 200; ++i) {
    Batch batch;
    batch.put(Family::kTag, fmt::format("key{:04}", i), std::string(100, static_cast<char>('a' + i % 26)));
    ASSERT_TRUE(store->write(batch, Durability::kSynced));
  }
  ASSERT_TRUE(store->flush());
}

fs::path file_with(const fs::path& folder, std::string_view part) {
  fs::path largest;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().find(part) != std::string::npos && (largest.empty() || fs::file_size(entry.path()) > fs::file_size(largest)))
      largest = entry.path();
  return largest;
}

void flip(const fs::path& path, std::size_t at) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(at));
  const char byte = static_cast<char>(file.get());
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(byte ^ 4));
}

TEST_F(Disk, AFlippedBitAnywhereInATableFileIsFoundAtStartAndNamed) {
  make_store(root_);
  const fs::path table = file_with(root_, ".sst");
  ASSERT_FALSE(table.empty());
  const std::size_t size = fs::file_size(table);
  ASSERT_GT(size, 10'000U);
  for (std::size_t at = 5; at < size; at += size / 40) {
    flip(table, at);
    const auto refused = open_rocksdb(root_, {});
    ASSERT_FALSE(refused) << "byte " << at;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << refused.error().detail;
    EXPECT_NE(refused.error().detail.find(table.filename().string()), std::string::npos) << refused.error().detail;
    EXPECT_NE(refused.error().detail.find("kraken repair --set-aside --data " + root_.string()), std::string::npos);
    flip(table, at);
  }
  EXPECT_TRUE(open_rocksdb(root_, {}));
}

// RocksDB reads MANIFEST itself, and forgives some damage at its end; what that record names would be lost.
TEST_F(Disk, AFlippedBitInTheLastRecordOfManifestLosesNothing) {
  make_store(root_);
  const fs::path manifest = file_with(root_, "MANIFEST");
  const std::size_t size = fs::file_size(manifest);
  std::size_t refused = 0, tried = 0;
  for (std::size_t at = size - 60; at < size; ++at) {
    const fs::path copy = root_.string() + ".copy";
    fs::remove_all(copy);
    fs::copy(root_, copy);
    flip(copy / manifest.filename(), at);
    const auto opened = open_rocksdb(copy, {});
    ++tried;
    if (!opened) {
      ++refused;
      EXPECT_EQ(opened.error().code, Code::kCorrupt) << opened.error().detail;
      EXPECT_NE(opened.error().detail.find("kraken repair --set-aside"), std::string::npos) << opened.error().detail;
    } else {
      std::size_t rows = 0;
      EXPECT_TRUE((*opened)->scan(Family::kTag, "", "", false, [&](std::string_view, std::string_view) { ++rows; return true; }));
      EXPECT_EQ(rows, 200U) << "byte " << at - size;
    }
    fs::remove_all(copy);
  }
  EXPECT_GT(refused, tried / 2);
}

TEST_F(Disk, AMissingFileIsNamed) {
  make_store(root_);
  for (const char* part : {".sst", "MANIFEST", "CURRENT"}) {
    const fs::path gone = file_with(root_, part);
    fs::rename(gone, root_.string() + ".kept");
    const auto refused = open_rocksdb(root_, {});
    ASSERT_FALSE(refused) << part;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << refused.error().detail;
    EXPECT_NE(refused.error().detail.find(gone.filename().string()), std::string::npos) << refused.error().detail;
    fs::rename(root_.string() + ".kept", gone);
  }
  EXPECT_TRUE(open_rocksdb(root_, {}));
}

TEST_F(Disk, WithEnoughRoomTheBallastIsLaidAndNothingIsFull) {
  DiskGuard guard({.folder = root_, .reserve_bytes = 1, .ballast_bytes = 1 << 20});
  const auto state = guard.look().value();
  EXPECT_FALSE(state.full);
  EXPECT_TRUE(state.ballast);
  EXPECT_EQ(fs::file_size(root_ / "BALLAST"), 1U << 20);
}

TEST_F(Disk, BelowTheReserveItIsFullAndBelowHalfOfItTheBallastIsGivenUp) {
  ASSERT_TRUE(DiskGuard({.folder = root_, .reserve_bytes = 1, .ballast_bytes = 1 << 20}).look());
  const std::uint64_t available = file::disk_space(root_).value().available_bytes;
  // Others write to this disk meanwhile: marks with a wide distance to what is free now.
  DiskGuard below({.folder = root_, .reserve_bytes = available + available / 2, .ballast_bytes = 1 << 20});
  auto state = below.look().value();
  EXPECT_TRUE(state.full);
  EXPECT_TRUE(state.ballast);
  EXPECT_FALSE(state.critical);
  DiskGuard far_below({.folder = root_, .reserve_bytes = available * 3, .ballast_bytes = 1 << 20});
  state = far_below.look().value();
  EXPECT_TRUE(state.full);
  EXPECT_FALSE(state.ballast);
  EXPECT_FALSE(state.critical);
  DiskGuard lost({.folder = root_, .reserve_bytes = available * 8, .ballast_bytes = 1 << 20});
  EXPECT_TRUE(lost.look().value().critical);
}

TEST_F(Disk, WithoutItsBallastTheDiskIsFullUntilItFitsAgain) {
  const std::uint64_t available = file::disk_space(root_).value().available_bytes;
  const std::uint64_t total = file::disk_space(root_).value().total_bytes;
  // The reserve is there, the ballast does not fit on top of it.
  const std::uint64_t ballast = total / 50;
  DiskGuard guard({.folder = root_, .reserve_bytes = available - ballast / 2, .ballast_bytes = ballast});
  const auto state = guard.look().value();
  EXPECT_TRUE(state.full);
  EXPECT_FALSE(state.ballast);
}

}  // namespace
}  // namespace kraken::kv
