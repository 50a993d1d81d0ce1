#include "tests/sim/whole/cluster.h"

#include <algorithm>

#include <fmt/format.h>

#include "consensus/group/replica.h"
#include "consensus/raft/quorum.h"
#include "tests/sim/partition.h"
#include "tests/sim/whole/mutants.h"

namespace kraken::sim::whole {

using namespace raft;
using raft::raw;

namespace {

Options options_of(uint64_t seed, const Reduction& reduction) {
  Random r(seed);
  return Options::draw(r, reduction);
}

std::string words(const Options& o) {
  std::string faults;
  for (size_t f = 0; f < o.weight.size(); f++)
    if (o.weight[f] != 0) faults += fmt::format(" {}:{}", kFaultNames[f], o.weight[f]);
  return fmt::format(
      "nodes {} of {} data shards {} membership {} {} delay_max {} us loss {} repeat {} corrupt {} slow {} sync_max {} us apply_max {} us compact every {} keep {} "
      "append {} B inflight {} tail {} B inbox {} clients {} patience {} ms faults every {} ms:{}",
      o.founders, o.nodes, o.shards, o.membership, o.link.connections ? "connections" : "datagrams", o.link.delay_max.count() / 1000, o.link.loss, o.link.repeat, o.link.corrupt,
      o.link.slow, o.sync_max.count() / 1000, o.apply_max.count() / 1000, o.compact_every, o.compact_keep, o.raft.max_append_bytes, o.raft.max_inflight_msgs,
      o.raft.max_tail_bytes, o.inbox_max, o.clients, o.client_patience.count() / 1'000'000, o.fault_gap.count() / 1'000'000, faults);
}

}  // namespace

Cluster::Cluster(uint64_t seed, const Reduction& reduction, bool verbose)
    : loop_(make_virtual_loop()), world_(options_of(seed, reduction), seed ^ 0xabcdef), handlers_(world_, loop_),
      operator_(world_, [this](size_t node, Time max) { restart(node, max); }, [this] { return nothing_lost(); }), reduction_(reduction), lost_(world_.options.nodes),
      images_(world_.options.nodes), favourite_(world_.options.clients) {
  world_.verbose = verbose;
  if (verbose) fmt::print("{}\n", words(world_.options));
  const auto deliver = [this](size_t to, const Packet& p) { world_.nodes[to]->deliver(p); };
  const auto broken = [this](size_t from, size_t to) {
    if (from >= world_.nodes.size() || to >= world_.nodes.size()) return;
    world_.nodes[from]->connection_broken(to);
    world_.nodes[to]->connection_broken(from);
  };
  world_.links = std::make_unique<Links>(world_.events, world_.net_random, world_.options.nodes, deliver, broken);
  world_.links->quality = world_.options.link;
  world_.history = std::make_unique<History>(world_.events, world_.groups());
  world_.oracle = std::make_unique<Oracle>(world_.options.nodes, world_.shards, world_.directory, world_.membership, *world_.history);
  operator_.form();
}

RunResult Cluster::run() {
  for (auto& n : world_.nodes) n->start();
  for (size_t c = 0; c < world_.options.clients; c++) world_.events.after(world_.delay(ms(300)), [this, c] { client(c); });
  world_.events.after(world_.delay(world_.options.fault_gap * 2), [this] { fault(); });
  events_ += world_.events.run_until(world_.options.faults_until);
  calm();
  must_converge();
  RunResult r;
  r.trace = world_.trace;
  r.steps = world_.steps;
  r.events = events_;
  r.elections = world_.oracle->elections();
  r.commits = world_.oracle->commits();
  r.writes = world_.history->writes();
  r.reads = world_.history->reads();
  r.snapshots = world_.snapshots;
  r.faults = faults_;
  r.unknown = world_.history->unknown();
  r.searched = world_.history->searched();
  r.compared = world_.oracle->compared();
  r.altered = world_.corrupt_rejected;
  r.rings = world_.membership.rings();
  r.configurations = world_.membership.changes();
  r.ended = world_.events.now();
  return r;
}

// ---- clients ----

void Cluster::client(size_t which) {
  if (world_.calm) return;
  Random& r = world_.work_random;
  using What = Handlers::What;
  static constexpr What kMix[] = {What::kPutTag, What::kPutTag, What::kPutTag, What::kPutTag, What::kGetTag, What::kGetTag, What::kGetTag, What::kGetTag,
                                  What::kSwapTag, What::kSwapTag, What::kSwapTag, What::kDeleteTag, What::kPushManifest, What::kRaceMetainfo, What::kAddTask,
                                  What::kAddTask, What::kWorkTask, What::kWorkTask, What::kAnnounce, What::kListTags};
  Handlers::Request request{.what = kMix[r.below(std::size(kMix))],
                            .client = which,
                            .node = r.chance(0.8) ? favourite_[which] : r.below(world_.nodes.size()),
                            .repository = fmt::format("r{}", r.below(world_.options.repositories)),
                            .tag = fmt::format("t{}", r.below(world_.options.tags)),
                            .number = r.next() >> 20,
                            .patience = world_.options.client_patience};
  const Time gap = Time{static_cast<int64_t>(r.below(static_cast<uint64_t>(world_.options.client_gap.count()) * 2))};
  handlers_.start(std::move(request), [this, which, gap](bool ok) {
    if (!ok) favourite_[which] = (favourite_[which] + 1) % world_.nodes.size();  // tries elsewhere
    world_.events.after(gap + us(100), [this, which] { client(which); });
  });
}

// ---- faults ----

Node* Cluster::leader(ShardId shard) {
  Node* best = nullptr;
  for (auto& n : world_.nodes) {
    const Core* core = n->core(shard);
    if (core != nullptr && core->view().is_leader && (best == nullptr || core->view().term > best->core(shard)->view().term)) best = n.get();
  }
  return best;
}

Node& Cluster::any() { return *world_.nodes[world_.fault_random.below(world_.nodes.size())]; }

void Cluster::fault() {
  if (world_.calm || faults_ >= reduction_.faults_max) return;
  Random& r = world_.fault_random;
  uint64_t sum = 0;
  for (uint32_t w : world_.options.weight) sum += w;
  if (sum == 0) return;
  uint64_t pick = r.below(sum);
  size_t kind = 0;
  while (pick >= world_.options.weight[kind]) pick -= world_.options.weight[kind++];
  faults_++;
  inject(static_cast<Fault>(kind));
  world_.events.after(Time{static_cast<int64_t>(r.below(static_cast<uint64_t>(world_.options.fault_gap.count()) * 2))}, [this] { fault(); });
}

void Cluster::inject(Fault f) {
  Random& r = world_.fault_random;
  const Time now = world_.events.now();
  const auto within = [&](Time max) { return Time{static_cast<int64_t>(r.below(static_cast<uint64_t>(max.count()) + 1))}; };
  if (world_.verbose) fmt::print("{:>9} us fault {}: {}\n", now.count() / 1000, faults_, kFaultNames[static_cast<size_t>(f)]);
  switch (f) {
    case Fault::kPartition:
      if (r.chance(0.35)) world_.links->heal();
      else partition();
      break;
    case Fault::kClog: {
      const size_t a = r.below(world_.nodes.size()), b = r.below(world_.nodes.size());
      if (a != b) world_.links->clog(a, b, now + within(ms(2'000)));
      break;
    }
    case Fault::kDropKind:
      world_.dropped_kind = r.below(std::variant_size_v<Message>);
      world_.events.after(within(ms(1'500)), [this] { world_.dropped_kind.reset(); });
      break;
    case Fault::kCrash:
      crash_some();
      break;
    case Fault::kFreeze:
      if (r.chance(0.15)) {
        for (auto& n : world_.nodes) n->freeze(now + within(ms(1'500)));
      } else {
        Node* who = leader(any_shard());
        if (who == nullptr || r.chance(0.4)) who = &any();
        who->freeze(now + within(ms(2'000)));
      }
      break;
    case Fault::kJump:
      any().jump(within(ms(r.chance(0.2) ? 3'600'000 : 2'000)));
      break;
    case Fault::kSlowDisk:
      any().stall_disk(now + within(ms(1'000)));
      break;
    case Fault::kSyncFails: {
      Node& n = any();
      if (n.up()) n.fail_next_sync([this, i = n.number()] { crashed(i); });
      break;
    }
    case Fault::kDiskFull: {
      Node& n = any();
      n.fill_disk(true);
      world_.events.after(within(ms(2'000)), [&n] { n.fill_disk(false); });
      break;
    }
    case Fault::kRot:
      rot(any().number());
      break;
    case Fault::kWipe: {
      const size_t n = any().number();
      if (!expendable(n)) break;
      lose(n);
      wipe(n);
      break;
    }
    case Fault::kRestore:
      restore_old(any().number());
      break;
    case Fault::kSlowApply:
      any().slow_apply(now + within(ms(2'000)));
      break;
    case Fault::kTransfer: {
      const ShardId shard = any_shard();
      Node* l = leader(shard);
      if (l == nullptr) break;
      const auto peers = l->core(shard)->peers();
      if (!peers.empty()) l->transfer(shard, peers[r.below(peers.size())].id);
      break;
    }
    case Fault::kMembership:
      operator_.change();
      break;
    case Fault::kHold:
      hold_back();
      break;
    case Fault::kCount:
      break;
  }
}

void Cluster::partition() {
  Random& r = world_.fault_random;
  const size_t n = world_.nodes.size();
  if (n == 1) return;
  Node* l = leader(any_shard());
  const size_t victim = l != nullptr && r.chance(0.6) ? l->number() : r.below(n);
  sim::partition(*world_.links, n, victim, 6, r);
  // The connections may break with it, and then both ends take the other for dead.
  if (r.chance(0.5))
    for (size_t a = 0; a < n; a++)
      for (size_t b = 0; b < n; b++)
        if (world_.links->cut(a, b)) world_.nodes[b]->peer_down(a);
}

void Cluster::crash_some() {
  Random& r = world_.fault_random;
  const bool all = r.chance(0.12);
  const bool now = all || r.chance(0.25);
  Node* l = leader(any_shard());
  const size_t one = l != nullptr && r.chance(0.3) ? l->number() : r.below(world_.nodes.size());
  for (size_t i = 0; i < world_.nodes.size(); i++) {
    Node& n = *world_.nodes[i];
    if (!(all || i == one) || !n.up()) continue;
    if (now) {
      n.crash();
      crashed(i);
    } else {
      n.crash_at(static_cast<Point>(r.between(1, static_cast<uint64_t>(Point::kCount) - 1)), [this, i] { crashed(i); });
    }
  }
}

void Cluster::crashed(size_t node) {
  Random& r = world_.fault_random;
  if (r.chance(0.7))
    for (auto& other : world_.nodes)
      if (other->up()) other->peer_down(node);
  restart_later(node, ms(r.chance(0.5) ? 200 : 2'000));
}

/// As an operator does who has changed the configuration.
void Cluster::restart(size_t node, Time max) {
  Node& n = *world_.nodes[node];
  if (!n.up()) return;
  n.crash();
  restart_later(node, max);
}

void Cluster::restart_later(size_t node, Time max) {
  world_.events.after(world_.delay(max), [this, node] {
    Node& n = *world_.nodes[node];
    if (dead_ == node || n.status() != Node::Status::kDown) return;
    n.start();
    if (n.status() != Node::Status::kRefusesToStart) return;
    // The operator moves the folder aside and lets the node join again.
    lose(node);
    world_.events.after(ms(200), [this, node] { wipe(node); });
  });
}

/// Whether the cluster keeps its promises without this node's disk: every shard has a leader that has said so lately, one
/// settled configuration, and in it a majority of disks besides this one on which nothing is wrong. Never the same record on a quorum.
bool Cluster::expendable(size_t node) {
  for (const bool lost : lost_)
    if (lost) return false;
  // A ring of two needs both, and one that was proposed may still come.
  if (world_.small_ring_proposed) return false;
  for (const auto& n : world_.nodes)
    if (world_.options.membership && world_.membership.in_ring(n->number()) && n->configured().size() < 3) return false;
  for (size_t g = 0; g < world_.groups(); g++) {
    const ShardId shard{static_cast<uint16_t>(g)};
    const Node* l = leader(shard);
    if (l == nullptr) return false;
    const Core& core = *l->core(shard);
    const auto v = core.view();
    if (!v.serving || core.conf().joint() || !(core.conf_at(v.commit) == core.conf())) return false;
    bool votes = false;
    for (const ReplicaId id : members(core.conf())) {
      const Directory::Replica* replica = world_.directory.find(shard, id);
      if (replica == nullptr || replica->gone) return false;
      votes = votes || (replica->node == node && is_voter(core.conf(), id));
    }
    if (votes && core.conf().voters.size() < 3) return false;
    // Nor may the voters that are on their way be too few without it.
    const Placement target = world_.membership.target(shard);
    const bool wanted = std::ranges::any_of(target.voters, [&](uint32_t member) { return world_.membership.state().member(member)->label == label_of(node); });
    if (wanted && target.voters.size() < 3) return false;
    // Another node might still lead, or be about to, under a configuration of its own.
    for (const auto& other : world_.nodes) {
      const Core* theirs = other->core(shard);
      if (theirs != nullptr && theirs->view().is_leader && other.get() != l) return false;
    }
  }
  return true;
}

/// No disk is gone that a shard still counts.
bool Cluster::nothing_lost() {
  if (std::ranges::find(lost_, true) != lost_.end()) return false;
  for (size_t g = 0; g < world_.groups(); g++) {
    const ShardId shard{static_cast<uint16_t>(g)};
    for (const ReplicaId id : members(world_.membership.conf(shard)))
      if (world_.directory.find(shard, id)->gone) return false;
  }
  return true;
}

void Cluster::lose(size_t node) {
  if (lost_[node]) return;
  lost_[node] = true;
  Node& n = *world_.nodes[node];
  if (n.up()) n.crash();
}

/// An empty disk: a new incarnation, no replicas; the leaders find out and put new ones there.
void Cluster::wipe(size_t node) {
  Node& n = *world_.nodes[node];
  if (n.up()) n.crash();
  const Incarnation old = n.incarnation();
  world_.oracle->disk_changed(node);
  if (mutant(DriverMutant::kWipedKeepsId)) {
    kv::Batch rows;
    rows.put(kv::Family::kRaft, group::system_copy_key(), group::encode(world_.membership.state()));
    for (size_t g = 0; g < world_.groups(); g++) {
      const ShardId shard{static_cast<uint16_t>(g)};
      for (const ReplicaId id : members(world_.membership.conf(shard)))
        if (world_.directory.find(shard, id)->incarnation == old) rows.put(kv::Family::kRaft, group::replica_key(shard), group::encode_replica(shard, id));
    }
    n.format(group::Identity(n.identity()), std::move(rows));
  } else {
    world_.directory.lost(old);
    n.format(world_.new_incarnation(), {});
    n.take_place();
  }
  images_[node].reset();
  lost_[node] = false;
  world_.events.after(world_.delay(ms(500)), [this, node] {
    if (dead_ != node && world_.nodes[node]->status() != Node::Status::kUp) world_.nodes[node]->start();
  });
}

void Cluster::rot(size_t node) {
  Node& n = *world_.nodes[node];
  if (!n.up() || !expendable(node)) return;
  n.crash();
  if (n.damage(world_.fault_random)) lost_[node] = true;
  restart_later(node, ms(300));
}

void Cluster::restore_old(size_t node) {
  Node& n = *world_.nodes[node];
  auto& image = images_[node];
  if (!n.up()) return;
  if (!image || image->incarnation != n.incarnation()) {
    image = Image{n.image(), n.incarnation(), n.identity().boot_epoch};
    return;
  }
  // Peers must have met a later start of the node than the image's next one would be: else nobody can know.
  for (const auto& other : world_.nodes) {
    if (other.get() == &n) continue;
    const group::PeerMemory* memory = other->up() ? other->knows(node) : nullptr;
    if (memory == nullptr || memory->incarnation != image->incarnation || memory->boot_epoch < image->boot_epoch + 1) return;
  }
  // Nor can a node know that was alone when the copy was made: it needs nobody's vote.
  const RowsView rows(image->rows);
  for (size_t g = 0; g < world_.groups(); g++) {
    const auto log = group::load_log(rows, ShardId{static_cast<uint16_t>(g)});
    if (!log) continue;
    bool alone = log->boot.conf.voters.size() < 2;
    for (const auto& conf : log->boot.confs) alone = alone || conf.conf.voters.size() < 2;
    if (alone) return;
  }
  if (!expendable(node)) return;
  lose(node);
  world_.oracle->disk_changed(node);
  n.restore(image->rows);
  image.reset();
  restart_later(node, ms(100));
  // Whoever is refused is started again, and each start counts in the copy, too.
  for (uint64_t again = world_.fault_random.below(4); again > 0; again--)
    world_.events.after(ms(350 * again), [this, node] {
      if (!lost_[node] || !world_.nodes[node]->up()) return;
      world_.nodes[node]->crash();
      restart_later(node, ms(50));
    });
  world_.events.after(ms(1'500), [this, node] { wipe(node); });
}

// ---- the calm ----

void Cluster::calm() {
  world_.calm = true;
  world_.links->heal();
  world_.links->quality = Link{.connections = world_.options.link.connections};
  world_.dropped_kind.reset();
  world_.options.sync_max = ms(2);
  world_.options.sync_stall = 0;
  world_.options.apply_max = ms(1);
  world_.options.late_timer = us(100);
  world_.options.inbox_max = 4'000;
  Random& r = world_.fault_random;
  const size_t candidate = r.below(world_.nodes.size());
  // The ring is to be without it, so that its shards are moved away.
  const bool spare = !world_.membership.in_ring(candidate) || world_.membership.state().ring().size() >= 3;
  if (world_.nodes.size() >= 3 && r.chance(0.3) && spare && expendable(candidate)) dead_ = candidate;
  operator_.calm(dead_);
  if (world_.verbose) fmt::print("{:>9} us calm{}\n", world_.events.now().count() / 1000, dead_ ? fmt::format(", node {} stays dead", *dead_) : "");
  for (size_t i = 0; i < world_.nodes.size(); i++) {
    Node& n = *world_.nodes[i];
    n.stall_disk(Time{});
    n.slow_apply(Time{});
    n.fill_disk(false);
    n.disarm();
    if (dead_ == i) {
      n.crash();
    } else if (n.status() == Node::Status::kDown) {
      restart_later(i, ms(50));
    }
  }
}

void Cluster::print_replicas() {
  const auto list = [](const std::vector<ReplicaId>& ids) {
    std::string text;
    for (const ReplicaId id : ids) text += fmt::format(" {}", raw(id));
    return text;
  };
  for (size_t g = 0; g < world_.groups(); g++) {
    const ShardId shard{static_cast<uint16_t>(g)};
    std::string given;
    for (const auto& [id, r] : world_.directory.of(shard)) given += fmt::format(" {}@{}{}", raw(id), r.node, r.gone ? "(gone)" : "");
    std::string target;
    for (const uint32_t member : world_.membership.target(shard).voters) target += fmt::format(" {}", member);
    fmt::print("shard {} target members{} replicas{}\n", g, target, given);
    for (const auto& n : world_.nodes) {
      const Core* core = n->core(shard);
      if (core == nullptr) continue;
      const auto v = core->view();
      fmt::print("  node {} replica {} term {} role {} log [{}, {}] commit {} voters{} outgoing{} learners{}\n", n->number(), raw(core->self()), raw(v.term), static_cast<int>(v.role),
                 raw(v.first), raw(v.last), raw(v.commit), list(core->conf().voters), list(core->conf().outgoing), list(core->conf().learners));
    }
  }
}

std::string Cluster::what_is_missing() {
  for (size_t i = 0; i < world_.nodes.size(); i++)
    if (dead_ != i && !world_.nodes[i]->up()) return fmt::format("node {} is not up", i);
  if (handlers_.running() != 0) {
    std::string text = fmt::format("{} requests have not ended", handlers_.running());
    for (const auto& n : world_.nodes)
      if (n->up() && !n->idle()) text += fmt::format("; node {}:{}", n->number(), n->describe_clients());
    return text;
  }
  for (size_t g = 0; g < world_.groups(); g++)
    if (std::string missing = what_shard_lacks(ShardId{static_cast<uint16_t>(g)}); !missing.empty()) return fmt::format("shard {} {}", g, missing);
  return operator_.missing();
}

std::string Cluster::what_shard_lacks(ShardId shard) {
  Node* l = leader(shard);
  if (l == nullptr || !l->core(shard)->view().serving) return "has no leader that serves";
  const Core& core = *l->core(shard);
  const ConfState& conf = core.conf();
  if (conf.joint()) return "is in a joint configuration";
  const auto equal = [](const std::vector<ReplicaId>& have, std::vector<uint32_t> want) {
    std::vector<uint32_t> numbers;
    for (const ReplicaId id : have) numbers.push_back(member_of(id));
    std::sort(numbers.begin(), numbers.end());
    std::sort(want.begin(), want.end());
    return numbers == want;
  };
  const Placement target = world_.membership.target(shard);
  if (!equal(conf.voters, target.voters) || !equal(conf.learners, target.learners))
    return fmt::format("has {} voters and {} learners and is not where the ring says", conf.voters.size(), conf.learners.size());
  const auto v = core.view();
  const auto all = members(conf);
  for (const ReplicaId id : all) {
    const Directory::Replica* replica = world_.directory.find(shard, id);
    const Core* theirs = replica == nullptr ? nullptr : world_.nodes[replica->node]->core(shard);
    if (theirs == nullptr || theirs->self() != id) return fmt::format("has no replica {}", raw(id));
    if (theirs->view().commit != v.commit || world_.nodes[replica->node]->applied(shard) != v.commit)
      return fmt::format("is applied to {} of {} by node {}", raw(world_.nodes[replica->node]->applied(shard)), raw(v.commit), replica->node);
  }
  // Who has left the ring may be stopped, whatever it still has.
  for (const auto& n : world_.nodes) {
    const Core* theirs = n->core(shard);
    if (theirs != nullptr && world_.membership.in_ring(n->number()) && !contains(all, theirs->self())) return fmt::format("has a replica at node {} that is in no configuration", n->number());
  }
  return {};
}

void Cluster::must_converge() {
  const Time until = world_.events.now() + world_.options.calm_for;
  std::string missing = "?";
  while (!missing.empty()) {
    operator_.steer();
    events_ += world_.events.run_until(world_.events.now() + ms(200));
    missing = what_is_missing();
    if (missing.empty() || world_.events.now() < until) continue;
    if (world_.verbose) print_replicas();
    violated("19 placement and liveness", "after everything was repaired " + missing);
  }
  // It works: a write and a read of each node, one after the other (with tiny limits two at once are too many); an asker without a
  // replica may take the time to find out that it asks a dead node.
  for (size_t i = 0; i < world_.nodes.size(); i++) {
    if (dead_ == i || !world_.membership.in_ring(i)) continue;
    for (const auto what : {Handlers::What::kPutTag, Handlers::What::kGetTag}) {
      std::optional<bool> answered;
      // What a client gave up on may fill tiny limits for a moment more: whoever is refused asks again.
      for (int tries = 0; tries < 5 && answered != true; tries++) {
        answered.reset();
        handlers_.start({.what = what, .client = 99, .node = i, .repository = fmt::format("r{}", i % world_.options.repositories), .tag = "t0", .number = 1, .patience = ms(3'000)},
                        [&answered](bool ok) { answered = ok; });
        while (!answered) events_ += world_.events.run_until(world_.events.now() + ms(20));
        if (!*answered) events_ += world_.events.run_until(world_.events.now() + ms(200));
      }
      if (!*answered) violated("19 placement and liveness", fmt::format("request {} at node {} is not answered by a quiet cluster", static_cast<int>(what), i));
    }
  }
  // And it rests: once what the faults left behind is over (a frozen process, a message on its way), nobody stands for election.
  const auto terms = [this] {
    std::vector<Term> all;
    for (size_t g = 0; g < world_.groups(); g++) {
      Node* l = leader(ShardId{static_cast<uint16_t>(g)});
      all.push_back(l == nullptr ? Term{} : l->core(ShardId{static_cast<uint16_t>(g)})->view().term);
    }
    return all;
  };
  for (bool rested = false; !rested;) {
    const auto before = terms();
    events_ += world_.events.run_until(world_.events.now() + ms(1'000));
    missing = what_is_missing();
    rested = missing.empty() && terms() == before;
    if (!rested && world_.events.now() >= until + ms(4'000)) violated("19 placement and liveness", "a quiet cluster does not stay so " + missing);
  }
  for (size_t g = 0; g < world_.groups(); g++) {
    const ShardId shard{static_cast<uint16_t>(g)};
    for (const auto& n : world_.nodes)
      if (n->core(shard) != nullptr) world_.oracle->rows(n->number(), shard, n->applied(shard), n->store(), "at the end");
  }
  // What comes late from handlers whose clients went must have come by now: the patience of a request ends it.
  world_.history->settle();
}

}  // namespace kraken::sim::whole
