#include "src/ring/hrw.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include <murmurhash.h>

#include "src/base/codec.h"
#include "src/core/digest.h"

namespace kraken::ring {
namespace {

constexpr std::uint64_t kLow53 = (std::uint64_t{1} << 53) - 1;

double murmur_unit(std::string_view bytes) {
  std::uint64_t hash = murmur3_64(bytes);
  if ((hash & kLow53) == 0) hash = murmur3_64(Writer().u64(hash).str());  // stock hashes the eight bytes once more
  return static_cast<double>(hash & kLow53) / 0x1.0p53;
}

/// The bytes as one big-endian integer, rounded once to the nearest double (ties to even), times 2^-bits.
double whole_hash_unit(std::span<const std::uint8_t> bytes) {
  std::size_t first = 0;
  while (first < bytes.size() && bytes[first] == 0) ++first;
  // Sixty-four bits from the first set byte hold all that a double can; what is below only matters for the rounding,
  // as one sticky bit in the last place. The top byte is not 0, so at least 57 of the 64 bits are significant.
  std::uint64_t top = 0;
  for (std::size_t i = 0; i < 8; ++i) top = top << 8 | (first + i < bytes.size() ? bytes[first + i] : 0U);
  for (std::size_t i = first + 8; i < bytes.size(); ++i) top |= bytes[i] != 0 ? 1U : 0U;
  return std::ldexp(static_cast<double>(top), -64 - static_cast<int>(8 * first));
}

double unit(std::string_view bytes, Hash hash) {
  switch (hash) {
    case Hash::kMurmur3: return murmur_unit(bytes);
    case Hash::kSha256: {
      const Digest digest = Digest::of(bytes);
      return whole_hash_unit(std::span(reinterpret_cast<const std::uint8_t*>(digest.raw().data()), 32));
    }
    case Hash::kMd5: {
      const auto digest = md5(bytes);
      return whole_hash_unit(digest);
    }
  }
  return 0;
}

}  // namespace

std::uint64_t murmur3_64(std::string_view bytes) {
  std::uint64_t out[2];
  lmmh_x64_128(bytes.data(), static_cast<unsigned>(bytes.size()), 0, out);
  return out[0];
}

double score(const Node& node, std::string_view key, Hash hash) {
  std::string bytes(key);
  bytes += node.label;
  return -node.weight / std::log(unit(bytes, hash));
}

std::vector<std::size_t> order(std::span<const Node> nodes, std::string_view key, Hash hash) {
  std::vector<double> scores(nodes.size());
  std::ranges::transform(nodes, scores.begin(), [&](const Node& node) { return score(node, key, hash); });
  std::vector<std::size_t> indexes(nodes.size());
  std::iota(indexes.begin(), indexes.end(), std::size_t{0});
  std::ranges::sort(indexes, [&](std::size_t a, std::size_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : nodes[a].label < nodes[b].label;
  });
  return indexes;
}

}  // namespace kraken::ring
