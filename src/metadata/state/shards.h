#pragma once
// Which shard a digest or a repository belongs to (consensus §1.3): the top bits of the digest, or of the SHA-256 of
// the repository's name; plus one, since shard 0 is the system group. Pure values; threads: any.

#include <bit>
#include <cstdint>
#include <utility>

#include "src/base/error.h"
#include "src/core/digest.h"
#include "src/core/names.h"
#include "storage/kv/family.h"

namespace kraken::metadata {

using kv::ShardId;

/// How many data shards there are. Fixed for the life of a cluster.
class Shards {
 public:
  Shards() = default;  // 128
  /// kInvalidArgument unless it is a power of two, 1 to kv::kShardsMax.
  static Result<Shards> make(std::uint32_t count) {
    if (count == 0 || count > kv::kShardsMax || !std::has_single_bit(count)) {
      return fail(Code::kInvalidArgument, "shards: want a power of two from 1 to {}, got {}", kv::kShardsMax, count);
    }
    Shards shards;
    shards.count_ = count;
    return shards;
  }

  std::uint32_t count() const { return count_; }
  /// The i-th data shard. REQUIRES: i < count().
  ShardId at(std::uint32_t i) const { return ShardId(static_cast<std::uint16_t>(i + 1)); }
  ShardId of(const Digest& digest) const { return at(digest.prefix() * count_ / 65536); }
  ShardId of(const Repository& repository) const { return of(Digest::of(repository.str())); }

  /// First and last of the 16 bits that begin this shard's digests: shards are ranges, in order of digest. REQUIRES: shard is
  /// a data shard.
  std::pair<std::uint16_t, std::uint16_t> prefixes(ShardId shard) const {
    const std::uint32_t width = 65536 / count_;
    const std::uint32_t first = (shard.value() - 1u) * width;
    return {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(first + width - 1)};
  }

  friend bool operator==(const Shards&, const Shards&) = default;

 private:
  std::uint32_t count_ = 128;
};

}  // namespace kraken::metadata
