#include "src/node/placement.h"

namespace kraken::node {

ring::Hash hash_of(const config::NodeConfig& config) {
  if (config.hashring.hash == "sha256") return ring::Hash::kSha256;
  return config.hashring.hash == "md5" ? ring::Hash::kMd5 : ring::Hash::kMurmur3;
}

Result<ring::Ring> ring_of(const config::NodeConfig& config) {
  KR_TRY(const auto members, config::members(config));
  std::vector<ring::Member> nodes;
  for (const auto& member : members) nodes.push_back({member.host, member.label, static_cast<double>(member.weight)});
  return ring::Ring::make(std::move(nodes), hash_of(config));
}

Result<ring::Ring> ring_of(const group::AdoptedRing& adopted, ring::Hash hash, std::vector<ring::Member>& leaving) {
  std::vector<ring::Member> active;
  for (const group::RingNode& node : adopted.nodes) (node.active() ? active : leaving).push_back({node.host, node.label, node.weight});
  return ring::Ring::make(std::move(active), hash, adopted.epoch);
}

std::vector<group::Member> group_members(const config::NodeConfig& config, const std::vector<config::Member>& members) {
  std::vector<group::Member> out;
  for (const auto& member : members) {
    out.push_back({.label = member.label, .host = member.host, .port = config.raft.port, .weight = static_cast<double>(member.weight)});
  }
  return out;
}

std::vector<std::string> order_members(std::span<const group::Member> members, std::string_view key, ring::Hash hash) {
  std::vector<ring::Node> nodes;
  for (const group::Member& member : members) nodes.push_back({member.label, member.weight});
  std::vector<std::string> out;
  for (const std::size_t i : ring::order(nodes, key, hash)) out.push_back(nodes[i].label);
  return out;
}

}  // namespace kraken::node
