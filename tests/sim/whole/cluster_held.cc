// A fault that takes several steps in a row.
#include <fmt/format.h>

#include "tests/sim/whole/cluster.h"

namespace kraken::sim::whole {

/// What a process said before it died arrives behind what the next one said: it was on its way to a node that led then, and leads
/// again by the time it arrives. What the second process said went to the one that led in between.
void Cluster::hold_back() {
  Random& r = world_.fault_random;
  const ShardId shard = world_.shards.at(static_cast<uint32_t>(r.below(world_.options.shards)));
  const Node* l = leader(shard);
  std::optional<std::string> repository;
  for (size_t i = 0; i < 8 && !repository; i++)
    if (const auto name = fmt::format("r{}", i); world_.shards.of(*Repository::parse(name)) == shard) repository = name;
  if (l == nullptr || !repository || world_.options.link.connections) return;
  const size_t led = l->number();
  std::vector<size_t> others;
  for (size_t i = 0; i < world_.nodes.size(); i++)
    if (i != led && world_.nodes[i]->up() && world_.membership.in_ring(i)) others.push_back(i);
  if (others.size() < 2) return;
  const size_t speaker = others[r.below(others.size())];
  const auto ask = [this, speaker, repository] {
    if (world_.calm || !world_.nodes[speaker]->up()) return;
    handlers_.start({.what = Handlers::What::kPutTag, .client = 98, .node = speaker, .repository = *repository, .tag = "t0", .number = 1, .patience = ms(500)}, [](bool) {});
  };
  const auto hand_over = [this, shard, led, speaker](bool back) {
    Node* now = leader(shard);
    if (world_.calm || now == nullptr || (now->number() == led) == back) return;
    for (const ReplicaId id : now->core(shard)->conf().voters) {
      const Directory::Replica* replica = world_.directory.find(shard, id);
      if (replica != nullptr && replica->node != now->number() && replica->node != speaker && (replica->node == led) == back) return now->transfer(shard, id);
    }
  };
  const auto in = [this](uint64_t delay, std::function<void()> what) { world_.events.after(ms(delay), std::move(what)); };
  // Without a session in the shard, so that it opens one; or with the one it has.
  if (r.chance(0.5)) restart(speaker, ms(30));
  in(150, [this, speaker, led] { world_.links->clog(speaker, led, world_.events.now() + ms(1'300)); });
  in(160, ask);
  in(300, [hand_over] { hand_over(false); });
  in(400, [this, speaker] {
    if (!world_.calm) restart(speaker, ms(20));
  });
  in(600, ask);
  in(1'000, [hand_over] { hand_over(true); });
}

}  // namespace kraken::sim::whole
