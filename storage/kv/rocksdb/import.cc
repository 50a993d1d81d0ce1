#include <algorithm>
#include <map>

#include <rocksdb/sst_file_writer.h>

#include "src/base/file.h"
#include "src/base/log.h"
#include "storage/kv/keys.h"
#include "storage/kv/rocksdb/internal.h"

namespace kraken::kv::rocks {
namespace {

/// One sorted table per family, each beginning with a range tombstone over the shard, ingested in one step. A table's
/// puts survive its own tombstone: ingestion gives both one sequence number, and a tombstone covers smaller ones only.
class Import final : public ShardImport {
 public:
  Import(rocksdb::DB& db, const Handles& handles, ShardId shard, std::filesystem::path folder)
      : db_(db), handles_(handles), shard_(shard), folder_(std::move(folder)) {}
  Import(const Import&) = delete;
  Import& operator=(const Import&) = delete;
  ~Import() override {
    writers_ = {};
    std::error_code ec;
    std::filesystem::remove_all(folder_, ec);
  }

  Result<> prepare() {
    std::error_code ec;
    std::filesystem::remove_all(folder_, ec);
    KR_CHECK(file::make_folders(folder_));
    const std::string from = shard_prefix(shard_);
    for (std::size_t i = 1; i < kFamilies; ++i) {
      KR_CHECK(open(family_at(i)));
      const rocksdb::Status status = writers_[i]->DeleteRange(from, after_prefix(from));
      if (!status.ok()) return std::unexpected(error_of(status, "import"));
    }
    return {};
  }

  Result<> add(Family family, std::string_view key, std::string_view value) override {
    if (family == Family::kRaft || raw(family) >= kFamilies)
      return fail(Code::kInvalidArgument, "import: family {} does not travel", raw(family));
    if (shard_of_key(key) != shard_) return fail(Code::kInvalidArgument, "import: a key of another shard");
    if (family < family_ || (family == family_ && !last_.empty() && key <= last_))
      return fail(Code::kInvalidArgument, "import: keys are not in order");
    const rocksdb::Status status = writers_[raw(family)]->Put(slice(key), slice(value));
    if (!status.ok()) return std::unexpected(error_of(status, "import"));
    family_ = family;
    last_ = key;
    return {};
  }

  Result<> commit(const Batch& raft) override {
    KR_CHECK(open(Family::kRaft));
    std::map<std::string_view, std::string_view> puts;
    rocksdb::SstFileWriter& table = *writers_[raw(Family::kRaft)];
    for (const Batch::Operation& operation : raft.operations()) {
      if (operation.kind == Batch::Kind::kPut) {
        puts.insert_or_assign(operation.key, operation.value);
        continue;
      }
      const rocksdb::Status status = table.DeleteRange(operation.key, operation.value);
      if (!status.ok()) return std::unexpected(error_of(status, "import"));
    }
    for (const auto& [key, value] : puts) {
      const rocksdb::Status status = table.Put(slice(key), slice(value));
      if (!status.ok()) return std::unexpected(error_of(status, "import"));
    }
    return ingest();
  }

 private:
  std::filesystem::path path_of(Family family) const { return folder_ / fmt::format("{}.sst", name(family)); }

  Result<> open(Family family) {
    rocksdb::Options options = db_.GetOptions(handles_[raw(family)]);
    auto& writer = writers_[raw(family)];
    writer = std::make_unique<rocksdb::SstFileWriter>(rocksdb::EnvOptions(), options, handles_[raw(family)]);
    const rocksdb::Status status = writer->Open(path_of(family).string());
    if (!status.ok()) return std::unexpected(error_of(status, "import"));
    return {};
  }

  Result<> ingest() {
    std::vector<rocksdb::IngestExternalFileArg> tables;
    for (std::size_t i = 0; i < kFamilies; ++i) {
      const rocksdb::Status status = writers_[i]->Finish();
      if (!status.ok()) return std::unexpected(error_of(status, "import"));
      rocksdb::IngestExternalFileArg table;
      table.column_family = handles_[i];
      table.external_files = {path_of(family_at(i)).string()};
      table.options.move_files = true;
      table.options.write_global_seqno = false;
      tables.push_back(std::move(table));
    }
    KR_CHECK(file::sync_folder(folder_));
    const rocksdb::Status status = db_.IngestExternalFiles(tables);
    if (!status.ok()) die(status, "ingest of a snapshot");
    return {};
  }

  rocksdb::DB& db_;
  const Handles& handles_;
  ShardId shard_;
  std::filesystem::path folder_;
  std::array<std::unique_ptr<rocksdb::SstFileWriter>, kFamilies> writers_;
  Family family_ = Family::kRaft;
  std::string last_;
};

}  // namespace

Result<std::unique_ptr<ShardImport>> begin_import(rocksdb::DB& db, const Handles& handles, ShardId shard,
                                                  const std::filesystem::path& folder) {
  auto import = std::make_unique<Import>(db, handles, shard, folder / std::to_string(shard.value()));
  KR_CHECK(import->prepare());
  return import;
}

}  // namespace kraken::kv::rocks
