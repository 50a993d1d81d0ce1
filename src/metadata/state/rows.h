#pragma once
// The rows of the replicated metadata: what stands in the column families `tag`, `manifest`, `blob`, `metainfo`, `ref`,
// `task` and `peer` (design §5). Keys are in keys.h, the bytes of both in docs/formats/metadata.md.
//
// Each encoding starts with a version byte. Decoding is total: any bytes give a row or kCorrupt. Times are the shard's
// replicated time (nanoseconds since the shard began; no wall clock). Threads: plain values.

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/core/digest.h"
#include "src/core/metainfo.h"
#include "src/core/names.h"
#include "src/core/peer.h"
#include "src/core/store_id.h"

namespace kraken::metadata::state {

/// Names one push of one client: the repository shard's replicated time when it began, and random bits. It names both
/// an upload's mark and the references of a manifest's push. May be too old, which is safe (lifecycle §1).
struct PushId {
  Duration time{};
  std::uint64_t random = 0;
  /// 32 hex digits.
  std::string str() const;
  friend auto operator<=>(const PushId&, const PushId&) = default;
};

/// Persisted: do not renumber.
enum class BlobState : std::uint8_t {
  kArriving = 1,  // a push has begun; nothing is promised; not readable
  kLive = 2,
  kCondemned = 3,  // still readable; its row goes after a second grace unless something revives it
};
std::string_view name(BlobState state);

/// A blob store that has the bytes, synced.
struct Holder {
  StoreId store;
  std::string label;     // of the node when it entered: where to ask first, nothing is decided by it
  bool suspect = false;  // its file was found missing or damaged and it was the last holder
  friend bool operator==(const Holder&, const Holder&) = default;
};

/// Family `blob`. No row: deleted, or never there.
struct BlobRow {
  BlobState state = BlobState::kArriving;
  std::uint64_t size = 0;                // bytes; 0 while arriving
  std::uint64_t generation = 0;          // log index of the entry that made the row or last removed a holder
  std::vector<Holder> holders;           // in order of store id, each store once
  std::vector<std::string> backends;     // names of backends that have it, sorted
  std::optional<Duration> condemned_at;  // exactly while condemned
  const Holder* holder(const StoreId& store) const;
  bool readable() const { return state != BlobState::kArriving; }
  friend bool operator==(const BlobRow&, const BlobRow&) = default;
};

/// Family `blob`, beside the blob's row: an upload that must be able to end. Until it is expired by an entry the blob
/// is not condemned.
struct MarkRow {
  Duration deadline{};
  friend bool operator==(const MarkRow&, const MarkRow&) = default;
};

/// Family `tag`.
struct TagRow {
  Digest digest;
  std::uint64_t revision = 0;  // log index of the entry that wrote it: what compare-and-swap compares
  Duration time{};
  bool tombstone = false;  // deleted, and a backend may still have it: 404, and never read through
  friend bool operator==(const TagRow&, const TagRow&) = default;
};

/// Family `manifest`. A tag of stock's build-index may name any blob: then the row is `opaque`, media_type is empty and
/// nothing is referenced but the blob itself.
struct ManifestRow {
  std::string media_type;
  std::uint64_t size = 0;          // bytes of the manifest
  std::vector<Digest> references;  // each holds a ref row under `push`; so does the manifest's own digest
  std::optional<Digest> subject;
  PushId push;
  std::uint64_t revision = 0;  // log index of the entry that wrote it
  Duration time{};
  bool tombstone = false;  // as TagRow's; then references are empty
  bool opaque() const { return media_type.empty(); }
  friend bool operator==(const ManifestRow&, const ManifestRow&) = default;
};

/// Family `metainfo`. Put once and never changed, also across the blob's deletion: another piece length would give
/// another infohash and split the swarm. The digest is the key's.
struct MetainfoRow {
  InfoHash infohash;
  std::uint64_t length = 0;        // bytes
  std::uint64_t piece_length = 0;  // bytes
  std::vector<std::uint32_t> piece_sums;
  static MetainfoRow of(const MetaInfo& metainfo);
  MetaInfo metainfo(const Digest& digest) const;
  friend bool operator==(const MetainfoRow&, const MetainfoRow&) = default;
};

/// When a task is due, and which: the log index of the entry that added it and a number within that entry.
struct TaskKey {
  Duration due{};
  std::uint64_t index = 0;
  std::uint32_t ordinal = 0;
  /// "<index>.<ordinal>": stays the same when the task is postponed.
  std::string id() const;
  friend auto operator<=>(const TaskKey&, const TaskKey&) = default;
};

/// Family `ref`: the manifest of that repository needs this digest. The key says all but this.
struct RefRow {
  std::optional<TaskKey> verify;  // the task that will look at it; none once it is verified
  friend bool operator==(const RefRow&, const RefRow&) = default;
};

/// What a reference's key names, beside the digest.
struct RefName {
  Repository repository;
  Digest manifest;
  PushId push;
  friend auto operator<=>(const RefName&, const RefName&) = default;
};

/// Persisted: do not renumber.
enum class TaskKind : std::uint8_t {
  kCopy = 1,               // digest: give it to the owners that lack it                            (digest's shard)
  kVerifyRef = 2,          // digest, repository, manifest, push: keep or remove the reference      (digest's shard)
  kWriteBackBlob = 3,      // digest; target = namespace                                            (digest's shard)
  kRemoveRefs = 16,        // digests, repository, manifest, push: the row that held them is gone   (repository's shard)
  kWriteBackTag = 17,      // repository, tag; revision of the tag it was added for                 (repository's shard)
  kReplicateTag = 18,      // repository, tag, revision; target = remote                            (repository's shard)
  kDeleteBackendTag = 19,  // repository, tag, revision of the tombstone                            (repository's shard)
};
std::string_view name(TaskKind kind);

/// Who runs a task, and until when nobody else may.
struct Claim {
  std::string claimant;  // a node's label
  Duration until{};
  friend bool operator==(const Claim&, const Claim&) = default;
};

/// Family `task`. Fields that the kind does not name are empty. Durable, at least once: executors must be idempotent,
/// and end a task by compare-and-swap on `revision`.
struct TaskRow {
  TaskKind kind = TaskKind::kCopy;
  Digest digest;
  std::vector<Digest> digests;
  Repository repository;
  TagName tag;
  Digest manifest;
  PushId push;
  std::string target;
  std::uint64_t tag_revision = 0;
  Duration created{};
  std::uint64_t revision = 0;  // log index of the entry that last wrote this row
  std::uint32_t failures = 0;
  std::string error;  // of the last failure, at most kTaskErrorBytesMax
  std::optional<Claim> claim;
  friend bool operator==(const TaskRow&, const TaskRow&) = default;
};
inline constexpr std::size_t kTaskErrorBytesMax = 200;

/// Family `peer`. Filtered by `expires` when read.
struct PeerRow {
  std::string ip;  // or a host name
  std::uint16_t port = 0;
  bool complete = false;
  Duration expires{};
  friend bool operator==(const PeerRow&, const PeerRow&) = default;
};

std::string encode(const BlobRow& row);
std::string encode(const MarkRow& row);
std::string encode(const TagRow& row);
std::string encode(const ManifestRow& row);
std::string encode(const MetainfoRow& row);
std::string encode(const RefRow& row);
std::string encode(const TaskRow& row);
std::string encode(const PeerRow& row);

/// decode<BlobRow>(bytes); kCorrupt says which row. Instantiated for the rows above only.
template <class Row>
Result<Row> decode(std::string_view bytes);

}  // namespace kraken::metadata::state
