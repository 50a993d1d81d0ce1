#pragma once
// Lower-case hexadecimal. Decoding accepts either case, as Go's encoding/hex does.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kraken {

std::string to_hex(std::span<const std::uint8_t> bytes);
std::string to_hex(std::string_view bytes);
/// Fills `out` exactly; false if the length is not twice out's or a character is not hexadecimal.
bool from_hex(std::string_view text, std::span<std::uint8_t> out);
std::optional<std::string> from_hex(std::string_view text);

}  // namespace kraken
