#pragma once
// Weighted rendezvous hashing, bit for bit as stock Kraken computes it (facts §4, appendix A).
//
// score(node, key) = -weight / ln(u). With murmur3, u comes from the low 53 bits of the first 64 bits of
// MurmurHash3_x64_128(key bytes ++ label), seed 0; with sha256 and md5 the whole hash, as a big-endian integer rounded to
// double, times 2^-bits. Nodes are ordered by descending score; stock has no tie-break rule, ours is the label.
// Threads: pure functions.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kraken::ring {

enum class Hash : std::uint8_t { kMurmur3, kSha256, kMd5 };

struct Node {
  std::string label;
  double weight = 100;
  friend bool operator==(const Node&, const Node&) = default;
};

/// First 64 bits of MurmurHash3_x64_128, seed 0.
std::uint64_t murmur3_64(std::string_view bytes);

double score(const Node& node, std::string_view key, Hash hash = Hash::kMurmur3);

/// Indexes into `nodes`, best first.
std::vector<std::size_t> order(std::span<const Node> nodes, std::string_view key, Hash hash = Hash::kMurmur3);

}  // namespace kraken::ring
