#pragma once
// The keys of the metadata's families, and nothing else builds them. Big-endian, so that byte order is the order of
// (shard, kind, fields); each begins with the shard and a byte for the kind of row, of which 00 is the group layer's.
//
//   tag       [shard:2][01][repository][00][tag]                                     -> TagRow
//             [shard:2][02][repository][00][manifest:32][tag]                        -> (empty) which tags name a
//             manifest
//   manifest  [shard:2][01][repository][00][manifest:32]                             -> ManifestRow
//   blob      [shard:2][01][digest:32]                                               -> BlobRow
//             [shard:2][02][digest:32][push:16]                                      -> MarkRow
//   metainfo  [shard:2][01][digest:32]                                               -> MetainfoRow
//   ref       [shard:2][01][digest:32][repository][00][manifest:32][push:16]         -> RefRow
//   task      [shard:2][01][due:8][index:8][ordinal:4]                               -> TaskRow
//   peer      [shard:2][01][infohash:20][peer id:20]                                 -> PeerRow
//             [shard:2][02]                                                          -> where the sweep of expired
//             peers is
//
// A repository's name has no 00, so the order of its rows is that of the names. `push` is its time (8) and random (8).
// Threads: pure functions.

#include <optional>
#include <string>
#include <string_view>

#include "src/metadata/state/rows.h"
#include "storage/kv/family.h"

namespace kraken::metadata::state::keys {

using kv::ShardId;

inline constexpr std::uint8_t kRows = 0x01;
inline constexpr std::uint8_t kSecond = 0x02;  // tags by manifest, marks, the sweep's place

/// [from, to) of a scan.
struct Range {
  std::string from;
  std::string to;
};

std::string tag(ShardId shard, const Repository& repository, const TagName& tag);
Range tags(ShardId shard);
Range tags(ShardId shard, const Repository& repository);
/// The first key behind `after`, which need not be a tag that exists or even a legal name.
std::string tag_after(ShardId shard, const Repository& repository, std::string_view after);
/// The first tag key of any repository behind `after`.
std::string repository_after(ShardId shard, std::string_view after);

std::string tag_by_manifest(ShardId shard, const Repository& repository, const Digest& manifest, const TagName& tag);
Range tags_by_manifest(ShardId shard, const Repository& repository, const Digest& manifest);

std::string manifest(ShardId shard, const Repository& repository, const Digest& manifest);
Range manifests(ShardId shard, const Repository& repository);

std::string blob(ShardId shard, const Digest& digest);
Range blobs(ShardId shard);
std::string mark(ShardId shard, const Digest& digest, const PushId& push);
Range marks(ShardId shard, const Digest& digest);

std::string metainfo(ShardId shard, const Digest& digest);

std::string ref(ShardId shard, const Digest& digest, const RefName& name);
Range refs(ShardId shard, const Digest& digest);

std::string task(ShardId shard, const TaskKey& key);
Range tasks(ShardId shard);

std::string peer(ShardId shard, const InfoHash& infohash, const PeerId& peer);
Range peers(ShardId shard);
Range peers(ShardId shard, const InfoHash& infohash);
std::string peer_sweep(ShardId shard);

// ---- taking keys apart: nullopt for bytes that are no such key

struct TagParts {
  Repository repository;
  TagName tag;
};
struct TagByManifestParts {
  Repository repository;
  Digest manifest;
  TagName tag;
};
struct ManifestParts {
  Repository repository;
  Digest manifest;
};
struct MarkParts {
  Digest digest;
  PushId push;
};
struct RefParts {
  Digest digest;
  RefName name;
};
struct PeerParts {
  InfoHash infohash;
  PeerId peer_id;
};
std::optional<TagParts> parse_tag(std::string_view key);
std::optional<TagByManifestParts> parse_tag_by_manifest(std::string_view key);
std::optional<ManifestParts> parse_manifest(std::string_view key);
std::optional<Digest> parse_blob(std::string_view key);  // and of `metainfo`
std::optional<MarkParts> parse_mark(std::string_view key);
std::optional<RefParts> parse_ref(std::string_view key);
std::optional<TaskKey> parse_task(std::string_view key);
std::optional<PeerParts> parse_peer(std::string_view key);

}  // namespace kraken::metadata::state::keys
