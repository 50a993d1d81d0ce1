#include "tests/sim/whole/history.h"

#include <algorithm>

#include <fmt/format.h>

#include "src/base/codec.h"

namespace kraken::sim::whole {

using namespace metadata;
using raft::raw;
using state::Refusal;

namespace {

std::string key_of(ShardId shard, const Stamp& s) {
  Writer out;
  out.u16(shard.value()).raw(s.incarnation.view()).u64(s.boot_epoch).u64(s.session).u64(s.sequence);
  return std::move(out).take();
}

std::string tag_key(const Repository& repository, const TagName& tag) { return repository.str() + ":" + tag.str(); }

}  // namespace

uint64_t History::begin(Op op) {
  op.call = events_.now();
  ops_.push_back(std::move(op));
  return ops_.size();
}

void History::called(uint64_t id, ShardId shard, bool linearizable) {
  if (id == 0) return;
  Op& op = at(id);
  op.floor = floors_[shard.value()];
  op.linearizable = linearizable;
  op.stamp.clear();
}

void History::stamped(uint64_t id, ShardId shard, const Stamp& stamp) {
  if (id == 0) return;
  at(id).stamp = key_of(shard, stamp);
  by_stamp_.emplace(at(id).stamp, id);
}

void History::unstamped(uint64_t id) {
  if (id != 0) at(id).stamp.clear();
}

void History::answered(uint64_t id, ShardId shard, const std::string& result) {
  if (id == 0) return;
  Op& op = at(id);
  const auto found = executed_.find(op.stamp);
  if (found == executed_.end()) violated("15 durability", fmt::format("operation {} is acknowledged and not in the log", id));
  if (found->second.result != result) violated("15 durability", fmt::format("operation {} was told another result than the log's", id));
  if (found->second.index <= op.floor) violated("14 linearizable", fmt::format("operation {} took effect at {}, before it began", id, raw(found->second.index)));
  floors_[shard.value()] = std::max(floors_[shard.value()], found->second.index);
  op.stamp.clear();
  writes_++;
}

void History::refused(uint64_t id) {
  if (id == 0) return;
  Op& op = at(id);
  if (op.stamp.empty()) return;
  if (executed_.contains(op.stamp)) violated("15 durability", fmt::format("operation {} is refused and in the log", id));
  refused_.insert(op.stamp);
  op.stamp.clear();
}

void History::read_at(uint64_t id, ShardId shard, Index seen) {
  if (id == 0) return;
  Op& op = at(id);
  if (!op.linearizable) return;
  reads_++;
  if (seen < op.floor)
    violated("14 linearizable", fmt::format("a read of shard {} saw index {}, though {} was known before it began", shard.value(), raw(seen), raw(op.floor)));
  floors_[shard.value()] = std::max(floors_[shard.value()], seen);
}

void History::committed(ShardId shard, Index index, const group::Envelope& envelope, const Answer& answer, bool first) {
  if (envelope.kind != group::Envelope::Kind::kCommand || answer.verdict != group::Verdict::kApplied || !first) return;
  const std::string key = key_of(shard, envelope.stamp);
  if (refused_.contains(key)) violated("15 durability", fmt::format("entry {} of shard {} was refused to its client", raw(index), shard.value()));
  executed_.emplace(key, Executed{index, answer.result});
  if (shard == kSystemShard) return;  // membership.h looks at those
  const auto op = by_stamp_.find(key);
  check_command(shard, index, envelope, answer, op == by_stamp_.end() ? nullptr : &at(op->second));
}

void History::check_tag(const std::string& key, const Expectation& expect, const state::Outcome& outcome, std::optional<Tag> becomes, Op* op) {
  const auto found = tags_.find(key);
  const Tag* now = found == tags_.end() ? nullptr : &found->second;
  bool met = true;
  if (expect.kind == Expectation::Kind::kAbsent) met = now == nullptr;
  if (expect.kind == Expectation::Kind::kRevision) met = now != nullptr && now->revision == expect.revision;
  if (expect.kind == Expectation::Kind::kDigest) met = now != nullptr && now->digest == expect.digest;
  if (outcome.refusal == Refusal::kRevision) {
    if (met) violated("14 linearizable", fmt::format("a write of {} was refused though it was as expected", key));
    if (op != nullptr) {
      op->lost_race = true;
      op->met.reset();
      if (now != nullptr) op->met = now->digest;
    }
    return;
  }
  if (outcome.refusal == Refusal::kNoTag && now != nullptr) violated("14 linearizable", fmt::format("{} was said not to be there", key));
  if (!outcome.done()) return;
  if (!met) violated("14 linearizable", fmt::format("{} was written though it was not as expected", key));
  if (becomes) {
    tags_[key] = *becomes;
  } else {
    tags_.erase(key);
  }
  if (op == nullptr) return;
  op->executed = true;
  op->executed_revision = outcome.index;
}

void History::check_command(ShardId shard, Index index, const group::Envelope& envelope, const Answer& answer, Op* op) {
  const auto command = state::decode_command(envelope.command);
  const auto outcome = state::decode_outcome(answer.result);
  require(command.has_value() && outcome.has_value(), "15 durability", "a command or an outcome that does not decode");
  if (outcome->index != raw(index)) violated("16 sessions", "an outcome of another entry");
  if (const auto* put = std::get_if<state::PutManifest>(&*command)) {
    if (!put->tags.empty()) check_tag(tag_key(put->repository, put->tags[0]), put->expect, *outcome, Tag{put->manifest, raw(index)}, op);
  } else if (const auto* retag = std::get_if<state::Retag>(&*command)) {
    check_tag(tag_key(retag->repository, retag->tags[0]), retag->expect, *outcome, Tag{retag->manifest, raw(index)}, op);
  } else if (const auto* del = std::get_if<state::DeleteTag>(&*command)) {
    check_tag(tag_key(del->repository, del->tag), del->expect, *outcome, std::nullopt, op);
  } else if (std::holds_alternative<state::AddTask>(*command)) {
    if (outcome->done() && outcome->task_key) tasks_[{shard, outcome->task_key->id()}] = {*outcome->task_key, raw(index), std::nullopt};
  } else if (const auto* claim = std::get_if<state::ClaimTask>(&*command)) {
    const auto task = tasks_.find({shard, claim->task.id()});
    if (task == tasks_.end()) return;
    if (outcome->refusal == Refusal::kNoTask && task->second.key == claim->task) violated("17 tasks", fmt::format("task {} of shard {} is gone", claim->task.id(), shard.value()));
    auto& held = task->second.claim;
    if (outcome->done()) {
      if (claim->revision != task->second.revision) violated("17 tasks", fmt::format("task {} is claimed by somebody who had not read it", claim->task.id()));
      task->second.revision = raw(index);
      if (held && held->claimant != claim->claimant && held->until > outcome->now) violated("17 tasks", fmt::format("task {} is given to two", claim->task.id()));
      held = state::Claim{claim->claimant, outcome->now + claim->lasts};
    }
  } else if (const auto* finish = std::get_if<state::FinishTask>(&*command)) {
    const auto task = tasks_.find({shard, finish->task.id()});
    if (task == tasks_.end()) return;
    if (outcome->refusal == Refusal::kNoTask && task->second.key == finish->task) violated("17 tasks", fmt::format("task {} of shard {} is gone", finish->task.id(), shard.value()));
    if (!outcome->done()) return;
    if (finish->revision != task->second.revision) violated("17 tasks", fmt::format("task {} is finished by somebody who does not hold it", finish->task.id()));
    tasks_.erase(task);
  } else if (const auto* postpone = std::get_if<state::PostponeTask>(&*command)) {
    const auto task = tasks_.find({shard, postpone->task.id()});
    if (task == tasks_.end() || !outcome->done() || !outcome->task_key) return;
    if (postpone->revision != task->second.revision) violated("17 tasks", fmt::format("task {} is postponed by somebody who does not hold it", postpone->task.id()));
    task->second = {*outcome->task_key, raw(index), std::nullopt};
  } else if (const auto* commit = std::get_if<state::Commit>(&*command)) {
    if (!outcome->done()) return;
    const auto [it, fresh] = metainfo_.emplace(commit->digest, commit->metainfo);
    if (outcome->metainfo_differs != (it->second != commit->metainfo)) violated("18 metainfo", fmt::format("of {} changed", commit->digest.str()));
  }
}

const MetaInfo* History::metainfo(const Digest& digest) const {
  const auto found = metainfo_.find(digest);
  return found == metainfo_.end() ? nullptr : &found->second;
}

uint64_t History::unknown() const {
  uint64_t count = 0;
  for (const Op& op : ops_) count += op.unknown ? 1 : 0;
  return count;
}

void History::settle() const {
  std::map<Digest, uint64_t> values;
  const auto value_of = [&](const Digest& d) { return values.try_emplace(d, values.size() + 1).first->second; };
  std::map<std::string, std::vector<history::Event<history::RegisterOp>>> keys;
  for (const Op& op : ops_) {
    if (op.kind == Op::Kind::kOther) continue;
    history::Event<history::RegisterOp> e{.invoke = op.call.count(), .ret = op.ret && !op.unknown ? op.ret->count() : INT64_MAX - 1, .client = static_cast<int>(op.client), .op = {}};
    e.op.expect = op.expect;
    if (op.kind == Op::Kind::kRead) {
      if (op.unknown || !op.ret) continue;
      e.op.kind = history::RegisterOp::Kind::kRead;
      e.op.seen = op.seen ? value_of(*op.seen) : 0;
      e.op.revision = op.seen ? op.revision : 0;
    } else {
      e.op.kind = op.kind == Op::Kind::kWrite ? history::RegisterOp::Kind::kWrite : history::RegisterOp::Kind::kRemove;
      if (op.kind == Op::Kind::kWrite) e.op.value = value_of(op.value);
      if (op.unknown || !op.ret) {
        if (!op.executed) continue;  // it never happened, and never will
        e.op.revision = op.executed_revision;
      } else if (op.conflict) {
        e.op.result = history::RegisterOp::Result::kConflict;
        e.op.seen = op.seen ? value_of(*op.seen) : 0;
        e.op.revision = op.seen ? op.revision : 0;
      } else {
        if (!op.executed) violated("15 durability", fmt::format("a write of {} is acknowledged and not in the log", op.key));
        e.op.revision = op.executed_revision;
      }
    }
    keys[op.key].push_back(e);
  }
  for (const auto& [key, events] : keys) {
    searched_ += events.size();
    const auto report = history::check(history::RegisterModel{}, events, history::Budget{});
    if (report.verdict == history::Verdict::kIllegal) violated("14 linearizable", fmt::format("no order explains the {} operations on {}", events.size(), key));
    if (report.verdict == history::Verdict::kUnknown) violated("14 linearizable", fmt::format("the search over {} operations on {} did not end", events.size(), key));
  }
}

}  // namespace kraken::sim::whole
