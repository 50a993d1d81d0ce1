// Tasks and peers: commands that any shard takes.

#include "src/core/manifest.h"
#include "src/metadata/state/applier.h"
#include "src/metadata/state/mutants.h"

namespace kraken::metadata::state {
namespace {

using kv::Family;

// Expired peers that one batch removes at most, beside twice its own records: so the sweep keeps up with what comes in.
constexpr std::size_t kSweepRows = 16;

}  // namespace

TaskKey Applier::add_task(TaskRow row, Duration delay) {
  row.created = at_.now;
  row.revision = at_.index;
  row.failures = 0;
  row.error.clear();
  row.claim.reset();
  const TaskKey key{at_.now + delay, at_.index, ordinal_++};
  put_task(key, row);
  return key;
}

void Applier::put_task(const TaskKey& key, const TaskRow& row) {
  rows_.put(Family::kTask, keys::task(at_.shard, key), encode(row));
  if (key.due <= at_.now && !row.claim) tasks_due_ = true;
}

void Applier::erase_task(const TaskKey& key) { rows_.erase(Family::kTask, keys::task(at_.shard, key)); }

std::optional<TaskRow> Applier::task_at(const TaskKey& key, std::uint64_t revision) {
  auto row = read<TaskRow>(Family::kTask, keys::task(at_.shard, key));
  if (!row) {
    refuse(Refusal::kNoTask);
    return std::nullopt;
  }
  out_.task_key = key;
  out_.task = row;
  out_.task->digests.clear();  // an outcome stays small
  if (row->revision == revision || mutant(Mutant::kTaskIgnoresRevision)) return row;
  refuse(Refusal::kTaskRevision);
  return std::nullopt;
}

// A reference knows its verify task, so that removing the one removes the other.
void Applier::move_verify(const TaskRow& task, const TaskKey& from, std::optional<TaskKey> to) {
  if (task.kind != TaskKind::kVerifyRef) return;
  const std::string key = keys::ref(at_.shard, task.digest, {task.repository, task.manifest, task.push});
  const auto ref = read<RefRow>(Family::kRef, key);
  if (ref && ref->verify == from) rows_.put(Family::kRef, key, encode(RefRow{to}));
}

void Applier::on(const AddTask& command) {
  const TaskRow& task = command.task;
  if (task.target.size() > 1024 || task.digests.size() > kManifestReferencesMax + 1) return malformed("too large");
  if (task.kind == TaskKind::kVerifyRef) return malformed("verify tasks come with their reference");
  out_.task_key = add_task(task, command.delay);
}

void Applier::on(const ClaimTask& command) {
  if (command.claimant.empty() || command.claimant.size() > 255) return malformed("no claimant");
  auto row = task_at(command.task, command.revision);
  if (!row) return;
  if (row->claim && row->claim->claimant != command.claimant && row->claim->until > at_.now && !mutant(Mutant::kClaimIgnoresClaim))
    return refuse(Refusal::kTaskClaimed);
  row->claim = Claim{command.claimant, at_.now + command.lasts};
  row->revision = at_.index;
  put_task(command.task, *row);
  out_.task->claim = row->claim;
  out_.task->revision = row->revision;
}

void Applier::on(const FinishTask& command) {
  const auto row = task_at(command.task, command.revision);
  if (!row) return;
  erase_task(command.task);
  move_verify(*row, command.task, std::nullopt);
  out_.task_key.reset();
  out_.task.reset();
}

void Applier::on(const PostponeTask& command) {
  auto row = task_at(command.task, command.revision);
  if (!row) return;
  erase_task(command.task);
  row->claim.reset();
  row->revision = at_.index;
  if (!command.error.empty()) {
    ++row->failures;
    row->error = command.error.substr(0, kTaskErrorBytesMax);
  }
  const TaskKey key{at_.now + command.delay, command.task.index, command.task.ordinal};
  put_task(key, *row);
  move_verify(*row, command.task, key);
  out_.task_key = key;
  out_.task->claim.reset();
  out_.task->revision = row->revision;
  out_.task->failures = row->failures;
  out_.task->error = row->error;
}

void Applier::on(const PeerBatch& command) {
  if (command.records.size() > kPeerRecordsMax) return malformed("too many peers");
  for (const PeerRecord& record : command.records) {
    if (record.ip.size() > 255) return malformed("an address of more than 255 characters");
  }
  for (const PeerRecord& record : command.records) {
    const std::string key = keys::peer(at_.shard, record.infohash, record.peer_id);
    const PeerRow row{record.ip, record.port, record.complete, at_.now + record.lasts};
    if (record.lasts == Duration::zero())
      rows_.erase(Family::kPeer, key);
    else
      rows_.put(Family::kPeer, key, encode(row));
    peers_.push_back({record.infohash, record.peer_id, row});
  }
  sweep_peers(2 * command.records.size() + kSweepRows);
}

// Looks at the next `rows_max` peers from where the last sweep stopped, and starts again behind the last one.
void Applier::sweep_peers(std::size_t rows_max) {
  const keys::Range range = keys::peers(at_.shard);
  const std::string place_key = keys::peer_sweep(at_.shard);
  auto place = rows_.get(Family::kPeer, place_key);
  if (!place) unreadable(Family::kPeer, place_key, place.error());
  const std::string from = *place && **place >= range.from && **place < range.to ? **place : range.from;
  std::vector<std::string> expired;
  std::string next = range.from;
  std::size_t seen = 0;
  const auto scanned =
      rows_.scan(Family::kPeer, from, range.to, false, [&](std::string_view key, std::string_view value) {
        if (seen++ == rows_max) {
          next = key;
          return false;
        }
        const auto row = decode<PeerRow>(value);
        // Soft state: a row that does not decode is as good as expired.
        if (!row || row->expires <= at_.now) expired.emplace_back(key);
        return true;
      });
  if (!scanned) unreadable(Family::kPeer, from, scanned.error());
  for (const std::string& key : expired) rows_.erase(Family::kPeer, key);
  if (next != from) rows_.put(Family::kPeer, place_key, next);
}

}  // namespace kraken::metadata::state
