#pragma once
// Digests: the name of a blob, `sha256:<64 lower-case hex digits>` (OCI image-spec descriptor.md; facts §1.0).
// All hashing of the project stands behind this header. Threads: plain values; a hasher has one owner.

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "src/base/error.h"

namespace kraken {

class Digest {
 public:
  using Raw = std::array<std::uint8_t, 32>;

  /// All zeros; only as a place to put one.
  Digest() = default;
  explicit Digest(const Raw& raw) : raw_(raw) {}

  /// Exactly "sha256:<64 hex>", either case of hex as stock has it; kInvalidArgument says what is wrong.
  static Result<Digest> parse(std::string_view text);
  /// Exactly 64 hex digits.
  static Result<Digest> from_hex(std::string_view hex);
  /// Exactly 32 bytes, as stored in keys.
  static Result<Digest> from_raw(std::string_view raw);
  static Digest of(std::string_view bytes);

  std::string hex() const;
  /// "sha256:<hex>"
  std::string str() const;
  std::string_view raw() const { return {reinterpret_cast<const char*>(raw_.data()), raw_.size()}; }
  /// The first two bytes: what stock calls the ShardID and places blobs by (facts §4).
  std::string_view shard_id() const { return raw().substr(0, 2); }
  /// The first 16 bits as a number; the metadata's shard is its top bits (consensus §1.3).
  std::uint16_t prefix() const { return static_cast<std::uint16_t>(raw_[0] << 8 | raw_[1]); }

  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  Raw raw_{};
};

/// SHA-256 over a stream. `finish` may be called once.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view bytes);
  Digest finish();
  /// The digest of what came so far; the stream goes on.
  Digest peek() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::array<std::uint8_t, 20> sha1(std::string_view bytes);
std::array<std::uint8_t, 16> md5(std::string_view bytes);

/// CRC-32 IEEE, as stock's piece sums (facts §3). `crc32_combine` gives the sum of two neighbours from their sums and the
/// second one's length, so that sums of small units become sums of pieces of any multiple.
std::uint32_t crc32(std::string_view bytes, std::uint32_t so_far = 0);
std::uint32_t crc32_combine(std::uint32_t first, std::uint32_t second, std::uint64_t second_bytes);

}  // namespace kraken

template <>
struct std::hash<kraken::Digest> {
  std::size_t operator()(const kraken::Digest& digest) const noexcept {
    return std::hash<std::string_view>{}(digest.raw());
  }
};
