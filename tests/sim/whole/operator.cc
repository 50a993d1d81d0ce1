#include "tests/sim/whole/operator.h"

#include <algorithm>

#include <fmt/format.h>

#include "consensus/group/replica.h"

namespace kraken::sim::whole {

std::vector<WishNode> Operator::hashstate(const Ring& ring) {
  std::vector<WishNode> nodes;
  for (const auto& [node, weight] : ring) nodes.push_back(wish_of(node, weight));
  return nodes;
}

Operator::Ring Operator::adopted() const {
  Ring ring;
  for (const WishNode& node : world_.membership.state().ring()) ring.emplace(node_of(node.label), node.weight);
  return ring;
}

std::optional<size_t> Operator::outside(const Ring& ring) const {
  std::vector<size_t> candidates;
  for (size_t i = 0; i < world_.nodes.size(); i++)
    if (!ring.contains(i) && dead_ != i) candidates.push_back(i);
  if (candidates.empty()) return std::nullopt;
  return candidates[world_.fault_random.below(candidates.size())];
}

size_t Operator::any_of(const Ring& ring, Random& r) { return std::next(ring.begin(), static_cast<std::ptrdiff_t>(r.below(ring.size())))->first; }

void Operator::form() {
  Ring founders;
  std::vector<group::AdoptRing::Node> nodes;
  std::vector<Incarnation> incarnations;
  for (size_t i = 0; i < world_.options.nodes; i++) {
    world_.nodes.push_back(std::make_unique<Node>(world_, i));
    incarnations.push_back(world_.new_incarnation());
    if (i >= world_.options.founders) continue;
    founders.emplace(i, 100);
    nodes.push_back({.node = wish_of(i, 100), .incarnation = incarnations[i]});
  }
  const SystemState state =
      group::found_cluster(world_.new_incarnation(), incarnations[0], static_cast<uint16_t>(world_.options.shards), static_cast<uint16_t>(world_.options.replicas), std::move(nodes));
  world_.oracle->formed(state);
  for (size_t i = 0; i < world_.options.nodes; i++) {
    Node& n = *world_.nodes[i];
    kv::Batch rows;
    Ring seen = founders;
    if (founders.contains(i)) {
      rows.put(kv::Family::kRaft, group::system_copy_key(), group::encode(state));
      rows.append(group::first_replicas(state, state.active(label_of(i))->member, hrw));
    } else {
      seen.emplace(i, 100);
    }
    n.format(incarnations[i], std::move(rows));
    n.configure(hashstate(seen));
  }
}

void Operator::change() {
  Random& r = world_.fault_random;
  const Ring ring = adopted();
  Ring wish = ring;
  const uint64_t what = r.below(100);
  const auto weight = [&] { return r.chance(0.6) ? 100.0 : static_cast<double>(r.between(20, 300)); };
  if (what < 35 || (what >= 70 && what < 82)) {
    if (const auto node = outside(ring)) wish.emplace(*node, weight());
  }
  if ((what >= 35 && what < 58) || (what >= 70 && what < 82)) {
    if (ring.size() > 1) wish.erase(any_of(ring, r));
  }
  if ((what >= 58 && what < 70) || (what >= 82 && what < 90)) wish[any_of(ring, r)] = static_cast<double>(r.between(20, 300));
  std::vector<size_t> order;
  for (const auto& [node, w] : wish) order.push_back(node);
  for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[r.below(i)]);
  if (what >= 82 && what < 90) order.resize(r.between(1, order.size()));  // the others keep what they have
  const auto nodes = hashstate(wish);
  if (world_.verbose) {
    std::string text;
    for (const auto& [node, w] : wish) text += fmt::format(" {}:{}", node, w);
    fmt::print("{:>9} us operator: hashstate{} for {} nodes\n", world_.events.now().count() / 1000, text, order.size());
  }
  Time at{};
  for (const size_t node : order) {
    at += Time{static_cast<int64_t>(r.below(static_cast<uint64_t>(ms(250).count())))};
    world_.events.after(at, [this, node, nodes] {
      if (world_.calm || world_.nodes[node]->configured() == nodes || (nodes.size() < 3 && !whole_())) return;
      world_.nodes[node]->configure(nodes);
      restart_(node, ms(100));
    });
  }
}

void Operator::calm(std::optional<size_t> dead) {
  Random& r = world_.fault_random;
  dead_ = dead;
  stuck_since_ = world_.events.now();
  wanted_ = adopted();
  if (dead) wanted_.erase(*dead);
  if (!world_.options.membership) return;
  if (r.chance(0.3))
    if (const auto node = outside(wanted_)) wanted_.emplace(*node, 100);
  if (r.chance(0.2) && wanted_.size() > (whole_() ? 1 : 3)) wanted_.erase(any_of(wanted_, r));
  if (r.chance(0.2)) wanted_[any_of(wanted_, r)] = static_cast<double>(r.between(20, 300));
}

/// All that are to come at once, and of those that are to leave one after the other, the dead one first; none where none stays, since
/// somebody of the ring must want the next one. A node that is not in the new hashstate keeps the old one.
void Operator::steer() {
  const Ring ring = adopted();
  Ring next = wanted_, leaving = ring;
  std::erase_if(leaving, [&](const auto& one) { return wanted_.contains(one.first); });
  const bool some_stay = std::ranges::any_of(ring, [&](const auto& one) { return wanted_.contains(one.first); });
  const bool all_there = std::ranges::all_of(wanted_, [&](const auto& one) { return ring.contains(one.first); });
  if (!leaving.empty() && (some_stay || all_there)) leaving.erase(dead_ && leaving.contains(*dead_) ? *dead_ : leaving.begin()->first);
  next.merge(leaving);
  // A ring that needs the dead node can never be satisfied: kraken repair adopt --force.
  const SystemState& state = world_.membership.state();
  if (!dead_ || !world_.membership.in_ring(*dead_) || state.settled()) stuck_since_ = world_.events.now();
  world_.force_adoption = world_.events.now() - stuck_since_ > ms(2'000);
  // Who is to leave goes back to what is adopted, so that it does not stand for a third opinion.
  const auto give = [&](const Ring& nodes, const Ring& to) {
    const auto wish = hashstate(nodes);
    for (const auto& [node, weight] : to) {
      if (dead_ == node || world_.nodes[node]->configured() == wish) continue;
      world_.nodes[node]->configure(wish);
      restart_(node, ms(150));
    }
  };
  Ring others = ring;
  std::erase_if(others, [&](const auto& one) { return next.contains(one.first); });
  give(next, next);
  give(ring, others);
}

std::string Operator::missing() const {
  const SystemState& state = world_.membership.state();
  const auto words = [](const std::vector<WishNode>& nodes) {
    std::string text;
    for (const WishNode& node : nodes) text += fmt::format(" {}:{}", node.label, node.weight);
    return text;
  };
  if (group::hash_of(state.ring()) != group::hash_of(hashstate(wanted_))) {
    std::string text = fmt::format("the ring of epoch {} is{}, wanted is{}, hashstates are", state.epoch, words(state.ring()), words(hashstate(wanted_)));
    for (const auto& n : world_.nodes) text += fmt::format("; {}{}", n->number(), words(n->configured()));
    return text;
  }
  if (!state.settled()) return fmt::format("the ring of epoch {} is not satisfied", state.epoch);
  return {};
}

}  // namespace kraken::sim::whole
