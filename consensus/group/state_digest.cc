#include "consensus/group/state_digest.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "src/base/codec.h"

namespace kraken::group {

std::string StateDigest::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

void DigestStep::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

DigestStep::DigestStep() : state_(XXH3_createState()) {}

void DigestStep::begin(const StateDigest& before, raft::Index index, raft::Term term) {
  known_ = before.known();
  if (!known_) return;
  XXH3_128bits_reset(state_.get());
  Writer head;
  head.u64(before.high).u64(before.low).u64(raft::raw(index)).u64(raft::raw(term));
  XXH3_128bits_update(state_.get(), head.str().data(), head.size());
}

void DigestStep::wrote(kv::Batch::Kind kind, kv::Family family, std::string_view key, std::string_view value) {
  if (!known_ || family == kv::Family::kPeer) return;
  Writer head;
  head.u8(static_cast<std::uint8_t>(kind)).u8(static_cast<std::uint8_t>(family));
  head.u32(static_cast<std::uint32_t>(key.size())).u32(static_cast<std::uint32_t>(value.size()));
  XXH3_128bits_update(state_.get(), head.str().data(), head.size());
  XXH3_128bits_update(state_.get(), key.data(), key.size());
  XXH3_128bits_update(state_.get(), value.data(), value.size());
}

StateDigest DigestStep::end(Duration now) {
  if (!known_) return {};
  Writer tail;
  tail.i64(now.count());
  XXH3_128bits_update(state_.get(), tail.str().data(), tail.size());
  const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
  return {.high = hash.high64, .low = hash.low64};
}

void DigestVotes::compared(raft::ReplicaId peer, raft::Index index, const StateDigest& ours, const StateDigest& theirs,
                           MonotonicTime now) {
  if (ours == theirs) {
    different_.erase(peer);  // it took over a snapshot since
    raft::Index& seen = equal_[peer];
    seen = std::max(seen, index);
    return;
  }
  equal_.erase(peer);
  if (different_.empty()) since_ = now;
  different_.try_emplace(peer, Difference{.peer = peer, .index = index, .ours = ours, .theirs = theirs});
}

std::vector<DigestVotes::Difference> DigestVotes::differences(const std::vector<raft::ReplicaId>& voters) const {
  std::vector<Difference> found;
  for (const auto& [peer, difference] : different_)
    if (std::ranges::find(voters, peer) != voters.end()) found.push_back(difference);
  return found;
}

std::size_t DigestVotes::agreeing(const std::vector<raft::ReplicaId>& voters, raft::ReplicaId self, raft::Index from) const {
  for (const Difference& difference : differences(voters)) from = std::max(from, difference.index);
  std::size_t agree = 0;
  for (const raft::ReplicaId voter : voters) {
    const auto seen = equal_.find(voter);
    if (voter == self || (seen != equal_.end() && seen->second >= from)) ++agree;
  }
  return agree;
}

DigestVotes::Verdict DigestVotes::verdict(const std::vector<raft::ReplicaId>& voters, raft::ReplicaId self, MonotonicTime now,
                                          Duration patience) const {
  const std::size_t differ = differences(voters).size();
  const std::size_t majority = voters.size() / 2 + 1;
  if (differ == 0 || agreeing(voters, self) >= majority) return Verdict::kFine;
  if (voters.size() - differ < majority) return Verdict::kOdd;
  return now - since_ >= patience ? Verdict::kNoMajority : Verdict::kUndecided;
}

}  // namespace kraken::group
