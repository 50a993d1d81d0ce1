// One suite on both stores: what the interface promises.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "storage/kv/keys.h"
#include "storage/kv/memory/memory_store.h"
#include "storage/kv/rocksdb/open.h"

namespace kraken::kv {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "kr_store_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

Rows rows(const View& view, Family family, std::string_view from, std::string_view to, bool reverse) {
  Rows found;
  EXPECT_TRUE(view.scan(family, from, to, reverse, [&](std::string_view key, std::string_view value) {
    found.emplace_back(key, value);
    return true;
  }));
  return found;
}

void put(Store& store, Family family, std::string key, std::string value, Durability durability = Durability::kSynced) {
  Batch batch;
  batch.put(family, std::move(key), std::move(value));
  ASSERT_TRUE(store.write(batch, durability));
}

std::string key(std::uint16_t shard, std::string_view rest) { return shard_prefix(ShardId{shard}) + std::string(rest); }

enum class Kind { kMemory, kRocks };

class StoreSuite : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() == Kind::kMemory) {
      store_ = std::make_unique<MemoryStore>();
    } else {
      auto opened = open_rocksdb(folder_.path() / "db", {});
      ASSERT_TRUE(opened) << opened.error().to_string();
      store_ = std::move(*opened);
    }
  }
  /// A crash for memory, a clean reopening for RocksDB: synced batches must be there in both.
  void restart() {
    if (GetParam() == Kind::kMemory) {
      static_cast<MemoryStore&>(*store_).crash();
    } else {
      store_.reset();
      auto opened = open_rocksdb(folder_.path() / "db", {});
      ASSERT_TRUE(opened) << opened.error().to_string();
      store_ = std::move(*opened);
    }
  }
  Folder folder_;
  std::unique_ptr<Store> store_;
};

TEST_P(StoreSuite, ABatchIsAppliedInOrder) {
  Batch batch;
  batch.put(Family::kTag, "a", "1");
  batch.put(Family::kTag, "b", "2");
  batch.put(Family::kTag, "c", "3");
  batch.erase_range(Family::kTag, "a", "c");
  batch.put(Family::kTag, "b", "4");
  batch.erase(Family::kTag, "c");
  batch.put(Family::kBlob, "b", "other family");
  ASSERT_TRUE(store_->write(batch, Durability::kSynced));
  EXPECT_EQ(rows(*store_, Family::kTag, "", "", false), (Rows{{"b", "4"}}));
  EXPECT_EQ(store_->get(Family::kBlob, "b").value(), "other family");
  EXPECT_EQ(store_->get(Family::kTag, "a").value(), std::nullopt);
}

TEST_P(StoreSuite, ScansAreHalfOpenAndGoBothWays) {
  for (const char* name : {"a", "b", "c", "d"}) put(*store_, Family::kTask, name, name);
  EXPECT_EQ(rows(*store_, Family::kTask, "b", "d", false), (Rows{{"b", "b"}, {"c", "c"}}));
  EXPECT_EQ(rows(*store_, Family::kTask, "b", "d", true), (Rows{{"c", "c"}, {"b", "b"}}));
  EXPECT_EQ(rows(*store_, Family::kTask, "c", "", true), (Rows{{"d", "d"}, {"c", "c"}}));
  EXPECT_TRUE(rows(*store_, Family::kTask, "c", "c", false).empty());
  EXPECT_TRUE(rows(*store_, Family::kTask, "d", "a", false).empty());
}

TEST_P(StoreSuite, ASnapshotDoesNotMove) {
  put(*store_, Family::kTag, "a", "1");
  const auto snapshot = store_->snapshot();
  put(*store_, Family::kTag, "a", "2");
  put(*store_, Family::kTag, "b", "2");
  EXPECT_EQ(rows(*snapshot, Family::kTag, "", "", false), (Rows{{"a", "1"}}));
  EXPECT_EQ(snapshot->get(Family::kTag, "a").value(), "1");
}

TEST_P(StoreSuite, ASyncedWriteMakesTheBufferedOnesBeforeItDurable) {
  put(*store_, Family::kTag, "a", "1", Durability::kBuffered);
  put(*store_, Family::kRaft, "b", "2", Durability::kSynced);
  restart();
  EXPECT_EQ(store_->get(Family::kTag, "a").value(), "1");
  EXPECT_EQ(store_->get(Family::kRaft, "b").value(), "2");
}

TEST_P(StoreSuite, SyncsAreCounted) {
  const auto before = store_->statistics().syncs;
  put(*store_, Family::kTag, "a", "1", Durability::kBuffered);
  put(*store_, Family::kTag, "a", "1", Durability::kSynced);
  EXPECT_EQ(store_->statistics().syncs, before + 1);
}

TEST_P(StoreSuite, AnImportReplacesOneShardInEveryFamily) {
  put(*store_, Family::kTag, key(1, "old"), "x");
  put(*store_, Family::kTag, key(1, "z"), "x");
  put(*store_, Family::kTag, key(2, "stays"), "x");
  put(*store_, Family::kBlob, key(1, "old"), "x");
  put(*store_, Family::kRaft, key(1, "log1"), "x");
  put(*store_, Family::kRaft, key(1, "vote"), "x");
  auto import = store_->begin_import(ShardId{1});
  ASSERT_TRUE(import);
  ASSERT_TRUE((*import)->add(Family::kTag, key(1, "a"), "1"));
  ASSERT_TRUE((*import)->add(Family::kTag, key(1, "old"), "2"));
  ASSERT_TRUE((*import)->add(Family::kSession, key(1, "a"), "3"));
  EXPECT_EQ(store_->get(Family::kTag, key(1, "z")).value(), "x");
  Batch raft;
  raft.put(Family::kRaft, key(1, "snap"), "meta");
  raft.erase_range(Family::kRaft, key(1, "log"), key(1, "loh"));
  raft.put(Family::kRaft, key(1, "log0"), "kept");
  const auto committed = (*import)->commit(raft);
  ASSERT_TRUE(committed) << committed.error().to_string();
  import->reset();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(rows(*store_, Family::kTag, "", "", false),
              (Rows{{key(1, "a"), "1"}, {key(1, "old"), "2"}, {key(2, "stays"), "x"}}));
    EXPECT_TRUE(rows(*store_, Family::kBlob, "", "", false).empty());
    EXPECT_EQ(store_->get(Family::kSession, key(1, "a")).value(), "3");
    EXPECT_EQ(rows(*store_, Family::kRaft, "", "", false),
              (Rows{{key(1, "log0"), "kept"}, {key(1, "snap"), "meta"}, {key(1, "vote"), "x"}}));
    restart();
  }
  put(*store_, Family::kTag, key(1, "after"), "y");
  EXPECT_EQ(store_->get(Family::kTag, key(1, "after")).value(), "y");
}

TEST_P(StoreSuite, AnImportRefusesWhatDoesNotBelong) {
  auto import = store_->begin_import(ShardId{1});
  ASSERT_TRUE(import);
  EXPECT_EQ((*import)->add(Family::kTag, key(2, "a"), "1").error().code, Code::kInvalidArgument);
  EXPECT_EQ((*import)->add(Family::kRaft, key(1, "a"), "1").error().code, Code::kInvalidArgument);
  ASSERT_TRUE((*import)->add(Family::kTag, key(1, "b"), "1"));
  EXPECT_EQ((*import)->add(Family::kTag, key(1, "a"), "1").error().code, Code::kInvalidArgument);
  EXPECT_EQ((*import)->add(Family::kTag, key(1, "b"), "1").error().code, Code::kInvalidArgument);
  import->reset();
  EXPECT_TRUE(rows(*store_, Family::kTag, "", "", false).empty());
}

TEST_P(StoreSuite, AnExportGivesTheShardAndNoOther) {
  put(*store_, Family::kTag, key(1, "a"), "1");
  put(*store_, Family::kTag, key(2, "a"), "2");
  put(*store_, Family::kRaft, key(1, "a"), "3");
  put(*store_, Family::kSession, key(1, "b"), "4");
  std::vector<std::string> seen;
  ASSERT_TRUE(export_shard(*store_->snapshot(), ShardId{1}, [&](Family family, std::string_view, std::string_view value) {
    seen.push_back(std::string(name(family)) + "=" + std::string(value));
    return true;
  }));
  EXPECT_EQ(seen, (std::vector<std::string>{"tag=1", "session=4"}));
}

INSTANTIATE_TEST_SUITE_P(Both, StoreSuite, ::testing::Values(Kind::kMemory, Kind::kRocks),
                         [](const auto& kind) { return kind.param == Kind::kMemory ? "Memory" : "RocksDB"; });

TEST(MemoryStore, ACrashForgetsWhatWasNotSyncedAndKeepsAPrefix) {
  MemoryStore store;
  put(store, Family::kTag, "a", "1", Durability::kSynced);
  put(store, Family::kTag, "b", "2", Durability::kBuffered);
  put(store, Family::kTag, "c", "3", Durability::kBuffered);
  EXPECT_EQ(store.unsynced(), 2U);
  store.crash(1);
  EXPECT_EQ(rows(store, Family::kTag, "", "", false), (Rows{{"a", "1"}, {"b", "2"}}));
}

TEST(RocksStore, ASecondProcessIsRefusedAndAReaderIsNot) {
  const Folder folder;
  auto first = open_rocksdb(folder.path(), {});
  ASSERT_TRUE(first);
  put(**first, Family::kTag, "a", "1");
  auto second = open_rocksdb(folder.path(), {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  auto reader = open_rocksdb(folder.path(), {.read_only = true});
  ASSERT_TRUE(reader) << reader.error().to_string();
  EXPECT_EQ((*reader)->get(Family::kTag, "a").value(), "1");
  Batch batch;
  batch.put(Family::kTag, "b", "2");
  EXPECT_EQ((*reader)->write(batch, Durability::kSynced).error().code, Code::kUnsupported);
}

}  // namespace
}  // namespace kraken::kv
