#pragma once
// The state machine as the group layer runs it. Threads: as group::StateMachine says.

#include "consensus/group/state_machine.h"
#include "src/metadata/state/machine.h"

namespace kraken::metadata {

class Machine final : public group::StateMachine {
 public:
  explicit Machine(Shards shards, state::Observer* observer = nullptr) : machine_(shards, observer) {}

  std::string apply(const group::ApplyContext& context, std::string_view command, kv::Overlay& rows) override {
    return machine_.apply({context.shard, context.index, context.now}, command, rows);
  }
  std::string query(ShardId shard, std::string_view query, const kv::View& rows, Duration now) const override {
    return machine_.query(shard, query, rows, now);
  }
  void applied(ShardId shard, std::uint64_t) override { machine_.applied(shard); }
  void restored(ShardId shard, const kv::View& rows) override { machine_.restored(shard, rows); }

 private:
  state::Machine machine_;
};

}  // namespace kraken::metadata
