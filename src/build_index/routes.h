#pragma once
// The build-index of a node: stock's tag API (facts §1.6) over the replicated metadata. Reads are linearizable, the
// last acknowledged put wins, and a put may be conditional:
//   If-Match: "<revision>" or "<digest>"   only if the tag stands there      else 412, body: the digest it stands at
//   If-None-Match: *                       only if the tag does not exist    else 409, body: the digest it stands at
// Answers about a tag carry `Kraken-Tag-Revision`. Beyond stock: DELETE /tags/{tag}; GET /tags/{tag}?stale=true, a replica's own
// word with or without a quorum, which says how old it may be (registry/answers.h "Kraken-Stale"), a 404 too.
// Threads: handlers run on any loop. What Deps points to must outlive the server.

#include <functional>
#include <optional>
#include <string>

#include "src/registry/registry.h"

namespace kraken::build_index {

/// Tags as the build-index needs them. Implemented over metadata (src/build_index/store.h) and by fakes.
class TagStore {
 public:
  virtual ~TagStore() = default;
  /// Linearizable; nullopt: a linearizable read found none.
  virtual net::Task<std::optional<registry::TagValue>> get(QualifiedTag tag) = 0;
  /// As some replica has it.
  struct Stale {
    std::optional<registry::TagValue> value;
    registry::Staleness how;
  };
  virtual net::Task<Stale> get_stale(QualifiedTag tag) = 0;
  /// Points the tag at a manifest that the cluster has, with its references (design §6 "Manifest push").
  /// kNotFound: the cluster has no such blob. kInvalidArgument: it is no manifest.
  virtual net::Task<registry::PutOutcome> put(QualifiedTag tag, Digest digest, registry::Precondition precondition) = 0;
  virtual net::Task<registry::RemoveOutcome> remove(QualifiedTag tag, registry::Precondition precondition) = 0;
  /// Tags of one repository behind `after`, at most `count`, in order; an empty page where the repository is not known.
  virtual net::Task<registry::Page> tags(Repository repository, std::string after, std::size_t count) = 0;
  /// Repositories that have a tag, behind `after`, in order.
  virtual net::Task<registry::Page> repositories(std::string after, std::size_t count) = 0;
};

struct Deps {
  TagStore* tags = nullptr;
  /// What GET /origin answers: "host:port" of this cluster's origin API.
  std::string origin_address;
};

void add_routes(http::Router& router, Deps deps);

}  // namespace kraken::build_index
