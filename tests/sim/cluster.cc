#include "tests/sim/cluster.h"

#include <algorithm>

#include <fmt/format.h>

#include "consensus/raft/quorum.h"
#include "tests/sim/describe.h"
#include "tests/sim/partition.h"

namespace kraken::sim {

using namespace raft;

namespace {

RunOptions options_of(uint64_t seed) {
  Random r(seed);
  return RunOptions::draw(r);
}

}  // namespace

Cluster::Cluster(uint64_t seed, bool verbose) : world_(options_of(seed), seed ^ 0xabcdef), workload_(world_, nodes_) {
  world_.verbose = verbose;
  if (verbose) fmt::print("{}\n", describe(world_.options));
  world_.network = std::make_unique<Network>(world_.events, world_.random, world_.options.nodes, [this](size_t to, Message m) {
    nodes_[to]->deliver(in::Receive{std::move(m)});
  });
  world_.network->quality = world_.options.link;
  for (size_t i = 0; i < world_.options.nodes; i++) {
    // A replica that is not in the first configuration knows none: it waits until a leader adds it.
    const ConfState conf = first_conf();
    nodes_.push_back(std::make_unique<Node>(world_, i, contains(conf.voters, ReplicaId{i + 1}) ? conf : ConfState{}));
    world_.disks.push_back(&nodes_.back()->disk());
  }
}

ConfState Cluster::first_conf() const {
  ConfState conf;
  const size_t voters = world_.options.membership ? 3 : world_.options.nodes;
  for (size_t i = 0; i < voters; i++) conf.voters.push_back(ReplicaId{i + 1});
  return conf;
}

RunResult Cluster::run() {
  for (auto& n : nodes_) n->start();
  workload_.start();
  world_.events.after(world_.delay(world_.options.fault_gap * 2), [this] { fault(); });
  if (world_.options.membership) world_.events.after(ms(1'000), [this] { change_membership(); });
  events_ += world_.events.run_until(world_.options.faults_until);
  calm();
  events_ += world_.events.run_until(world_.options.calm_until);
  must_converge();
  RunResult r;
  r.trace = world_.trace;
  r.steps = world_.steps;
  r.events = events_;
  r.elections = world_.invariants.elections();
  r.commits = raw(world_.invariants.committed_to());
  r.writes = world_.clients.writes();
  r.reads = world_.clients.reads();
  r.snapshots = world_.next_snap_id - 1;
  return r;
}

Node* Cluster::leader() {
  Node* best = nullptr;
  for (auto& n : nodes_)
    if (n->up() && n->core().view().is_leader && (best == nullptr || n->core().view().term > best->core().view().term)) best = n.get();
  return best;
}

void Cluster::fault() {
  if (calm_) return;
  Random& r = world_.random;
  const RunOptions& o = world_.options;
  switch (r.below(8)) {
    case 0:
    case 1:
      if (o.partitions) partition();
      break;
    case 2:
      world_.network->heal();
      break;
    case 3:
    case 4:
      if (o.crashes) crash_some();
      break;
    case 5:
      if (o.freezes) {
        Node* who = leader();
        if (who == nullptr || r.chance(0.3)) who = nodes_[r.below(nodes_.size())].get();
        who->freeze(world_.events.now() + world_.delay(ms(2'500)));
      }
      break;
    case 6:
      if (Node* l = leader(); o.transfers && l != nullptr && nodes_.size() > 1) l->deliver(in::Transfer{ReplicaId{1 + r.below(nodes_.size())}});
      break;
    case 7:
      nodes_[r.below(nodes_.size())]->stall_disk(world_.events.now() + world_.delay(ms(1'200)));
      break;
  }
  world_.events.after(world_.delay(o.fault_gap * 2), [this] { fault(); });
}

void Cluster::partition() {
  Random& r = world_.random;
  const size_t n = nodes_.size();
  if (n == 1) return;
  Node* l = leader();
  const size_t victim = l != nullptr && r.chance(0.6) ? raw(l->id()) - 1 : r.below(n);
  sim::partition(*world_.network, n, victim, 5, r);
  // The connections may break with it, and then both ends take the other for dead.
  if (r.chance(0.5))
    for (size_t a = 0; a < n; a++)
      for (size_t b = 0; b < n; b++)
        if (world_.network->cut(a, b)) nodes_[b]->deliver(in::PeerDown{ReplicaId{a + 1}});
}

void Cluster::crash_some() {
  Random& r = world_.random;
  const bool all = r.chance(0.15);
  const bool now = all || r.chance(0.3);
  const size_t one = r.below(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); i++) {
    if (!(all || i == one) || !nodes_[i]->up()) continue;
    if (now) {
      nodes_[i]->crash();
      crashed(i);
    } else {
      nodes_[i]->crash_at(r.chance(0.5) ? Node::CrashPoint::kAfterWrite : Node::CrashPoint::kAfterSync, [this, i] { crashed(i); });
    }
  }
}

void Cluster::crashed(size_t node) {
  Random& r = world_.random;
  if (r.chance(0.7))
    for (auto& other : nodes_)
      if (other->up()) other->deliver(in::PeerDown{nodes_[node]->id()});
  world_.events.after(world_.delay(ms(r.chance(0.5) ? 200 : 2'500)), [this, node] {
    if (!nodes_[node]->up()) nodes_[node]->start();
  });
}

void Cluster::change_membership() {
  if (calm_) return;
  Random& r = world_.random;
  if (Node* l = leader(); l != nullptr) {
    ConfState target;
    target.placement_epoch = l->core().conf().placement_epoch + r.below(2);
    const size_t voters = r.chance(0.8) ? 3 : r.between(1, nodes_.size());
    std::vector<ReplicaId> all;
    for (auto& n : nodes_) all.push_back(n->id());
    for (size_t i = all.size() - 1; i > 0; i--) std::swap(all[i], all[r.below(i + 1)]);
    for (size_t i = 0; i < all.size(); i++) {
      if (i < voters)
        target.voters.push_back(all[i]);
      else if (r.chance(0.6))
        target.learners.push_back(all[i]);
    }
    l->deliver(in::ChangeConf{uint64_t{1} << 60, target});
  }
  world_.events.after(ms(100) + world_.delay(ms(1'500)), [this] { change_membership(); });
}

void Cluster::calm() {
  calm_ = true;
  workload_.stop();
  world_.network->heal();
  world_.network->quality = LinkQuality{};
  world_.options.sync_max = ms(2);
  world_.options.sync_stall = 0;
  world_.options.apply_max = ms(1);
  for (auto& n : nodes_) {
    n->stall_disk(Time{});
    n->crash_at(Node::CrashPoint::kNone, {});
    if (!n->up()) n->start();
  }
}

void Cluster::must_converge() {
  Node* l = leader();
  if (l == nullptr) violated("liveness", "nobody leads after everything was repaired");
  if (!l->core().view().serving) violated("liveness", "the leader has committed nothing of its term");
  const Term term = l->core().view().term;

  // A write is acknowledged and a read answered; everyone applies it.
  bool wrote = false, was_read = false;
  const size_t at = raw(l->id()) - 1;
  workload_.write_at(at, [&](bool ok) { wrote = ok; });
  events_ += world_.events.run_until(world_.events.now() + ms(500));
  if (!wrote) violated("liveness", "a write is not acknowledged by a quiet cluster");
  l->read([&](const State* s, Reject, std::optional<ReplicaId>) { was_read = s != nullptr; });
  events_ += world_.events.run_until(world_.events.now() + ms(1'000));
  if (!was_read) violated("liveness", "a read is not answered by a quiet cluster");
  const auto v = l->core().view();
  if (l->core().conf().joint()) violated("liveness", "stuck in a joint configuration");
  for (ReplicaId id : members(l->core().conf())) {
    Node& n = *nodes_.at(raw(id) - 1);
    const auto w = n.core().view();
    if (w.commit != v.commit || n.state().applied != v.commit || n.state().digest != l->state().digest)
      violated("liveness", fmt::format("node {} has not caught up: commit {} applied {}, leader {} has {}", raw(id), raw(w.commit), raw(n.state().applied), raw(l->id()), raw(v.commit)));
  }
  if (v.term != term || leader() != l) violated("liveness", "a quiet cluster changed its leader");
  world_.clients.settle(world_.invariants);
}

}  // namespace kraken::sim
