#include "src/metadata/state/machine.h"

#include "src/metadata/state/applier.h"
#include "src/metadata/state/mutants.h"

namespace kraken::metadata::state {
namespace {

// Tasks belong where their cause is: kinds below 16 to the digest's shard, the others to the repository's.
ShardId shard_of(const TaskRow& task, const Shards& shards) {
  return static_cast<std::uint8_t>(task.kind) < 16 ? shards.of(task.digest) : shards.of(task.repository);
}

bool belongs(const Command& command, ShardId shard, const Shards& shards) {
  if (const Digest* digest = sharded_by_digest(command)) return shards.of(*digest) == shard;
  if (const Repository* repository = sharded_by_repository(command)) return shards.of(*repository) == shard;
  if (const auto* add = std::get_if<AddTask>(&command)) return shard_of(add->task, shards) == shard;
  return true;
}

}  // namespace

std::string Machine::apply(const ApplyContext& context, std::string_view bytes, kv::Overlay& rows) {
  Outcome refused;
  refused.index = context.index;
  refused.now = context.now;
  const auto command = decode_command(bytes);
  if (!command) {
    refused.refusal = Refusal::kMalformed;
    refused.detail = command.error().detail;
    return encode(refused);
  }
  if (!belongs(*command, context.shard, shards_)) {
    refused.refusal = Refusal::kWrongShard;
    return encode(refused);
  }
  Applier applier(context, rows, rules_);
  Outcome outcome = applier.run(*command, bytes.size());
  if (mutant(Mutant::kNotDeterministic)) {
    static std::uint64_t applied_here = 0;
    if (++applied_here % 50 == 0) outcome.now += std::chrono::nanoseconds(1);
  }
  if (observer_ != nullptr && (!applier.peers().empty() || applier.tasks_due())) {
    News& news = news_[context.shard];
    news.now = context.now;
    news.tasks = news.tasks || applier.tasks_due();
    news.peers.insert(news.peers.end(), applier.peers().begin(), applier.peers().end());
  }
  return encode(outcome);
}

void Machine::applied(ShardId shard) {
  const auto at = news_.find(shard);
  if (at == news_.end()) return;
  const News news = std::move(at->second);
  news_.erase(at);
  if (!news.peers.empty()) observer_->peers_changed(shard, news.peers, news.now);
  if (news.tasks) observer_->tasks_added(shard);
}

void Machine::restored(ShardId shard, const kv::View& rows) {
  news_.erase(shard);
  if (observer_ != nullptr) observer_->restored(shard, rows);
}

}  // namespace kraken::metadata::state
