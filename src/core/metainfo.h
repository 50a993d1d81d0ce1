#pragma once
// Metainfo: how a blob is cut into pieces, and its infohash (facts §3.1-3). Threads: plain values.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/core/digest.h"
#include "src/core/peer.h"

namespace kraken {

/// A blob of more pieces is refused with 413: its record must fit a log entry (issue 3, point 5).
inline constexpr std::uint64_t kPiecesMax = 131072;

struct MetaInfo {
  Digest digest;                           // stock's Name, as hex
  std::uint64_t length = 0;                // bytes
  std::uint64_t piece_length = 0;          // bytes, > 0; the last piece may be shorter
  std::vector<std::uint32_t> piece_sums;   // CRC-32 IEEE of each piece; ceil(length / piece_length) of them

  std::uint32_t piece_count() const { return static_cast<std::uint32_t>(piece_sums.size()); }
  std::uint64_t piece_offset(std::uint32_t piece) const { return piece * piece_length; }
  /// Bytes of this piece. REQUIRES: piece < piece_count().
  std::uint64_t piece_bytes(std::uint32_t piece) const;

  /// SHA-1 over the bencoded dictionary of Length, Name, PieceLength, PieceSums.
  InfoHash infohash() const;
  /// {"Info":{"PieceLength":..,"PieceSums":[..]|null,"Name":"<hex>","Length":..}}, keys in stock's order.
  std::string json() const;
  /// Unknown keys are ignored; counts and lengths must agree, at most kPiecesMax pieces.
  static Result<MetaInfo> parse(std::string_view json);
  /// kInvalidArgument where piece_length is 0 or the count of sums is wrong, kTooLarge beyond kPiecesMax.
  Result<> check() const;

  friend bool operator==(const MetaInfo&, const MetaInfo&) = default;
};

/// Stock's `metainfogen.piece_lengths`: blob size -> piece length; the entry with the largest size that is not above the
/// blob's counts, below the smallest entry the smallest counts.
class PieceLengths {
 public:
  /// 4 MiB for everything, stock's base.
  PieceLengths();
  /// kInvalidArgument where it is empty, a length is 0, or a length is no multiple of PieceSummer::kUnitBytes.
  static Result<PieceLengths> make(std::map<std::uint64_t, std::uint64_t> lengths);
  std::uint64_t of(std::uint64_t blob_bytes) const;
  const std::map<std::uint64_t, std::uint64_t>& table() const { return lengths_; }

 private:
  std::map<std::uint64_t, std::uint64_t> lengths_;
};

/// Piece sums of a stream whose length is not known beforehand: CRC-32 of fixed units while the bytes come, combined into
/// pieces when the length, and so the piece length, is known.

class PieceSummer {
 public:
  static constexpr std::uint64_t kUnitBytes = 256 * 1024;
  PieceSummer() = default;
  void update(std::string_view bytes);
  std::uint64_t bytes() const { return bytes_; }
  /// Sums of pieces of this length. REQUIRES: piece_length is a positive multiple of kUnitBytes, or bytes() <= kUnitBytes
  /// and piece_length >= bytes().
  std::vector<std::uint32_t> finish(std::uint64_t piece_length) const;

 private:
  std::vector<std::uint32_t> units_;
  std::uint32_t unit_ = 0;
  std::uint64_t unit_bytes_ = 0;
  std::uint64_t bytes_ = 0;
};

/// Of a whole blob in memory, for any piece length.
MetaInfo make_metainfo(std::string_view blob, std::uint64_t piece_length);

}  // namespace kraken
