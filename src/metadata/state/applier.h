#pragma once
// One command being applied: reads rows, checks the command's preconditions, and only then writes. Internal to the
// folder. apply_blob.cc has the commands of the digest's shard, apply_repository.cc those of the repository's,
// apply_task.cc tasks and peers. Threads: one owner, for the length of one apply.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/metadata/state/keys.h"
#include "src/metadata/state/machine.h"
#include "storage/kv/overlay.h"

namespace kraken::metadata::state {

class Applier {
 public:
  Applier(const ApplyContext& context, kv::Overlay& rows, const Rules& rules)
      : at_(context), rows_(rows), rules_(rules) {}

  Outcome run(const Command& command, std::size_t command_bytes);

  /// What the observer shall hear.
  std::vector<NamedPeer>& peers() { return peers_; }
  bool tasks_due() const { return tasks_due_; }

 private:
  // The digest's shard.
  void on(const Arrive& command);
  void on(const Commit& command);
  void on(const Renew& command);
  void on(const Expire& command);
  void on(const AddRef& command);
  void on(const RemoveRef& command);
  void on(const Verified& command);
  void on(const Condemn& command);
  void on(const Delete& command);
  void on(const DeleteBlob& command);
  void on(const Enter& command);
  void on(const Leave& command);
  void on(const Lost& command);
  void on(const Suspect& command);
  void on(const Backed& command);
  // The repository's shard.
  void on(const PutManifest& command);
  void on(const Retag& command);
  void on(const DeleteManifest& command);
  void on(const DeleteTag& command);
  void on(const ClearTombstone& command);
  // Any shard.
  void on(const Tick& command);
  void on(const PeerBatch& command);
  void on(const AddTask& command);
  void on(const ClaimTask& command);
  void on(const FinishTask& command);
  void on(const PostponeTask& command);

  void refuse(Refusal refusal) { out_.refusal = refusal; }
  void malformed(std::string detail) {
    out_.refusal = Refusal::kMalformed;
    out_.detail = std::move(detail);
  }

  template <class Row>
  std::optional<Row> read(kv::Family family, const std::string& key) const;
  bool any(kv::Family family, const keys::Range& range) const;

  // Blobs.
  std::optional<BlobRow> blob(const Digest& digest) const;
  /// The row is what the outcome shows, too.
  void put_blob(const Digest& digest, BlobRow row);
  void erase_blob(const Digest& digest);
  bool has_marks(const Digest& digest) const;
  bool has_refs(const Digest& digest) const;
  void remove_ref(const Digest& digest, const RefName& name);
  void add_copy_if_short(const Digest& digest, const BlobRow& row, std::uint32_t owners);

  // Repositories.
  std::optional<TagRow> live_tag(const Repository& repository, const TagName& tag) const;
  bool meets(const Expectation& expect, const std::optional<TagRow>& row) const;
  void put_manifest(const PutManifest& command);
  bool check_tags(const std::vector<TagName>& tags, const TagTasks& tasks);
  /// `old` is the tag's live row as it stands.
  TagRow write_tag(const Repository& repository, const TagName& tag, const std::optional<TagRow>& old, const Digest& manifest,
                   const TagTasks& tasks);
  void write_tags(const Repository& repository, const std::vector<TagName>& tags, const Digest& manifest, const TagTasks& tasks);
  std::optional<TagRow> remove_tag(const Repository& repository, const TagName& tag, const TagRow& row, bool tombstone);
  void add_remove_refs(const Repository& repository, const Digest& manifest, const ManifestRow& row);

  // Tasks.
  TaskKey add_task(TaskRow row, Duration delay);
  void put_task(const TaskKey& key, const TaskRow& row);
  void erase_task(const TaskKey& key);
  /// The task, if its revision is that one; else refuses.
  std::optional<TaskRow> task_at(const TaskKey& key, std::uint64_t revision);
  void move_verify(const TaskRow& task, const TaskKey& from, std::optional<TaskKey> to);
  void sweep_peers(std::size_t rows_max);

  const ApplyContext& at_;
  kv::Overlay& rows_;
  const Rules& rules_;
  Outcome out_;
  std::uint32_t ordinal_ = 0;
  std::vector<NamedPeer> peers_;
  bool tasks_due_ = false;
};

/// A row that cannot be read ends the process: a replica that went on without it would differ from the others.
[[noreturn]] void unreadable(kv::Family family, std::string_view key, const Error& error);

template <class Row>
std::optional<Row> Applier::read(kv::Family family, const std::string& key) const {
  auto bytes = rows_.get(family, key);
  if (!bytes) unreadable(family, key, bytes.error());
  if (!*bytes) return std::nullopt;
  auto row = decode<Row>(**bytes);
  if (!row) unreadable(family, key, row.error());
  return *std::move(row);
}

}  // namespace kraken::metadata::state
