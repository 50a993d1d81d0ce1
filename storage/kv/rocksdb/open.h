#pragma once
// The store on disk: one RocksDB, one column family per Family, with the options that keep an acknowledged write
// (consensus §2.4, 2.5). RocksDB's own headers are included here in .cc files alone.

#include <cstdint>
#include <filesystem>
#include <memory>

#include "storage/kv/store.h"

namespace kraken::kv {

struct RocksOptions {
  std::uint64_t block_cache_bytes = std::uint64_t{32} << 20;
  std::uint64_t write_buffers_bytes = std::uint64_t{64} << 20;  // all families together
  std::uint64_t wal_bytes_max = std::uint64_t{256} << 20;       // then quiet families are flushed
  bool read_only = false;                                       // for `kraken inspect`; nothing on disk is changed
  bool check_wal = true;
};

/// Opens, or creates (mode 0700), the store in `folder`. Before RocksDB touches it every log is walked strictly
/// (wal_check.h): damage gives kCorrupt with file, offset and what to do, and nothing is changed.
/// kConflict if another process has it open. Once open, a failed write or sync of the log, of MANIFEST or of a flush logs
/// an error and ends the process with code 70: what is on disk is then unknown, and only a start finds out.
Result<std::unique_ptr<Store>> open_rocksdb(const std::filesystem::path& folder, const RocksOptions& options);

}  // namespace kraken::kv
