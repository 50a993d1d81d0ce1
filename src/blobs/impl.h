#pragma once
// What stands behind Service; private to src/blobs. sessions.cc: uploads. push.cc: placing on a quorum and committing.
// read.cc: sources. fetch.cc: getting a blob here, repair, release.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/blobs/ingest.h"
#include "src/blobs/locks.h"
#include "src/blobs/metainfo_cache.h"
#include "src/blobs/service.h"
#include "src/metadata/client.h"
#include "src/net/event.h"
#include "src/net/file_pool.h"
#include "src/net/scope.h"

namespace kraken::blobs {

/// Sends a session's bytes to one other owner while they arrive.
struct Follower {
  std::string label;
  std::string transfer;  // its name there
  net::Event ended_event;
  std::atomic<bool> ended{false};
  Result<> result;  // read once ended
  std::atomic<bool> placed{false};
};

struct Session {
  UploadId id;
  UploadHints hints;
  std::shared_ptr<blob::Upload> upload;
  std::atomic<std::uint64_t> received{0};
  net::Event grown;
  std::atomic<bool> complete{false};   // no more bytes come, and they are what the digest says
  std::atomic<bool> abandoned{false};
  std::vector<std::shared_ptr<Follower>> followers;  // set by the first append
  bool following = false;
  // Guarded by Impl::mutex_:
  bool busy = false;  // a request works on it
  MonotonicTime touched{};
};

/// The right to work on a session. Released by the request that took it when all its writes have ended, or, where that
/// request was cancelled, by the last of those writes.
class Lease {
 public:
  Lease(std::shared_ptr<Service::Impl> impl, std::shared_ptr<Session> session)
      : impl_(std::move(impl)), session_(std::move(session)) {}
  ~Lease() { release(); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  void release();

 private:
  std::shared_ptr<Service::Impl> impl_;
  std::shared_ptr<Session> session_;
  std::atomic<bool> released_{false};
};

/// Bytes that another node sent and that wait for `place`.
struct Staged {
  Digest digest;
  std::shared_ptr<blob::Upload> upload;
  MonotonicTime touched{};
};

/// A fetch that runs: everybody who wants the blob waits for the same one.
struct Fetching {
  net::Event ended_event;
  std::atomic<bool> ended{false};
  Result<> result;  // read once ended
};

class Service::Impl : public std::enable_shared_from_this<Service::Impl> {
 public:
  Impl(Options options, const ring::CurrentRing& ring, blob::Store& store, metadata::Client& metadata, Peers& peers, net::Loops& loops);

  // sessions.cc
  net::Task<UploadId> start_upload(UploadHints hints);
  net::Task<std::uint64_t> append(UploadId id, std::optional<std::uint64_t> offset, std::optional<std::uint64_t> length,
                                  BodyReader body, Resent resent);
  Result<std::uint64_t> upload_bytes(const UploadId& id) const;
  net::Task<void> cancel_upload(UploadId id);
  net::Task<void> sweep();
  void follow(std::shared_ptr<Session> session);
  net::Task<void> run_follower(std::shared_ptr<Session> session, std::shared_ptr<Follower> follower);

  // push.cc
  net::Task<bool> commit(UploadId id, Digest digest);
  net::Task<bool> push(std::shared_ptr<Session> session, Digest digest);
  net::Task<StoreId> place_on(std::string label, std::shared_ptr<Session> session, Digest digest);
  net::Task<std::vector<metadata::Holder>> place_quorum(std::shared_ptr<Session> session, Digest digest,
                                                       std::vector<metadata::Holder> have);
  net::Task<std::vector<metadata::Holder>> who_has(Digest digest, std::vector<metadata::Holder> holders);

  // read.cc
  net::Task<std::unique_ptr<Source>> open(Digest digest, std::uint64_t offset, std::optional<std::uint64_t> length);
  net::Task<std::unique_ptr<Source>> open_local(Digest digest, std::uint64_t offset, std::optional<std::uint64_t> length);
  net::Task<std::shared_ptr<const CachedMetaInfo>> metainfo(Digest digest);
  net::Task<metadata::BlobRow> record(Digest digest);
  /// Labels to ask for the bytes, holders first, then owners, without this node.
  std::vector<std::string> candidates(const Digest& digest, const metadata::BlobRow& row) const;

  // fetch.cc
  net::Task<void> ensure_local(Digest digest);
  net::Task<void> ensure_local_now(Digest digest);
  net::Task<void> run_fetch(Digest digest, std::shared_ptr<Fetching> fetching);
  net::Task<std::shared_ptr<blob::Upload>> download(Digest digest, metadata::BlobRow row);
  net::Task<void> check_local(Digest digest);
  net::Task<void> repair(Digest digest);
  void damaged(const Digest& digest);
  net::Task<void> remove(Digest digest);
  net::Task<void> stage_here(std::string transfer, Digest digest, std::optional<std::uint64_t> bytes, BodyReader body);
  net::Task<StoreId> place_here(std::string transfer, Digest digest);
  net::Task<void> release_here(Digest digest);

  // leave.cc
  net::Task<void> let_go_here(Digest digest, std::uint64_t epoch);
  net::Task<Scrubbed> scrub(Digest digest, bool orphans_go);
  /// REQUIRES: the digest's lock, `row` read under it.
  net::Task<void> let_go_locked(Digest digest, metadata::BlobRow row, std::shared_ptr<const ring::Ring> ring);
  net::Task<Scrubbed> scrub_locked(Digest digest, bool orphans_go);
  net::Task<Scrubbed> forget_missing(Digest digest);

  std::vector<std::string> owners(const Digest& digest) const { return ring_.get()->owners(digest, options_.max_replica); }
  std::size_t owners_count() const { return std::min(options_.max_replica, ring_.get()->size()); }
  std::size_t write_quorum() const { return owners_count() / 2 + 1; }
  /// Closing an upload unlinks its file, which takes long for a big one: off the loops.
  std::shared_ptr<blob::Upload> shared(std::unique_ptr<blob::Upload> upload);
  /// In turn, so that transfers use every core.
  net::Scope& scope() { return scopes_[next_scope_++ % scopes_.size()]; }
  Result<std::shared_ptr<Session>> take(const UploadId& id);
  /// Ends the session: its bytes go, here and where they were sent.
  void forget(const std::shared_ptr<Session>& session);
  static std::string new_name();
  std::uint64_t blob_bytes_max() const;

  const Options options_;
  const ring::CurrentRing& ring_;
  blob::Store& store_;
  metadata::Client& metadata_;
  Peers& peers_;
  net::FilePool ingest_pool_;
  net::FilePool file_pool_;
  DigestLocks locks_;
  MetaInfoCache metainfo_cache_;

  mutable std::mutex mutex_;  // the three tables; never across a wait
  std::map<UploadId, std::shared_ptr<Session>> sessions_;
  std::map<std::string, std::shared_ptr<Staged>> staged_;
  std::unordered_map<Digest, std::shared_ptr<Fetching>> fetching_;

  std::atomic<std::size_t> next_scope_{0};
  std::vector<net::Scope> scopes_;  // last: what runs in them uses the rest
};

}  // namespace kraken::blobs
