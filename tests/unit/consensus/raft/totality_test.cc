// Any input in any state: nothing that a peer or a client can send trips an assertion, and no output breaks its contract.
#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

class Chaos {
 public:
  explicit Chaos(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t n) {
    state_ = state_ * 6364136223846793005 + 1442695040888963407;
    return (state_ >> 33) % n;
  }
  bool flip() { return below(2) == 0; }
  // Mostly near what is real, sometimes absurd.
  uint64_t number(uint64_t near) {
    const uint64_t kind = below(200);
    if (kind == 0) return UINT64_MAX - below(3);
    if (kind == 1) return uint64_t{1} << below(64);
    return below(near + 4);
  }
  ConfState conf() {
    ConfState c;
    for (auto* list : {&c.voters, &c.outgoing, &c.learners, &c.learners_next})
      for (uint64_t i = 0, n = list == &c.voters ? 1 + below(4) : below(3); i < n; i++) list->push_back(ReplicaId{below(6)});
    c.placement_epoch = below(3);
    return c;
  }
  std::vector<Entry> some_entries(uint64_t first, uint64_t term) {
    std::vector<Entry> out;
    for (uint64_t i = 0, n = below(4); i < n; i++) {
      const Kind kind = below(6) == 0 ? Kind::kConfig : Kind::kData;
      out.push_back({Term{below(8) == 0 ? number(term) : term}, Index{first + i + (below(20) == 0 ? 1 : 0)}, kind,
                     kind == Kind::kConfig && below(4) != 0 ? encode_conf(conf()) : bytes("x")});
    }
    return out;
  }
  Message message(const Core::View& v) {
    const Hdr h{GroupId{7}, ReplicaId{below(5)}, 1_r, Term{below(3) != 0 ? raw(v.term) : number(raw(v.term))}};
    const uint64_t last = raw(v.last), term = raw(h.term);
    switch (below(9)) {
      case 0: return VoteReq{h, Index{number(last)}, Term{number(term)}, flip(), flip()};
      case 1: return VoteResp{h, flip(), flip()};
      case 2: {
        const uint64_t prev = number(last);
        return AppendReq{h, Index{prev}, Term{below(term % 100 + 1)}, Index{number(last)}, some_entries(prev + 1, term), below(9)};
      }
      case 3: return AppendResp{h, flip(), Index{number(last)}, Index{number(last)}, Term{number(term)}, below(99)};
      case 4: return BeatReq{h, Index{number(last)}, below(9)};
      case 5: return BeatResp{h, Index{number(last)}, below(99)};
      case 6: return SnapReq{h, {Index{number(last + 5)}, Term{number(term)}, conf(), below(4)}};
      case 7: return SnapResp{h, below(4), flip()};
      default: return TimeoutNow{h};
    }
  }
  Input input(const Core::View& v, const std::optional<SnapMeta>& installing) {
    switch (below(24)) {
      case 0: return in::Propose{below(100), bytes("p")};
      case 1: return in::ChangeConf{below(100), conf()};
      case 2: return in::ReadIndex{below(100)};
      case 3: return in::Transfer{ReplicaId{below(5)}};
      case 4: return in::Applied{Index{number(raw(v.commit))}};
      case 5: return in::Fetched{ReplicaId{below(5)}, some_entries(number(raw(v.last)), raw(v.term))};
      case 6: return in::SnapReady{ReplicaId{below(5)}, {Index{number(raw(v.last))}, v.term, conf(), below(4)}, flip()};
      case 7: return in::SnapInstalled{installing.value_or(SnapMeta{}), flip()};
      case 8: return in::Compacted{Index{number(raw(v.commit))}};
      case 9: return in::PeerDown{ReplicaId{below(5)}};
      case 10: return in::StorageSick{below(4) == 0};
      case 11:
      case 12: return in::Timer{};
      default: return in::Receive{message(v)};
    }
  }

 private:
  uint64_t state_;
};

TEST(Totality, NoInputInAnyStateBreaksIt) {
  uint64_t led = 0, installs = 0, conflicts = 0;
  for (uint64_t seed = 1; seed <= 400; seed++) {
    Chaos chaos(seed);
    Replica r({.log = {1, 1, 2}, .term = 2, .applied = 1});
    if (seed % 2 == 0) r.become_leader();
    r.follows = false;
    std::optional<SnapMeta> installing;
    Index emitted = seed % 2 == 0 ? r.view().commit : 1_i;
    Seq gated = 0;
    for (int i = 0; i < 500; i++) {
      if (chaos.below(3) == 0) r.now += Time{static_cast<int64_t>(chaos.below(300'000'000))};
      const Core::View before = r.view();
      const Input input = chaos.input(before, installing);
      if (chaos.below(4) == 0) {
        r.persist();
      } else {
        r.step(input);
      }
      const Core::View v = r.view();
      ASSERT_GE(v.term, before.term);
      ASSERT_GE(v.commit, before.commit);
      ASSERT_LE(v.commit, v.last);
      if (raw(r.out.commit_from) != 0) {
        ASSERT_EQ(r.out.commit_from, emitted + 1);
        emitted = r.out.commit_to;
        ASSERT_LE(emitted, v.stable);
      }
      for (const auto& g : r.out.send_after) {
        ASSERT_GE(g.after, gated);
        gated = g.after;
      }
      if (r.out.install) installing = r.out.install->meta;
      const bool installed = v.first != before.first && v.first == v.last + 1;
      if (installed) emitted = v.commit;
      led += v.is_leader;
      installs += r.out.install.has_value();
      conflicts += r.out.conflict.has_value();
    }
  }
  EXPECT_GT(led, 1000u);
  EXPECT_GT(installs, 50u);
  EXPECT_GT(conflicts, 20u);
}

}  // namespace
}  // namespace kraken::raft::test
