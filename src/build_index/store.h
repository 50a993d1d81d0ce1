#pragma once
// Tags over the replicated metadata. Putting a tag on what its repository already has is one log entry; otherwise the
// manifest is read and pushed with its references by the one function for that (src/metadata/manifest_push.h).
// Threads: any. What is passed to the constructor outlives it.

#include "src/build_index/routes.h"
#include "src/metadata/client.h"

namespace kraken::build_index {

class ClusterTags final : public TagStore {
 public:
  ClusterTags(metadata::Client& metadata, registry::BlobReader& blobs) : metadata_(metadata), blobs_(blobs) {}
  net::Task<std::optional<registry::TagValue>> get(QualifiedTag tag) override;
  net::Task<Stale> get_stale(QualifiedTag tag) override;
  net::Task<registry::PutOutcome> put(QualifiedTag tag, Digest digest, registry::Precondition precondition) override;
  net::Task<registry::RemoveOutcome> remove(QualifiedTag tag, registry::Precondition precondition) override;
  net::Task<registry::Page> tags(Repository repository, std::string after, std::size_t count) override;
  net::Task<registry::Page> repositories(std::string after, std::size_t count) override;

 private:
  net::Task<registry::PutOutcome> push(QualifiedTag tag, Digest digest, metadata::Expectation expect);

  metadata::Client& metadata_;
  registry::BlobReader& blobs_;
};

}  // namespace kraken::build_index
