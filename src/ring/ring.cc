#include "src/ring/ring.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace kraken::ring {

Result<Ring> Ring::make(std::vector<Member> members, Hash hash, std::uint64_t epoch) {
  if (members.empty()) return fail(Code::kInvalidArgument, "hashstate: no member; name at least one host");
  std::set<std::string_view> hosts;
  std::set<std::string_view> labels;
  for (const Member& member : members) {
    if (member.host.empty()) return fail(Code::kInvalidArgument, "hashstate: a member has no host");
    if (member.label.empty()) return fail(Code::kInvalidArgument, "hashstate: {} has no label", member.host);
    if (!std::isfinite(member.weight) || member.weight <= 0) {
      return fail(Code::kInvalidArgument, "hashstate: {} ({}) has weight {}; a weight is a number above 0", member.host,
                  member.label, member.weight);
    }
    if (!hosts.insert(member.host).second) return fail(Code::kInvalidArgument, "hashstate: {} is named twice", member.host);
    if (!labels.insert(member.label).second) {
      return fail(Code::kInvalidArgument, "hashstate: two members have the label {}; each needs its own", member.label);
    }
  }
  Ring made;
  made.hash_ = hash;
  made.epoch_ = epoch;
  made.members_ = std::move(members);
  for (const Member& member : made.members_) made.nodes_.push_back(Node{.label = member.label, .weight = member.weight});
  return made;
}

const Member* Ring::find(std::string_view label) const {
  const auto found = std::ranges::find(members_, label, &Member::label);
  return found == members_.end() ? nullptr : &*found;
}

std::vector<std::string> Ring::order(std::string_view key) const {
  std::vector<std::string> labels;
  labels.reserve(nodes_.size());
  for (const std::size_t index : ring::order(nodes_, key, hash_)) labels.push_back(nodes_[index].label);
  return labels;
}

std::vector<std::string> Ring::owners(const Digest& digest, std::size_t max_replica) const {
  std::vector<std::string> labels = order(digest.shard_id());
  labels.resize(std::min(labels.size(), max_replica));
  return labels;
}

std::vector<std::string> Ring::locations(const Digest& digest, std::size_t max_replica,
                                         const std::function<bool(const std::string&)>& healthy) const {
  const std::vector<std::string> labels = order(digest.shard_id());
  std::vector<std::string> found;
  for (std::size_t rank = 0; rank < labels.size() && (rank < max_replica || found.empty()); ++rank) {
    if (healthy(labels[rank])) found.push_back(labels[rank]);
  }
  if (found.empty() && !labels.empty()) found.push_back(labels.front());
  return found;
}

}  // namespace kraken::ring
