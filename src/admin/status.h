#pragma once
// /status: how this node and, through it, the cluster is, as JSON; and `/`, a page that shows it.
//
//   GET /status             every node of the cluster, asked by this one: 
//                           {"words", "nodes": [..], "summary": {total, leaders, without_leader},
//                            "repair": {epoch, shards_led, shards_satisfied, copies_left, bytes_left, let_go_left,
//                             bytes_per_second, eta_s, without_copy, waits_for},
//                            "shards": [{shard, leader, term, voters, learners, commit, lag, move}]}; lag: entries the slowest has
//                           to apply; move: {phase, to, from, behind, percent}, only while its replicas are on the way
//   POST /ring/replace?label=  takes the folder that knocks as that label in place of the one that is gone
//   POST /ring/adopt?force=true  for 30 s this node, if it leads group 0, adopts a new hashstate without waiting
//   GET /status?scope=node  this node alone: one element of "nodes", and "shards" as it sees them
//   GET /                   the status page
//   POST /raft/release?shard=N   this node's replica, which was fenced since its rows differ from others', serves again
//                           (docs/consensus.md "State digests"); 409 if it is not fenced
//
// A node that does not answer within a second is in the list with "up": false and why.
// Threads: handlers run on any loop. What Deps points to outlives the server.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/net/task.h"

namespace kraken::group {
class Node;
}
namespace kraken::http {
class Client;
class Router;
}  // namespace kraken::http

namespace kraken::admin {

struct StatusMember {
  std::string label;
  std::string host;
  double weight = 100;
};

struct SwarmSeen {
  std::size_t agents = 0;     // distinct peers that announced and have not expired
  std::size_t torrents = 0;
};

struct StatusDeps {
  group::Node* groups = nullptr;
  http::Client* client = nullptr;
  std::string self;                     // label
  std::function<std::vector<StatusMember>()> members;  // all nodes of the ring, this one too
  std::uint16_t admin_port = 14002;     // of every node
  std::size_t max_replica = 3;
  std::string version;
  std::string metadata_path;
  std::string blobs_path;
  std::string incarnation;              // hexadecimal
  std::string blob_store;               // hexadecimal
  std::vector<std::pair<std::string, std::uint16_t>> roles;  // name and port
  std::function<SwarmSeen()> swarm;     // unset: nothing seen
  std::function<std::size_t()> uploads; // in progress on this node
  std::function<std::string()> repair;  // repair_json of this node; unset: nothing
  MonotonicTime started{};
};

void add_status_routes(http::Router& router, StatusDeps deps);

/// What a cluster of so many nodes promises, in words: said at start and in /status (consensus §1.5).
std::string promise(std::size_t nodes, std::size_t max_replica);

/// The page at `/`.
std::string_view status_page();

}  // namespace kraken::admin
