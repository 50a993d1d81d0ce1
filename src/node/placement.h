#pragma once
// From the configuration to the ring and the groups' members. Threads: pure functions.

#include <map>
#include <span>
#include <string>
#include <vector>

#include "config/load.h"
#include "consensus/group/node.h"
#include "src/base/error.h"
#include "src/ring/ring.h"

namespace kraken::node {

ring::Hash hash_of(const config::NodeConfig& config);
Result<ring::Ring> ring_of(const config::NodeConfig& config);
std::vector<group::Member> group_members(const config::NodeConfig& config, const std::vector<config::Member>& members);
/// The active nodes of an adopted ring; `leaving` gets the others.
Result<ring::Ring> ring_of(const group::AdoptedRing& adopted, ring::Hash hash, std::vector<ring::Member>& leaving);
/// Best labels first for a shard's key, as the groups want it.
std::vector<std::string> order_members(std::span<const group::Member> members, std::string_view key, ring::Hash hash);

}  // namespace kraken::node
