#include "consensus/group/adoption.h"

#include <algorithm>
#include <map>
#include <set>

#include "consensus/group/mutants.h"

namespace kraken::group {
namespace {

struct Candidate {
  const std::vector<WishNode>* nodes = nullptr;
  std::vector<const NodeReport*> for_it;   // of nodes that it lists
  const WishNode* find(std::string_view label) const {
    const auto found = std::ranges::find(*nodes, label, &WishNode::label);
    return found == nodes->end() ? nullptr : &*found;
  }
};

/// The wish, other than the ring, that most of the nodes it lists report. Some node of the ring must be among them: who has left,
/// or was never in, may wish what it likes.
std::optional<Candidate> candidate(const AdoptionView& view) {
  const std::uint64_t ring = hash_of(view.state.ring());
  std::map<std::uint64_t, Candidate> all;
  for (const NodeReport& report : view.reports) {
    if (report.wish.empty() || report.wish.size() > kNodesMax) continue;
    const std::uint64_t hash = hash_of(report.wish);
    if (hash == ring) continue;
    Candidate& one = all[hash];
    one.nodes = &report.wish;
    if (one.find(report.label)) one.for_it.push_back(&report);
  }
  std::erase_if(all, [&](const auto& one) {
    return std::ranges::none_of(one.second.for_it, [&](const NodeReport* report) { return view.state.active(report->label) != nullptr; });
  });
  const auto best = std::ranges::max_element(all, {}, [](const auto& one) { return one.second.for_it.size(); });
  if (best == all.end()) return std::nullopt;
  return best->second;
}

std::string join(const std::vector<std::string>& labels) {
  std::string out;
  for (const std::string& label : labels) out += (out.empty() ? "" : ", ") + label;
  return out;
}

/// Who could hear the newcomers that the leader refuses, not being in the new ring itself.
std::string better_leader(const AdoptionView& view, const Candidate& wish) {
  if (wish.find(view.leader)) return {};
  for (const NodeReport* report : wish.for_it) {
    const RingNode* row = view.state.active(report->label);
    if (row && std::ranges::find(view.system_voters, row->member) != view.system_voters.end()) return report->label;
  }
  return {};
}

/// (i): all who must, and the nodes that are new. Also that nobody comes with another data folder. It waits for nothing: they agree.
Adoption agreement(const AdoptionView& view, const Candidate& wish) {
  const auto wait = [](std::string why, std::string leader = {}) {
    return Adoption{.command = {}, .waits_for = std::move(why), .hand_over_to = std::move(leader)};
  };
  std::vector<std::string> others, unheard;
  for (const NodeReport& report : view.reports)
    if (wish.find(report.label) && std::ranges::find(wish.for_it, &report) == wish.for_it.end()) others.push_back(report.label);
  if (!others.empty() && !mutant(Mutant::kAdoptedByOne))
    return wait(fmt::format("{} of {} nodes have the new hashstate; another one has {}", wish.for_it.size(), wish.nodes->size(), join(others)));
  for (const WishNode& node : *wish.nodes)
    if (!view.state.active(node.label) && std::ranges::none_of(wish.for_it, [&](const auto* report) { return report->label == node.label; }))
      unheard.push_back(node.label);
  if (!unheard.empty()) return wait(fmt::format("the new hashstate adds {}, which has not been heard", join(unheard)), better_leader(view, wish));
  for (const NodeReport* report : wish.for_it) {
    const RingNode* row = view.state.active(report->label);
    if (row && row->incarnation != report->incarnation)
      return wait(fmt::format("{} runs with another metadata folder than the ring's: replace it first (kraken repair replace {})", report->label, report->label));
  }
  return wait({});
}

/// (ii)
std::string no_majority(const AdoptionView& view, const Candidate& wish) {
  if (mutant(Mutant::kAdoptedByOne)) return {};
  if (wish.for_it.size() * 2 <= wish.nodes->size())
    return fmt::format("{} of {} nodes have the new hashstate, a majority must", wish.for_it.size(), wish.nodes->size());
  std::size_t voters = 0, agreed = 0;
  for (const std::uint32_t number : view.system_voters) {
    const RingNode* row = view.state.member(number);
    if (!row || !wish.find(row->label)) continue;
    ++voters;
    if (std::ranges::any_of(wish.for_it, [&](const auto* report) { return report->label == row->label; })) ++agreed;
  }
  if (agreed * 2 <= voters) return fmt::format("{} of {} voters of the system group have the new hashstate, a majority must", agreed, voters);
  return {};
}

/// (iv), the second half: with those who live now, before and after.
std::string lost_quorum(const AdoptionView& view, const SystemState& after, const Order& order) {
  const auto live = [&](const SystemState& state, std::uint32_t number) {
    const RingNode* row = state.member(number);
    return row && std::ranges::any_of(view.reports, [&](const NodeReport& report) {
             return report.label == row->label && report.incarnation == row->incarnation;
           });
  };
  for (std::uint16_t shard = 0; shard <= view.state.shards; ++shard)
    for (const SystemState* state : {&view.state, &after}) {
      const Placement placement = place(*state, ShardId{shard}, order);
      const auto up = static_cast<std::size_t>(std::ranges::count_if(placement.voters, [&](std::uint32_t number) { return live(*state, number); }));
      if (up * 2 <= placement.voters.size())
        return fmt::format("shard {} has {} of {} voters up {} the change", shard, up, placement.voters.size(), state == &after ? "after" : "before");
    }
  return {};
}

}  // namespace

Adoption decide_adoption(const AdoptionView& view, const Order& order) {
  const auto wish = candidate(view);
  if (!wish) return {};
  if (Adoption waits = agreement(view, *wish); !waits.waits_for.empty()) return waits;
  if (std::string why = no_majority(view, *wish); !why.empty()) return {.command = {}, .waits_for = std::move(why)};
  AdoptRing command{.prev_epoch = view.state.epoch, .force = view.force, .nodes = {}};
  for (const WishNode& node : *wish->nodes) {
    AdoptRing::Node& added = command.nodes.emplace_back(AdoptRing::Node{.node = node, .incarnation = {}});
    if (const RingNode* row = view.state.active(node.label)) {
      added.incarnation = row->incarnation;
    } else {
      added.incarnation = (*std::ranges::find(wish->for_it, node.label, [](const auto* report) { return report->label; }))->incarnation;
    }
  }
  std::ranges::sort(command.nodes, {}, [](const AdoptRing::Node& node) { return node.node.label; });
  if (view.force) return {.command = std::move(command), .waits_for = {}};

  const auto leaving = std::ranges::count_if(view.state.nodes, [&](const RingNode& row) { return row.active() && !wish->find(row.label); });
  if (leaving > 1) return {.command = {}, .waits_for = fmt::format("{} nodes would leave at once; take them out one by one, or: kraken repair adopt --force", leaving)};
  if (!view.state.settled() && !mutant(Mutant::kAdoptedUnsettled)) {
    const auto open = std::ranges::count(view.state.satisfied, false);
    return {.command = {}, .waits_for = fmt::format("{} of {} shards, or their blobs, are still moving to the ring of epoch {}", open, view.state.shards, view.state.epoch)};
  }
  SystemState after = view.state;
  if (const SystemOutcome outcome = after.apply(SystemCommand(command)); outcome != SystemOutcome::kDone)
    return {.command = {}, .waits_for = std::string(to_string(outcome))};
  if (std::string why = lost_quorum(view, after, order); !why.empty())
    return {.command = {}, .waits_for = why + "; bring nodes back, or: kraken repair adopt --force"};
  const auto youngest = std::ranges::min_element(wish->for_it, {}, [](const auto* report) { return report->since; });
  if ((*youngest)->since < view.stable_for)
    return {.command = {}, .waits_for = fmt::format("the new hashstate is adopted once it has been the same for {} s",
                                                    std::chrono::duration_cast<std::chrono::seconds>(view.stable_for).count())};
  return {.command = std::move(command), .waits_for = {}};
}

}  // namespace kraken::group
