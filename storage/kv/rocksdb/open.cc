#include "storage/kv/rocksdb/open.h"

#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include <rocksdb/cache.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/perf_level.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>

#include "src/base/assert.h"
#include "src/base/fatal.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "storage/kv/rocksdb/failed_exits.h"
#include "storage/kv/rocksdb/internal.h"
#include "storage/kv/rocksdb/wal_check.h"

namespace kraken::kv {
namespace rocks {

Error error_of(const rocksdb::Status& status, std::string_view what) {
  const Code code = status.IsCorruption()    ? Code::kCorrupt
                    : status.IsNoSpace()     ? Code::kDiskFull
                    : status.IsNotSupported() ? Code::kUnsupported
                                              : Code::kIo;
  return Error{code, fmt::format("{}: {}", what, status.ToString())};
}

void die(const rocksdb::Status& status, std::string_view what) {
  const std::string_view advice =
      status.IsNoSpace() ? "The disk is full: free some, then start the node again"
                         : "The outcome of this write is not known, so the process ends; a start reads what the disk has. If it "
                           "happens again, look at the disk (dmesg, smartctl)";
  end_process("store.failed", fmt::format("what=\"{}\" cause=\"{}\" {}", what, status.ToString(), advice));
}

std::string repair_advice(const std::filesystem::path& folder) {
  return fmt::format("This node does not start, since it would serve a shorter history than it acknowledged. The other nodes have "
                     "the data: `kraken repair --set-aside --data {}` moves the folder aside; then start the node with --replace, "
                     "and it is filled from them", folder.string());
}

rocksdb::ColumnFamilyOptions family_options(Family family, const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.format_version = 5;
  options.compression = rocksdb::kNoCompression;
  options.arena_block_size = 64 << 10;
  if (family == Family::kRaft) {
    // Written once, read after a restart or by a slow follower, then dropped by range.
    options.write_buffer_size = 8 << 20;
    options.max_write_buffer_number = 4;
    options.level0_slowdown_writes_trigger = 40;
    options.level0_stop_writes_trigger = 80;
  } else {
    options.write_buffer_size = 4 << 20;
    options.max_write_buffer_number = 3;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  }
  options.target_file_size_base = 16 << 20;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

namespace {

/// RocksDB counts every comparison of two keys for this thread, and nobody reads it.
void count_nothing() {
  thread_local const bool done = (rocksdb::SetPerfLevel(rocksdb::PerfLevel::kDisable), true);
  static_cast<void>(done);
}

class Listener final : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* status) override {
    using Reason = rocksdb::BackgroundErrorReason;
    const std::string_view what = reason == Reason::kFlush || reason == Reason::kFlushNoWAL ? "flush"
                                  : reason == Reason::kCompaction                           ? "compaction"
                                  : reason == Reason::kWriteCallback || reason == Reason::kMemTable
                                      ? "write of the log"
                                      : "write of MANIFEST";
    die(*status, what);
  }
};

Result<std::optional<std::string>> get(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* handle, std::string_view key,
                                       const rocksdb::Snapshot* snapshot) {
  count_nothing();
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  rocksdb::PinnableSlice value;
  const rocksdb::Status status = db.Get(options, handle, slice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) return std::unexpected(error_of(status, fmt::format("read of {}", handle->GetName())));
  return std::string(value.data(), value.size());
}

Result<> scan(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* handle, std::string_view from, std::string_view to,
              bool reverse, const rocksdb::Snapshot* snapshot, const View::Each& each) {
  if (!to.empty() && to <= from) return {};
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  const rocksdb::Slice lower = slice(from);
  const rocksdb::Slice upper = slice(to);
  options.iterate_lower_bound = &lower;
  if (!to.empty()) options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> next(db.NewIterator(options, handle));
  if (reverse) {
    next->SeekToLast();
  } else {
    next->SeekToFirst();
  }
  while (next->Valid()) {
    if (!each(view(next->key()), view(next->value()))) break;
    if (reverse) {
      next->Prev();
    } else {
      next->Next();
    }
  }
  if (!next->status().ok()) return std::unexpected(error_of(next->status(), fmt::format("scan of {}", handle->GetName())));
  return {};
}

/// Closes the database when the last view of it goes.
struct Database {
  std::unique_ptr<rocksdb::DB> db;
  Handles handles{};
  rocksdb::ColumnFamilyHandle* unused = nullptr;  // RocksDB's own "default"
  std::unique_ptr<FailedExits> failed_exits;      // null where it is open for reading alone
  ~Database() {
    if (!db) return;
    for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
    db->DestroyColumnFamilyHandle(unused);
    const rocksdb::Status status = db->Close();
    if (!status.ok()) log::warn("store.close", "status=\"{}\"", status.ToString());
    if (status.ok() && failed_exits) failed_exits->clear();
  }
};

class Snapshot final : public View {
 public:
  explicit Snapshot(std::shared_ptr<Database> database)
      : database_(std::move(database)), snapshot_(database_->db->GetSnapshot()) {}
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  ~Snapshot() override { database_->db->ReleaseSnapshot(snapshot_); }

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override {
    return rocks::get(*database_->db, database_->handles[raw(family)], key, snapshot_);
  }
  Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse,
                const Each& each) const override {
    return rocks::scan(*database_->db, database_->handles[raw(family)], from, to, reverse, snapshot_, each);
  }

 private:
  std::shared_ptr<Database> database_;
  const rocksdb::Snapshot* snapshot_;
};

class RocksStore final : public Store {
 public:
  RocksStore(std::shared_ptr<Database> database, std::filesystem::path folder, bool read_only)
      : database_(std::move(database)), folder_(std::move(folder)), read_only_(read_only) {}

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override {
    return rocks::get(*database_->db, database_->handles[raw(family)], key, nullptr);
  }
  Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse,
                const Each& each) const override {
    return rocks::scan(*database_->db, database_->handles[raw(family)], from, to, reverse, nullptr, each);
  }

  Result<> write(const Batch& batch, Durability durability) override {
    if (read_only_) return fail(Code::kUnsupported, "{} is open for reading alone", folder_.string());
    rocksdb::WriteBatch writes(batch.bytes() + batch.operations().size() * 16 + 64);
    for (const Batch::Operation& operation : batch.operations()) add(operation, writes);
    count_nothing();
    rocksdb::WriteOptions options;
    options.sync = durability == Durability::kSynced;
    const rocksdb::Status status = database_->db->Write(options, &writes);
    if (!status.ok()) die(status, "write");
    batches_.fetch_add(1, std::memory_order_relaxed);
    bytes_.fetch_add(batch.bytes(), std::memory_order_relaxed);
    if (options.sync) syncs_.fetch_add(1, std::memory_order_relaxed);
    return {};
  }

  std::unique_ptr<View> snapshot() const override { return std::make_unique<Snapshot>(database_); }

  Result<std::unique_ptr<ShardImport>> begin_import(ShardId shard) override {
    if (read_only_) return fail(Code::kUnsupported, "{} is open for reading alone", folder_.string());
    return rocks::begin_import(*database_->db, database_->handles, shard, folder_ / "import");
  }

  Result<> flush() override {
    if (read_only_) return {};
    std::vector<rocksdb::ColumnFamilyHandle*> all(database_->handles.begin(), database_->handles.end());
    const rocksdb::Status status = database_->db->Flush(rocksdb::FlushOptions(), all);
    if (!status.ok()) return std::unexpected(error_of(status, "flush"));
    return {};
  }

  Statistics statistics() const override {
    return {.syncs = syncs_.load(std::memory_order_relaxed),
            .batches = batches_.load(std::memory_order_relaxed),
            .bytes_written = bytes_.load(std::memory_order_relaxed)};
  }

 private:
  void add(const Batch::Operation& operation, rocksdb::WriteBatch& writes) const {
    rocksdb::ColumnFamilyHandle* handle = database_->handles[raw(operation.family)];
    rocksdb::Status status;
    switch (operation.kind) {
      case Batch::Kind::kPut:
        status = writes.Put(handle, slice(operation.key), slice(operation.value));
        break;
      case Batch::Kind::kErase:
        status = writes.Delete(handle, slice(operation.key));
        break;
      case Batch::Kind::kEraseRange:
        // RocksDB has no open end; no key of ours is longer than this or begins above it.
        if (operation.value.empty()) {
          status = writes.DeleteRange(handle, slice(operation.key), std::string(1024, '\xff'));
        } else if (operation.key < operation.value) {
          status = writes.DeleteRange(handle, slice(operation.key), slice(operation.value));
        }
        break;
    }
    KR_ASSERT(status.ok());
  }

  std::shared_ptr<Database> database_;
  std::filesystem::path folder_;
  bool read_only_;
  std::atomic<std::uint64_t> syncs_{0}, batches_{0}, bytes_{0};
};

rocksdb::DBOptions database_options(const RocksOptions& wanted) {
  rocksdb::DBOptions options;
  options.create_if_missing = !wanted.read_only;
  options.create_missing_column_families = !wanted.read_only;
  // Refuse a damaged log instead of serving what stands before the damage (consensus §2.5).
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.track_and_verify_wals_in_manifest = true;
  options.paranoid_checks = true;
  // Of whole table files, in MANIFEST: what check_tables compares.
  options.file_checksum_gen_factory = rocksdb::GetFileChecksumGenCrc32cFactory();
  // A failed sync is never repeated: the kernel may have dropped the pages and report success.
  options.max_bgerror_resume_count = 0;
  options.recycle_log_file_num = 0;
  options.enable_pipelined_write = false;
  options.unordered_write = false;
  options.max_total_wal_size = wanted.wal_bytes_max;
  options.avoid_unnecessary_blocking_io = true;
  options.bytes_per_sync = 1 << 20;
  options.max_background_jobs = 2;
  options.max_open_files = 512;
  options.skip_stats_update_on_db_open = true;
  options.enable_write_thread_adaptive_yield = false;  // two writers, and cores that others need
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  options.max_log_file_size = 1 << 20;
  options.keep_log_file_num = 4;
  return options;
}

Result<> make_private_folder(const std::filesystem::path& folder) {
  KR_CHECK(file::make_folders(folder));
  if (::chmod(folder.c_str(), 0700) != 0) return fail_errno(errno, fmt::format("chmod {}", folder.string()));
  return {};
}

/// The logs, MANIFEST and CURRENT, before RocksDB touches them; what the last crash cut short is cut off.
Result<> prepare_logs(const std::filesystem::path& folder, bool read_only) {
  KR_TRY(const std::vector<TornTail> tails, check_wals(folder));
  for (const TornTail& tail : tails) {
    if (read_only) break;
    log::warn("store.torn_tail", "file={} keeps={} bytes: the last write was cut short", tail.path.string(), tail.valid_bytes);
    KR_CHECK(cut(tail));
  }
  return {};
}

Error open_error(const rocksdb::Status& status, const std::filesystem::path& folder) {
  if (status.IsIOError() && status.ToString().find("/LOCK: ") != std::string::npos)
    return {Code::kConflict, fmt::format("{} is in use by another process; stop it first, or open it for reading alone", folder.string())};
  Error error = error_of(status, fmt::format("open {}", folder.string()));
  // A file that MANIFEST names and that is not there is damage too.
  const bool missing = (status.IsIOError() || status.IsCorruption()) && status.ToString().find("No such file") != std::string::npos;
  if (missing) {
    error.code = Code::kCorrupt;
    // RocksDB tries a table's older name last.
    for (std::size_t at = 0; (at = error.detail.find(".ldb", at)) != std::string::npos;) error.detail.replace(at, 4, ".sst");
  }
  if (error.code == Code::kCorrupt) error.detail += ". " + repair_advice(folder);
  return error;
}

/// Every table file against the checksum that MANIFEST has of it.
Result<> check_tables(rocksdb::DB& db, const std::filesystem::path& folder) {
  const rocksdb::Status status = db.VerifyFileChecksums(rocksdb::ReadOptions());
  if (status.ok()) return {};
  Error error = error_of(status, "a table file is damaged");
  error.code = Code::kCorrupt;
  error.detail += ". " + repair_advice(folder);
  return std::unexpected(std::move(error));
}

}  // namespace
}  // namespace rocks

Result<std::unique_ptr<Store>> open_rocksdb(const std::filesystem::path& folder, const RocksOptions& options) {
  std::unique_ptr<FailedExits> failed_exits;
  if (!options.read_only) {
    KR_CHECK(rocks::make_private_folder(folder));
    KR_CHECK(check_failed_exits(folder));
  }
  if (options.check_wal) KR_CHECK(rocks::prepare_logs(folder, options.read_only));
  if (!options.read_only) {
    std::error_code ec;
    std::filesystem::remove_all(folder / "import", ec);  // of an import that did not come to its end
    KR_TRY(failed_exits, FailedExits::open(folder));
  }

  rocksdb::DBOptions database = rocks::database_options(options);
  const auto cache = rocksdb::NewLRUCache(options.block_cache_bytes, 4);
  database.write_buffer_manager = std::make_shared<rocksdb::WriteBufferManager>(options.write_buffers_bytes);
  database.listeners.push_back(std::make_shared<rocks::Listener>());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  families.emplace_back(rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions());
  for (std::size_t i = 0; i < kFamilies; ++i)
    families.emplace_back(std::string(kFamilyNames[i]),
                          rocks::family_options(family_at(i), cache));

  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* raw_database = nullptr;
  const rocksdb::Status status =
      options.read_only ? rocksdb::DB::OpenForReadOnly(database, folder.string(), families, &handles, &raw_database)
                        : rocksdb::DB::Open(database, folder.string(), families, &handles, &raw_database);
  if (!status.ok()) {
    Error error = rocks::open_error(status, folder);
    // A disk that fails at start is one that fails: it counts as an exit in the row.
    if (error.code == Code::kIo && failed_exits) rocks::die(status, fmt::format("open {}", folder.string()));
    return std::unexpected(std::move(error));
  }
  auto opened = std::make_shared<rocks::Database>();
  opened->db.reset(raw_database);
  opened->unused = handles[0];
  for (std::size_t i = 0; i < kFamilies; ++i) opened->handles[i] = handles[i + 1];
  if (options.check_tables && !options.read_only) KR_CHECK(rocks::check_tables(*raw_database, folder));
  opened->failed_exits = std::move(failed_exits);
  return std::make_unique<rocks::RocksStore>(std::move(opened), folder, options.read_only);
}

}  // namespace kraken::kv
