#include "storage/kv/overlay.h"

#include <algorithm>

namespace kraken::kv {
namespace {

bool in_range(std::string_view key, std::string_view from, std::string_view to) {
  return key >= from && (to.empty() || key < to);
}

}  // namespace

bool Overlay::Changes::erased(std::string_view key) const {
  return std::ranges::any_of(ranges, [&](const auto& range) { return in_range(key, range.first, range.second); });
}

Result<std::optional<std::string>> Overlay::get(Family family, std::string_view key) const {
  const Changes& changes = changes_[raw(family)];
  if (const auto found = changes.keys.find(key); found != changes.keys.end()) return found->second;
  if (changes.erased(key)) return std::nullopt;
  return base_.get(family, key);
}

Result<> Overlay::scan(Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const {
  const Changes& changes = changes_[raw(family)];
  auto next = changes.keys.lower_bound(from);
  auto last = to.empty() ? changes.keys.end() : changes.keys.lower_bound(to);
  if (!to.empty() && to <= from) return {};
  if (next == last && changes.ranges.empty()) return base_.scan(family, from, to, reverse, each);

  // Both sides come in the same order; of equal keys ours counts.
  std::vector<std::pair<std::string_view, const std::optional<std::string>*>> ours;
  for (; next != last; ++next) ours.emplace_back(next->first, &next->second);
  if (reverse) std::ranges::reverse(ours);
  std::size_t i = 0;
  bool more = true;
  const auto emit_ours = [&] {
    if (ours[i].second->has_value()) more = each(ours[i].first, **ours[i].second);
    ++i;
  };
  const auto before = [&](std::string_view a, std::string_view b) { return reverse ? a > b : a < b; };
  KR_CHECK(base_.scan(family, from, to, reverse, [&](std::string_view key, std::string_view value) {
    while (more && i < ours.size() && before(ours[i].first, key)) emit_ours();
    if (!more) return false;
    if (i < ours.size() && ours[i].first == key) {
      emit_ours();
      return more;
    }
    if (!changes.erased(key)) more = each(key, value);
    return more;
  }));
  while (more && i < ours.size()) emit_ours();
  return {};
}

void Overlay::put(Family family, std::string_view key, std::string_view value) {
  if (watch_ != nullptr) watch_->wrote(Batch::Kind::kPut, family, key, value);
  bytes_ += key.size() + value.size();
  auto& keys = changes_[raw(family)].keys;
  if (const auto found = keys.find(key); found != keys.end()) {
    found->second = std::string(value);
    return;
  }
  keys.emplace(std::string(key), std::string(value));
}

void Overlay::erase(Family family, std::string_view key) {
  if (watch_ != nullptr) watch_->wrote(Batch::Kind::kErase, family, key, {});
  bytes_ += key.size();
  auto& keys = changes_[raw(family)].keys;
  if (const auto found = keys.find(key); found != keys.end()) {
    found->second.reset();
    return;
  }
  keys.emplace(std::string(key), std::nullopt);
}

void Overlay::erase_range(Family family, std::string_view from, std::string_view to) {
  if (!to.empty() && to <= from) return;
  if (watch_ != nullptr) watch_->wrote(Batch::Kind::kEraseRange, family, from, to);
  bytes_ += from.size() + to.size();
  Changes& changes = changes_[raw(family)];
  const auto last = to.empty() ? changes.keys.end() : changes.keys.lower_bound(to);
  changes.keys.erase(changes.keys.lower_bound(from), last);
  changes.ranges.emplace_back(from, to);
}

bool Overlay::empty() const {
  return std::ranges::all_of(changes_, [](const Changes& one) { return one.keys.empty() && one.ranges.empty(); });
}

Batch Overlay::take_batch() {
  Batch batch;
  for (std::size_t i = 0; i < kFamilies; ++i) {
    Changes& changes = changes_[i];
    for (auto& [from, to] : changes.ranges) batch.erase_range(family_at(i), std::move(from), std::move(to));
    changes.ranges.clear();
    while (!changes.keys.empty()) {
      auto node = changes.keys.extract(changes.keys.begin());
      if (node.mapped()) {
        batch.put(family_at(i), std::move(node.key()), std::move(*node.mapped()));
      } else {
        batch.erase(family_at(i), std::move(node.key()));
      }
    }
  }
  bytes_ = 0;
  return batch;
}

}  // namespace kraken::kv
