// raft::Core::step with arbitrary inputs: no message and no input of a driver trips an assertion, and the outputs keep their contract:
// terms and commits never fall, commit ranges have no gap and are durable, gated messages wait in order.

#include <optional>

#include "consensus/raft/core.h"
#include "tests/fuzz/input.h"

using namespace kraken;
using namespace kraken::raft;

namespace {

struct OneTerm : LogView {
  explicit OneTerm(Index f) : from(f) {}
  std::optional<Term> term_at(Index) const override { return Term{2}; }
  Index first() const override { return from; }
  Index from;
};

class Driver {
 public:
  explicit Driver(fuzz::Input& in) : in_(in), core_(make(in)), emitted_(core_.view().commit) {}

  void run() {
    for (int i = 0; i < 300 && !in_.empty(); i++) {
      if (in_.below(4) == 0) now_ += std::chrono::milliseconds(in_.byte() * 4);
      step(input());
    }
  }

 private:
  static Core make(fuzz::Input& in) {
    Options o;
    if (in.flag()) {
      o.max_inflight_msgs = 2;
      o.max_append_bytes = 1;
      o.max_uncommitted_bytes = 200;
      o.max_pending_reads = 3;
      o.max_tail_bytes = 100;
      o.keep_tail_bytes = 0;
    }
    Boot b;
    b.self = ReplicaId{1};
    b.hs = {Term{2}, std::nullopt};
    for (uint64_t id = 1, n = 1 + in.below(4); id <= n; id++) b.conf.voters.push_back(ReplicaId{id});
    b.snap_index = Index{in.below(4)};
    b.snap_term = Term{raw(b.snap_index) == 0 ? 0u : 1u};
    b.first = b.snap_index + 1;
    b.last = b.snap_index + in.below(5);
    b.applied = b.snap_index + in.below(distance(b.snap_index, b.last) + 1);
    b.boot_time = std::chrono::seconds(1);
    return Core(GroupId{7}, b, o, OneTerm(b.first), 42);
  }

  /// Often near what is real.
  uint64_t near(uint64_t value) {
    const uint8_t b = in_.byte();
    if (b >= 250) return in_.number();
    return value + 3 < b % 8 ? 0 : value + 3 - b % 8;
  }
  Index index() { return Index{near(raw(core_.view().last))}; }
  Term term() { return Term{near(raw(core_.view().term))}; }
  std::vector<Entry> entries(Index from) {
    std::vector<Entry> out;
    for (uint64_t i = 0, n = in_.below(4); i < n; i++) {
      Entry e = in_.entry(from + i);
      if (!in_.flag()) e.term = core_.view().term;
      if (in_.byte() == 0xee) e.index = Index{in_.number()};
      out.push_back(std::move(e));
    }
    return out;
  }

  Message message() {
    const Hdr h{GroupId{7}, ReplicaId{in_.below(6)}, ReplicaId{in_.byte() == 0xdd ? 2u : 1u}, in_.flag() ? core_.view().term : term()};
    switch (in_.below(9)) {
      case 0: return VoteReq{h, index(), term(), in_.flag(), in_.flag()};
      case 1: return VoteResp{h, in_.flag(), in_.flag()};
      case 2: {
        const Index prev = index();
        const Term at = core_.term_at(prev).value_or(Term{in_.number()});
        return AppendReq{h, prev, in_.flag() ? at : term(), index(), entries(prev + 1), in_.number()};
      }
      case 3: return AppendResp{h, in_.flag(), index(), index(), term(), in_.number()};
      case 4: return BeatReq{h, index(), in_.number()};
      case 5: return BeatResp{h, index(), in_.number()};
      case 6: return SnapReq{h, {Index{near(raw(core_.view().last) + 4)}, term(), in_.conf(), in_.below(4)}};
      case 7: return SnapResp{h, in_.below(4), in_.flag()};
      default: return TimeoutNow{h};
    }
  }

  Input input() {
    const auto data = [&] { return std::make_shared<const std::string>(in_.text()); };
    switch (in_.below(28)) {
      case 0: return in::Propose{ticket_++, data()};
      case 1: {
        in::ProposeBatch batch;
        for (uint64_t i = 0, n = in_.below(4); i < n; i++) batch.proposals.push_back({ticket_++, data()});
        return batch;
      }
      case 2: return in::ChangeConf{ticket_++, in_.conf()};
      case 3: return in::ReadIndex{ticket_++};
      case 4: return in::Transfer{ReplicaId{in_.below(6)}};
      case 5: return in::Applied{index()};
      case 6: {
        const Index from = index();
        return in::Fetched{ReplicaId{in_.below(6)}, entries(from)};
      }
      case 7: return in::SnapReady{ReplicaId{in_.below(6)}, {index(), term(), in_.conf(), in_.below(4)}, in_.flag()};
      case 8:
      case 9: return in::SnapInstalled{installing_.value_or(SnapMeta{}), in_.flag()};
      case 10: return in::Compacted{index()};
      case 11: return in::PeerDown{ReplicaId{in_.below(6)}};
      case 12: return in::StorageSick{in_.below(3) == 0};
      case 13:
      case 14: return in::Persisted{seq_};
      case 15: return in::Persisted{in_.number()};
      case 16:
      case 17:
        now_ = core_.deadline() == Time::max() ? now_ : std::max(now_, core_.deadline());
        return in::Timer{};
      default: return in::Receive{message()};
    }
  }

  void step(Input input) {
    const Core::View before = core_.view();
    core_.step(std::move(input), now_, out_);
    const Core::View v = core_.view();
    fuzz::require(v.term >= before.term && v.commit >= before.commit && v.commit <= v.last && v.stable <= v.last && v.first <= v.last + 1);
    fuzz::require(v.term != before.term || !before.vote || v.vote == before.vote);
    if (out_.persist_seq != 0) {
      fuzz::require(out_.persist_seq == seq_ + 1);
      seq_ = out_.persist_seq;
    }
    const bool installed = installing_ && v.first == installing_->index + 1 && v.last == installing_->index && before.last != v.last;
    if (installed) emitted_ = std::max(emitted_, v.commit);
    if (raw(out_.commit_from) != 0) {
      fuzz::require(out_.commit_from == emitted_ + 1 && out_.commit_to >= out_.commit_from && out_.commit_to <= v.stable && out_.commit_to <= v.commit);
      emitted_ = out_.commit_to;
    }
    for (const auto& g : out_.send_after) {
      fuzz::require(g.after >= gated_ && g.after <= seq_);
      gated_ = g.after;
    }
    if (out_.install) installing_ = out_.install->meta;
    if (!v.is_leader) fuzz::require(core_.peers().empty());
  }

  fuzz::Input& in_;
  Core core_;
  Output out_;
  Time now_ = std::chrono::seconds(1);
  Index emitted_;
  Seq seq_ = 0, gated_ = 0, ticket_ = 1;
  std::optional<SnapMeta> installing_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  Driver(in).run();
  return 0;
}
