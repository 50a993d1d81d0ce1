#pragma once
// Blobs of the cluster, as a role sees them: uploads, the push, reads, and getting a blob to where it belongs
// (design §6; lifecycle.md §3 is the protocol and decides). One per node.
//
// A push:   start_upload -> append.. -> commit. Nothing is renamed into blobs/ on any node before the digest's `Arrive` is
//           acknowledged; `commit` returns when a write quorum of stores has the bytes, synced, and `Commit` is in the log.
// A read:   the record says whether the blob exists (kNotFound only after a linearizable read) and which stores hold it;
//           what this node lacks or finds damaged it fetches from another holder. kUnavailable: a record, but no holder
//           answers.
// A session lives on the node that made it and dies with it. Requests for another node's session are forwarded by the role
// (`session_owner`, src/blobs/forward.h), at most one hop.
//
// Threads: every method from any loop. Lifetime: the references given to the constructor outlive it; stop() before it goes.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/blobs/peers.h"
#include "src/core/digest.h"
#include "src/core/metainfo.h"
#include "src/core/names.h"
#include "src/core/store_id.h"
#include "src/net/file_pool.h"
#include "src/net/loop.h"
#include "src/net/task.h"
#include "src/ring/ring.h"
#include "storage/blob/store.h"

namespace kraken::metadata {
class Client;
}

namespace kraken::blobs {

struct Options {
  std::string self;                        // this node's label
  std::size_t max_replica = 3;
  PieceLengths piece_lengths;
  std::uint32_t uploads_max = 512;
  Duration upload_ttl = std::chrono::hours(6);        // a session nobody touched for this long goes
  Duration metadata_timeout = std::chrono::seconds(10);
  Duration transfer_timeout = std::chrono::minutes(15);
  Duration place_grace = std::chrono::milliseconds(500);  // for the owners beyond the write quorum; then a copy task
  std::uint32_t ingest_threads = 2;        // hashing and writing of what comes in
  std::size_t metainfo_cache_bytes = 16u << 20;
};

struct Stat {
  std::uint64_t bytes = 0;
  bool condemned = false;  // it was, before this call renewed it
};

/// A blob, or a range of one, open for reading.
class Source {
 public:
  virtual ~Source() = default;
  std::uint64_t blob_bytes = 0;  // of the whole blob
  std::uint64_t offset = 0;      // [offset, offset + length) is what can be read
  std::uint64_t length = 0;
  /// The local file, for sendfile, its range checked already; -1: only `read` gives the bytes.
  virtual int fd() const = 0;
  /// In order from `offset`; 0 after `length` bytes. kClosed or another error where the bytes end early.
  virtual net::Task<std::size_t> read(std::span<char> into) = 0;
};

/// What `start_upload` may know beforehand.
struct UploadHints {
  std::optional<Digest> digest;        // bytes go to the other owners while they arrive
  std::optional<std::uint64_t> bytes;  // refused at once where it cannot fit
};

class Service {
 public:
  /// `ring`: the adopted one; its labels are what `peers` is asked for.
  Service(Options options, ring::Ring ring, blob::Store& store, metadata::Client& metadata, Peers& peers,
          net::Loops& loops);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  /// Sessions end, transfers are cancelled and joined. Not on a loop.
  void stop();

  // Uploads.

  /// kDiskFull, kOverloaded beyond uploads_max, kTooLarge where `bytes` makes too many pieces.
  net::Task<UploadId> start_upload(UploadHints hints);
  /// Appends until the body ends (exactly `length` bytes where given: fewer are kInvalidArgument, what follows them is not
  /// read). `offset`, where given, must be what is there already, or lie below it with `length` reaching no further than
  /// what is there: then the same bytes came before, they are read and dropped. Anything else is kRangeNotSatisfiable.
  /// kNotFound: no such session. kConflict: another request appends. Returns the bytes now there. Bytes that arrived
  /// before a failure of the body stay and count.
  net::Task<std::uint64_t> append(UploadId id, std::optional<std::uint64_t> offset, std::optional<std::uint64_t> length,
                                  BodyReader body);
  /// Bytes received so far; kNotFound.
  Result<std::uint64_t> upload_bytes(const UploadId& id) const;
  /// kNotFound where there is none.
  net::Task<void> cancel_upload(UploadId id);
  /// The push. The session is gone afterwards unless the error is retryable (then commit may be repeated).
  /// kDigestMismatch, kTooLarge, kDiskFull (too few stores have room), kUnavailable (too few answer). True: the blob was
  /// live already and its holders answered, the bytes were dropped.
  net::Task<bool> commit(UploadId id, Digest digest);
  /// The label of the ring's node that made the id, which may be this one; nullopt: nobody's.
  std::optional<std::string> session_owner(const UploadId& id) const;

  // Reads.

  /// A linearizable read. `renew`: for HEAD and mounts, whose 200 holds for a grace: a condemned record lives again.
  net::Task<Stat> stat(Digest digest, bool renew);
  /// [offset, offset + length), whole blob by default; kRangeNotSatisfiable where it is not inside. The bytes of the
  /// range are checked against the piece sums before they are given out.
  net::Task<std::unique_ptr<Source>> open(Digest digest, std::uint64_t offset = 0,
                                          std::optional<std::uint64_t> length = std::nullopt);
  /// Of any blob with a record (arriving ones have none: kNotFound). Cached, as it never changes.
  net::Task<std::shared_ptr<const MetaInfo>> metainfo(Digest digest);
  /// The JSON of the same, cached as text.
  net::Task<std::shared_ptr<const std::string>> metainfo_json(Digest digest);
  /// This node's store has the file, verified; fetched from another holder where it had not. For a blob of a live record.
  net::Task<void> ensure_local(Digest digest);
  /// Only this node's file, the range's pieces checked; a damaged file is set aside and refetched in the background.
  /// kNotFound: no good file here.
  net::Task<std::unique_ptr<Source>> open_local(Digest digest, std::uint64_t offset, std::optional<std::uint64_t> length);

  // Placement.

  /// The owners' labels, best first, whoever is up.
  std::vector<std::string> owners(const Digest& digest) const;
  const ring::Ring& ring() const;
  /// kConflict: it has references or marks. kNotFound.
  net::Task<void> remove(Digest digest);
  /// Becomes a holder, if the record does not name this store yet: gets the bytes if they are missing, places, `Enter`s.
  net::Task<void> copy_here(Digest digest);
  /// The labels of the stores that the record names, which answer now.
  net::Task<std::vector<std::string>> holders(Digest digest);
  /// The digest's stores as its record names them, and the owners that are not among them: what a copy task has to do.
  struct Placement {
    std::vector<std::string> missing;  // owners' labels
    std::size_t holders = 0;
    bool exists = true;                // false: no record, nothing to do
  };
  net::Task<Placement> placement(Digest digest);

  // The other node's side of Peers (src/blobs/endpoints.h calls these).

  StoreId store_id() const;
  net::Task<Held> have_here(Digest digest);
  net::Task<void> stage_here(std::string transfer, Digest digest, std::uint64_t bytes, BodyReader body);
  net::Task<StoreId> place_here(std::string transfer, Digest digest);
  net::Task<void> discard_here(std::string transfer);

  std::size_t sessions() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace kraken::blobs
