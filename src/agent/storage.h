#pragma once
// The agent's files, in stock's layout (facts §5.1, 5.4), so that an agent can be replaced in place:
//
//   <download_dir>/<aa>/<bb>/<64 hex>/data           a blob being fetched, full length, sparse
//                                     _torrentmeta   its metainfo, stock's JSON
//                                     _status        a byte a piece: 0 missing, 1 here
//   <cache_dir>/<aa>/<bb>/<64 hex>/data, _torrentmeta    the whole blob, its SHA-256 was checked; small blobs that came
//                                     straight from a holder have no _torrentmeta, and no peer is given them
//   <cache_dir>/_clean        left by a clean stop: the machine's boot id, then the blobs not verified since an unclean one
//
// Nothing is synced. After a stop that left no _clean of this boot, marked pieces are checked by their sums before they
// are used, and whole blobs by their SHA-256 before they are served; what fails is fetched again.
// Last use is kept as the access time of `data` and decides what makes room first. How long a blob has been idle is counted by
// the process's monotonic clock, from its start on: a wall clock that jumps expires nothing.
// Threads: any; file work runs on the pool.

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "src/base/file.h"
#include "src/core/digest.h"
#include "src/core/metainfo.h"
#include "src/net/file_pool.h"
#include "src/p2p/piece_store.h"

namespace kraken::agent {

struct StorageOptions {
  std::filesystem::path download_dir;
  std::filesystem::path cache_dir;
  std::uint64_t reserve_bytes = 0;               // of free disk; below, the least recently used blobs go
  Duration cache_ttl = std::chrono::hours(24);   // since the last use, or the start; 0: for ever
  Duration download_ttl = std::chrono::hours(24);
};

/// A whole blob, open for reading. Stays readable when it is evicted meanwhile.
struct CachedBlob {
  std::shared_ptr<UniqueFd> fd;
  std::uint64_t bytes = 0;
};

class Storage final : public p2p::PieceStore {
 public:
  static Result<std::unique_ptr<Storage>> open(StorageOptions options, net::FilePool& pool);
  ~Storage() override;

  net::Task<std::shared_ptr<p2p::Torrent>> find(Digest digest, std::string ns) override;
  net::Task<std::shared_ptr<p2p::Torrent>> create(MetaInfo metainfo) override;

  /// nullopt: it is not here as a whole.
  net::Task<std::optional<CachedBlob>> open_cached(Digest digest);
  std::optional<std::uint64_t> cached_bytes(const Digest& digest) const;
  bool has_part(const Digest& digest) const;
  /// A small blob whose SHA-256 was checked; `metainfo` (may be null) lets it be given to peers.
  net::Task<void> put(Digest digest, std::string bytes, std::shared_ptr<const MetaInfo> metainfo);
  /// Whole or part; nothing there is no error.
  net::Task<void> remove(Digest digest);
  /// By time to live and reserve. Returns what was removed.
  net::Task<std::vector<Digest>> clean();

  /// Whole blobs that peers can have; for announcing.
  std::vector<Digest> complete() const;
  net::Task<InfoHash> infohash(Digest digest);
  std::uint64_t cached_total() const;

  /// Leaves the mark of a clean stop. Nothing may be called afterwards. May block.
  void close();

  struct Impl;

 private:
  explicit Storage(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace kraken::agent
