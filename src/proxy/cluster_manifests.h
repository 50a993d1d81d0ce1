#pragma once
// The registry's manifests and tags over the replicated metadata. A manifest is a blob and a row of its repository: it
// exists where the row does, and its bytes come from the blobs. Tags are read linearizably.
// Threads: any. What is passed to the constructor outlives it.

#include "src/metadata/client.h"
#include "src/registry/registry.h"

namespace kraken::proxy {

class ClusterManifests final : public registry::Manifests, public registry::Tags {
 public:
  ClusterManifests(metadata::Client& metadata, registry::BlobReader& reader, registry::BlobWriter& writer)
      : metadata_(metadata), reader_(reader), writer_(writer) {}

  net::Task<registry::ManifestContent> get(Repository repository, registry::Reference reference) override;
  net::Task<registry::ManifestContent> get_stale(Repository repository, TagName tag) override;
  net::Task<registry::PutOutcome> put(registry::ManifestPut put) override;
  net::Task<registry::RemoveOutcome> remove(Repository repository, registry::Reference reference,
                                            registry::Precondition precondition) override;
  net::Task<registry::Page> list(Repository repository, std::string after, std::size_t count) override;
  net::Task<registry::Page> catalog(std::string after, std::size_t count) override;

 private:
  /// The row's media type; kNotFound where the repository has no such manifest.
  net::Task<metadata::ManifestRow> row_of(Repository repository, Digest digest, bool tagged);
  net::Task<registry::ManifestContent> content_of(Repository repository, registry::TagValue value, bool tagged);
  net::Task<> push_body(Repository repository, Digest digest, const std::string& body);

  metadata::Client& metadata_;
  registry::BlobReader& reader_;
  registry::BlobWriter& writer_;
};

}  // namespace kraken::proxy
