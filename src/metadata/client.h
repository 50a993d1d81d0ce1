#pragma once
// The metadata as every role uses it: typed reads and writes over a Port, each in the shard it belongs to.
//
// Reads are linearizable unless told otherwise. Errors: kUnavailable, kOverloaded and kDeadlineExceeded (nothing was
// changed, try again), kOutcomeUnknown (a write may have happened: read), and those named at each call. A lost
// compare-and-swap is no error but a value, since the winner comes with it.
// Pushing a manifest or putting a tag is one function of its own: manifest_push.h.
// Threads: any loop; the object is immutable but for its random numbers. Must outlive its calls; the Port must outlive
// it.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "src/metadata/port.h"
#include "src/metadata/state/commands.h"
#include "src/metadata/state/outcome.h"
#include "src/metadata/state/queries.h"
#include "src/metadata/state/shards.h"

namespace kraken::metadata {

using state::BlobRow;
using state::BlobState;
using state::Expectation;
using state::Holder;
using state::ManifestRow;
using state::PushId;
using state::TagRow;
using state::TagTasks;

struct ClientOptions {
  Duration read_deadline = std::chrono::seconds(6);
  Duration write_deadline = std::chrono::seconds(10);
  /// 64 random bits for push ids; empty: the kernel's.
  std::function<std::uint64_t()> random;
};

struct TagFound {
  std::optional<TagRow> row;  // none: no such tag
  /// Deleted while a backend may still have it: 404, and must not be read through.
  bool tombstone = false;
};

/// How old a replica's own word may be (port.h).
struct Staleness {
  std::uint64_t index = 0;
  Duration age{};
};

struct StaleTag {
  TagFound found;
  Staleness how;
};

struct ManifestFound {
  std::optional<ManifestRow> row;
  bool tombstone = false;
};

/// Of a conditional write to a tag.
struct [[nodiscard]] TagWritten {
  bool done = false;          // false: the expectation did not hold, nothing was written
  std::optional<TagRow> row;  // done: what was written, none after a delete; else the winner, none if there is no tag
};

struct TagsPage {
  bool repository_known = false;
  std::vector<state::NamedTag> tags;  // in byte order
  bool more = false;
};

struct RepositoriesPage {
  std::vector<Repository> repositories;  // in byte order, over all shards
  bool more = false;
};

struct BlobFound {
  std::optional<BlobRow> row;        // none: a linearizable read found no record
  std::optional<MetaInfo> metainfo;  // where it was asked for and is known
  Duration now{};                    // the shard's replicated time
  bool readable() const { return row && row->readable(); }
};

struct BlobCommitted {
  BlobRow row;
  MetaInfo metainfo;  // the record's: the command's, or the one that was there first
};

class Client {
 public:
  Client(Port& port, Shards shards, ClientOptions options = {});

  const Shards& shards() const { return shards_; }
  const ClientOptions& options() const { return options_; }

  // ---- tags and manifests
  net::Task<TagFound> get_tag(Repository repository, TagName tag, Read read = Read::kLinearizable);
  /// What some replica has, with or without a quorum.
  net::Task<StaleTag> get_tag_stale(Repository repository, TagName tag);
  /// `tombstone`: a backend matches, so leave a tombstone and a task that deletes there. kNotFound.
  net::Task<TagWritten> delete_tag(Repository repository, TagName tag, Expectation expect = {}, bool tombstone = false);
  /// At most `limit` (and state::kPageMax) after `after`, "" for the first.
  net::Task<TagsPage> list_tags(Repository repository, std::string after, std::uint32_t limit);
  /// Repositories that have a tag, of all shards, merged. kUnavailable if any shard does not answer.
  net::Task<RepositoriesPage> list_repositories(std::string after, std::uint32_t limit);
  net::Task<ManifestFound> get_manifest(Repository repository, Digest manifest, Read read = Read::kLinearizable);
  /// Removes the manifest and the tags that name it; how many tags. kNotFound.
  net::Task<std::uint32_t> delete_manifest(Repository repository, Digest manifest, bool tombstone = false);

  // ---- blobs
  net::Task<BlobFound> get_blob(Digest digest, bool with_metainfo = false, Read read = Read::kLinearizable);
  /// HEAD and mount: the record, made live again if it was condemned; it holds for one grace. kNotFound where there is
  /// no record, or only one that is still arriving.
  net::Task<BlobRow> touch(Digest digest);
  /// From a replica where it is there, which is right for ever, else by a linearizable read. kNotFound.
  net::Task<MetaInfo> get_metainfo(Digest digest);
  /// A push of this blob begins; nothing may be renamed into blobs/ before this returns. A retry is safe.
  net::Task<BlobRow> arrive(Digest digest, PushId push);
  /// kConflict: begin again at arrive. kTooLarge: more than kPiecesMax pieces.
  net::Task<BlobCommitted> commit(state::Commit command);
  /// kConflict: a holder left since, the file stays, unnamed. kNotFound.
  net::Task<BlobRow> enter(Digest digest, Holder holder, std::uint64_t generation);
  /// Only after this succeeded may the store unlink. kConflict: keep the file and read again. kNotFound.
  net::Task<BlobRow> leave(Digest digest, StoreId store, std::uint64_t generation, std::vector<StoreId> owners);
  net::Task<BlobRow> lost(Digest digest, StoreId store, std::uint32_t owners);
  net::Task<BlobRow> suspect(Digest digest, StoreId store);
  net::Task<BlobRow> backed(Digest digest, std::string backend);
  /// kConflict while it has references or marks. kNotFound.
  net::Task<> delete_blob(Digest digest);
  net::Task<state::BlobsAnswer> list_blobs(ShardId shard, state::ListBlobs query, Read read = Read::kLinearizable);

  /// For an upload's mark. Time does not matter there.
  PushId new_mark() const;
  PushId new_push(Duration repository_time) const;

  // ---- tasks
  net::Task<state::TasksAnswer> list_tasks(ShardId shard, state::ListTasks query, Read read = Read::kLocal);
  /// The task as claimed: its new revision. kConflict: somebody else has it; kNotFound: it ended.
  net::Task<state::Task> claim_task(ShardId shard, state::TaskKey key, std::uint64_t revision, std::string claimant,
                                    Duration lasts);
  net::Task<> finish_task(ShardId shard, state::TaskKey key, std::uint64_t revision);
  net::Task<> postpone_task(ShardId shard, state::TaskKey key, std::uint64_t revision, Duration delay,
                            std::string error);
  net::Task<> add_task(ShardId shard, state::TaskRow task, Duration delay = {});
  /// Moves the shard's replicated time and answers it.
  net::Task<Duration> tick(ShardId shard);
  net::Task<Duration> time(ShardId shard, Read read = Read::kLocal);

  // ---- peers
  net::Task<> announce(ShardId shard, state::PeerBatch batch);
  net::Task<state::PeersAnswer> list_peers(ShardId shard, state::ListPeers query, Read read = Read::kLocal);

  // ---- whatever has no name above
  /// A refusal comes back as a value. The shard is the command's own; for commands of any shard, `propose_to`.
  net::Task<state::Outcome> propose(state::Command command);
  net::Task<state::Outcome> propose_to(ShardId shard, state::Command command);
  /// An ErrorAnswer comes back as an error.
  net::Task<state::Answer> query(ShardId shard, state::Query query, Read read);

 private:
  net::Task<BlobRow> propose_blob(state::Command command, std::string what);
  template <class Q>
  net::Task<typename Q::Answer> ask(ShardId shard, Q query, Read read);

  Port& port_;
  Shards shards_;
  ClientOptions options_;
};

}  // namespace kraken::metadata
