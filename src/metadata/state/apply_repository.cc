// The commands of the repository's shard: lifecycle §2, second table. Each handler checks every precondition before its
// first write, since an overlay has no way back.

#include <algorithm>

#include "src/core/manifest.h"
#include "src/metadata/state/applier.h"
#include "src/metadata/state/mutants.h"

namespace kraken::metadata::state {
namespace {

using kv::Family;

// A push id from the future would never be too old.
bool push_is_old(const PushId& push, Duration now) { return push.time > now || now - push.time >= kPushIdLimit; }

}  // namespace

std::optional<TagRow> Applier::live_tag(const Repository& repository, const TagName& tag) const {
  auto row = read<TagRow>(Family::kTag, keys::tag(at_.shard, repository, tag));
  if (row && row->tombstone) row.reset();
  return row;
}

bool Applier::meets(const Expectation& expect, const std::optional<TagRow>& row) const {
  switch (expect.kind) {
    case Expectation::Kind::kAny:
      return true;
    case Expectation::Kind::kAbsent:
      return !row || mutant(Mutant::kCasIgnoresAbsence);
    case Expectation::Kind::kRevision:
      return row && (row->revision == expect.revision || mutant(Mutant::kCasIgnoresRevision));
    case Expectation::Kind::kDigest:
      return row && row->digest == expect.digest;
  }
  return false;
}

bool Applier::check_tags(const std::vector<TagName>& tags, const TagTasks& tasks) {
  if (tags.size() > kTagsMax || tasks.replicate_to.size() > kReplicationTargetsMax) {
    malformed("too many tags or remotes");
    return false;
  }
  if (std::ranges::any_of(tags, [](const TagName& tag) { return tag.str().empty(); })) {
    malformed("a tag without a name");
    return false;
  }
  return true;
}

TagRow Applier::write_tag(const Repository& repository, const TagName& tag, const std::optional<TagRow>& old,
                          const Digest& manifest, const TagTasks& tasks) {
  const bool moves = !old || old->digest != manifest;
  if (old && moves) rows_.erase(Family::kTag, keys::tag_by_manifest(at_.shard, repository, old->digest, tag));
  TagRow row;
  row.digest = manifest;
  row.revision = at_.index;
  row.time = at_.now;
  rows_.put(Family::kTag, keys::tag(at_.shard, repository, tag), encode(row));
  if (moves) rows_.put(Family::kTag, keys::tag_by_manifest(at_.shard, repository, manifest, tag), "");
  TaskRow task;
  task.repository = repository;
  task.tag = tag;
  task.tag_revision = row.revision;
  if (tasks.write_back) {
    task.kind = TaskKind::kWriteBackTag;
    add_task(task, Duration::zero());
  }
  for (const std::string& remote : tasks.replicate_to) {
    task.kind = TaskKind::kReplicateTag;
    task.target = remote;
    add_task(task, Duration::zero());
  }
  return row;
}

// What is left of it: nothing, or the tombstone.
std::optional<TagRow> Applier::remove_tag(const Repository& repository, const TagName& tag, const TagRow& row,
                                          bool tombstone) {
  rows_.erase(Family::kTag, keys::tag_by_manifest(at_.shard, repository, row.digest, tag));
  const std::string key = keys::tag(at_.shard, repository, tag);
  if (!tombstone) {
    if (!mutant(Mutant::kDeleteKeepsTag)) rows_.erase(Family::kTag, key);
    return std::nullopt;
  }
  TagRow left = row;
  left.revision = at_.index;
  left.time = at_.now;
  left.tombstone = true;
  rows_.put(Family::kTag, key, encode(left));
  TaskRow task;
  task.kind = TaskKind::kDeleteBackendTag;
  task.repository = repository;
  task.tag = tag;
  task.tag_revision = left.revision;
  add_task(std::move(task), Duration::zero());
  return left;
}

/// Finds the first tag's row in the outcome, where the expectation was held against it, and leaves the new one there.
void Applier::write_tags(const Repository& repository, const std::vector<TagName>& tags, const Digest& manifest,
                         const TagTasks& tasks) {
  for (std::size_t i = 0; i < tags.size(); ++i) {
    const TagRow row = write_tag(repository, tags[i], i == 0 ? out_.tag : live_tag(repository, tags[i]), manifest, tasks);
    if (i == 0) out_.tag = row;
  }
}

void Applier::add_remove_refs(const Repository& repository, const Digest& manifest, const ManifestRow& row) {
  TaskRow task;
  task.kind = TaskKind::kRemoveRefs;
  task.repository = repository;
  task.manifest = manifest;
  task.push = row.push;
  task.digests = row.references;
  task.digests.push_back(manifest);
  add_task(std::move(task), Duration::zero());
}

void Applier::on(const PutManifest& command) {
  if (command.references.size() > kManifestReferencesMax) return malformed("too many references");
  if (command.media_type.size() > 255) return malformed("a media type of more than 255 characters");
  if (!check_tags(command.tags, command.tasks)) return;
  if (rules_.put_refuses_old_push && push_is_old(command.push, at_.now)) return refuse(Refusal::kPushTooOld);
  if (!command.tags.empty()) {
    out_.tag = live_tag(command.repository, command.tags.front());
    if (!meets(command.expect, out_.tag)) {
      if (mutant(Mutant::kRefusedWrites)) write_tag(command.repository, command.tags.front(), out_.tag, command.manifest, {});
      return refuse(Refusal::kRevision);
    }
  }

  put_manifest(command);
  write_tags(command.repository, command.tags, command.manifest, command.tasks);
}

void Applier::put_manifest(const PutManifest& command) {
  const std::string key = keys::manifest(at_.shard, command.repository, command.manifest);
  if (const auto old = read<ManifestRow>(Family::kManifest, key); old && !old->tombstone) {
    // A tag to any blob must not take the references of a manifest that was pushed meanwhile.
    if (command.media_type.empty() && !old->opaque()) return;
    if (old->push != command.push) add_remove_refs(command.repository, command.manifest, *old);
  }
  ManifestRow row;
  row.media_type = command.media_type;
  row.size = command.size;
  row.references = command.references;
  row.subject = command.subject;
  row.push = command.push;
  row.revision = at_.index;
  row.time = at_.now;
  rows_.put(Family::kManifest, key, encode(row));
}

void Applier::on(const Retag& command) {
  if (command.tags.empty()) return malformed("no tag");
  if (!check_tags(command.tags, command.tasks)) return;
  const auto row =
      read<ManifestRow>(Family::kManifest, keys::manifest(at_.shard, command.repository, command.manifest));
  const bool there = row && !row->tombstone && (!row->opaque() || command.opaque);
  if (rules_.retag_needs_row && !there) return refuse(Refusal::kNoManifest);
  out_.tag = live_tag(command.repository, command.tags.front());
  if (!meets(command.expect, out_.tag)) return refuse(Refusal::kRevision);
  write_tags(command.repository, command.tags, command.manifest, command.tasks);
}

void Applier::on(const DeleteManifest& command) {
  const std::string key = keys::manifest(at_.shard, command.repository, command.manifest);
  const auto row = read<ManifestRow>(Family::kManifest, key);
  if (!row || row->tombstone) return refuse(Refusal::kNoManifest);
  const keys::Range naming = keys::tags_by_manifest(at_.shard, command.repository, command.manifest);
  if (command.only_untagged && any(Family::kTag, naming)) return refuse(Refusal::kTagged);

  std::vector<TagName> tags;
  const auto scanned =
      rows_.scan(Family::kTag, naming.from, naming.to, false, [&tags](std::string_view tag_key, std::string_view) {
        if (auto parts = keys::parse_tag_by_manifest(tag_key)) tags.push_back(parts->tag);
        return true;
      });
  if (!scanned) unreadable(Family::kTag, naming.from, scanned.error());
  for (const TagName& tag : tags) {
    const auto tag_row = live_tag(command.repository, tag);
    if (!tag_row || tag_row->digest != command.manifest) continue;
    remove_tag(command.repository, tag, *tag_row, command.tombstone);
    ++out_.removed;
  }
  if (rules_.delete_adds_remove_tasks) add_remove_refs(command.repository, command.manifest, *row);
  if (command.tombstone) {
    ManifestRow left = *row;
    left.references.clear();
    left.revision = at_.index;
    left.time = at_.now;
    left.tombstone = true;
    rows_.put(Family::kManifest, key, encode(left));
  } else {
    rows_.erase(Family::kManifest, key);
  }
}

void Applier::on(const DeleteTag& command) {
  if (command.tag.str().empty()) return malformed("no tag");
  const auto row = live_tag(command.repository, command.tag);
  out_.tag = row;
  if (!row) return refuse(Refusal::kNoTag);
  if (!meets(command.expect, row)) return refuse(Refusal::kRevision);
  out_.tag = remove_tag(command.repository, command.tag, *row, command.tombstone);
}

void Applier::on(const ClearTombstone& command) {
  if (command.tag.has_value() == command.manifest.has_value()) return malformed("want either a tag or a manifest");
  if (command.tag) {
    const std::string key = keys::tag(at_.shard, command.repository, *command.tag);
    const auto row = read<TagRow>(Family::kTag, key);
    if (!row || !row->tombstone || row->revision != command.revision) return refuse(Refusal::kNoTombstone);
    rows_.erase(Family::kTag, key);
    return;
  }
  const std::string key = keys::manifest(at_.shard, command.repository, *command.manifest);
  const auto row = read<ManifestRow>(Family::kManifest, key);
  if (!row || !row->tombstone || row->revision != command.revision) return refuse(Refusal::kNoTombstone);
  rows_.erase(Family::kManifest, key);
}

}  // namespace kraken::metadata::state
