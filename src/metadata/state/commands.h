#pragma once
// The commands of the metadata's state machine: what a proposal carries. One struct each; the table of preconditions
// and effects is lifecycle §2 (docs/architecture: "life of a blob"), checked in apply.cc and nowhere else.
//
// Encoded as version, type, fields (docs/formats/metadata.md). Decoding is total. Durations in commands are lengths of
// replicated time, so that every replica computes the same; no command carries a clock's reading.
// Threads: plain values.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "src/metadata/state/rows.h"

namespace kraken::metadata::state {

/// A push must put its manifest within this time of taking its push id; the sweeper waits for it (lifecycle §2 `Put`).
inline constexpr Duration kPushIdLimit = std::chrono::hours(1);
/// How long a mark holds off condemning, and each of the two graces (design §6).
inline constexpr Duration kMarkTime = std::chrono::hours(24);
inline constexpr Duration kGrace = std::chrono::hours(24);

inline constexpr std::size_t kPeerBatchBytesMax = 64 * 1024;
inline constexpr std::size_t kPeerRecordsMax = 4096;
inline constexpr std::size_t kHoldersMax = 64;
inline constexpr std::size_t kReplicationTargetsMax = 64;
inline constexpr std::size_t kTagsMax = 64;

// ---- in the digest's shard

/// A push of this blob begins. No row: makes an `arriving` one. Condemned: revives it. Always: mark `push`.
struct Arrive {
  Digest digest;
  PushId push;
  Duration mark_for = kMarkTime;
  friend bool operator==(const Arrive&, const Arrive&) = default;
};

/// The bytes are on these stores, synced. Needs the mark and the generation that Arrive returned.
struct Commit {
  Digest digest;
  PushId push;
  std::uint64_t generation = 0;
  std::vector<Holder> holders;            // at least one
  MetaInfo metainfo;                      // its digest must be `digest`; the record's own wins if it has one
  std::uint32_t owners = 0;               // how many stores ought to hold it; fewer holders: a copy task
  std::optional<std::string> write_back;  // namespace; a write-back task if set
  Duration mark_for = kMarkTime;          // the mark's fresh deadline
  friend bool operator==(const Commit&, const Commit&) = default;
};

/// Makes a condemned blob live again (HEAD, mount).
struct Renew {
  Digest digest;
  friend bool operator==(const Renew&, const Renew&) = default;
};

/// Ends a mark whose deadline has passed; an arriving blob without marks loses its row.
struct Expire {
  Digest digest;
  PushId push;
  friend bool operator==(const Expire&, const Expire&) = default;
};

/// This manifest's push needs the digest. Only on a live or condemned record; a condemned one is revived.
struct AddRef {
  Digest digest;
  RefName ref;
  friend bool operator==(const AddRef&, const AddRef&) = default;
};

/// Removes exactly that row, any number of times.
struct RemoveRef {
  Digest digest;
  RefName ref;
  friend bool operator==(const RemoveRef&, const RemoveRef&) = default;
};

/// The repository's row has this push id: its verify task ends.
struct Verified {
  Digest digest;
  RefName ref;
  friend bool operator==(const Verified&, const Verified&) = default;
};

/// No references and no marks: begin the second grace.
struct Condemn {
  Digest digest;
  friend bool operator==(const Condemn&, const Condemn&) = default;
};

/// A full grace since it was condemned: the row goes.
struct Delete {
  Digest digest;
  Duration grace = kGrace;
  friend bool operator==(const Delete&, const Delete&) = default;
};

/// An operator's delete of a blob: at once, if it has no references and no marks.
struct DeleteBlob {
  Digest digest;
  friend bool operator==(const DeleteBlob&, const DeleteBlob&) = default;
};

/// The holder has placed a copy. Clears `suspect` if it is a holder already.
struct Enter {
  Digest digest;
  Holder holder;
  std::uint64_t generation = 0;
  friend bool operator==(const Enter&, const Enter&) = default;
};

/// The store will unlink its file once this succeeded. Renews the generation, also where the store is no holder.
struct Leave {
  Digest digest;
  StoreId store;
  std::uint64_t generation = 0;
  std::vector<StoreId>
      owners;  // the stores of the digest's owners now; empty: unknown, and then only a backend lets it go
  friend bool operator==(const Leave&, const Leave&) = default;
};

/// The store is gone for good (the proposer knows from group 0). The last holder without a backend stays named:
/// Suspect.
struct Lost {
  Digest digest;
  StoreId store;
  std::uint32_t owners = 0;  // as Commit's: fewer holders left than this add a copy task
  friend bool operator==(const Lost&, const Lost&) = default;
};

/// The holder's file is missing or damaged and nobody else has it: for the operator, and for the next push.
struct Suspect {
  Digest digest;
  StoreId store;
  friend bool operator==(const Suspect&, const Suspect&) = default;
};

/// That backend has the blob's bytes.
struct Backed {
  Digest digest;
  std::string backend;
  friend bool operator==(const Backed&, const Backed&) = default;
};

// ---- in the repository's shard

/// What the tag must be for the write to happen.
struct Expectation {
  enum class Kind : std::uint8_t { kAny = 0, kAbsent = 1, kRevision = 2, kDigest = 3 };  // persisted: do not renumber
  Kind kind = Kind::kAny;
  std::uint64_t revision = 0;  // of kRevision
  Digest digest;               // of kDigest
  static Expectation any() { return {}; }
  static Expectation absent() { return {Kind::kAbsent, 0, {}}; }                             // If-None-Match: *
  static Expectation at(std::uint64_t revision) { return {Kind::kRevision, revision, {}}; }  // If-Match: "<revision>"
  static Expectation at(const Digest& digest) { return {Kind::kDigest, 0, digest}; }         // If-Match: "<digest>"
  friend bool operator==(const Expectation&, const Expectation&) = default;
};

/// What else a tag's write adds in the same entry.
struct TagTasks {
  bool write_back = false;
  std::vector<std::string> replicate_to;  // remotes
  friend bool operator==(const TagTasks&, const TagTasks&) = default;
};

/// Step two of a manifest push: the row, the tags if there are any, the tasks. An opaque one leaves a manifest's row as
/// it is and only names it. Refused kPushIdLimit after the push id.
struct PutManifest {
  Repository repository;
  Digest manifest;
  PushId push;
  std::string media_type;  // "": a tag of build-index to a blob that is no manifest
  std::uint64_t size = 0;
  std::vector<Digest> references;  // what AddRef was done for, without the manifest itself
  std::optional<Digest> subject;
  std::vector<TagName> tags;  // all are written, or nothing is; at most kTagsMax
  Expectation expect;         // of the first tag
  TagTasks tasks;             // of each tag
  friend bool operator==(const PutManifest&, const PutManifest&) = default;
};

/// Names a manifest that the repository already has. A row that is opaque has no references to hold a manifest's
/// layers, so it will do only where `opaque` is set.
struct Retag {
  Repository repository;
  std::vector<TagName> tags;  // at least one
  Digest manifest;
  Expectation expect;  // of the first tag
  TagTasks tasks;
  bool opaque = false;
  friend bool operator==(const Retag&, const Retag&) = default;
};

/// Removes the row and every tag that names it; adds the tasks that remove its references.
struct DeleteManifest {
  Repository repository;
  Digest manifest;
  bool only_untagged = false;  // retention: refused while a tag names it
  bool tombstone = false;      // a backend matches: leave tombstones, and tasks that delete there
  friend bool operator==(const DeleteManifest&, const DeleteManifest&) = default;
};

struct DeleteTag {
  Repository repository;
  TagName tag;
  Expectation expect;
  bool tombstone = false;
  friend bool operator==(const DeleteTag&, const DeleteTag&) = default;
};

/// The backend's delete was confirmed, one claim's time ago: the tombstone goes.
struct ClearTombstone {
  Repository repository;
  std::optional<TagName> tag;  // exactly one of the two
  std::optional<Digest> manifest;
  std::uint64_t revision = 0;  // of the tombstone
  friend bool operator==(const ClearTombstone&, const ClearTombstone&) = default;
};

// ---- in any shard

/// Only moves the shard's replicated time.
struct Tick {
  friend bool operator==(const Tick&, const Tick&) = default;
};

struct PeerRecord {
  InfoHash infohash;
  PeerId peer_id;
  std::string ip;
  std::uint16_t port = 0;
  bool complete = false;
  Duration lasts{};  // from this entry on; 0 removes the record
  friend bool operator==(const PeerRecord&, const PeerRecord&) = default;
};

/// One tick's changed peers of the shard, at most kPeerRecordsMax records and kPeerBatchBytesMax encoded.
struct PeerBatch {
  std::vector<PeerRecord> records;
  friend bool operator==(const PeerBatch&, const PeerBatch&) = default;
};

/// A task that no other command adds (a repair, a replication asked for). Of `task` the kind and its fields count.
struct AddTask {
  TaskRow task;
  Duration delay{};
  friend bool operator==(const AddTask&, const AddTask&) = default;
};

/// Takes the task until now + `lasts`, if its revision is the one read and no claim stands.
struct ClaimTask {
  TaskKey task;
  std::uint64_t revision = 0;
  std::string claimant;
  Duration lasts{};
  friend bool operator==(const ClaimTask&, const ClaimTask&) = default;
};

/// Ends it.
struct FinishTask {
  TaskKey task;
  std::uint64_t revision = 0;
  friend bool operator==(const FinishTask&, const FinishTask&) = default;
};

/// Due again at now + `delay`; the claim ends. A non-empty `error` counts as a failure.
struct PostponeTask {
  TaskKey task;
  std::uint64_t revision = 0;
  Duration delay{};
  std::string error;
  friend bool operator==(const PostponeTask&, const PostponeTask&) = default;
};

using Command = std::variant<Arrive, Commit, Renew, Expire, AddRef, RemoveRef, Verified, Condemn, Delete, DeleteBlob,
                             Enter, Leave, Lost, Suspect, Backed, PutManifest, Retag, DeleteManifest, DeleteTag,
                             ClearTombstone, Tick, PeerBatch, AddTask, ClaimTask, FinishTask, PostponeTask>;

/// "put_manifest"; for logs, metrics and `kraken inspect`.
std::string_view name(const Command& command);
std::string encode(const Command& command);
/// kCorrupt for malformed bytes, kUnsupported for a version or type that is not known.
Result<Command> decode_command(std::string_view bytes);

/// What decides the shard: the digest of a command of the digest's shard, else the repository of one of the
/// repository's shard, else neither.
const Digest* sharded_by_digest(const Command& command);
const Repository* sharded_by_repository(const Command& command);

}  // namespace kraken::metadata::state
