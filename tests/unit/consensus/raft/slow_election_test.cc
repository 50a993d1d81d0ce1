// Elections where everything is slow: disks and links that take about as long as an election timeout.

#include <functional>
#include <map>
#include <memory>
#include <random>

#include "tests/unit/consensus/raft/harness.h"

namespace kraken::raft::test {
namespace {

/// Three replicas, links of a delay and disks of a sync time, both varying by half.
class World {
 public:
  World(Time link, Time sync, uint64_t seed) : link_(link), sync_(sync), random_(seed) {
    struct None : LogView {
      std::optional<Term> term_at(Index) const override { return std::nullopt; }
      Index first() const override { return 1_i; }
    } none;
    for (uint64_t id = 1; id <= 3; ++id) {
      Boot boot;
      boot.self = ReplicaId{id};
      boot.conf = voters({1, 2, 3});
      boot.boot_time = 1s;
      Options options;
      options.election_rank = static_cast<uint32_t>(id - 1);
      nodes_.push_back({Core(GroupId{7}, boot, options, none, seed * 3 + id), {}, {}, {}});
    }
    for (size_t i = 0; i < 3; ++i) arm(i);
  }
  /// Runs so long; how much of the time somebody served.
  double served(Time span) {
    const Time end = now_ + span;
    Time served{0};
    while (!events_.empty() && events_.begin()->first <= end) {
      const Time at = events_.begin()->first;
      if (serving()) served += at - now_;
      now_ = at;
      auto work = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      work();
    }
    return static_cast<double>(served.count()) / static_cast<double>(span.count());
  }

 private:
  struct Node {
    Core core;
    std::vector<Output::Gated> gated;
    Time disk_free{};
    Time armed{};
  };
  bool serving() const {
    for (const Node& node : nodes_)
      if (node.core.view().serving) return true;
    return false;
  }
  Time about(Time t) { return t / 2 + Time{static_cast<int64_t>(random_() % static_cast<uint64_t>(t.count() + 1))}; }
  void at(Time when, std::function<void()> work) { events_.emplace(when, std::move(work)); }
  void arm(size_t i) {
    const Time when = nodes_[i].core.deadline();
    if (when == Time::max()) return;
    at(std::max(now_, when), [this, i, when] {
      if (nodes_[i].core.deadline() == when) step(i, in::Timer{});
    });
  }
  void send(const Message& m) {
    const size_t to = raw(header(m).to) - 1;
    at(now_ + about(link_), [this, to, m] { step(to, in::Receive{m}); });
  }
  void step(size_t i, Input input) {
    Node& node = nodes_[i];
    Output out;
    node.core.step(std::move(input), now_, out);
    for (const Message& m : out.send_now) send(m);
    node.gated.insert(node.gated.end(), out.send_after.begin(), out.send_after.end());
    if (out.persist_seq != 0) {
      node.disk_free = std::max(node.disk_free, now_) + about(sync_);
      at(node.disk_free, [this, i, seq = out.persist_seq] {
        Node& written = nodes_[i];
        std::vector<Output::Gated> rest;
        for (Output::Gated& one : written.gated) {
          if (one.after <= seq)
            send(one.m);
          else
            rest.push_back(std::move(one));
        }
        written.gated = std::move(rest);
        step(i, in::Persisted{seq});
      });
    }
    if (raw(out.commit_from) != 0) step(i, in::Applied{out.commit_to});
    arm(i);
  }

  const Time link_, sync_;
  std::mt19937_64 random_;
  std::vector<Node> nodes_;
  std::multimap<Time, std::function<void()>> events_;
  Time now_{1s};
};

/// The mean over some seeds.
double share(Time link, Time sync) {
  constexpr int kRuns = 10;
  double served = 0;
  for (uint64_t seed = 1; seed <= kRuns; ++seed) served += World(link, sync, seed).served(60s);
  return served / kRuns;
}

TEST(SlowElections, ADiskThatIsSlowerThanATimeoutElectsNevertheless) {
  EXPECT_GT(share(10ms, 10ms), 0.95);
  EXPECT_GT(share(100ms, 300ms), 0.85);
  EXPECT_GT(share(10ms, 600ms), 0.7);
  EXPECT_GT(share(180ms, 600ms), 0.7);
  EXPECT_GT(share(100ms, 900ms), 0.6);
}

}  // namespace
}  // namespace kraken::raft::test
