#pragma once
// The id of a blob store: 16 random bytes in a file of its `blobs.path`, made when the store is made and never used
// again. Holders are named by it, never by label: a disk that was lost comes back as another store (design §2 "holder").
// Threads: plain values.

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "src/base/hex.h"

namespace kraken {

class StoreId {
 public:
  using Raw = std::array<std::uint8_t, 16>;

  /// All zeros; only as a place to put one.
  StoreId() = default;
  explicit StoreId(const Raw& raw) : raw_(raw) {}

  /// Exactly 32 hex digits.
  static Result<StoreId> parse(std::string_view text) {
    Raw raw{};
    if (!from_hex(text, raw)) return fail(Code::kInvalidArgument, "store id: want 32 hex digits, got '{}'", text);
    return StoreId(raw);
  }
  /// Exactly 16 bytes.
  static Result<StoreId> from_raw(std::string_view bytes) {
    Raw raw{};
    if (bytes.size() != raw.size()) return fail(Code::kCorrupt, "store id: want 16 bytes, got {}", bytes.size());
    for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<std::uint8_t>(bytes[i]);
    return StoreId(raw);
  }

  std::string str() const { return to_hex(std::span<const std::uint8_t>(raw_)); }
  std::string_view raw() const { return {reinterpret_cast<const char*>(raw_.data()), raw_.size()}; }

  friend auto operator<=>(const StoreId&, const StoreId&) = default;

 private:
  Raw raw_{};
};

}  // namespace kraken

template <>
struct std::hash<kraken::StoreId> {
  std::size_t operator()(const kraken::StoreId& id) const noexcept { return std::hash<std::string_view>{}(id.raw()); }
};
