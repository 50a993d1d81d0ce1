#pragma once
// Queries of the metadata and their answers: pure reads of one shard. Whether an answer is linearizable is decided by
// how the query is sent (client.h). Encoded as version, type, fields; decoding is total. Threads: plain values.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "src/metadata/state/commands.h"
#include "src/metadata/state/rows.h"

namespace kraken::metadata::state {

/// A page has at most this many items, whatever was asked for.
inline constexpr std::uint32_t kPageMax = 1000;

/// In every answer.
struct AnswerBase {
  Duration now{};  // the shard's replicated time as applied by the replica that answered
  friend bool operator==(const AnswerBase&, const AnswerBase&) = default;
};

struct TagAnswer : AnswerBase {
  std::optional<TagRow> row;  // may be a tombstone
  friend bool operator==(const TagAnswer&, const TagAnswer&) = default;
};
struct GetTag {
  using Answer = TagAnswer;
  Repository repository;
  TagName tag;
  friend bool operator==(const GetTag&, const GetTag&) = default;
};

struct NamedTag {
  TagName tag;
  TagRow row;
  friend bool operator==(const NamedTag&, const NamedTag&) = default;
};
struct TagsAnswer : AnswerBase {
  bool repository_known = false;  // it has at least one tag or manifest
  std::vector<NamedTag> tags;     // in byte order of the name, without tombstones
  bool more = false;
  friend bool operator==(const TagsAnswer&, const TagsAnswer&) = default;
};
/// Tags of a repository that come after `after` ("" for the first) in byte order.
struct ListTags {
  using Answer = TagsAnswer;
  Repository repository;
  std::string after;
  std::uint32_t limit = kPageMax;
  friend bool operator==(const ListTags&, const ListTags&) = default;
};

struct RepositoriesAnswer : AnswerBase {
  std::vector<Repository> repositories;  // in byte order
  bool more = false;
  friend bool operator==(const RepositoriesAnswer&, const RepositoriesAnswer&) = default;
};
/// Repositories of this shard that have a tag.
struct ListRepositories {
  using Answer = RepositoriesAnswer;
  std::string after;
  std::uint32_t limit = kPageMax;
  friend bool operator==(const ListRepositories&, const ListRepositories&) = default;
};

struct ManifestAnswer : AnswerBase {
  std::optional<ManifestRow> row;  // may be a tombstone
  friend bool operator==(const ManifestAnswer&, const ManifestAnswer&) = default;
};
struct GetManifest {
  using Answer = ManifestAnswer;
  Repository repository;
  Digest manifest;
  friend bool operator==(const GetManifest&, const GetManifest&) = default;
};

struct NamedMark {
  PushId push;
  MarkRow row;
  friend bool operator==(const NamedMark&, const NamedMark&) = default;
};
struct BlobAnswer : AnswerBase {
  std::optional<BlobRow> row;
  std::optional<MetainfoRow> metainfo;  // where it was asked for
  std::vector<NamedMark> marks;         // the first kMarksShown
  bool referenced = false;
  friend bool operator==(const BlobAnswer&, const BlobAnswer&) = default;
};
inline constexpr std::uint32_t kMarksShown = 16;
struct GetBlob {
  using Answer = BlobAnswer;
  Digest digest;
  bool with_metainfo = false;
  friend bool operator==(const GetBlob&, const GetBlob&) = default;
};

struct MetainfoAnswer : AnswerBase {
  std::optional<MetainfoRow> row;
  friend bool operator==(const MetainfoAnswer&, const MetainfoAnswer&) = default;
};
/// Found anywhere is right for ever, so a local read will do; not found needs a linearizable one.
struct GetMetainfo {
  using Answer = MetainfoAnswer;
  Digest digest;
  friend bool operator==(const GetMetainfo&, const GetMetainfo&) = default;
};

struct NamedBlob {
  Digest digest;
  BlobRow row;
  friend bool operator==(const NamedBlob&, const NamedBlob&) = default;
};
struct BlobsAnswer : AnswerBase {
  std::vector<NamedBlob> blobs;  // in order of digest
  bool more = false;
  friend bool operator==(const BlobsAnswer&, const BlobsAnswer&) = default;
};
/// Records of this shard after `after`; for repair, collection and the scrub.
struct ListBlobs {
  using Answer = BlobsAnswer;
  std::optional<Digest> after;
  std::uint32_t limit = kPageMax;
  friend bool operator==(const ListBlobs&, const ListBlobs&) = default;
};

struct Task {
  TaskKey key;
  TaskRow row;
  friend bool operator==(const Task&, const Task&) = default;
};
struct TasksAnswer : AnswerBase {
  std::vector<Task> tasks;  // in order of key
  bool more = false;
  /// When the first task that was left out is due, or free of its claim: nothing before then. Replicated time stands
  /// still in a quiet shard, so whoever waits for it proposes a Tick.
  std::optional<Duration> next_due;
  friend bool operator==(const TasksAnswer&, const TasksAnswer&) = default;
};
/// Tasks of this shard, first due first. `runnable`: only those that are due at the shard's time and not claimed.
struct ListTasks {
  using Answer = TasksAnswer;
  bool runnable = true;
  std::optional<TaskKind> kind;  // only these
  std::optional<TaskKey> after;
  std::uint32_t limit = 100;
  friend bool operator==(const ListTasks&, const ListTasks&) = default;
};

struct NamedPeer {
  InfoHash infohash;
  PeerId peer_id;
  PeerRow row;
  friend bool operator==(const NamedPeer&, const NamedPeer&) = default;
};
struct PeersAnswer : AnswerBase {
  std::vector<NamedPeer> peers;  // not expired, in order of infohash and peer id
  bool more = false;
  friend bool operator==(const PeersAnswer&, const PeersAnswer&) = default;
};
/// Peers of this shard, or of one infohash of it.
struct ListPeers {
  using Answer = PeersAnswer;
  std::optional<InfoHash> infohash;
  std::optional<InfoHash> after_infohash;  // go on after this peer of this infohash
  std::optional<PeerId> after_peer;
  std::uint32_t limit = kPageMax;
  friend bool operator==(const ListPeers&, const ListPeers&) = default;
};

/// The shard's replicated time and nothing else.
struct TimeAnswer : AnswerBase {
  friend bool operator==(const TimeAnswer&, const TimeAnswer&) = default;
};
struct GetTime {
  using Answer = TimeAnswer;
  friend bool operator==(const GetTime&, const GetTime&) = default;
};

/// The query was malformed or belongs to another shard, or a row could not be read.
struct ErrorAnswer : AnswerBase {
  std::uint8_t code = 0;  // kraken::Code
  std::string detail;
  friend bool operator==(const ErrorAnswer&, const ErrorAnswer&) = default;
};

using Query = std::variant<GetTag, ListTags, ListRepositories, GetManifest, GetBlob, GetMetainfo, ListBlobs, ListTasks,
                           ListPeers, GetTime>;
using Answer = std::variant<TagAnswer, TagsAnswer, RepositoriesAnswer, ManifestAnswer, BlobAnswer, MetainfoAnswer,
                            BlobsAnswer, TasksAnswer, PeersAnswer, TimeAnswer, ErrorAnswer>;

std::string encode(const Query& query);
Result<Query> decode_query(std::string_view bytes);
std::string encode(const Answer& answer);
/// kCorrupt for anything that is not an answer. An ErrorAnswer comes back as a value.
Result<Answer> decode_answer(std::string_view bytes);

}  // namespace kraken::metadata::state
