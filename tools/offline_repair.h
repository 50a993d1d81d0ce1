#pragma once
// The repair of blobs without a running node: compares the records in stopped nodes' metadata with the files in their blob
// folders and with the ring of a configuration, and, where asked, copies between the given folders what an owner lacks.
// The metadata is only read. A copied file is entered in its record by the node itself, when it starts and scrubs.
//
// Threads: one. Blocks on the disk.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "src/base/error.h"
#include "src/core/digest.h"
#include "src/core/store_id.h"
#include "src/ring/ring.h"

namespace kraken::tools {

/// One stopped node.
struct StoppedNode {
  std::string label;
  std::filesystem::path metadata;  // empty: this node's records are not read
  std::filesystem::path blobs;
};
/// "origin0=/var/lib/kraken/metadata,/var/lib/kraken/blobs"; "origin0=,/srv/blobs" without metadata.
Result<StoppedNode> parse_stopped_node(std::string_view text);

struct OfflineFinding {
  enum class Kind : std::uint8_t {
    kMissing,    // an owner without the file
    kWrongSize,  // a file that is not as long as its record says
    kSurplus,    // a file on a node that is no owner: it goes when the nodes run and every owner has it
    kUnnamed,    // a file that its record does not name: entered or let go when the node starts
    kNoRecord,   // a file without a record, in a shard whose records were read: removed when the node starts
  };
  Kind kind{};
  std::string label;
  Digest digest;
  std::uint64_t bytes = 0;
  std::string from;  // of kMissing and kWrongSize: a given node that has the file; empty: none
};
std::string_view name(OfflineFinding::Kind kind);

struct OfflineReport {
  std::uint64_t records = 0;
  std::uint64_t files = 0;
  std::uint16_t shards_read = 0;          // of `shards`, those that some given metadata has
  std::uint16_t shards = 0;
  std::uint64_t without_copy = 0;         // records whose file is in none of the folders and that only given nodes hold
  std::vector<OfflineFinding> findings;   // in order of digest
};

/// kConflict: a node runs on one of the folders. kInvalidArgument: no metadata was given. A label that is not in the ring owns
/// nothing, and its files may be copied from.
Result<OfflineReport> look_offline(const std::vector<StoppedNode>& nodes, const ring::Ring& ring, std::size_t max_replica);

/// Copies what kMissing and kWrongSize name, checking each SHA-256; `each` hears of every one.
Result<> copy_offline(const std::vector<StoppedNode>& nodes, const OfflineReport& report,
                      const std::function<void(const OfflineFinding&, const Result<>&)>& each);

}  // namespace kraken::tools
