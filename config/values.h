#pragma once
// The scalar grammars of the configuration, both ways. Durations are Go's ("1h30m", "300ms"; a bare integer is
// nanoseconds). Sizes are stock Kraken's datasize: a number and B, K, KB, M, MB, ... in either case, powers of 1024, a
// bare number is bytes. Bits are a number and bit, Kbit, Mbit, Gbit, powers of 1000. Errors: kInvalidArgument, saying
// what would have been right; the caller adds where. Threads: pure functions.

#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/clock.h"
#include "src/base/error.h"

namespace kraken::config {

Result<bool> parse_boolean(std::string_view text);
Result<std::uint64_t> parse_integer(std::string_view text);
Result<Duration> parse_duration(std::string_view text);
Result<std::uint64_t> parse_bytes(std::string_view text);
Result<std::uint64_t> parse_bits(std::string_view text);

/// The shortest text that parses back to the same value: "1h30m", "4MB", "1Gbit".
std::string format_duration(Duration value);
std::string format_bytes(std::uint64_t value);
std::string format_bits(std::uint64_t value);

/// Insertions, deletions and replacements that turn one into the other.
std::size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace kraken::config
