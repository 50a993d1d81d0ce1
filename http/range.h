#pragma once
// RFC 9110 §14: the Range header for one range of bytes.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "src/base/error.h"

namespace kraken::http {

/// [offset, offset + length), length > 0.
struct Range {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  friend bool operator==(const Range&, const Range&) = default;
};

/// What a Range header asks of a representation of `size` bytes. nullopt: send all of it (no header, another unit,
/// malformed, or several ranges: a server may ignore those). kRangeNotSatisfiable: 416 with `unsatisfied(size)`.
Result<std::optional<Range>> parse_range(std::string_view header, std::uint64_t size);

/// "bytes 0-99/1000", the Content-Range of a 206.
std::string content_range(const Range& range, std::uint64_t size);
/// "bytes */1000", the Content-Range of a 416.
std::string unsatisfied(std::uint64_t size);

/// The other way: the Content-Range "bytes 0-99/1000" of a 206; size is nullopt for '*'.
struct ContentRange {
  Range range;
  std::optional<std::uint64_t> size;
};
Result<ContentRange> parse_content_range(std::string_view header);

}  // namespace kraken::http
