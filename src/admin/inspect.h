#pragma once
// What lies in a node's store, decoded for people: the same for a stopped node's folder (`kraken inspect --data`) and a
// running one's (GET /inspect on 14002). Reads only. Threads: any; may block on the disk, so off the loops.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/base/error.h"
#include "storage/kv/view.h"

namespace kraken::net {
class FilePool;
}
namespace kraken::http {
class Router;
}

namespace kraken::admin {

struct InspectRow {
  std::string key;        // decoded: "tag shard=7 library/app:v1"
  std::string value;      // decoded
  std::string key_hex;    // the bytes
  std::uint64_t value_bytes = 0;
};

struct InspectQuery {
  kv::Family family{};
  std::optional<kv::ShardId> shard;
  std::string prefix;            // of the decoded key, behind "<family> shard=<n> "; "" for all
  std::string after_hex;         // continue behind this key
  std::uint32_t limit = 100;     // at most kInspectRowsMax
};
inline constexpr std::uint32_t kInspectRowsMax = 10'000;

struct InspectPage {
  std::vector<InspectRow> rows;
  bool more = false;             // go on with after_hex = the last row's key_hex
};

struct FamilyCount {
  std::string family;
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;       // keys and values
};

/// kInvalidArgument with the names there are.
Result<kv::Family> parse_family(std::string_view name);

/// Every family with its number of rows; walks the whole store.
Result<std::vector<FamilyCount>> count_families(const kv::View& view);
Result<InspectPage> inspect(const kv::View& view, const InspectQuery& query);

struct LogEntry {
  std::uint64_t index = 0;
  std::uint64_t term = 0;
  std::string kind;       // "no_op", "data", "config"
  std::string text;       // the command, decoded
  std::uint64_t bytes = 0;
};
struct Vote {
  std::uint64_t term = 0;
  std::string voted_for;      // label, or empty
  std::uint64_t applied = 0;
  std::uint64_t first = 0, last = 0;  // of the log
  std::string snapshot;       // "index=.. term=.." or empty
};
/// Entries of a shard's log from `from` on (0: the first there is).
Result<std::vector<LogEntry>> inspect_log(const kv::View& view, kv::ShardId shard, std::uint64_t from, std::uint32_t limit);
Result<Vote> inspect_vote(const kv::View& view, kv::ShardId shard);

/// This node's incarnation, hexadecimal; empty before its first start.
Result<std::string> node_incarnation(const kv::View& view);

/// GET /inspect                                      {"families": [{family, rows, bytes}]}
/// GET /inspect?family=tag[&shard=7][&prefix=library/][&limit=100][&after=<hex>]   {"rows": [..], "more": bool}
/// GET /inspect/log?shard=7[&from=1][&limit=100]     {"entries": [..]}
/// GET /inspect/vote?shard=7
/// The store and the pool outlive the server.
void add_inspect_routes(http::Router& router, const kv::View& store, net::FilePool& pool);

/// The same answers as JSON text, for the routes and for `kraken inspect -o json`.
std::string families_json(const std::vector<FamilyCount>& families);
std::string page_json(const InspectPage& page);
std::string log_json(const std::vector<LogEntry>& entries);
std::string vote_json(const Vote& vote);

}  // namespace kraken::admin
