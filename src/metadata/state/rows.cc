#include "src/metadata/state/rows.h"

#include <algorithm>

#include "src/base/codec.h"
#include "src/base/hex.h"
#include "src/metadata/state/codec.h"

namespace kraken::metadata::state {

std::string PushId::str() const {
  Writer out;
  out.i64(time.count()).u64(random);
  return to_hex(out.str());
}

std::string TaskKey::id() const { return fmt::format("{}.{}", index, ordinal); }

const Holder* BlobRow::holder(const StoreId& store) const {
  const auto at = std::ranges::find(holders, store, &Holder::store);
  return at == holders.end() ? nullptr : &*at;
}

MetainfoRow MetainfoRow::of(const MetaInfo& metainfo) {
  return {metainfo.infohash(), metainfo.length, metainfo.piece_length, metainfo.piece_sums};
}

MetaInfo MetainfoRow::metainfo(const Digest& digest) const {
  MetaInfo metainfo;
  metainfo.digest = digest;
  metainfo.length = length;
  metainfo.piece_length = piece_length;
  metainfo.piece_sums = piece_sums;
  return metainfo;
}

std::string_view name(BlobState state) {
  switch (state) {
    case BlobState::kArriving:
      return "arriving";
    case BlobState::kLive:
      return "live";
    case BlobState::kCondemned:
      return "condemned";
  }
  return "?";
}

std::string_view name(TaskKind kind) {
  switch (kind) {
    case TaskKind::kCopy:
      return "copy";
    case TaskKind::kVerifyRef:
      return "verify_ref";
    case TaskKind::kWriteBackBlob:
      return "write_back_blob";
    case TaskKind::kRemoveRefs:
      return "remove_refs";
    case TaskKind::kWriteBackTag:
      return "write_back_tag";
    case TaskKind::kReplicateTag:
      return "replicate_tag";
    case TaskKind::kDeleteBackendTag:
      return "delete_backend_tag";
  }
  return "?";
}

std::string encode(const BlobRow& row) { return codec::encode_struct(row); }
std::string encode(const MarkRow& row) { return codec::encode_struct(row); }
std::string encode(const TagRow& row) { return codec::encode_struct(row); }
std::string encode(const ManifestRow& row) { return codec::encode_struct(row); }
std::string encode(const MetainfoRow& row) { return codec::encode_struct(row); }
std::string encode(const RefRow& row) { return codec::encode_struct(row); }
std::string encode(const TaskRow& row) { return codec::encode_struct(row); }
std::string encode(const PeerRow& row) { return codec::encode_struct(row); }

template <>
Result<BlobRow> decode<BlobRow>(std::string_view bytes) {
  return codec::decode_struct<BlobRow>(bytes, "blob row");
}
template <>
Result<MarkRow> decode<MarkRow>(std::string_view bytes) {
  return codec::decode_struct<MarkRow>(bytes, "mark row");
}
template <>
Result<TagRow> decode<TagRow>(std::string_view bytes) {
  return codec::decode_struct<TagRow>(bytes, "tag row");
}
template <>
Result<ManifestRow> decode<ManifestRow>(std::string_view bytes) {
  return codec::decode_struct<ManifestRow>(bytes, "manifest row");
}
template <>
Result<MetainfoRow> decode<MetainfoRow>(std::string_view bytes) {
  return codec::decode_struct<MetainfoRow>(bytes, "metainfo row");
}
template <>
Result<RefRow> decode<RefRow>(std::string_view bytes) {
  return codec::decode_struct<RefRow>(bytes, "ref row");
}
template <>
Result<TaskRow> decode<TaskRow>(std::string_view bytes) {
  return codec::decode_struct<TaskRow>(bytes, "task row");
}
template <>
Result<PeerRow> decode<PeerRow>(std::string_view bytes) {
  return codec::decode_struct<PeerRow>(bytes, "peer row");
}

}  // namespace kraken::metadata::state
