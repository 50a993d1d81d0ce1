#include "storage/kv/rocksdb/wal_check.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include "src/base/file.h"
#include "src/base/rng.h"
#include "storage/kv/rocksdb/open.h"

namespace kraken::kv {
namespace {

namespace fs = std::filesystem;

constexpr int kRecords = 40;
constexpr int kLongRecord = 30;  // its fragments lie in three blocks

std::string bytes_of(const fs::path& path) { return file::read_all(path, 1U << 30).value(); }

void write_bytes(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// A store whose 40 synced records lie in its log alone, as after kill -9: copied while it is open.
class WalCheck : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "kr_wal_XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    auto store = open_rocksdb(root_ / "live", {}).value();
    Rng rng(1);
    for (int i = 0; i < kRecords; ++i) {
      Batch batch;
      // From a few bytes to more than a block, so that fragments of all four types occur; small in all, since the tests
      // below damage every bit of it.
      const std::size_t length = i == kLongRecord ? 48'000 : 50 + rng.below(1'600);
      std::string value;
      while (value.size() < length) value.push_back(static_cast<char>(rng.next()));
      batch.put(Family::kTag, "key" + std::to_string(i), value);
      ASSERT_TRUE(store->write(batch, Durability::kSynced));
    }
    copy_folder(root_ / "live", root_ / "image");
    for (const auto& entry : fs::directory_iterator(root_ / "image"))
      if (entry.path().extension() == ".log" && fs::file_size(entry.path()) > 0) log_ = entry.path().filename().string();
    image_ = bytes_of(root_ / "image" / log_);
  }
  void TearDown() override {
    std::error_code ec;
    fs::remove_all(root_, ec);
  }

  static void copy_folder(const fs::path& from, const fs::path& to) {
    fs::create_directories(to);
    for (const auto& entry : fs::directory_iterator(from))
      if (entry.path().filename() != "LOCK") fs::copy_file(entry.path(), to / entry.path().filename());
  }

  /// The store with `log` in place of its log: how many records it serves, or nothing if it does not open.
  std::optional<int> opened_with(std::string_view log) {
    const fs::path folder = root_ / "tried";
    fs::remove_all(folder);
    copy_folder(root_ / "image", folder);
    write_bytes(folder / log_, log);
    auto store = open_rocksdb(folder, {});
    if (!store) {
      error_ = store.error();
      return std::nullopt;
    }
    int found = 0;
    EXPECT_TRUE((*store)->scan(Family::kTag, "", "", false, [&](std::string_view, std::string_view) {
      ++found;
      return true;
    }));
    return found;
  }

  struct Fragment {
    std::size_t at, length;
  };
  std::vector<Fragment> fragments() const {
    std::vector<Fragment> all;
    std::size_t at = 0;
    while (at < image_.size()) {
      if (32768 - at % 32768 < 7) {
        at += 32768 - at % 32768;
        continue;
      }
      const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<std::uint8_t>(image_[i])); };
      all.push_back({at, byte(at + 4) | byte(at + 5) << 8});
      at += 7 + all.back().length;
    }
    return all;
  }

  fs::path root_;
  std::string log_;
  std::string image_;
  Error error_;
};

TEST_F(WalCheck, AnUndamagedLogIsReadWhole) {
  const WalScan scan = scan_log(image_);
  EXPECT_EQ(scan.records, static_cast<std::uint64_t>(kRecords));
  EXPECT_FALSE(scan.torn);
  EXPECT_GT(image_.size(), 2U * 32768);
  EXPECT_EQ(opened_with(image_), kRecords);
}

/// Every bit from byte `from` to byte `to` of `log` flipped, one at a time, each looked at by `check(scan, bit)`.
template <class Check>
void flip_each_bit(std::string log, std::size_t from, std::size_t to, const Check& check) {
  for (std::size_t bit = from * 8; bit < to * 8; ++bit) {
    const auto mask = static_cast<char>(1 << bit % 8);
    log[bit / 8] = static_cast<char>(log[bit / 8] ^ mask);
    check(scan_log(log), bit);
    if (::testing::Test::HasFatalFailure()) return;
    log[bit / 8] = static_cast<char>(log[bit / 8] ^ mask);
  }
}

// Every bit of every header and every payload, of all fragments but the last: damage, always, and at the right offset.
TEST_F(WalCheck, AnyFlippedBitBeforeTheLastFragmentIsRefused) {
  const auto all = fragments();
  std::set<char> types;
  for (const Fragment& fragment : all) types.insert(image_[fragment.at + 6]);
  ASSERT_EQ(types, (std::set<char>{1, 2, 3, 4})) << "whole, first, middle and last fragments";
  ASSERT_GT(image_.size(), 2U * 32768);
  std::size_t tried = 0;
  for (std::size_t i = 0; i + 1 < all.size(); ++i) {
    flip_each_bit(image_, all[i].at, all[i].at + 7 + all[i].length, [&](const WalScan& scan, std::size_t bit) {
      ASSERT_TRUE(scan.damaged) << "bit " << bit;
      ASSERT_EQ(scan.damaged_at, all[i].at) << "bit " << bit;
      ++tried;
    });
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(tried, 2U * 32768 * 8);
}

// A log that ends with a record of several fragments: damage to any of them but the last is still told.
TEST_F(WalCheck, AnyFlippedBitInAllButTheLastFragmentOfALongLastRecordIsRefused) {
  const auto all = fragments();
  std::size_t last = all.size() - 1;
  while (image_[all[last].at + 6] != 4) --last;
  const std::string log = image_.substr(0, all[last].at + 7 + all[last].length);
  std::size_t first = last;
  while (image_[all[first].at + 6] != 2) --first;
  ASSERT_GE(last - first, 2U);
  for (std::size_t i = first; i < last; ++i)
    flip_each_bit(log, all[i].at, all[i].at + 7, [&](const WalScan& scan, std::size_t bit) {
      ASSERT_TRUE(scan.damaged) << "bit " << bit;
      ASSERT_EQ(scan.damaged_at, all[i].at) << "bit " << bit;
    });
}

// What cannot be told: any damage to the very last fragment looks as a write that a power cut left unfinished, so the record
// it belongs to is cut off, although it may have been acknowledged. Nothing on this disk says more; the other replicas do.
TEST_F(WalCheck, AFlippedBitInTheVeryLastFragmentCannotBeToldFromATornWrite) {
  const Fragment last = fragments().back();
  flip_each_bit(image_, last.at, last.at + 7 + last.length, [&](const WalScan& scan, std::size_t bit) {
    ASSERT_FALSE(scan.damaged) << "bit " << bit;
    ASSERT_TRUE(scan.torn) << "bit " << bit;
    ASSERT_EQ(scan.valid_bytes, last.at) << "bit " << bit;
    ASSERT_EQ(scan.records, static_cast<std::uint64_t>(kRecords - 1)) << "bit " << bit;
  });
}

// A sample of the same through the front door: the store does not open, and never serves a shorter history. One bit of each
// field of each header, and of the payload's first and last byte.
TEST_F(WalCheck, ADamagedStoreDoesNotOpenAndSaysWhatToDo) {
  const auto all = fragments();
  for (std::size_t i = 0; i + 1 < all.size(); ++i) {
    const std::size_t end = (7 + all[i].length) * 8;
    for (const std::size_t bit : {std::size_t{3}, std::size_t{4 * 8 + 2}, std::size_t{5 * 8 + 1}, std::size_t{6 * 8},
                                  std::size_t{6 * 8 + 2}, std::size_t{7 * 8 + 5}, end - 4}) {
      std::string log = image_;
      const std::size_t at = all[i].at + bit / 8;
      log[at] = static_cast<char>(log[at] ^ static_cast<char>(1 << bit % 8));
      ASSERT_EQ(opened_with(log), std::nullopt) << "fragment " << i << " bit " << bit;
      ASSERT_EQ(error_.code, Code::kCorrupt);
      ASSERT_NE(error_.detail.find(log_), std::string::npos);
      ASSERT_NE(error_.detail.find("offset " + std::to_string(all[i].at)), std::string::npos);
      ASSERT_NE(error_.detail.find("kraken repair --set-aside --data " + (root_ / "tried").string()), std::string::npos);
    }
  }
}

TEST_F(WalCheck, ATornTailIsCutOff) {
  const std::size_t last = fragments().back().at;
  EXPECT_EQ(opened_with(image_.substr(0, image_.size() - 1)), kRecords - 1);
  EXPECT_EQ(opened_with(image_.substr(0, last + 3)), kRecords - 1);
  std::string garbage = image_;
  garbage[last + 20] = static_cast<char>(garbage[last + 20] ^ 1);
  EXPECT_EQ(opened_with(garbage), kRecords - 1);
  EXPECT_EQ(opened_with(image_ + std::string(5000, '\0')), kRecords);
}

TEST_F(WalCheck, AHoleOfZerosInTheMiddleIsDamage) {
  std::string log = image_;
  std::fill(log.begin() + 4096, log.begin() + 8192, '\0');
  EXPECT_TRUE(scan_log(log).damaged);
  EXPECT_EQ(opened_with(log), std::nullopt);
}

TEST_F(WalCheck, AnEarlierLogThatEndsTornBeforeALaterOneIsDamage) {
  const fs::path folder = root_ / "two";
  copy_folder(root_ / "image", folder);
  fs::remove(folder / log_);
  write_bytes(folder / "000004.log", image_.substr(0, image_.size() - 1));
  EXPECT_TRUE(check_wals(folder));
  write_bytes(folder / "000009.log", std::string(100, '\0'));
  EXPECT_TRUE(check_wals(folder));
  write_bytes(folder / "000012.log", image_);
  const auto refused = check_wals(folder);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  EXPECT_NE(refused.error().detail.find("000004.log"), std::string::npos);
  write_bytes(folder / "000004.log", image_);
  fs::remove(folder / "000009.log");
  EXPECT_TRUE(check_wals(folder));
}

TEST_F(WalCheck, ADamagedManifestIsRefused) {
  for (const auto& entry : fs::directory_iterator(root_ / "image")) {
    if (!entry.path().filename().string().starts_with("MANIFEST")) continue;
    std::string manifest = bytes_of(entry.path());
    manifest[6] = static_cast<char>(manifest[6] ^ 4);  // the type of its first fragment
    write_bytes(entry.path(), manifest);
  }
  EXPECT_EQ(check_wals(root_ / "image").error().code, Code::kCorrupt);
}

// Any bytes at all: no crash, no read past the end, and what is called valid is a prefix.
TEST_F(WalCheck, RandomBytesAreHandled) {
  Rng rng(3);
  for (int round = 0; round < 200; ++round) {
    std::string log = image_.substr(0, rng.below(5000));
    for (int i = 0; i < 50 && !log.empty(); ++i) log[rng.below(log.size())] = static_cast<char>(rng.next());
    const WalScan scan = scan_log(log);
    EXPECT_LE(scan.valid_bytes, log.size());
  }
}

}  // namespace
}  // namespace kraken::kv
