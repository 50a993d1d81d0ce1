#pragma once
// The handlers behind routes.cc, one method an endpoint. Stateless but for the interfaces; shared by all loops.

#include <optional>
#include <string>
#include <string_view>

#include "http/exchange.h"
#include "src/registry/answers.h"
#include "src/registry/registry.h"

namespace kraken::registry {

class Handlers {
 public:
  explicit Handlers(Interfaces interfaces) : interfaces_(interfaces) {}

  // Captures: name, digest.
  net::Task<> get_blob(http::Exchange& exchange);
  net::Task<> head_blob(http::Exchange& exchange);
  net::Task<> delete_blob(http::Exchange& exchange);
  // Captures: name.
  net::Task<> start_upload(http::Exchange& exchange);
  // Captures: name, upload id.
  net::Task<> patch_upload(http::Exchange& exchange);
  net::Task<> put_upload(http::Exchange& exchange);
  net::Task<> get_upload(http::Exchange& exchange);
  net::Task<> delete_upload(http::Exchange& exchange);
  // Captures: name, reference. HEAD too.
  net::Task<> get_manifest(http::Exchange& exchange);
  net::Task<> put_manifest(http::Exchange& exchange);
  net::Task<> delete_manifest(http::Exchange& exchange);
  // Captures: name; none.
  net::Task<> list_tags(http::Exchange& exchange);
  net::Task<> catalog(http::Exchange& exchange);

 private:
  net::Task<> send_blob(http::Exchange& exchange, BlobSource& source, const Digest& digest);
  net::Task<> push_in_one(http::Exchange& exchange, Repository repository, std::string digest);
  /// Forwards a request for another node's session; true if it was answered that way.
  net::Task<bool> answered_elsewhere(http::Exchange& exchange, UploadId id);

  Interfaces interfaces_;
};

/// nullopt: the answer was put into `refusal`.
std::optional<Repository> parse_name(const std::string& text, http::Answer& refusal);
std::optional<Digest> parse_digest(const std::string& text, http::Answer& refusal);
/// A reference with ':' is a digest, anything else a tag.
std::optional<Reference> parse_reference(const std::string& text, http::Answer& refusal);
/// Whether an If-None-Match header names this entity tag (quoted, weak or bare, in a list, or '*').
bool matches_etag(std::string_view header, std::string_view etag);
/// If-Match and If-None-Match of a put or delete by tag. kInvalidArgument says which forms there are.
Result<Precondition> parse_precondition(const http::Headers& headers);

}  // namespace kraken::registry
