#pragma once
// Percent coding exactly as Go's net/url does it, since stock's clients and servers are written with that.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/error.h"

namespace kraken::http {

/// One path segment: '/' becomes %2F; ':' and '@' stay.  path_escape("a/b:c d+e%") is "a%2Fb:c%20d+e%25".
std::string path_escape(std::string_view text);
/// A query's key or value: everything but letters, digits and -_.~ ; a space becomes '+'.
std::string query_escape(std::string_view text);

/// kInvalidArgument for a '%' without two hexadecimal digits.
Result<std::string> path_unescape(std::string_view text);
/// The same, and '+' is a space.
Result<std::string> query_unescape(std::string_view text);
/// As stock's handlers see a path parameter: decoded, and once more if an escape is left (facts §1.0).
Result<std::string> unescape_param(std::string_view raw_segment);

/// The pairs of a query string, decoded, in order; pairs that cannot be decoded are left out, as Go does.
std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query_string);

/// "http://host:port/path?query" taken apart; target is "/" if it has no path. kInvalidArgument. Only http and https.
struct Url {
  std::string scheme;
  std::string host;
  std::uint16_t port = 0;
  std::string target;
};
Result<Url> parse_url(std::string_view text);

}  // namespace kraken::http
