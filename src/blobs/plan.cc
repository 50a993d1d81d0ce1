#include "src/blobs/plan.h"

#include <algorithm>

namespace kraken::blobs {
namespace {

using metadata::state::BlobRow;
using metadata::state::BlobState;
using metadata::state::Holder;

void add(std::vector<std::string>& labels, const std::string& label) {
  if (std::ranges::find(labels, label) == labels.end()) labels.push_back(label);
}

const std::string* label_of(const LiveStores& live, const StoreId& store) {
  const auto found = std::ranges::find_if(live, [&](const auto& entry) { return entry.second == store; });
  return found == live.end() ? nullptr : &found->first;
}

}  // namespace

Plan plan(const BlobRow& row, const std::vector<std::string>& owners,
          const std::function<bool(const std::string& label)>& in_ring, const LiveStores& live) {
  Plan plan;
  // A push that goes on places its own copies, and nothing may leave under it (lifecycle §3 "orphan").
  if (row.state == BlobState::kArriving) return plan;

  std::size_t owners_good = 0;
  for (const std::string& owner : owners) {
    const auto now = live.find(owner);
    if (now == live.end()) {
      plan.waits_for.push_back(owner);
      continue;
    }
    const Holder* const holder = row.holder(now->second);
    if (holder != nullptr && !holder->suspect) {
      ++owners_good;
    } else {
      plan.copy.push_back(owner);
    }
  }
  const bool owners_hold = owners_good == owners.size() && !owners.empty();

  for (const Holder& holder : row.holders) {
    const std::string* const at = label_of(live, holder.store);
    if (at != nullptr && std::ranges::find(owners, *at) != owners.end()) {
      plan.good += holder.suspect ? 0 : 1;
      continue;
    }
    if (at != nullptr) {
      plan.good += holder.suspect ? 0 : 1;
      if (owners_hold) plan.let_go.push_back({.store = holder.store, .label = *at, .suspect = holder.suspect});
      continue;
    }
    if (live.contains(holder.label)) {
      // The node is back with another store: this one is no more. A suspect that nobody can replace stays named.
      const bool replaceable = std::ranges::any_of(row.holders, [&](const Holder& h) { return &h != &holder && !h.suspect; });
      if (!holder.suspect || replaceable || !row.backends.empty()) plan.lost.push_back(holder);
      continue;
    }
    plan.good += holder.suspect ? 0 : 1;  // it may come back
    if (in_ring(holder.label)) {
      add(plan.waits_for, holder.label);
    } else if (owners_hold) {
      plan.lost.push_back(holder);
    }
  }
  return plan;
}

}  // namespace kraken::blobs
