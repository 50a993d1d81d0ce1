#pragma once
// How the groups' logs, hard states and snapshot metas lie in the store, and how they are read back and checked at start.
// Format: docs/formats/raft_log.md. Pure functions over views and batches; the threads that call them are log_writer's
// (writes), applier's (entries) and, at start, the caller's of Node::open.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/state_digest.h"
#include "consensus/raft/core.h"
#include "src/base/clock.h"
#include "src/base/error.h"
#include "storage/kv/batch.h"
#include "storage/kv/family.h"
#include "storage/kv/view.h"

namespace kraken::group {

using kv::ShardId;

inline raft::GroupId group_of(ShardId shard) { return raft::GroupId{shard.value()}; }
inline ShardId shard_of(raft::GroupId group) { return ShardId{static_cast<std::uint16_t>(raft::raw(group))}; }

std::string hard_state_key(ShardId shard);
std::string snap_meta_key(ShardId shard);
std::string entry_key(ShardId shard, raft::Index index);
/// Behind the last entry of the shard.
std::string entries_end(ShardId shard);

/// With a checksum that binds shard, index, term, kind and payload, so that a record in the wrong place is found too.
std::string encode_entry(ShardId shard, const raft::Entry& entry);
Result<raft::Entry> decode_entry(ShardId shard, raft::Index index, std::string_view bytes);
std::string encode_hard_state(ShardId shard, const raft::HardState& state);
Result<raft::HardState> decode_hard_state(ShardId shard, std::string_view bytes);
std::string encode_snap_meta(ShardId shard, const raft::SnapMeta& meta);
Result<raft::SnapMeta> decode_snap_meta(ShardId shard, std::string_view bytes);

/// What a step of the core wants on disk, as changes to the raft family: hard state, then the truncation, then the entries.
void add_write(ShardId shard, const std::optional<raft::HardState>& hard_state, std::optional<raft::Index> truncate_from,
               const std::vector<raft::Entry>& append, kv::Batch& batch);
/// The log begins at `first` afterwards; `meta` is of first - 1.
void add_compaction(ShardId shard, raft::Index first, const raft::SnapMeta& meta, kv::Batch& batch);
/// What goes into the raft family with an installed snapshot: the old log ends, the new one begins behind `meta`.
kv::Batch install_rows(ShardId shard, const raft::SnapMeta& meta);

/// Why this replica does not serve, as a sentence; no row: it serves. Gone with an installed snapshot.
std::string fence_key(ShardId shard);
std::string encode_fence(ShardId shard, std::string_view why);
/// Empty: it serves.
Result<std::string> load_fence(const kv::View& view, ShardId shard);

/// How far the state machine's rows of a shard have come; written in the same batch as they.
struct AppliedState {
  raft::Index index{};
  raft::Term term{};
  Duration now{};
  StateDigest digest{};  // of all rows up to `index`
};
std::string applied_key(ShardId shard);  // in Family::kSession
std::string encode_applied(const AppliedState& state);
Result<AppliedState> decode_applied(std::string_view bytes);
Result<AppliedState> load_applied(const kv::View& view, ShardId shard);

/// Entries of [lo, hi] until max_bytes, at least one. kCorrupt if one is missing or damaged.
Result<std::vector<raft::Entry>> read_entries(const kv::View& view, ShardId shard, raft::Index lo, raft::Index hi,
                                              std::size_t bytes_max);

/// What a group starts from. Checked as consensus §2.4 demands: the log is contiguous from the snapshot on, terms do not go
/// back, no entry is damaged, first - 1 <= applied <= last. Anything else is kCorrupt with advice: the node must not start.
struct LoadedLog {
  raft::Boot boot;  // without self and boot_time
  std::vector<raft::Term> terms;  // of [boot.first, boot.last]
  std::vector<std::uint32_t> bytes;  // the same entries' payloads
  AppliedState applied;
  std::string fence;  // see load_fence
};
Result<LoadedLog> load_log(const kv::View& view, ShardId shard);

class LoadedTerms final : public raft::LogView {
 public:
  explicit LoadedTerms(const LoadedLog& log) : log_(log) {}
  std::optional<raft::Term> term_at(raft::Index index) const override;
  raft::Index first() const override { return log_.boot.first; }

 private:
  const LoadedLog& log_;
};

}  // namespace kraken::group
