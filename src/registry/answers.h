#pragma once
// OCI's error bodies (distribution-spec "Error Codes") and the small things every answer of the registry has.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "http/exchange.h"
#include "http/headers.h"
#include "src/base/error.h"

namespace kraken::registry {

/// What kNotFound and kInvalidArgument are called where an error happened.
struct ErrorNames {
  std::string_view not_found = "UNKNOWN";
  std::string_view invalid = "UNSUPPORTED";
};
inline constexpr ErrorNames kBlobErrors{"BLOB_UNKNOWN", "DIGEST_INVALID"};
inline constexpr ErrorNames kUploadErrors{"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"};
inline constexpr ErrorNames kManifestErrors{"MANIFEST_UNKNOWN", "MANIFEST_INVALID"};
inline constexpr ErrorNames kNameErrors{"NAME_UNKNOWN", "NAME_INVALID"};

/// {"errors":[{"code":..,"message":..,"detail":..}]} and a newline.
http::Answer refuse(int status, std::string_view code, std::string message, const nlohmann::json& detail);
http::Answer refuse(int status, std::string_view code, std::string message);
/// The same for an error of what stands behind the interfaces; Retry-After where trying again may help.
http::Answer answer_of(const Error& error, ErrorNames names);

/// For a server's ErrorWriter, on paths for which `is_registry_path` holds.
http::Answer error_answer(const http::RequestHead& head, const Error& error);
bool is_registry_path(std::string_view path);

/// Docker-Distribution-Api-Version, as stock spells it.
http::Headers base_headers();

net::Task<> send(http::Exchange& exchange, http::Answer answer);

struct Staleness;
/// `Kraken-Stale: age=12.345, index=678` (RFC 8941; age in seconds, or unknown), `Age` where it is known (RFC 9111), and a
/// Warning (RFC 7234 §5.5.1), so that nobody takes the answer, least of all a 404, for the cluster's.
void add_stale_headers(http::Headers& headers, const Staleness& stale);
/// From another node's answer; nothing if it has no such header or a malformed one.
std::optional<Staleness> stale_headers(const http::Headers& headers);
/// Whether `stale=true` was asked for. kInvalidArgument: neither true nor false.
Result<bool> stale_asked(const http::RequestHead& request);

}  // namespace kraken::registry
