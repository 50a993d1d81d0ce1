#include "consensus/group/apply_turn.h"

#include "consensus/group/mutants.h"

namespace kraken::group {

Result<std::optional<Answer>> ApplyTurn::apply(ShardId shard, const raft::Entry& entry) {
  AppliedState& at = progress_.at(shard);
  if (entry.index != at.index + 1)
    return fail(Code::kInternal, "entry {} follows {}", raft::raw(entry.index), raft::raw(at.index));
  at.index = entry.index;
  at.term = entry.term;
  step_.begin(at.digest, entry.index, entry.term);
  rows_.watch(&step_);
  auto answer = execute(shard, entry, at);
  rows_.watch(nullptr);
  at.digest = step_.end(at.now);
  return answer;
}

Result<std::optional<Answer>> ApplyTurn::execute(ShardId shard, const raft::Entry& entry, AppliedState& at) {
  if (entry.kind != raft::Kind::kData) return std::nullopt;
  KR_TRY(const Envelope envelope, decode_envelope(entry.data ? std::string_view(*entry.data) : std::string_view()));
  at.now += envelope.advance;
  const ApplyContext context{.shard = shard, .index = raft::raw(entry.index), .term = raft::raw(entry.term), .now = at.now};
  Sessions::Check check = sessions_.check(context, envelope, rows_);
  if (check.fresh) {
    check.answer.result = machine_.apply(context, envelope.command, rows_);
    sessions_.executed(context, envelope.stamp, check.answer.result, rows_);
  }
  return std::move(check.answer);
}

kv::Batch ApplyTurn::take_batch() {
  for (const auto& [shard, at] : progress_)
    if (!mutant(Mutant::kAppliedNotInBatch) || raft::raw(at.index) % 2 == 0)
      rows_.put(kv::Family::kSession, applied_key(shard), encode_applied(at));
  progress_.clear();
  return rows_.take_batch();
}

}  // namespace kraken::group
