#pragma once
// The ring: which labels own a digest, and which vote in a shard (design §5 "Shards"; facts §4). Pure values; immutable
// once made, so any thread may read one.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/core/digest.h"
#include "src/ring/hrw.h"

namespace kraken::ring {

/// One entry of the hashstate: physical host -> label and weight.
struct Member {
  std::string host;
  std::string label;
  double weight = 100;
  friend bool operator==(const Member&, const Member&) = default;
};

class Ring {
 public:
  Ring() = default;
  /// kInvalidArgument: no member, weight not above 0 or not finite, an empty label or host, two members with one label
  /// or one host.
  /// `epoch`: which of the rings that group 0 adopted, one after the other, this is.
  static Result<Ring> make(std::vector<Member> members, Hash hash = Hash::kMurmur3, std::uint64_t epoch = 0);

  const std::vector<Member>& members() const { return members_; }
  std::size_t size() const { return members_.size(); }
  std::uint64_t epoch() const { return epoch_; }
  /// nullptr if there is none.
  const Member* find(std::string_view label) const;

  /// Every label, best first, for raw key bytes: a blob passes Digest::shard_id(), a shard "shard/<n>".
  std::vector<std::string> order(std::string_view key) const;
  /// The top min(max_replica, size()) labels for the digest, whoever is healthy.
  std::vector<std::string> owners(const Digest& digest, std::size_t max_replica) const;
  /// Stock's ring.Locations: the healthy among the top max_replica; if there is none, the next healthy one; if nobody is
  /// healthy, the first. Never empty.
  std::vector<std::string> locations(const Digest& digest, std::size_t max_replica,
                                     const std::function<bool(const std::string&)>& healthy) const;

 private:
  std::vector<Member> members_;
  std::vector<Node> nodes_;  // the same, in the same order, as the scores want them
  Hash hash_ = Hash::kMurmur3;
  std::uint64_t epoch_ = 0;
};

}  // namespace kraken::ring
