#pragma once
// Content-addressable files: the bytes of blobs, and of uploads on their way to become blobs (design §5 "Blobs").
//
//   <path>/store_id              32 hex digits, random, made at the first open: the store's name in the metadata
//   <path>/<hh>/<hh>/<64 hex>    a blob: whole, its SHA-256 was checked before it got this name, synced
//   <path>/<hh>/<hh>/<64 hex>.damaged   a blob that failed a check; never served, kept for the operator
//   <uploads_path>/<name>        an upload in progress; every one found at open is removed
//
// A name under <path> exists only after the file's bytes and then the folder were synced (Options::sync). The store knows
// nothing of records, holders and locks: whoever places or removes a blob holds the digest's lock (src/blobs/locks.h).
// Threads: Store any; an Upload has one user at a time. Everything here may block: never call it on a loop.

#include <atomic>
#include <bitset>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/file.h"
#include "src/core/digest.h"
#include "src/core/metainfo.h"
#include "src/core/store_id.h"

namespace kraken::blob {

struct Options {
  std::filesystem::path path;
  std::filesystem::path uploads_path;  // on the same filesystem as `path`
  /// Uploads are refused where they would leave less than this free, counting what others still have to write.
  std::uint64_t reserve_bytes = 0;
  /// False for agents, which verify after an unclean stop instead.
  bool sync = true;
  /// A written window of this size is sent to the disk while the next one comes.
  std::uint64_t window_bytes = 8u << 20;
  /// `append` waits while more windows of one upload than this are on their way to the disk.
  std::uint32_t windows_max = 4;
};

/// An open blob. Stays readable after the blob was removed or set aside.
struct Blob {
  Digest digest;
  UniqueFd fd;
  std::uint64_t bytes = 0;
};

class Store;
struct Writeback;  // of one upload
class Syncer;      // of one store

/// The bytes of one upload: hashed, summed and written in one pass, in the order in which they come. Removed with the
/// object unless it was placed.
class Upload {
 public:
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  /// kDiskFull below the reserve. After an error nothing more can be appended.
  Result<> append(std::string_view bytes);
  std::uint64_t bytes() const { return summer_.bytes(); }
  /// Ends the upload: kDigestMismatch (with both digests) if the bytes are not `expected`'s. May be asked again after a
  /// mismatch. Does not wait for the disk.
  Result<> finish(const Digest& expected);
  bool finished() const { return finished_.has_value(); }
  /// Sums for pieces of this length; see PieceSummer::finish for which lengths can be asked for.
  std::vector<std::uint32_t> piece_sums(std::uint64_t piece_length) const { return summer_.finish(piece_length); }
  /// For reading what was written so far, any thread.
  int fd() const;
  /// Syncs the file, renames it to its digest's name (over a file that is there already: these bytes were just checked)
  /// and syncs the folders. Repeating it is harmless. REQUIRES: finished, the digest's lock held, and its `Arrive` (or record) acknowledged
  /// (lifecycle §3).
  Result<> place();

 private:
  friend class Store;
  Upload(Store& store, std::filesystem::path path, UniqueFd fd, std::uint64_t expected_bytes);
  Result<> reserve(std::uint64_t bytes);
  /// Gives [handed_bytes_, bytes()) to the disk.
  Result<> hand_over();

  Store& store_;
  std::filesystem::path path_;
  std::uint64_t reserved_bytes_;    // counted in the store's in_flight_bytes_, not yet written
  std::uint64_t handed_bytes_ = 0;  // on their way to the disk, or there
  std::shared_ptr<Writeback> writeback_;
  Sha256 sha_;
  PieceSummer summer_;
  std::optional<Digest> digest_;    // of all bytes, once asked
  std::optional<Digest> finished_;
  bool broken_ = false;
  bool placed_ = false;
};

class Store {
 public:
  /// Makes the folders, reads or makes the id and removes leftover uploads. kInvalidArgument: the two paths are on
  /// different filesystems. kConflict: another process has the store open.
  static Result<std::unique_ptr<Store>> open(Options options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const StoreId& id() const { return id_; }
  /// It was made by this open, so no record can name it yet.
  bool id_is_new() const { return id_is_new_; }

  /// `name`: [0-9a-zA-Z.-]+, not in use. `expected_bytes` is 0 where unknown. kDiskFull below the reserve. The store must
  /// outlive the upload.
  Result<std::unique_ptr<Upload>> create_upload(std::string_view name, std::uint64_t expected_bytes);

  /// kNotFound where there is no such file.
  Result<Blob> open_blob(const Digest& digest) const;
  Result<std::uint64_t> size_of(const Digest& digest) const;
  bool has(const Digest& digest) const;
  /// kNotFound where there is no such file. Synced. REQUIRES: the digest's lock, and the right to (lifecycle §3 "Holder").
  Result<> remove(const Digest& digest);
  /// Renames the file out of what is served.
  Result<> set_aside(const Digest& digest);
  /// In order of digest; stops when `each` answers false.
  Result<> list(const std::function<bool(const Digest&, std::uint64_t bytes)>& each) const { return list(0, 0xffff, each); }
  /// Only those whose first 16 bits are in [first, last].
  Result<> list(std::uint16_t first, std::uint16_t last,
                const std::function<bool(const Digest&, std::uint64_t bytes)>& each) const;

  /// Checks the pieces that cover [offset, offset + length) against their sums. kCorrupt names the first bad one. A piece
  /// once found good is not read again for `kVerifiedFor` while the file's inode, size and times stay the same.
  /// REQUIRES: metainfo is the blob's.
  Result<> verify(const Blob& blob, const MetaInfo& metainfo, std::uint64_t offset, std::uint64_t length);

  /// The next verify reads every piece again: somebody found one damaged.
  void doubt(const Digest& digest);

  /// kDiskFull where `bytes` more would leave less than the reserve, counting what uploads still have to write.
  Result<> check_space(std::uint64_t bytes) const;
  std::uint64_t in_flight_bytes() const { return in_flight_bytes_.load(); }
  std::filesystem::path path_of(const Digest& digest) const;

  static constexpr Duration kVerifiedFor = std::chrono::minutes(10);

 private:
  friend class Upload;
  struct Verified;
  explicit Store(Options options);
  Result<> load_id();
  Result<> remove_leftovers();
  Result<> make_folder_of(const Digest& digest);

  Options options_;
  StoreId id_{};
  bool id_is_new_ = false;
  UniqueFd lock_;
  std::atomic<std::uint64_t> in_flight_bytes_{0};
  std::unique_ptr<Syncer> syncer_;
  std::mutex mutex_;  // the two below
  std::bitset<65536> folders_;  // by the digest's first 16 bits: known to be there, durably
  std::unordered_map<Digest, std::shared_ptr<Verified>> verified_;
};

}  // namespace kraken::blob
