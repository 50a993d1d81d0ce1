// The commands of the digest's shard: lifecycle §2, first table. Each handler checks every precondition before its
// first write, since an overlay has no way back.

#include <algorithm>

#include "src/metadata/state/applier.h"
#include "src/metadata/state/mutants.h"

namespace kraken::metadata::state {
namespace {

using kv::Family;

std::size_t good_holders(const BlobRow& row) {
  return static_cast<std::size_t>(std::ranges::count_if(row.holders, [](const Holder& h) { return !h.suspect; }));
}

bool good_holder_other_than(const BlobRow& row, const StoreId& store) {
  return std::ranges::any_of(row.holders, [&](const Holder& h) { return !h.suspect && h.store != store; });
}

// Enters it, or says that its copy is good again.
void add_holder(BlobRow& row, const Holder& holder) {
  auto at = std::ranges::lower_bound(row.holders, holder.store, {}, &Holder::store);
  if (at == row.holders.end() || at->store != holder.store) at = row.holders.insert(at, holder);
  at->label = holder.label;
  at->suspect = false;
}

void remove_holder(BlobRow& row, const StoreId& store) {
  std::erase_if(row.holders, [&](const Holder& h) { return h.store == store; });
}

void revive(BlobRow& row) {
  row.state = BlobState::kLive;
  row.condemned_at.reset();
}

bool legal(const Holder& holder) { return holder.label.size() <= 255; }

}  // namespace

std::optional<BlobRow> Applier::blob(const Digest& digest) const {
  return read<BlobRow>(Family::kBlob, keys::blob(at_.shard, digest));
}

void Applier::put_blob(const Digest& digest, BlobRow row) {
  rows_.put(Family::kBlob, keys::blob(at_.shard, digest), encode(row));
  out_.blob = std::move(row);
}

void Applier::erase_blob(const Digest& digest) {
  rows_.erase(Family::kBlob, keys::blob(at_.shard, digest));
  out_.blob.reset();
}

bool Applier::has_marks(const Digest& digest) const { return any(Family::kBlob, keys::marks(at_.shard, digest)); }

bool Applier::has_refs(const Digest& digest) const { return any(Family::kRef, keys::refs(at_.shard, digest)); }

void Applier::add_copy_if_short(const Digest& digest, const BlobRow& row, std::uint32_t owners) {
  const std::size_t good = good_holders(row);
  if (good == 0 || good >= owners) return;
  TaskRow task;
  task.kind = TaskKind::kCopy;
  task.digest = digest;
  add_task(std::move(task), Duration::zero());
}

void Applier::on(const Arrive& command) {
  auto row = blob(command.digest);
  if (!row) {
    row.emplace();
    row->generation = rules_.generation_never_repeats ? at_.index : 1;
  } else if (row->state == BlobState::kCondemned && rules_.arrive_revives) {
    revive(*row);
  }
  rows_.put(Family::kBlob, keys::mark(at_.shard, command.digest, command.push),
            encode(MarkRow{at_.now + command.mark_for}));
  put_blob(command.digest, *std::move(row));
}

void Applier::on(const Commit& command) {
  if (command.holders.empty() || command.holders.size() > kHoldersMax) return malformed("no holders, or too many");
  if (!std::ranges::all_of(command.holders, legal)) return malformed("a holder's label is too long");
  if (command.metainfo.digest != command.digest) return malformed("metainfo of another blob");
  if (command.metainfo.piece_sums.size() > kPiecesMax) return refuse(Refusal::kTooLarge);
  if (auto checked = command.metainfo.check(); !checked) {
    if (checked.error().code == Code::kTooLarge) return refuse(Refusal::kTooLarge);
    return malformed(checked.error().detail);
  }

  auto row = blob(command.digest);
  out_.blob = row;
  const std::string mark = keys::mark(at_.shard, command.digest, command.push);
  if (rules_.commit_needs_mark) {
    if (!read<MarkRow>(Family::kBlob, mark)) return refuse(Refusal::kNoMark);
    if (!row) return refuse(Refusal::kNoRecord);
  } else if (!row) {
    row.emplace();
    row->generation = command.generation;
  }
  if (rules_.commit_needs_generation && row->generation != command.generation) return refuse(Refusal::kWrongGeneration);
  if (row->state == BlobState::kCondemned) return refuse(Refusal::kWrongState);
  for (const Holder& holder : command.holders) add_holder(*row, holder);
  if (row->holders.size() > kHoldersMax) return malformed("too many holders");

  row->state = BlobState::kLive;
  const std::string metainfo_key = keys::metainfo(at_.shard, command.digest);
  const MetainfoRow ours = MetainfoRow::of(command.metainfo);
  if (const auto there = read<MetainfoRow>(Family::kMetainfo, metainfo_key); there && !mutant(Mutant::kMetainfoOverwritten)) {
    out_.metainfo_differs = *there != ours;
    row->size = there->length;
  } else {
    rows_.put(Family::kMetainfo, metainfo_key, encode(ours));
    row->size = ours.length;
  }
  rows_.put(Family::kBlob, mark, encode(MarkRow{at_.now + command.mark_for}));
  if (command.write_back) {
    TaskRow task;
    task.kind = TaskKind::kWriteBackBlob;
    task.digest = command.digest;
    task.target = *command.write_back;
    add_task(std::move(task), Duration::zero());
  }
  add_copy_if_short(command.digest, *row, command.owners);
  put_blob(command.digest, *std::move(row));
}

void Applier::on(const Renew& command) {
  auto row = blob(command.digest);
  out_.blob = row;
  if (!row) return refuse(Refusal::kNoRecord);
  if (row->state != BlobState::kCondemned) return refuse(Refusal::kWrongState);
  if (rules_.renew_revives) revive(*row);
  put_blob(command.digest, *std::move(row));
}

void Applier::on(const Expire& command) {
  const auto row = blob(command.digest);
  out_.blob = row;
  const std::string key = keys::mark(at_.shard, command.digest, command.push);
  const auto mark = read<MarkRow>(Family::kBlob, key);
  if (!mark) return refuse(Refusal::kNoMark);
  if (mark->deadline > at_.now) return refuse(Refusal::kMarkNotDue);
  rows_.erase(Family::kBlob, key);
  if (row && row->state == BlobState::kArriving && !has_marks(command.digest)) erase_blob(command.digest);
}

void Applier::on(const AddRef& command) {
  if (command.ref.repository.str().empty()) return malformed("no repository");
  auto row = blob(command.digest);
  out_.blob = row;
  if (rules_.add_ref_needs_record) {
    if (!row) return refuse(Refusal::kNoRecord);
    if (row->state == BlobState::kArriving) return refuse(Refusal::kWrongState);
    if (row->state == BlobState::kCondemned && !rules_.add_ref_revives) return refuse(Refusal::kWrongState);
  }
  if (row && row->state == BlobState::kCondemned) {
    revive(*row);
    put_blob(command.digest, *std::move(row));
  }
  const std::string key = keys::ref(at_.shard, command.digest, command.ref);
  if (read<RefRow>(Family::kRef, key)) return;
  TaskRow task;
  task.kind = TaskKind::kVerifyRef;
  task.digest = command.digest;
  task.repository = command.ref.repository;
  task.manifest = command.ref.manifest;
  task.push = command.ref.push;
  const TaskKey verify = add_task(std::move(task), kPushIdLimit);
  rows_.put(Family::kRef, key, encode(RefRow{verify}));
}

void Applier::remove_ref(const Digest& digest, const RefName& name) {
  const std::string key = keys::ref(at_.shard, digest, name);
  const auto ref = read<RefRow>(Family::kRef, key);
  if (!ref) return;
  if (ref->verify) erase_task(*ref->verify);
  rows_.erase(Family::kRef, key);
}

void Applier::on(const RemoveRef& command) {
  if (command.ref.repository.str().empty()) return malformed("no repository");
  out_.blob = blob(command.digest);
  if (rules_.remove_ref_names_push) return remove_ref(command.digest, command.ref);
  // The rule switched off: every push's reference of this manifest goes.
  std::vector<RefName> names;
  const keys::Range range = keys::refs(at_.shard, command.digest);
  const auto scanned =
      rows_.scan(Family::kRef, range.from, range.to, false, [&](std::string_view key, std::string_view) {
        const auto parts = keys::parse_ref(key);
        if (parts && parts->name.repository == command.ref.repository && parts->name.manifest == command.ref.manifest)
          names.push_back(parts->name);
        return true;
      });
  if (!scanned) unreadable(Family::kRef, range.from, scanned.error());
  for (const RefName& name : names) remove_ref(command.digest, name);
}

void Applier::on(const Verified& command) {
  if (command.ref.repository.str().empty()) return malformed("no repository");
  const std::string key = keys::ref(at_.shard, command.digest, command.ref);
  const auto ref = read<RefRow>(Family::kRef, key);
  if (!ref || !ref->verify) return;
  erase_task(*ref->verify);
  rows_.put(Family::kRef, key, encode(RefRow{}));
}

void Applier::on(const Condemn& command) {
  auto row = blob(command.digest);
  out_.blob = row;
  if (!row) return refuse(Refusal::kNoRecord);
  if (row->state != BlobState::kLive) return refuse(Refusal::kWrongState);
  if (rules_.refs_hold_off_condemn && has_refs(command.digest)) return refuse(Refusal::kReferenced);
  if (rules_.marks_hold_off_condemn && has_marks(command.digest)) return refuse(Refusal::kMarked);
  row->state = BlobState::kCondemned;
  row->condemned_at = at_.now;
  put_blob(command.digest, *std::move(row));
}

void Applier::on(const Delete& command) {
  const auto row = blob(command.digest);
  out_.blob = row;
  if (!row) return refuse(Refusal::kNoRecord);
  if (row->state != BlobState::kCondemned) return refuse(Refusal::kWrongState);
  const Duration condemned_at = row->condemned_at.value_or(at_.now);
  if (rules_.second_grace && at_.now - condemned_at < command.grace) return refuse(Refusal::kGraceNotOver);
  erase_blob(command.digest);
}

void Applier::on(const DeleteBlob& command) {
  const auto row = blob(command.digest);
  out_.blob = row;
  if (!row) return refuse(Refusal::kNoRecord);
  if (has_refs(command.digest)) return refuse(Refusal::kReferenced);
  if (has_marks(command.digest)) return refuse(Refusal::kMarked);
  erase_blob(command.digest);
}

void Applier::on(const Enter& command) {
  if (!legal(command.holder)) return malformed("the holder's label is too long");
  auto row = blob(command.digest);
  out_.blob = row;
  if (!row) return refuse(Refusal::kNoRecord);
  if (row->state == BlobState::kArriving) return refuse(Refusal::kWrongState);
  if (rules_.enter_needs_generation && row->generation != command.generation) return refuse(Refusal::kWrongGeneration);
  add_holder(*row, command.holder);
  if (row->holders.size() > kHoldersMax) return malformed("too many holders");
  put_blob(command.digest, *std::move(row));
}

void Applier::on(const Leave& command) {
  auto row = blob(command.digest);
  out_.blob = row;
  if (!row) return refuse(Refusal::kNoRecord);
  if (row->state == BlobState::kArriving) return refuse(Refusal::kWrongState);
  if (row->generation != command.generation) return refuse(Refusal::kWrongGeneration);
  if (row->holder(command.store) != nullptr && row->backends.empty() && rules_.leave_keeps_last_holder) {
    const auto holds = [&](const StoreId& owner) {
      const Holder* holder = row->holder(owner);
      return holder != nullptr && !holder->suspect && owner != command.store;
    };
    if (command.owners.empty() || !std::ranges::all_of(command.owners, holds)) return refuse(Refusal::kLastHolder);
  }
  remove_holder(*row, command.store);
  // Also where it was no holder: an Enter or Commit under way that would name it must not apply after the unlink.
  if (rules_.leave_renews_generation) row->generation = at_.index;
  put_blob(command.digest, *std::move(row));
}

void Applier::on(const Lost& command) {
  auto row = blob(command.digest);
  out_.blob = row;
  if (!row) return refuse(Refusal::kNoRecord);
  if (row->holder(command.store) == nullptr) return refuse(Refusal::kNotAHolder);
  if (!good_holder_other_than(*row, command.store) && row->backends.empty()) return refuse(Refusal::kLastHolder);
  remove_holder(*row, command.store);
  row->generation = at_.index;
  add_copy_if_short(command.digest, *row, command.owners);
  put_blob(command.digest, *std::move(row));
}

void Applier::on(const Suspect& command) {
  auto row = blob(command.digest);
  out_.blob = row;
  if (!row) return refuse(Refusal::kNoRecord);
  const auto at = std::ranges::find(row->holders, command.store, &Holder::store);
  if (at == row->holders.end()) return refuse(Refusal::kNotAHolder);
  at->suspect = true;
  // Whoever has a good copy gives it back.
  add_copy_if_short(command.digest, *row, static_cast<std::uint32_t>(row->holders.size()));
  put_blob(command.digest, *std::move(row));
}

void Applier::on(const Backed& command) {
  auto row = blob(command.digest);
  out_.blob = row;
  if (!row) return refuse(Refusal::kNoRecord);
  if (row->state != BlobState::kLive) return refuse(Refusal::kWrongState);
  if (command.backend.empty() || command.backend.size() > 255) return malformed("a backend without a name");
  const auto at = std::ranges::lower_bound(row->backends, command.backend);
  if (at == row->backends.end() || *at != command.backend) {
    if (row->backends.size() >= kHoldersMax) return malformed("too many backends");
    row->backends.insert(at, command.backend);
  }
  put_blob(command.digest, *std::move(row));
}

}  // namespace kraken::metadata::state
