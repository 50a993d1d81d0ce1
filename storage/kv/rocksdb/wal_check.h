#pragma once
// A strict walk of RocksDB's write-ahead logs and MANIFEST before RocksDB reads them.
//
// RocksDB's recovery takes some damage in a fragment's header for the end of the log and then serves a shorter history
// (consensus §2.5, measured on 7.8.3). Here, a fragment that is not valid is a torn write only if nothing valid follows it:
// not in this file, at whatever offset, and not in a later log. Else it is damage. Damage to the very last record cannot be
// told from a torn write. Format: docs/formats/wal.md.
// Threads: pure but for reading files. Reads every live log once; takes about a second per 500 MB.

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "src/base/error.h"

namespace kraken::kv {

struct WalScan {
  std::uint64_t records = 0;            // whole logical records
  std::uint64_t valid_bytes = 0;        // up to the end of the last whole record
  bool torn = false;                    // something that is not valid follows, and nothing valid follows that
  std::uint64_t torn_at = 0;
  bool damaged = false;                 // a fragment at damaged_at is not valid, and a valid one follows at valid_again_at
  std::uint64_t damaged_at = 0;
  std::uint64_t valid_again_at = 0;
};

/// One file's bytes, as they lie in `log`.
WalScan scan_log(std::string_view log);

/// A write that the last crash cut short.
struct TornTail {
  std::filesystem::path path;
  std::uint64_t valid_bytes = 0;
};

/// All logs of the store in `folder` and the MANIFEST that CURRENT names. kCorrupt names file and offset and says what to do.
/// A folder without a store is fine. Changes nothing.
Result<std::vector<TornTail>> check_wals(const std::filesystem::path& folder);

/// Cuts it off, durably. RocksDB would refuse a whole last fragment with a wrong checksum, which a power cut leaves too.
Result<> cut(const TornTail& tail);

}  // namespace kraken::kv
