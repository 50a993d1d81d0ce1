#include "consensus/group/state_digest.h"

#include <gtest/gtest.h>

#include "storage/kv/memory/memory_store.h"

namespace kraken::group {
namespace {

using kv::Family;
using raft::Index;
using raft::ReplicaId;
using raft::Term;
using namespace std::chrono_literals;

struct Chain {
  kv::MemoryStore store;
  kv::Overlay rows{store};
  DigestStep step;
  StateDigest at = StateDigest::first();

  StateDigest entry(std::uint64_t index, const std::function<void(kv::Overlay&)>& write, Duration now = 1s) {
    step.begin(at, Index{index}, Term{1});
    rows.watch(&step);
    write(rows);
    rows.watch(nullptr);
    return at = step.end(now);
  }
};

TEST(StateDigest, TheSameEntriesGiveTheSameDigest) {
  Chain a, b;
  for (Chain* chain : {&a, &b}) {
    chain->entry(1, [](kv::Overlay& rows) { rows.put(Family::kTag, "key", "value"); });
    chain->entry(2, [](kv::Overlay&) {});
  }
  EXPECT_EQ(a.at, b.at);
  // What stands in docs: an accidental change of the chain would fence every replica of a cluster that is being upgraded.
  EXPECT_EQ(a.at.hex(), "60e37abd5bcc801913b611635b593203");
}

TEST(StateDigest, WhateverAnEntryWritesDifferentlyShowsForEver) {
  const auto put = [](kv::Overlay& rows) { rows.put(Family::kTag, "key", "value"); };
  Chain usual;
  usual.entry(1, put);
  const std::vector<std::pair<const char*, std::function<void(kv::Overlay&)>>> others{
      {"another value", [](kv::Overlay& rows) { rows.put(Family::kTag, "key", "valuf"); }},
      {"another key", [](kv::Overlay& rows) { rows.put(Family::kTag, "kez", "value"); }},
      {"another border between the two", [](kv::Overlay& rows) { rows.put(Family::kTag, "keyv", "alue"); }},
      {"another family", [](kv::Overlay& rows) { rows.put(Family::kBlob, "key", "value"); }},
      {"an erased key", [](kv::Overlay& rows) { rows.erase(Family::kTag, "key"); }},
      {"an erased range", [](kv::Overlay& rows) { rows.erase_range(Family::kTag, "key", "value"); }},
      {"nothing", [](kv::Overlay&) {}},
      {"one row more", [&](kv::Overlay& rows) { put(rows); rows.put(Family::kTask, "t", ""); }},
  };
  for (const auto& [name, write] : others) {
    Chain other;
    other.entry(1, write);
    EXPECT_NE(other.at, usual.at) << name;
    Chain again = Chain();
    again.entry(1, put);
    EXPECT_NE(other.entry(2, put), again.entry(2, put)) << name;
  }
  Chain later;
  later.entry(1, put, 2s);
  EXPECT_NE(later.at, usual.at) << "another time";
  Chain skipped;
  skipped.entry(2, put);
  EXPECT_NE(skipped.at, usual.at) << "another index";
}

TEST(StateDigest, SoftRowsAreLeftOut) {
  Chain with, without;
  with.entry(1, [](kv::Overlay& rows) { rows.put(Family::kPeer, "peer", "1.2.3.4"); });
  without.entry(1, [](kv::Overlay&) {});
  EXPECT_EQ(with.at, without.at);
}

TEST(StateDigest, WhatBeganUnknownStaysSo) {
  Chain chain;
  chain.at = {};
  EXPECT_FALSE(chain.entry(1, [](kv::Overlay& rows) { rows.put(Family::kTag, "key", "value"); }).known());
}

// ---- who is fenced

constexpr StateDigest kOurs{1, 1}, kTheirs{2, 2};
const std::vector<ReplicaId> kThree{ReplicaId{1}, ReplicaId{2}, ReplicaId{3}};
using Verdict = DigestVotes::Verdict;

struct Compared {
  int peer;
  std::uint64_t index;
  bool equal;
};

Verdict verdict(const std::vector<Compared>& all, std::vector<ReplicaId> voters, MonotonicTime now = 1s) {
  DigestVotes votes;
  for (const Compared& one : all)
    votes.compared(ReplicaId{static_cast<std::uint64_t>(one.peer)}, Index{one.index}, kOurs, one.equal ? kOurs : kTheirs, 0s);
  return votes.verdict(voters, ReplicaId{1}, now, 20s);
}

TEST(DigestVotes, WhoDiffersFromTheMajorityIsOdd) {
  EXPECT_EQ(verdict({}, kThree), Verdict::kFine);
  EXPECT_EQ(verdict({{2, 9, true}, {3, 9, true}}, kThree), Verdict::kFine);
  EXPECT_EQ(verdict({{2, 9, false}, {3, 9, true}}, kThree), Verdict::kFine) << "2 is the odd one";
  EXPECT_EQ(verdict({{2, 9, false}, {3, 12, true}}, kThree), Verdict::kFine) << "equal at 12 is equal at 9";
  EXPECT_EQ(verdict({{2, 9, false}, {3, 7, true}}, kThree), Verdict::kUndecided) << "3 may have turned at 8";
  EXPECT_EQ(verdict({{2, 9, false}}, kThree), Verdict::kUndecided);
  EXPECT_EQ(verdict({{2, 9, false}}, kThree, 21s), Verdict::kNoMajority);
  EXPECT_EQ(verdict({{2, 9, false}, {3, 9, false}}, kThree), Verdict::kOdd);
}

TEST(DigestVotes, OfTwoThatDifferNeitherIsRight) {
  EXPECT_EQ(verdict({{2, 9, false}}, {ReplicaId{1}, ReplicaId{2}}), Verdict::kOdd);
}

TEST(DigestVotes, AReplicaThatIsNoVoterAnyMoreDoesNotCount) {
  EXPECT_EQ(verdict({{2, 9, false}, {4, 9, false}}, kThree), Verdict::kUndecided);
  EXPECT_EQ(verdict({{4, 9, false}}, kThree), Verdict::kFine);
}

TEST(DigestVotes, WhoTookOverTheRowsOfOthersIsEqualAgain) {
  EXPECT_EQ(verdict({{2, 9, false}, {3, 9, true}, {2, 20, true}}, kThree), Verdict::kFine);
  EXPECT_EQ(verdict({{2, 9, false}, {3, 9, false}, {2, 20, true}, {3, 20, true}}, kThree), Verdict::kFine);
}

TEST(DigestVotes, ALearnerNeedsAMajorityOfTheVoters) {
  const std::vector<ReplicaId> others{ReplicaId{2}, ReplicaId{3}, ReplicaId{4}};
  EXPECT_EQ(verdict({{2, 9, false}, {3, 9, true}}, others), Verdict::kUndecided);
  EXPECT_EQ(verdict({{2, 9, false}, {3, 9, false}}, others), Verdict::kOdd);
  EXPECT_EQ(verdict({{2, 9, false}, {3, 9, true}, {4, 9, true}}, others), Verdict::kFine);
}

}  // namespace
}  // namespace kraken::group
