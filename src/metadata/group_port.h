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
  net::Task<StaleAnswer> query_stale(ShardId shard, std::string query, Duration deadline) override {
    KR_CO_TRY(auto answer, co_await node_.query_stale(shard, std::move(query), deadline));
    co_return StaleAnswer{std::move(answer.result), answer.index, answer.age};
  }

 private:
  group::Node& node_;
};

}  // namespace kraken::metadata
