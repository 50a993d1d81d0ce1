#pragma once
// The metadata's Port over this node's Raft groups. Threads: any. Lifetime: the node outlives it.

#include <utility>

#include "consensus/group/node.h"
#include "src/metadata/port.h"

namespace kraken::metadata {

class GroupPort final : public Port {
 public:
  explicit GroupPort(group::Node& node) : node_(node) {}

  net::Task<std::string> propose(ShardId shard, std::string command, Duration deadline) override {
    return node_.propose(shard, std::move(command), deadline);
  }
  net::Task<std::string> query(ShardId shard, std::string query, Read read, Duration deadline) override {
    const group::Read kind = read == Read::kLinearizable ? group::Read::kLinearizable : group::Read::kLocal;
    return node_.query(shard, std::move(query), kind, deadline);
  }

 private:
  group::Node& node_;
};

}  // namespace kraken::metadata
