#pragma once
// /repair: blobs to where the ring wants them, now, and how far that is; for `kraken -origin origin0 -repair`. Any node answers for
// the cluster: it asks every node, since each shard's leader repairs its own records.
//
//   POST /repair                                every node walks the shards that it leads, and scrubs its own store
//     {"epoch": 2, "cursor": "..", "unreachable": {"origin2": "why"}}
//   GET  /repair?cursor=..[&origin=origin0]     what happened since, and whether it is done; origin: of records that it owns or holds
//     {"epoch", "satisfied", "why", "cursor", "events": [{"origin", "content", "what": "repaired"|"deleted", "error": ""}],
//      "shards": {"total", "satisfied"}, "copies_left", "bytes_left", "let_go_left", "bytes_per_second", "eta_s", "without_copy",
//      "waits_for": [..]}
//   GET  /repair?plan=1[&origin=origin0]        what there is to do: {"steps": [{"content", "origin", "what", "bytes"}], "more"}
//   ..&scope=node                               this node alone
//
// Threads: handlers run on any loop. What Deps points to outlives the server.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/admin/status.h"

namespace kraken::blobs {
class Scrubber;
}
namespace kraken::tasks {
class Repair;
}

namespace kraken::admin {

struct RepairDeps {
  tasks::Repair* repair = nullptr;
  blobs::Scrubber* scrubber = nullptr;
  http::Client* client = nullptr;
  std::string self;
  std::function<std::vector<StatusMember>()> members;
  std::uint16_t admin_port = 14002;
  std::uint32_t shards = 128;  // data shards of the cluster
};

void add_repair_routes(http::Router& router, RepairDeps deps);

/// For /status: this node's share of the repair, and its last scrub, as a JSON object.
std::string repair_json(const tasks::Repair& repair, const blobs::Scrubber& scrubber);

}  // namespace kraken::admin
