#pragma once
// How the structs of this folder become bytes: one list of fields per struct, used in both directions, so that encoder
// and decoder cannot part ways. Internal to the folder; the formats are in docs/formats/metadata.md.
//
// integers big-endian; times and durations 64-bit nanoseconds, never negative; digests, ids and push ids raw; strings
// and names with a 32-bit length; lists with a 32-bit count; optionals with a byte 0 or 1; enums one byte, checked.
// Threads: pure functions.

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "src/base/codec.h"
#include "src/metadata/state/commands.h"
#include "src/metadata/state/outcome.h"
#include "src/metadata/state/queries.h"
#include "src/metadata/state/rows.h"

namespace kraken::metadata::state::codec {

/// Of every format here. A reader of version 2 must still read 1.
inline constexpr std::uint8_t kVersion = 1;

/// No time or duration is longer: 100 years, so that the sum of two still fits.
inline constexpr Duration kDurationMax = std::chrono::hours(24 * 365 * 100);

bool valid(BlobState state);
bool valid(TaskKind kind);
bool valid(Expectation::Kind kind);
bool valid(Refusal refusal);

template <class T, class U>
concept Is = std::same_as<std::remove_const_t<T>, U>;

// ---- parts
auto fields(Is<PushId> auto& s) { return std::tie(s.time, s.random); }
auto fields(Is<Holder> auto& s) { return std::tie(s.store, s.label, s.suspect); }
auto fields(Is<TaskKey> auto& s) { return std::tie(s.due, s.index, s.ordinal); }
auto fields(Is<RefName> auto& s) { return std::tie(s.repository, s.manifest, s.push); }
auto fields(Is<Claim> auto& s) { return std::tie(s.claimant, s.until); }
auto fields(Is<MetaInfo> auto& s) { return std::tie(s.digest, s.length, s.piece_length, s.piece_sums); }
auto fields(Is<Expectation> auto& s) { return std::tie(s.kind, s.revision, s.digest); }
auto fields(Is<TagTasks> auto& s) { return std::tie(s.write_back, s.replicate_to); }

// ---- rows
auto fields(Is<BlobRow> auto& s) {
  return std::tie(s.state, s.size, s.generation, s.holders, s.backends, s.condemned_at);
}
auto fields(Is<MarkRow> auto& s) { return std::tie(s.deadline); }
auto fields(Is<TagRow> auto& s) { return std::tie(s.digest, s.revision, s.time, s.tombstone); }
auto fields(Is<ManifestRow> auto& s) {
  return std::tie(s.media_type, s.size, s.references, s.subject, s.push, s.revision, s.time, s.tombstone);
}
auto fields(Is<MetainfoRow> auto& s) { return std::tie(s.infohash, s.length, s.piece_length, s.piece_sums); }
auto fields(Is<RefRow> auto& s) { return std::tie(s.verify); }
auto fields(Is<TaskRow> auto& s) {
  return std::tie(s.kind, s.digest, s.digests, s.repository, s.tag, s.manifest, s.push, s.target, s.tag_revision,
                  s.created, s.revision, s.failures, s.error, s.claim);
}
auto fields(Is<PeerRow> auto& s) { return std::tie(s.ip, s.port, s.complete, s.expires); }

// ---- commands
auto fields(Is<Arrive> auto& s) { return std::tie(s.digest, s.push, s.mark_for); }
auto fields(Is<Commit> auto& s) {
  return std::tie(s.digest, s.push, s.generation, s.holders, s.metainfo, s.owners, s.write_back, s.mark_for);
}
auto fields(Is<Renew> auto& s) { return std::tie(s.digest); }
auto fields(Is<Expire> auto& s) { return std::tie(s.digest, s.push); }
auto fields(Is<AddRef> auto& s) { return std::tie(s.digest, s.ref); }
auto fields(Is<RemoveRef> auto& s) { return std::tie(s.digest, s.ref); }
auto fields(Is<Verified> auto& s) { return std::tie(s.digest, s.ref); }
auto fields(Is<Condemn> auto& s) { return std::tie(s.digest); }
auto fields(Is<Delete> auto& s) { return std::tie(s.digest, s.grace); }
auto fields(Is<DeleteBlob> auto& s) { return std::tie(s.digest); }
auto fields(Is<Enter> auto& s) { return std::tie(s.digest, s.holder, s.generation); }
auto fields(Is<Leave> auto& s) { return std::tie(s.digest, s.store, s.generation, s.owners); }
auto fields(Is<Lost> auto& s) { return std::tie(s.digest, s.store, s.owners); }
auto fields(Is<Suspect> auto& s) { return std::tie(s.digest, s.store); }
auto fields(Is<Backed> auto& s) { return std::tie(s.digest, s.backend); }
auto fields(Is<PutManifest> auto& s) {
  return std::tie(s.repository, s.manifest, s.push, s.media_type, s.size, s.references, s.subject, s.tags, s.expect,
                  s.tasks);
}
auto fields(Is<Retag> auto& s) { return std::tie(s.repository, s.tags, s.manifest, s.expect, s.tasks, s.opaque); }
auto fields(Is<DeleteManifest> auto& s) { return std::tie(s.repository, s.manifest, s.only_untagged, s.tombstone); }
auto fields(Is<DeleteTag> auto& s) { return std::tie(s.repository, s.tag, s.expect, s.tombstone); }
auto fields(Is<ClearTombstone> auto& s) { return std::tie(s.repository, s.tag, s.manifest, s.revision); }
auto fields(Is<Tick> auto&) { return std::tie(); }
auto fields(Is<PeerRecord> auto& s) { return std::tie(s.infohash, s.peer_id, s.ip, s.port, s.complete, s.lasts); }
auto fields(Is<PeerBatch> auto& s) { return std::tie(s.records); }
auto fields(Is<AddTask> auto& s) { return std::tie(s.task, s.delay); }
auto fields(Is<ClaimTask> auto& s) { return std::tie(s.task, s.revision, s.claimant, s.lasts); }
auto fields(Is<FinishTask> auto& s) { return std::tie(s.task, s.revision); }
auto fields(Is<PostponeTask> auto& s) { return std::tie(s.task, s.revision, s.delay, s.error); }

auto fields(Is<Outcome> auto& s) {
  return std::tie(s.refusal, s.detail, s.index, s.now, s.blob, s.metainfo_differs, s.tag, s.task_key, s.task,
                  s.removed);
}

// ---- queries and answers
auto fields(Is<GetTag> auto& s) { return std::tie(s.repository, s.tag); }
auto fields(Is<ListTags> auto& s) { return std::tie(s.repository, s.after, s.limit); }
auto fields(Is<ListRepositories> auto& s) { return std::tie(s.after, s.limit); }
auto fields(Is<GetManifest> auto& s) { return std::tie(s.repository, s.manifest); }
auto fields(Is<GetBlob> auto& s) { return std::tie(s.digest, s.with_metainfo); }
auto fields(Is<GetMetainfo> auto& s) { return std::tie(s.digest); }
auto fields(Is<ListBlobs> auto& s) { return std::tie(s.after, s.limit); }
auto fields(Is<ListTasks> auto& s) { return std::tie(s.runnable, s.kind, s.after, s.limit); }
auto fields(Is<ListPeers> auto& s) { return std::tie(s.infohash, s.after_infohash, s.after_peer, s.limit); }
auto fields(Is<GetTime> auto&) { return std::tie(); }

auto fields(Is<NamedTag> auto& s) { return std::tie(s.tag, s.row); }
auto fields(Is<NamedMark> auto& s) { return std::tie(s.push, s.row); }
auto fields(Is<NamedBlob> auto& s) { return std::tie(s.digest, s.row); }
auto fields(Is<Task> auto& s) { return std::tie(s.key, s.row); }
auto fields(Is<NamedPeer> auto& s) { return std::tie(s.infohash, s.peer_id, s.row); }
auto fields(Is<TagAnswer> auto& s) { return std::tie(s.now, s.row); }
auto fields(Is<TagsAnswer> auto& s) { return std::tie(s.now, s.repository_known, s.tags, s.more); }
auto fields(Is<RepositoriesAnswer> auto& s) { return std::tie(s.now, s.repositories, s.more); }
auto fields(Is<ManifestAnswer> auto& s) { return std::tie(s.now, s.row); }
auto fields(Is<BlobAnswer> auto& s) { return std::tie(s.now, s.row, s.metainfo, s.marks, s.referenced); }
auto fields(Is<MetainfoAnswer> auto& s) { return std::tie(s.now, s.row); }
auto fields(Is<BlobsAnswer> auto& s) { return std::tie(s.now, s.blobs, s.more); }
auto fields(Is<TasksAnswer> auto& s) { return std::tie(s.now, s.tasks, s.more, s.next_due); }
auto fields(Is<PeersAnswer> auto& s) { return std::tie(s.now, s.peers, s.more); }
auto fields(Is<TimeAnswer> auto& s) { return std::tie(s.now); }
auto fields(Is<ErrorAnswer> auto& s) { return std::tie(s.now, s.code, s.detail); }

template <class T>
concept Struct = requires(T& value) { fields(value); };
template <class T>
concept Enum = std::is_enum_v<T>;

class Put {
 public:
  explicit Put(Writer& out) : out_(out) {}
  void put(bool value) { out_.boolean(value); }
  void put(std::uint8_t value) { out_.u8(value); }
  void put(std::uint16_t value) { out_.u16(value); }
  void put(std::uint32_t value) { out_.u32(value); }
  void put(std::uint64_t value) { out_.u64(value); }
  void put(Duration value) { out_.i64(value.count()); }
  void put(const std::string& value) { out_.bytes(value); }
  void put(const Digest& value) { out_.raw(value.raw()); }
  void put(const StoreId& value) { out_.raw(value.raw()); }
  void put(const Repository& value) { out_.bytes(value.str()); }
  void put(const TagName& value) { out_.bytes(value.str()); }
  template <class Tag>
  void put(const Bytes20<Tag>& value) {
    out_.raw(value.raw());
  }
  template <Enum E>
  void put(E value) {
    out_.u8(static_cast<std::uint8_t>(value));
  }
  template <class T>
  void put(const std::optional<T>& value) {
    out_.boolean(value.has_value());
    if (value) put(*value);
  }
  template <class T>
  void put(const std::vector<T>& values) {
    out_.u32(static_cast<std::uint32_t>(values.size()));
    for (const T& value : values) put(value);
  }
  template <Struct S>
  void put(const S& value) {
    std::apply([this](const auto&... field) { (this->put(field), ...); }, fields(value));
  }

 private:
  Writer& out_;
};

/// The least bytes that an item of a list takes, so that a false count cannot reserve memory.
template <class T>
constexpr std::size_t least_bytes() {
  if constexpr (std::same_as<T, Digest>)
    return 32;
  else if constexpr (std::same_as<T, StoreId>)
    return 16;
  else if constexpr (std::same_as<T, std::uint32_t>)
    return 4;
  else if constexpr (std::same_as<T, std::string> || std::same_as<T, TagName> || std::same_as<T, Repository>)
    return 4;
  else if constexpr (std::same_as<T, PeerRecord> || std::same_as<T, NamedPeer>)
    return 50;
  else
    return 16;
}

/// After the first bad field the reader is rejected and every further field keeps its default.
class Get {
 public:
  explicit Get(Reader& in) : in_(in) {}
  void get(bool& value) { value = in_.boolean(); }
  void get(std::uint8_t& value) { value = in_.u8(); }
  void get(std::uint16_t& value) { value = in_.u16(); }
  void get(std::uint32_t& value) { value = in_.u32(); }
  void get(std::uint64_t& value) { value = in_.u64(); }
  void get(Duration& value);
  void get(std::string& value) { value = in_.bytes(); }
  void get(Digest& value);
  void get(StoreId& value);
  void get(Repository& value);
  void get(TagName& value);
  template <class Tag>
  void get(Bytes20<Tag>& value) {
    const std::string_view raw = in_.raw(20);
    if (!in_.ok()) return;
    if (auto parsed = Bytes20<Tag>::from_raw(raw))
      value = *parsed;
    else
      in_.reject();
  }
  template <Enum E>
  void get(E& value) {
    const E read = static_cast<E>(in_.u8());
    if (!in_.ok()) return;
    if (valid(read))
      value = read;
    else
      in_.reject();
  }
  template <class T>
  void get(std::optional<T>& value) {
    if (in_.boolean())
      get(value.emplace());
    else
      value.reset();
  }
  template <class T>
  void get(std::vector<T>& values) {
    const std::uint32_t items = in_.count(least_bytes<T>());
    values.clear();
    values.reserve(items);
    for (std::uint32_t i = 0; i < items && in_.ok(); ++i) get(values.emplace_back());
  }
  template <Struct S>
  void get(S& value) {
    std::apply([this](auto&... field) { (this->get(field), ...); }, fields(value));
  }

 private:
  Reader& in_;
};

/// One alternative of a variant on disk and on the wire.
struct Type {
  std::uint8_t number;  // persisted: do not renumber
  std::string_view name;
};

template <class Variant, std::size_t N>
std::string encode_variant(const Variant& value, const std::array<Type, N>& types) {
  static_assert(N == std::variant_size_v<Variant>);
  Writer out;
  out.u8(kVersion).u8(types[value.index()].number);
  std::visit([&out](const auto& alternative) { Put(out).put(alternative); }, value);
  return std::move(out).take();
}

template <class Variant, std::size_t I = 0>
Variant nth_alternative(std::size_t index) {
  if constexpr (I + 1 < std::variant_size_v<Variant>) {
    if (index != I) return nth_alternative<Variant, I + 1>(index);
  }
  return Variant(std::in_place_index<I>);
}

template <class Variant, std::size_t N>
Result<Variant> decode_variant(std::string_view bytes, const std::array<Type, N>& types, std::string_view what) {
  static_assert(N == std::variant_size_v<Variant>);
  Reader in(bytes);
  const std::uint8_t version = in.u8();
  const std::uint8_t number = in.u8();
  if (!in.ok()) return fail(Code::kCorrupt, "{}: {} bytes are too few", what, bytes.size());
  if (version != kVersion) return fail(Code::kUnsupported, "{}: version {} is not known here", what, version);
  std::size_t index = 0;
  while (index < N && types[index].number != number) ++index;
  if (index == N) return fail(Code::kUnsupported, "{}: type {} is not known here", what, number);
  Variant value = nth_alternative<Variant>(index);
  std::visit([&in](auto& alternative) { Get(in).get(alternative); }, value);
  KR_CHECK(in.finish(what));
  return value;
}

template <class S>
std::string encode_struct(const S& value) {
  Writer out;
  out.u8(kVersion);
  Put(out).put(value);
  return std::move(out).take();
}

template <class S>
Result<S> decode_struct(std::string_view bytes, std::string_view what) {
  Reader in(bytes);
  const std::uint8_t version = in.u8();
  if (!in.ok()) return fail(Code::kCorrupt, "{}: empty", what);
  if (version != kVersion) return fail(Code::kUnsupported, "{}: version {} is not known here", what, version);
  S value;
  Get(in).get(value);
  KR_CHECK(in.finish(what));
  return value;
}

}  // namespace kraken::metadata::state::codec
