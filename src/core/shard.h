#pragma once
// Which shard of the metadata a digest or a repository belongs to (consensus §1.3): the top bits of the digest, or of the
// SHA-256 of the repository's name. Pure values; threads: any.

#include <bit>
#include <cstdint>

#include "src/base/error.h"
#include "src/base/strong.h"
#include "src/core/digest.h"
#include "src/core/names.h"

namespace kraken {

/// A data shard, 0 to count - 1. Its Raft group is numbered one higher: group 0 is the system's.
using ShardId = Strong<std::uint16_t, struct ShardIdTag>;

/// How many shards there are. Fixed for the life of a cluster.
class Shards {
 public:
  static constexpr std::uint32_t kDefault = 128;
  static constexpr std::uint32_t kMax = 4096;

  Shards() = default;
  /// kInvalidArgument unless it is a power of two, 1 to kMax.
  static Result<Shards> make(std::uint32_t count) {
    if (count == 0 || count > kMax || !std::has_single_bit(count)) {
      return fail(Code::kInvalidArgument, "shards: want a power of two from 1 to {}, got {}", kMax, count);
    }
    Shards shards;
    shards.count_ = count;
    return shards;
  }

  std::uint32_t count() const { return count_; }
  ShardId of(const Digest& digest) const {
    return ShardId(static_cast<std::uint16_t>(digest.prefix() * count_ / 65536));
  }
  ShardId of(const Repository& repository) const { return of(Digest::of(repository.str())); }

  friend bool operator==(const Shards&, const Shards&) = default;

 private:
  std::uint32_t count_ = kDefault;
};

}  // namespace kraken
