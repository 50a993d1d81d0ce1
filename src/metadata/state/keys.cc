#include "src/metadata/state/keys.h"

#include "src/base/codec.h"
#include "storage/kv/keys.h"

namespace kraken::metadata::state::keys {
namespace {

Writer begin(ShardId shard, std::uint8_t kind) {
  Writer key;
  key.u16(shard.value()).u8(kind);
  return key;
}

void add(Writer& key, const Repository& repository) { key.raw(repository.str()).u8(0); }

void add(Writer& key, const PushId& push) { key.i64(push.time.count()).u64(push.random); }

Range all_behind(Writer prefix) {
  std::string from = std::move(prefix).take();
  std::string to = kv::after_prefix(from);
  return {std::move(from), std::move(to)};
}

// Reads the front of a key; `kind` must be the one that was met.
Reader open(std::string_view key, std::uint8_t kind) {
  Reader in(key);
  in.u16();
  if (in.u8() != kind) in.reject();
  return in;
}

Digest digest(Reader& in) {
  const auto parsed = Digest::from_raw(in.raw(32));
  if (!parsed) in.reject();
  return parsed.value_or(Digest());
}

Duration duration(Reader& in) {
  const Duration value(in.i64());
  if (value < Duration::zero()) in.reject();
  return value;
}

PushId push_id(Reader& in) {
  const Duration time = duration(in);
  return {time, in.u64()};
}

// Up to the 00 that ends it. Takes the rest of the key, since a Reader has no search.
std::optional<Repository> repository(std::string_view& rest) {
  const std::size_t end = rest.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  auto parsed = Repository::parse(rest.substr(0, end));
  if (!parsed) return std::nullopt;
  rest.remove_prefix(end + 1);
  return *std::move(parsed);
}

}  // namespace

std::string tag(ShardId shard, const Repository& repository, const TagName& tag) {
  Writer key = begin(shard, kRows);
  add(key, repository);
  return std::move(key.raw(tag.str())).take();
}

Range tags(ShardId shard) { return all_behind(begin(shard, kRows)); }

Range tags(ShardId shard, const Repository& repository) {
  Writer key = begin(shard, kRows);
  add(key, repository);
  return all_behind(std::move(key));
}

std::string tag_after(ShardId shard, const Repository& repository, std::string_view after) {
  Writer key = begin(shard, kRows);
  add(key, repository);
  key.raw(after);
  // The least key that is greater than an exact match; nothing follows an empty `after`, so that is the first tag.
  if (!after.empty()) key.u8(0);
  return std::move(key).take();
}

std::string repository_after(ShardId shard, std::string_view after) {
  Writer key = begin(shard, kRows);
  key.raw(after);
  // 01 is behind the 00 that ends the name, and before every letter that a longer name could go on with.
  if (!after.empty()) key.u8(1);
  return std::move(key).take();
}

std::string tag_by_manifest(ShardId shard, const Repository& repository, const Digest& manifest, const TagName& tag) {
  Writer key = begin(shard, kSecond);
  add(key, repository);
  key.raw(manifest.raw()).raw(tag.str());
  return std::move(key).take();
}

Range tags_by_manifest(ShardId shard, const Repository& repository, const Digest& manifest) {
  Writer key = begin(shard, kSecond);
  add(key, repository);
  key.raw(manifest.raw());
  return all_behind(std::move(key));
}

std::string manifest(ShardId shard, const Repository& repository, const Digest& manifest) {
  Writer key = begin(shard, kRows);
  add(key, repository);
  key.raw(manifest.raw());
  return std::move(key).take();
}

Range manifests(ShardId shard, const Repository& repository) {
  Writer key = begin(shard, kRows);
  add(key, repository);
  return all_behind(std::move(key));
}

std::string blob(ShardId shard, const Digest& digest) {
  Writer key = begin(shard, kRows);
  key.raw(digest.raw());
  return std::move(key).take();
}

Range blobs(ShardId shard) { return all_behind(begin(shard, kRows)); }

std::string mark(ShardId shard, const Digest& digest, const PushId& push) {
  Writer key = begin(shard, kSecond);
  key.raw(digest.raw());
  add(key, push);
  return std::move(key).take();
}

Range marks(ShardId shard, const Digest& digest) {
  Writer key = begin(shard, kSecond);
  key.raw(digest.raw());
  return all_behind(std::move(key));
}

std::string metainfo(ShardId shard, const Digest& digest) { return blob(shard, digest); }

std::string ref(ShardId shard, const Digest& digest, const RefName& name) {
  Writer key = begin(shard, kRows);
  key.raw(digest.raw());
  add(key, name.repository);
  key.raw(name.manifest.raw());
  add(key, name.push);
  return std::move(key).take();
}

Range refs(ShardId shard, const Digest& digest) {
  Writer key = begin(shard, kRows);
  key.raw(digest.raw());
  return all_behind(std::move(key));
}

std::string task(ShardId shard, const TaskKey& key) {
  Writer out = begin(shard, kRows);
  out.i64(key.due.count()).u64(key.index).u32(key.ordinal);
  return std::move(out).take();
}

Range tasks(ShardId shard) { return all_behind(begin(shard, kRows)); }

std::string peer(ShardId shard, const InfoHash& infohash, const PeerId& peer) {
  Writer key = begin(shard, kRows);
  key.raw(infohash.raw()).raw(peer.raw());
  return std::move(key).take();
}

Range peers(ShardId shard) { return all_behind(begin(shard, kRows)); }

Range peers(ShardId shard, const InfoHash& infohash) {
  Writer key = begin(shard, kRows);
  key.raw(infohash.raw());
  return all_behind(std::move(key));
}

std::string peer_sweep(ShardId shard) { return begin(shard, kSecond).str(); }

std::optional<TagParts> parse_tag(std::string_view key) {
  Reader in = open(key, kRows);
  std::string_view rest = in.rest();
  if (!in.ok()) return std::nullopt;
  auto name = repository(rest);
  auto tag = TagName::parse(rest);
  if (!name || !tag) return std::nullopt;
  return TagParts{*std::move(name), *std::move(tag)};
}

std::optional<TagByManifestParts> parse_tag_by_manifest(std::string_view key) {
  Reader in = open(key, kSecond);
  std::string_view rest = in.rest();
  if (!in.ok()) return std::nullopt;
  auto name = repository(rest);
  if (!name || rest.size() < 32) return std::nullopt;
  const auto manifest = Digest::from_raw(rest.substr(0, 32));
  auto tag = TagName::parse(rest.substr(32));
  if (!manifest || !tag) return std::nullopt;
  return TagByManifestParts{*std::move(name), *manifest, *std::move(tag)};
}

std::optional<ManifestParts> parse_manifest(std::string_view key) {
  Reader in = open(key, kRows);
  std::string_view rest = in.rest();
  if (!in.ok()) return std::nullopt;
  auto name = repository(rest);
  if (!name) return std::nullopt;
  const auto manifest = Digest::from_raw(rest);
  if (!manifest) return std::nullopt;
  return ManifestParts{*std::move(name), *manifest};
}

std::optional<Digest> parse_blob(std::string_view key) {
  Reader in = open(key, kRows);
  const Digest parsed = digest(in);
  if (!in.finish("blob key")) return std::nullopt;
  return parsed;
}

std::optional<MarkParts> parse_mark(std::string_view key) {
  Reader in = open(key, kSecond);
  MarkParts parts;
  parts.digest = digest(in);
  parts.push = push_id(in);
  if (!in.finish("mark key")) return std::nullopt;
  return parts;
}

std::optional<RefParts> parse_ref(std::string_view key) {
  Reader in = open(key, kRows);
  RefParts parts;
  parts.digest = digest(in);
  std::string_view rest = in.rest();
  if (!in.ok()) return std::nullopt;
  auto name = repository(rest);
  if (!name) return std::nullopt;
  parts.name.repository = *std::move(name);
  Reader tail(rest);
  parts.name.manifest = digest(tail);
  parts.name.push = push_id(tail);
  if (!tail.finish("ref key")) return std::nullopt;
  return parts;
}

std::optional<TaskKey> parse_task(std::string_view key) {
  Reader in = open(key, kRows);
  TaskKey parts;
  parts.due = duration(in);
  parts.index = in.u64();
  parts.ordinal = in.u32();
  if (!in.finish("task key")) return std::nullopt;
  return parts;
}

std::optional<PeerParts> parse_peer(std::string_view key) {
  Reader in = open(key, kRows);
  const auto infohash = InfoHash::from_raw(in.raw(20));
  const auto peer = PeerId::from_raw(in.raw(20));
  if (!in.finish("peer key") || !infohash || !peer) return std::nullopt;
  return PeerParts{*infohash, *peer};
}

}  // namespace kraken::metadata::state::keys
