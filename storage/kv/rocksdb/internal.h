#pragma once
// Shared by the .cc files of this folder; the only place besides them that knows RocksDB's headers.

#include <array>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include <rocksdb/db.h>

#include "storage/kv/store.h"

namespace kraken::kv::rocks {

inline rocksdb::Slice slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
inline std::string_view view(const rocksdb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

Error error_of(const rocksdb::Status& status, std::string_view what);

/// Logs an error and ends the process with code 70: what is on disk is not known, only a start finds out.
[[noreturn]] void die(const rocksdb::Status& status, std::string_view what);

/// What to do about damage in a store, as sentences for the end of an error.
std::string repair_advice(const std::filesystem::path& folder);

rocksdb::ColumnFamilyOptions family_options(Family family, const std::shared_ptr<rocksdb::Cache>& cache);

using Handles = std::array<rocksdb::ColumnFamilyHandle*, kFamilies>;

Result<std::unique_ptr<ShardImport>> begin_import(rocksdb::DB& db, const Handles& handles, ShardId shard,
                                                  const std::filesystem::path& folder);

}  // namespace kraken::kv::rocks
