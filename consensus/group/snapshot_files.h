#pragma once
// A snapshot of one shard as files: a manifest, and sorted tables, several to a family. The sender builds them from one moment of
// its store; the receiver collects them in a folder that survives a broken connection and a restart, verifies each by its
// SHA-256, and only then turns them into an import that replaces the shard in one step.
// Format: docs/formats/snapshot.md. Threads: one owner; everything here blocks on the disk.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/log_store.h"
#include "src/base/file.h"
#include "src/core/digest.h"
#include "storage/kv/store.h"

namespace kraken::group {

struct SnapshotManifest {
  struct File {
    kv::Family family{};
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;
    Digest digest;
    friend bool operator==(const File&, const File&) = default;
  };
  ShardId shard;
  raft::SnapMeta meta;
  std::string state_digest;  // of the replicated state at meta.index, where the sender knows it; else empty
  std::vector<File> files;   // families ascending, keys ascending over a family's files

  std::uint64_t bytes() const;
};
inline constexpr std::size_t kSnapshotFilesMax = 65'536;
inline constexpr std::uint64_t kSnapshotFileBytesMax = std::uint64_t{64} << 20;

std::string encode(const SnapshotManifest& manifest);
/// kProtocol for what makes no sense: it comes from a peer.
Result<SnapshotManifest> decode_manifest(std::string_view bytes);

/// "000017.table" in the folder.
std::filesystem::path table_path(const std::filesystem::path& folder, std::size_t file);

/// Writes the tables of the shard into `folder`, which is made anew. Rows are cut into files of about `file_bytes`.
Result<SnapshotManifest> build_snapshot(const kv::View& view, ShardId shard, const raft::SnapMeta& meta,
                                        const std::filesystem::path& folder, std::size_t file_bytes);

/// The receiver's side of one snapshot: `folder` holds the manifest and what has come of the tables.
class SnapshotIntake {
 public:
  /// Where the sender is to go on: behind `offset` bytes of table `file`; file == manifest's count: nothing is missing.
  struct Position {
    std::size_t file = 0;
    std::uint64_t offset = 0;
    friend bool operator==(const Position&, const Position&) = default;
  };

  /// Goes on with what `folder` has if that is of the same manifest, verifying each whole table again; begins anew otherwise.
  static Result<SnapshotIntake> open(const std::filesystem::path& folder, const SnapshotManifest& manifest);

  Position position() const { return position_; }
  bool complete() const { return position_.file == manifest_.files.size(); }
  /// The bytes at position(), which moves on. A table that is whole is verified and synced; one that fails is thrown away and
  /// position() is at its begin again: kDigestMismatch. kProtocol: the bytes are of another place, or too many.
  Result<> append(Position at, std::string_view bytes);
  /// REQUIRES: complete(). Checks the rows one by one: a table that is not what the manifest says is kProtocol.
  Result<std::unique_ptr<kv::ShardImport>> import(kv::Store& store) const;

 private:
  SnapshotIntake(std::filesystem::path folder, SnapshotManifest manifest) : folder_(std::move(folder)), manifest_(std::move(manifest)) {}
  Result<> resume();
  Result<> finish_table();

  std::filesystem::path folder_;
  SnapshotManifest manifest_;
  Position position_;
  Sha256 hash_;   // of the table under way
  UniqueFd fd_;   // likewise
};

/// Of what an earlier life of this node left in `folder`, one sub-folder a snapshot: removes what is malformed, or not ahead of
/// what the shard has applied; the rest stays, to be gone on with.
Result<> remove_stale_snapshots(const std::filesystem::path& folder, const kv::View& view);

}  // namespace kraken::group
