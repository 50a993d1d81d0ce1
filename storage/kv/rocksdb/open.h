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
  bool check_tables = true;  // unless read_only: reads all of them, about a second for 300 MB
};

/// Opens, or creates (mode 0700), the store in `folder`. Before RocksDB touches it every log is walked strictly
/// (wal_check.h), and then every table file is read and compared with its checksum (check_tables): damage gives kCorrupt with the file and
/// what to do, and no log or table is changed. kConflict if another process has it open; kIo if the disk ended the process
/// three times in a row (failed_exits.h). Once open, a failed write or sync of the log, of MANIFEST or of a flush ends the
/// process with code 70: what is on disk is then unknown, and only a start finds out.
Result<std::unique_ptr<Store>> open_rocksdb(const std::filesystem::path& folder, const RocksOptions& options);

}  // namespace kraken::kv
