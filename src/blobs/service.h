#pragma once
// Blobs of the cluster, as a role sees them: uploads, the push, reads, and getting a blob to where it belongs
// (design §6; "life of a blob" in docs/architecture.md is the protocol). One per node.
//
// A push:   start_upload -> append.. -> commit. Nothing is renamed into blobs/ on any node before the digest's `Arrive` is
//           acknowledged; `commit` returns when a write quorum of stores has the bytes, synced, and `Commit` is in the log.
// A read:   the record says whether the blob exists (kNotFound only after a linearizable read) and which stores hold it;
//           what this node ought to have and lacks, or finds damaged, it fetches from another holder. kUnavailable: a
//           record, but no holder answers.
// A session lives on the node that made it and dies with it. Requests for another node's session are forwarded by the role
// (`session_owner`, forward.h), at most one hop.
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
#include "src/net/loop.h"
#include "src/net/task.h"
#include "src/ring/current.h"
#include "storage/blob/store.h"

namespace kraken::metadata {
class Client;
}

namespace kraken::blobs {

struct Options {
  std::string self;                                // this node's label
  std::size_t max_replica = 3;
  PieceLengths piece_lengths;
  std::uint32_t uploads_max = 512;                 // sessions at a time
  Duration upload_ttl = std::chrono::hours(6);     // a session, or staged bytes, that nobody touched for this long go
  Duration have_timeout = std::chrono::seconds(2);  // for a holder to say that it has a file
  Duration place_grace = std::chrono::milliseconds(500);  // at least, for the owners beyond the write quorum
  Duration place_patience = std::chrono::seconds(3);  // how long nodes that nobody reaches are asked again, while too few took it
  Duration fetch_wait = std::chrono::seconds(20);  // how long one call waits for a fetch; beyond: kPending
  std::uint32_t ingest_threads = 2;                // hashing and writing of what comes in
  std::uint32_t ingest_queue = 4096;
  std::size_t buffer_bytes = 512u << 10;           // two of them for each body that comes in
  std::size_t metainfo_cache_bytes = 16u << 20;
};

struct Stat {
  std::uint64_t bytes = 0;
};

/// The next bytes of a Source: `bytes` of them, from `offset` in the file `fd`, or, where fd is -1, at the start of the
/// buffer that was passed. bytes == 0: the end.
struct Slice {
  int fd = -1;  // the source's; open until it goes
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

/// A blob, or a range of one, open for reading. One owner, one call at a time; outlived by the service.
class Source {
 public:
  virtual ~Source() = default;
  std::uint64_t blob_bytes = 0;  // of the whole blob
  std::uint64_t offset = 0;      // [offset, offset + length) is what can be read
  std::uint64_t length = 0;
  /// In order from `offset`. Whatever it gives was checked against its piece sums. Damage or a holder that goes is made good
  /// from another holder while there is one; an error means that the rest cannot be had.
  virtual net::Task<Slice> next(std::span<char> buffer) = 0;
};

/// What `start_upload` may know beforehand.
struct UploadHints {
  std::optional<Digest> digest;        // bytes go to the other owners while they arrive
  std::optional<std::uint64_t> bytes;  // refused at once where they cannot fit
};

/// What to do with bytes that were received before.
enum class Resent : std::uint8_t { kRefuse, kSkip };

/// What `scrub` found and did about one digest.
enum class Scrubbed : std::uint8_t {
  kGood,      // file and record agree
  kOrphan,    // a file without a record: unlinked
  kLeft,      // a file that a live record does not name, and every owner has: left and unlinked
  kEntered,   // such a file on an owner, or the only copy there is: checked and entered
  kWaits,     // such a file; not every owner has the blob yet, or its push still goes on; or an orphan that may not go
  kMissing,   // the record named this store, and the file was missing or of another size: the record names it no more
  kSuspect,   // the same, and nobody else has it: marked
};
std::string_view name(Scrubbed scrubbed);

class Service {
 public:
  /// `ring`: its labels are what `peers` is asked for; each call works with the one it finds when it begins.
  Service(Options options, const ring::CurrentRing& ring, blob::Store& store, metadata::Client& metadata, Peers& peers,
          net::Loops& loops);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  /// Sessions end, transfers are cancelled and joined. Not on a loop. REQUIRES: no other method runs or will.
  void stop();

  // Uploads.

  /// kDiskFull, kOverloaded beyond uploads_max, kTooLarge where `bytes` makes too many pieces.
  net::Task<UploadId> start_upload(UploadHints hints);
  /// Appends until the body ends, or exactly `length` bytes where given: fewer are kInvalidArgument, what follows them is not
  /// read. `offset`, where given, must be where the session stands; with kSkip it may lie below, then what came before is
  /// read and dropped (the digest of the whole decides in the end). Else kRangeNotSatisfiable. kNotFound: no such session
  /// here. kConflict: another request is writing to it. Returns the bytes now there; those that arrived before a failure of
  /// the body may count.
  net::Task<std::uint64_t> append(UploadId id, std::optional<std::uint64_t> offset, std::optional<std::uint64_t> length,
                                  BodyReader body, Resent resent = Resent::kRefuse);
  /// Bytes received so far; kNotFound.
  Result<std::uint64_t> upload_bytes(const UploadId& id) const;
  /// kNotFound where there is none.
  net::Task<void> cancel_upload(UploadId id);
  /// The push. The session is gone afterwards unless the error is one that may pass (then it may be repeated).
  /// kDigestMismatch, kTooLarge, kDiskFull (too few stores have room), kUnavailable (too few answer), kOutcomeUnknown.
  /// True: the blob was live already and a write quorum of its holders answered; the bytes were dropped.
  net::Task<bool> commit(UploadId id, Digest digest);
  /// The label of the ring's node that made the id, which may be this one; nullopt: nobody's.
  std::optional<std::string> session_owner(const UploadId& id) const;
  std::size_t sessions() const;

  // Reads.

  /// A linearizable read. `renew`: for HEAD and mounts, whose 200 holds for a grace: a condemned record lives again.
  net::Task<Stat> stat(Digest digest, bool renew);
  /// The record exists (and lives again if it was condemned) and a write quorum of its holders answers that it has the file:
  /// an upload would be needless.
  net::Task<bool> present(Digest digest);
  /// [offset, offset + length), the whole blob by default; kRangeNotSatisfiable where it is not inside.
  net::Task<std::unique_ptr<Source>> open(Digest digest, std::uint64_t offset = 0,
                                          std::optional<std::uint64_t> length = std::nullopt);
  /// Only this node's file. kNotFound: none, or its first bytes are damaged.
  net::Task<std::unique_ptr<Source>> open_local(Digest digest, std::uint64_t offset, std::optional<std::uint64_t> length);
  /// Cached, as it never changes.
  net::Task<std::shared_ptr<const MetaInfo>> metainfo(Digest digest);
  net::Task<std::shared_ptr<const std::string>> metainfo_json(Digest digest);

  // Placement.

  /// The owners' labels, best first, whoever is up.
  std::vector<std::string> owners(const Digest& digest) const;
  std::shared_ptr<const ring::Ring> ring() const;
  std::size_t max_replica() const;
  /// This node's label.
  const std::string& self() const;
  /// Makes this store a holder that has the file: fetched where it is missing, then entered where the record lacks it.
  /// kNotFound: no record. kPending: it takes longer than `fetch_wait`, and goes on.
  net::Task<void> ensure_local(Digest digest);
  /// This node's file failed a check: it is set aside and fetched again, in the background.
  void damaged(const Digest& digest);
  /// kConflict: it has references or marks. kNotFound. Holders are told.
  net::Task<void> remove(Digest digest);
  /// This store is no owner in the ring (of this epoch or a later one): leaves the record and unlinks, once every owner has
  /// said that it has the file. kConflict: it is an owner. kUnavailable: not every owner has it, or this node has not
  /// adopted that ring. kNotFound: there is nothing to let go of. After any error the file is still there.
  net::Task<void> let_go_here(Digest digest, std::uint64_t epoch);
  /// Compares this store's file with the record, both read under the digest's lock, and puts right what is safe. `orphans_go`:
  /// a file without a record may be unlinked.
  net::Task<Scrubbed> scrub(Digest digest, bool orphans_go = true);
  /// What a copy task has to do.
  struct Placement {
    bool exists = true;                // false: no record
    std::vector<std::string> missing;  // owners that no holder's label names
    std::size_t holders = 0;
  };
  net::Task<Placement> placement(Digest digest);
  Peers& peers();

  // The other node's side of Peers.

  StoreId store_id() const;
  net::Task<Held> have_here(Digest digest);
  net::Task<void> stage_here(std::string transfer, Digest digest, std::optional<std::uint64_t> bytes, BodyReader body);
  net::Task<StoreId> place_here(std::string transfer, Digest digest);
  net::Task<void> discard_here(std::string transfer);
  net::Task<void> release_here(Digest digest);

  class Impl;  // src/blobs/impl.h, private to this folder

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace kraken::blobs
