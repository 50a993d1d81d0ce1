#include "src/admin/status.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "consensus/group/node.h"
#include "http/client.h"
#include "http/errors.h"
#include "http/router.h"
#include "src/admin/process.h"
#include "src/base/file.h"
#include "src/net/deadline.h"

namespace kraken::admin {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kAnswerBytesMax = 8 << 20;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

json disk(const std::string& path) {
  json out{{"path", path}};
  const auto space = file::disk_space(path);
  if (!space) {
    out["error"] = space.error().detail;
    return out;
  }
  out["total_bytes"] = space->total_bytes;
  out["free_bytes"] = space->available_bytes;
  return out;
}

std::string_view state_name(group::NodeState state) {
  return state == group::NodeState::kActive ? "active" : state == group::NodeState::kLeaving ? "leaving" : "dead";
}

json ring_status(const group::MembershipStatus& ring) {
  json nodes = json::array();
  for (const group::RingNode& node : ring.nodes)
    nodes.push_back({{"label", node.label}, {"host", node.host}, {"port", node.port}, {"weight", node.weight}, {"state", state_name(node.state)},
                     {"member", node.member}, {"incarnation", node.incarnation.hex()}});
  json out{{"cluster", ring.cluster}, {"epoch", ring.epoch}, {"settled", ring.settled}, {"satisfied", ring.satisfied}, {"shards", ring.shards},
           {"standing", ring.standing}, {"replicas", ring.replicas}, {"nodes", std::move(nodes)}};
  if (!ring.waits_for.empty()) out["waits_for"] = ring.waits_for;
  return out;
}

json shard_row(const group::ShardStatus& status) {
  json row{{"shard", status.shard.value()}, {"leader", status.leader}, {"voters", status.voters}, {"local", status.local}};
  if (!status.local) return row;
  row["is_leader"] = status.is_leader;
  if (!status.learners.empty()) row["learners"] = status.learners;
  if (!status.move.phase.empty())
    row["move"] = {{"phase", status.move.phase}, {"to", status.move.to}, {"from", status.move.from}, {"behind", status.move.behind}, {"percent", status.move.percent}};
  row["serving"] = status.serving;
  row["term"] = status.term;
  row["first"] = status.first;
  row["last"] = status.last;
  row["commit"] = status.commit;
  row["applied"] = status.applied;
  row["log_bytes"] = status.log_bytes;
  row["time_s"] = seconds(status.now);
  if (!status.digest.empty()) row["digest"] = {{"index", status.digest_index}, {"value", status.digest}};
  if (!status.fenced.empty()) row["fenced"] = status.fenced;
  if (status.leader_heard != Duration::max())
    row["leader_heard_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(status.leader_heard).count();
  return row;
}

/// This node, for itself and for the others that ask.
json local_status(const StatusDeps& deps) {
  const std::vector<StatusMember> members = deps.members();
  const auto own = std::ranges::find(members, deps.self, &StatusMember::label);
  json out{{"label", deps.self},
           {"host", own == members.end() ? "" : own->host},
           {"weight", own == members.end() ? 0 : own->weight},
           {"up", true},
           {"version", deps.version},
           {"incarnation", deps.incarnation},
           {"blob_store", deps.blob_store},
           {"uptime_s", seconds(system_clock().monotonic() - deps.started)}};
  const std::string waits_for = deps.groups->not_ready();
  out["ready"] = waits_for.empty();
  if (!waits_for.empty()) out["not_ready"] = waits_for;
  json roles = json::object();
  for (const auto& [name, port] : deps.roles) roles[name] = port;
  out["roles"] = std::move(roles);

  out["ring"] = ring_status(deps.groups->membership());

  const std::vector<group::ShardStatus> all = deps.groups->status();
  std::size_t local = 0;
  std::size_t led = 0;
  std::uint64_t lag = 0;
  std::uint64_t log_bytes = 0;
  json without_leader = json::array();
  json fenced = json::array();
  json rows = json::array();
  for (const group::ShardStatus& status : all) {
    local += status.local ? 1 : 0;
    led += status.is_leader ? 1 : 0;
    if (status.local) lag = std::max(lag, status.commit - std::min(status.commit, status.applied));
    log_bytes += status.log_bytes;
    if (status.leader.empty()) without_leader.push_back(status.shard.value());
    if (!status.fenced.empty()) fenced.push_back({{"shard", status.shard.value()}, {"why", status.fenced}});
    rows.push_back(shard_row(status));
  }
  out["groups"] = {{"total", all.size()},  {"local", local},         {"led", led},
                   {"lag_entries", lag},   {"log_bytes", log_bytes}, {"without_leader", std::move(without_leader)}};
  if (!fenced.empty()) out["fenced"] = std::move(fenced);
  json peers = json::array();
  for (const group::PeerStatus& peer : deps.groups->peers()) {
    json row{{"label", peer.label}, {"up", peer.up}};
    if (peer.heard != Duration::max()) row["heard_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(peer.heard).count();
    if (!peer.refused.empty()) row["refused"] = peer.refused;
    peers.push_back(std::move(row));
  }
  out["peers"] = std::move(peers);
  out["disk"] = {{"metadata", disk(deps.metadata_path)}, {"blobs", disk(deps.blobs_path)}};
  out["resident_bytes"] = resident_bytes();
  if (deps.uploads) out["uploads"] = deps.uploads();
  if (deps.repair) out["repair"] = json::parse(deps.repair());
  if (deps.swarm) {
    const SwarmSeen seen = deps.swarm();
    out["agents_seen"] = seen.agents;
    out["torrents_seen"] = seen.torrents;
  }
  out["shards"] = std::move(rows);
  return out;
}

json absent(const StatusMember& member, const std::string& why) {
  return {{"label", member.label}, {"host", member.host}, {"weight", member.weight}, {"up", false}, {"error", why}};
}

net::Task<std::string> fetch(http::Client& client, std::string host, std::uint16_t port) {
  http::ClientRequest request;
  request.host = std::move(host);
  request.port = port;
  request.target = "/status?scope=node";
  request.dial_timeout = std::chrono::seconds(1);
  request.timeout = std::chrono::seconds(1);
  request.idle_timeout = std::chrono::seconds(1);
  KR_CO_TRY(http::ClientResponse response, co_await client.send(std::move(request)));
  KR_CO_TRY(std::string body, co_await response.read_all(kAnswerBytesMax));
  if (response.status != 200) co_return std::unexpected(http::error_from(response.status, body, "status"));
  co_return body;
}

/// The shards as the nodes' answers have them. A leader is believed when it says so itself; else what its followers say
/// stands, since its node may be the one that did not answer.
json merge_shards(const std::vector<json>& nodes) {
  std::map<std::uint64_t, json> shards;
  for (const json& node : nodes) {
    if (!node.value("up", false)) continue;
    for (const json& row : node["shards"]) {
      const auto [it, is_new] = shards.try_emplace(row.value("shard", std::uint64_t{0}), json{});
      json& shard = it->second;
      if (is_new) shard = {{"shard", it->first}, {"leader", ""}, {"term", 0}, {"voters", row.value("voters", json::array())}, {"commit", 0}, {"lag", 0}};
      const std::uint64_t term = row.value("term", std::uint64_t{0});
      const bool newer = term > shard["term"].get<std::uint64_t>();
      if (!row.value("leader", "").empty() && (newer || shard["leader"].get<std::string>().empty() || row.value("is_leader", false))) {
        shard["leader"] = row["leader"];
      }
      // Only the leader knows who moves, and who really votes.
      if (row.value("is_leader", false)) {
        shard["voters"] = row["voters"];
        for (const char* what : {"learners", "move"})
          if (row.contains(what)) shard[what] = row[what];
      }
      if (newer) shard["term"] = term;
      shard["commit"] = std::max(shard["commit"].get<std::uint64_t>(), row.value("commit", std::uint64_t{0}));
    }
  }
  for (const json& node : nodes) {  // now that the highest commit is known
    if (!node.value("up", false)) continue;
    for (const json& row : node["shards"]) {
      if (!row.value("local", false)) continue;
      json& shard = shards[row.value("shard", std::uint64_t{0})];
      const std::uint64_t commit = shard["commit"];
      const std::uint64_t applied = row.value("applied", std::uint64_t{0});
      shard["lag"] = std::max(shard["lag"].get<std::uint64_t>(), commit - std::min(commit, applied));
    }
  }
  json out = json::array();
  for (auto& [number, shard] : shards) out.push_back(std::move(shard));
  return out;
}

json summary(const json& shards) {
  std::map<std::string, std::size_t> leaders;
  json without = json::array();
  for (const json& shard : shards) {
    if (shard["leader"].get<std::string>().empty()) {
      without.push_back(shard["shard"]);
    } else {
      ++leaders[shard["leader"].get<std::string>()];
    }
  }
  return {{"total", shards.size()}, {"leaders", leaders}, {"without_leader", std::move(without)}};
}

/// What the nodes have left to repair, summed.
json repair_summary(const std::vector<json>& nodes) {
  json out{{"epoch", 0}, {"shards_led", 0}, {"shards_satisfied", 0}, {"copies_left", 0}, {"bytes_left", 0}, {"let_go_left", 0},
           {"bytes_per_second", 0.0}, {"without_copy", 0}};
  std::set<std::string> waits_for;
  for (const json& node : nodes) {
    if (!node.value("up", false) || !node.contains("repair")) continue;
    const json& repair = node["repair"];
    out["epoch"] = std::max(out["epoch"].get<std::uint64_t>(), repair.value("epoch", std::uint64_t{0}));
    for (const char* key : {"shards_led", "shards_satisfied", "copies_left", "bytes_left", "let_go_left", "without_copy"}) {
      out[key] = out[key].get<std::uint64_t>() + repair.value(key, std::uint64_t{0});
    }
    out["bytes_per_second"] = out["bytes_per_second"].get<double>() + repair.value("bytes_per_second", 0.0);
    for (const json& label : repair.value("waits_for", json::array())) waits_for.insert(label.get<std::string>());
  }
  const double rate = out["bytes_per_second"];
  const double left = out["bytes_left"];
  if (rate > 0 && left > 0) out["eta_s"] = left / rate;
  out["waits_for"] = waits_for;
  return out;
}

net::Task<std::string> cluster_status(std::shared_ptr<const StatusDeps> deps) {
  std::vector<json> nodes;
  const std::vector<StatusMember> members = deps->members();
  for (const StatusMember& member : members) {
    if (member.label == deps->self) {
      nodes.push_back(local_status(*deps));
      continue;
    }
    auto text = co_await fetch(*deps->client, member.host, deps->admin_port);
    if (!text) {
      nodes.push_back(absent(member, text.error().detail));
      continue;
    }
    json node = json::parse(*text, nullptr, false);
    if (!node.is_object() || !node.contains("shards") || !node["shards"].is_array()) {
      nodes.push_back(absent(member, "its answer is not a status"));
      continue;
    }
    nodes.push_back(std::move(node));
  }
  json shards = merge_shards(nodes);
  for (json& node : nodes) node.erase("shards");
  const auto ring = deps->groups->ring();
  const auto active = static_cast<std::size_t>(std::ranges::count_if(ring->nodes, &group::RingNode::active));
  json out{{"words", promise(ring->epoch == 0 ? members.size() : active, deps->max_replica)},
           {"asked", deps->self},
           {"nodes", nodes},
           {"summary", summary(shards)},
           {"repair", repair_summary(nodes)},
           {"shards", std::move(shards)}};
  co_return out.dump(2) + "\n";
}

net::Task<void> answer_status(http::Exchange& exchange, std::shared_ptr<const StatusDeps> deps) {
  std::string body;
  if (exchange.request().query("scope").value_or("") == "node") {
    body = local_status(*deps).dump() + "\n";
  } else {
    KR_CO_TRY(body, co_await cluster_status(deps));
  }
  http::Headers headers{{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}};
  co_return co_await exchange.reply(200, std::move(headers), std::move(body));
}

net::Task<void> release(http::Exchange& exchange, std::shared_ptr<const StatusDeps> deps) {
  const std::string text = exchange.request().query("shard").value_or("");
  std::uint16_t shard = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), shard);
  if (text.empty() || ec != std::errc{} || end != text.data() + text.size()) co_return fail(Code::kInvalidArgument, "say which shard: ?shard=3\n");
  if (!deps->groups->release(kv::ShardId{shard})) co_return fail(Code::kConflict, "shard {} is not fenced on {}\n", shard, deps->self);
  co_return co_await exchange.reply(200, http::Headers{{"Content-Type", "text/plain; charset=utf-8"}}, fmt::format("{} serves shard {} again\n", deps->self, shard));
}

net::Task<void> replace(http::Exchange& exchange, std::shared_ptr<const StatusDeps> deps) {
  const std::string label = exchange.request().query("label").value_or("");
  if (label.empty()) co_return fail(Code::kInvalidArgument, "say which node: ?label=origin2\n");
  if (auto done = co_await deps->groups->replace(label); !done) {
    done.error().detail += '\n';
    co_return std::unexpected(std::move(done).error());
  }
  co_return co_await exchange.reply(200, http::Headers{{"Content-Type", "text/plain; charset=utf-8"}},
                                    fmt::format("{} is replaced: the new folder is in the ring, and is being filled (kraken status)\n", label));
}

net::Task<void> adopt(http::Exchange& exchange, std::shared_ptr<const StatusDeps> deps) {
  if (exchange.request().query("force").value_or("") != "true") co_return fail(Code::kInvalidArgument, "a ring is adopted by itself; say ?force=true to waive the waits\n");
  deps->groups->force_adoption();
  co_return co_await exchange.reply(200, http::Headers{{"Content-Type", "text/plain; charset=utf-8"}},
                                    fmt::format("{} waives the waits for 30 s\n", deps->self));
}

net::Task<void> answer_page(http::Exchange& exchange) {
  http::Headers headers{{"Content-Type", "text/html; charset=utf-8"},
                        {"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"}};
  co_return co_await exchange.reply(200, std::move(headers), std::string(status_page()));
}

}  // namespace

std::string promise(std::size_t nodes, std::size_t max_replica) {
  const std::size_t copies = std::min(nodes, max_replica);
  const std::string blobs = copies == 1 ? "each blob is on one disk" : fmt::format("each blob is on {} disks", copies);
  if (nodes == 1) {
    return "1 node: what was acknowledged survives a crash, not the loss of its disk; add two nodes for that";
  }
  if (nodes == 2) {
    return fmt::format(
        "2 nodes, 2 voters a shard: no write availability if either is down; what was acknowledged survives the loss of either disk; "
        "a third node changes that; {}",
        blobs);
  }
  if (nodes == 3) {
    return fmt::format(
        "3 nodes, 3 voters a shard: any one node may be down or lose its disk, and everything goes on with nothing acknowledged lost; {}", blobs);
  }
  return fmt::format(
      "{} nodes, 3 voters a shard, {} for the ring: any one node may be down or lose its disk, and everything goes on with nothing "
      "acknowledged lost; with two down, the shards that have both of them cannot be written; {}",
      nodes, nodes >= 5 ? 5 : 3, blobs);
}

void add_status_routes(http::Router& router, StatusDeps deps) {
  auto shared = std::make_shared<const StatusDeps>(std::move(deps));
  router.add(http::Method::kGet, "/status", [shared](http::Exchange& exchange) { return answer_status(exchange, shared); });
  router.add(http::Method::kPost, "/ring/replace", [shared](http::Exchange& exchange) { return replace(exchange, shared); });
  router.add(http::Method::kPost, "/ring/adopt", [shared](http::Exchange& exchange) { return adopt(exchange, shared); });
  router.add(http::Method::kPost, "/raft/release", [shared](http::Exchange& exchange) { return release(exchange, shared); });
  router.add(http::Method::kGet, "/", [](http::Exchange& exchange) { return answer_page(exchange); });
}

}  // namespace kraken::admin
