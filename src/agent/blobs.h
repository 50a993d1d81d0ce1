#pragma once
// Where an agent's answers come from: its cache, a holder (small blobs), or the swarm. Implements what the registry's
// handlers need; pull only. Threads: any loop.

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "src/agent/cluster.h"
#include "src/agent/storage.h"
#include "src/net/event.h"
#include "src/p2p/scheduler.h"
#include "src/registry/registry.h"

namespace kraken::agent {

/// A blob to be read: whole in the cache, or arriving.
struct OpenBlob {
  std::optional<CachedBlob> cached;
  std::shared_ptr<p2p::Download> download;
  std::uint64_t bytes() const { return cached ? cached->bytes : download->metainfo().length; }
};

class Blobs final : public registry::BlobReader, public registry::Manifests, public registry::Tags {
 public:
  Blobs(Storage& storage, p2p::Scheduler& scheduler, Cluster& cluster, std::uint64_t direct_max)
      : storage_(storage), scheduler_(scheduler), cluster_(cluster), direct_max_(direct_max) {}

  /// Starts fetching what is not here. kNotFound: the cluster has no such blob.
  net::Task<OpenBlob> open_blob(std::string ns, Digest digest);
  /// Fetches it and waits until all of it is in the cache; a blob that came out wrong is fetched once more.
  net::Task<CachedBlob> fetch(std::string ns, Digest digest);
  /// Cache, swarm and disk.
  net::Task<void> remove_blob(Digest digest);

  // registry::BlobReader
  net::Task<std::uint64_t> stat(Repository repository, Digest digest) override;
  net::Task<std::unique_ptr<registry::BlobSource>> open(Repository repository, Digest digest) override;
  net::Task<std::string> read(Repository repository, Digest digest, std::uint64_t bytes_max) override;
  // registry::Manifests
  net::Task<registry::ManifestContent> get(Repository repository, registry::Reference reference) override;
  net::Task<registry::ManifestContent> get_stale(Repository repository, TagName tag) override;
  net::Task<registry::PutOutcome> put(registry::ManifestPut put) override;
  net::Task<registry::RemoveOutcome> remove(Repository repository, registry::Reference reference,
                                            registry::Precondition precondition) override;
  // registry::Tags
  net::Task<registry::Page> list(Repository repository, std::string after, std::size_t count) override;
  net::Task<registry::Page> catalog(std::string after, std::size_t count) override;

 private:
  net::Task<registry::ManifestContent> content_of(Repository repository, Cluster::Tag tag);
  struct Flight {
    net::Event landed;
    std::optional<Result<>> result;  // guarded by mutex_
  };
  /// One request to a holder at a time for a blob; the others wait for it.
  net::Task<void> fetch_small(std::string ns, Digest digest, std::uint64_t bytes_max, std::shared_ptr<const MetaInfo> metainfo);
  net::Task<void> fetch_small_now(std::string ns, Digest digest, std::uint64_t bytes_max, std::shared_ptr<const MetaInfo> metainfo);
  net::Task<std::string> read_cached(CachedBlob blob, std::uint64_t bytes_max);

  Storage& storage_;
  p2p::Scheduler& scheduler_;
  Cluster& cluster_;
  std::uint64_t direct_max_;
  std::mutex mutex_;
  std::map<Digest, std::shared_ptr<Flight>> flights_;
};

}  // namespace kraken::agent
