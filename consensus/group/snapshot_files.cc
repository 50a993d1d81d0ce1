#include "consensus/group/snapshot_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <numeric>

#include "src/base/codec.h"
#include "src/base/log.h"

namespace kraken::group {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kReadBytes = std::size_t{1} << 20;
constexpr std::size_t kRowBytesMax = std::size_t{16} << 20;

std::filesystem::path manifest_path(const std::filesystem::path& folder) { return folder / "manifest"; }

Result<> make_anew(const std::filesystem::path& folder) {
  std::error_code ec;
  std::filesystem::remove_all(folder, ec);
  return file::make_folders(folder);
}

/// One table after the other, while rows come in order.
class TableWriter {
 public:
  TableWriter(const std::filesystem::path& folder, std::size_t file_bytes, SnapshotManifest& manifest)
      : folder_(folder), file_bytes_(file_bytes), manifest_(manifest) {}

  Result<> add(kv::Family family, std::string_view key, std::string_view value) {
    if (buffer_rows_ > 0 && (family != family_ || buffer_.size() >= file_bytes_)) KR_CHECK(close());
    family_ = family;
    buffer_ += Writer().bytes(key).bytes(value).str();
    ++buffer_rows_;
    return {};
  }

  Result<> close() {
    if (buffer_rows_ == 0) return {};
    if (manifest_.files.size() == kSnapshotFilesMax) return fail(Code::kTooLarge, "snapshot: more than {} tables", kSnapshotFilesMax);
    KR_TRY(const UniqueFd fd, file::open(table_path(folder_, manifest_.files.size()), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    KR_CHECK(file::write_at(fd.get(), buffer_, 0));
    manifest_.files.push_back({.family = family_, .rows = buffer_rows_, .bytes = buffer_.size(), .digest = Digest::of(buffer_)});
    buffer_.clear();
    buffer_rows_ = 0;
    return {};
  }

 private:
  const std::filesystem::path& folder_;
  const std::size_t file_bytes_;
  SnapshotManifest& manifest_;
  kv::Family family_{};
  std::string buffer_;
  std::uint64_t buffer_rows_ = 0;
};

}  // namespace

std::uint64_t SnapshotManifest::bytes() const {
  return std::accumulate(files.begin(), files.end(), std::uint64_t{0}, [](std::uint64_t sum, const File& file) { return sum + file.bytes; });
}

std::string encode(const SnapshotManifest& manifest) {
  Writer out;
  out.u8(kVersion).u16(manifest.shard.value()).u64(manifest.meta.snap_id).u64(raft::raw(manifest.meta.index)).u64(raft::raw(manifest.meta.term));
  out.bytes(*raft::encode_conf(manifest.meta.conf)).bytes(manifest.state_digest).u32(static_cast<std::uint32_t>(manifest.files.size()));
  for (const SnapshotManifest::File& file : manifest.files)
    out.u8(static_cast<std::uint8_t>(file.family)).u64(file.rows).u64(file.bytes).raw(file.digest.raw());
  return std::move(out).take();
}

Result<SnapshotManifest> decode_manifest(std::string_view bytes) {
  Reader in(bytes);
  if (const std::uint8_t version = in.u8(); version != kVersion)
    return fail(Code::kProtocol, "snapshot manifest: version {}, known is {}", version, kVersion);
  SnapshotManifest manifest;
  manifest.shard = ShardId{in.u16()};
  manifest.meta.snap_id = in.u64();
  manifest.meta.index = raft::Index{in.u64()};
  manifest.meta.term = raft::Term{in.u64()};
  const auto conf = raft::decode_conf(in.bytes());
  manifest.state_digest = in.bytes();
  const std::uint32_t count = in.count(1 + 8 + 8 + 32);
  if (!in.ok() || !conf || count > kSnapshotFilesMax || manifest.state_digest.size() > 64)
    return fail(Code::kProtocol, "snapshot manifest: malformed");
  manifest.meta.conf = *conf;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint8_t family = in.u8();
    SnapshotManifest::File file{.family = {}, .rows = in.u64(), .bytes = in.u64(), .digest = {}};
    const std::string_view raw = in.raw(32);
    if (!in.ok() || family == 0 || family >= kv::kFamilies || file.bytes == 0 || file.bytes > kSnapshotFileBytesMax || file.rows == 0 ||
        file.rows > file.bytes)
      return fail(Code::kProtocol, "snapshot manifest: table {} makes no sense", i);
    file.family = kv::family_at(family);
    file.digest = *Digest::from_raw(raw);
    if (!manifest.files.empty() && file.family < manifest.files.back().family)
      return fail(Code::kProtocol, "snapshot manifest: families are not in order");
    manifest.files.push_back(file);
  }
  KR_CHECK(in.finish("snapshot manifest"));
  return manifest;
}

std::filesystem::path table_path(const std::filesystem::path& folder, std::size_t file) {
  return folder / fmt::format("{:06}.table", file);
}

Result<SnapshotManifest> build_snapshot(const kv::View& view, ShardId shard, const raft::SnapMeta& meta,
                                        const std::filesystem::path& folder, std::size_t file_bytes) {
  KR_CHECK(make_anew(folder));
  KR_TRY(const AppliedState applied, load_applied(view, shard));
  SnapshotManifest manifest{.shard = shard, .meta = meta, .state_digest = applied.digest.known() ? applied.digest.hex() : "", .files = {}};
  TableWriter writer(folder, file_bytes, manifest);
  Result<> written;
  KR_CHECK(kv::export_shard(view, shard, [&](kv::Family family, std::string_view key, std::string_view value) {
    written = writer.add(family, key, value);
    return written.has_value();
  }));
  KR_CHECK(std::move(written));
  KR_CHECK(writer.close());
  return manifest;
}

Result<SnapshotIntake> SnapshotIntake::open(const std::filesystem::path& folder, const SnapshotManifest& manifest) {
  SnapshotIntake intake(folder, manifest);
  const std::string encoded = encode(manifest);
  const auto kept = file::read_all(manifest_path(folder), encoded.size() + 1);
  if (kept && *kept == encoded) {
    KR_CHECK(intake.resume());
    return intake;
  }
  KR_CHECK(make_anew(folder));
  KR_CHECK(file::replace(manifest_path(folder), encoded, 0600));
  KR_CHECK(file::sync_folder(folder.parent_path()));
  return intake;
}

Result<> SnapshotIntake::resume() {
  std::string piece(kReadBytes, '\0');
  for (; position_.file < manifest_.files.size(); ++position_.file, position_.offset = 0) {
    auto fd = file::open(table_path(folder_, position_.file), O_RDWR);
    if (!fd) {
      if (fd.error().code == Code::kNotFound) return {};
      return std::unexpected(std::move(fd).error());
    }
    hash_ = Sha256();
    for (;;) {
      KR_TRY(const std::size_t got, file::read_at(fd->get(), piece, position_.offset));
      if (got == 0) break;
      hash_.update(std::string_view(piece).substr(0, got));
      position_.offset += got;
    }
    const SnapshotManifest::File& wanted = manifest_.files[position_.file];
    if (position_.offset < wanted.bytes) {
      // A power cut may have left anything in it; its digest will tell.
      fd_ = std::move(*fd);
      return {};
    }
    if (position_.offset == wanted.bytes && hash_.finish() == wanted.digest) continue;
    ::unlink(table_path(folder_, position_.file).c_str());
    position_.offset = 0;
    return {};
  }
  return {};
}

Result<> SnapshotIntake::append(Position at, std::string_view bytes) {
  if (complete() || at != position_) return fail(Code::kProtocol, "snapshot: bytes of table {} at {} came, wanted were those of {} at {}", at.file, at.offset, position_.file, position_.offset);
  const SnapshotManifest::File& wanted = manifest_.files[position_.file];
  if (bytes.size() > wanted.bytes - position_.offset) return fail(Code::kProtocol, "snapshot: table {} is longer than was said", at.file);
  if (position_.offset == 0) {
    KR_TRY(fd_, file::open(table_path(folder_, position_.file), O_RDWR | O_CREAT | O_TRUNC, 0600));
    hash_ = Sha256();
  }
  KR_CHECK(file::write_at(fd_.get(), bytes, position_.offset));
  hash_.update(bytes);
  position_.offset += bytes.size();
  return position_.offset == wanted.bytes ? finish_table() : Result<>{};
}

Result<> SnapshotIntake::finish_table() {
  if (hash_.finish() != manifest_.files[position_.file].digest) {
    ::unlink(table_path(folder_, position_.file).c_str());
    fd_.reset();
    position_.offset = 0;
    return fail(Code::kDigestMismatch, "snapshot: table {} is not what its digest says", position_.file);
  }
  KR_CHECK(file::sync(fd_.get()));
  fd_.reset();
  position_ = {.file = position_.file + 1, .offset = 0};
  if (complete()) KR_CHECK(file::sync_folder(folder_));
  return {};
}

Result<std::unique_ptr<kv::ShardImport>> SnapshotIntake::import(kv::Store& store) const {
  KR_TRY(std::unique_ptr<kv::ShardImport> import, store.begin_import(manifest_.shard));
  std::string applied;
  const std::string key_of_applied = applied_key(manifest_.shard);
  for (std::size_t i = 0; i < manifest_.files.size(); ++i) {
    const SnapshotManifest::File& wanted = manifest_.files[i];
    KR_TRY(const std::string table, file::read_all(table_path(folder_, i), kSnapshotFileBytesMax + kRowBytesMax));
    Reader in(table);
    std::uint64_t rows = 0;
    for (; !in.empty(); ++rows) {
      const std::string_view key = in.bytes();
      const std::string_view value = in.bytes();
      if (!in.ok()) return fail(Code::kProtocol, "snapshot: malformed row {} of table {}", rows, i);
      if (auto added = import->add(wanted.family, key, value); !added) return fail(Code::kProtocol, "snapshot: {}", added.error().detail);
      if (wanted.family == kv::Family::kSession && key == key_of_applied) applied = value;
    }
    if (rows != wanted.rows) return fail(Code::kProtocol, "snapshot: table {} has {} rows, {} were said", i, rows, wanted.rows);
  }
  KR_TRY(const AppliedState state, decode_applied(applied));
  if (state.index != manifest_.meta.index || state.term != manifest_.meta.term)
    return fail(Code::kProtocol, "snapshot: it ends at index {}, promised was {}", raft::raw(state.index), raft::raw(manifest_.meta.index));
  if (!manifest_.state_digest.empty() && state.digest.hex() != manifest_.state_digest)
    return fail(Code::kProtocol, "snapshot: its state digest is {}, promised was {}", state.digest.hex(), manifest_.state_digest);
  return import;
}

Result<> remove_stale_snapshots(const std::filesystem::path& folder, const kv::View& view) {
  std::error_code ec;
  std::vector<std::filesystem::path> stale;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ec)) {
    const auto bytes = file::read_all(manifest_path(entry.path()), std::size_t{16} << 20);
    const auto manifest = bytes ? decode_manifest(*bytes) : Result<SnapshotManifest>(std::unexpected(bytes.error()));
    if (manifest) {
      KR_TRY(const AppliedState applied, load_applied(view, manifest->shard));
      if (applied.index < manifest->meta.index) continue;
    }
    stale.push_back(entry.path());
  }
  for (const std::filesystem::path& one : stale) {
    log::info("raft.snapshot_leftover", "removes {}", one.string());
    std::filesystem::remove_all(one, ec);
  }
  return {};
}

}  // namespace kraken::group
