#pragma once
// The registry's blobs over the cluster's blob service. Any repository reads any blob until authorization comes, as
// stock's do; references carry the repository already.
// Threads: any. What is passed to the constructor outlives it.

#include <string>
#include <utility>

#include "src/registry/registry.h"
#include "src/ring/current.h"

namespace kraken::blobs {
class Service;
}
namespace kraken::http {
class Client;
}

namespace kraken::proxy {

class ClusterBlobs final : public registry::BlobReader, public registry::BlobWriter {
 public:
  /// `addresses`: of the nodes' proxies, for requests about uploads that live there.
  ClusterBlobs(blobs::Service& blobs, http::Client& client, std::string self, ring::Addresses addresses)
      : blobs_(blobs), client_(client), self_(std::move(self)), addresses_(std::move(addresses)) {}

  net::Task<std::uint64_t> stat(Repository repository, Digest digest) override;
  net::Task<std::unique_ptr<registry::BlobSource>> open(Repository repository, Digest digest) override;

  net::Task<UploadId> start(Repository repository) override;
  net::Task<std::uint64_t> status(Repository repository, UploadId id) override;
  net::Task<std::uint64_t> append(Repository repository, UploadId id, std::optional<std::uint64_t> offset,
                                  std::optional<std::uint64_t> length, registry::BodyReader body) override;
  net::Task<> finish(Repository repository, UploadId id, Digest digest) override;
  net::Task<> cancel(Repository repository, UploadId id) override;
  net::Task<bool> mount(Repository repository, Digest digest, std::optional<Repository> from) override;
  net::Task<> remove(Repository repository, Digest digest) override;
  bool is_local(UploadId id) const override;
  net::Task<> forward(http::Exchange& exchange, UploadId id) override;

 private:
  blobs::Service& blobs_;
  http::Client& client_;
  const std::string self_;
  const ring::Addresses addresses_;
};

}  // namespace kraken::proxy
