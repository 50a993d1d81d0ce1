#include "storage/kv/row_cache.h"

namespace kraken::kv {

std::string_view RowCache::name(Family family, std::string_view key) const {
  name_.assign(1, static_cast<char>(raw(family)));
  name_ += key;
  return name_;
}

Result<std::optional<std::string>> RowCache::get(Family family, std::string_view key) const {
  const std::string_view wanted = name(family, key);
  if (const auto found = young_.find(wanted); found != young_.end()) return found->second;
  if (const auto found = old_.find(wanted); found != old_.end()) {
    auto row = old_.extract(found);
    std::optional<std::string> value = row.mapped();
    keep(wanted, std::move(row.mapped()));
    return value;
  }
  KR_TRY(std::optional<std::string> value, base_.get(family, key));
  keep(wanted, value);
  return value;
}

void RowCache::keep(std::string_view name, std::optional<std::string> value) const {
  if (name.size() + (value ? value->size() : 0) > kRowBytes) return;
  if (young_.size() >= kRows / 2) {
    old_ = std::move(young_);
    young_.clear();
  }
  young_.insert_or_assign(std::string(name), std::move(value));
}

bool RowCache::forget(std::string_view name) {
  for (Rows* rows : {&young_, &old_})  // in one of them at most
    if (const auto found = rows->find(name); found != rows->end()) {
      rows->erase(found);
      return true;
    }
  return false;
}

void RowCache::wrote(const Batch& batch) {
  // A later operation on a key wins, as in the base.
  for (const Batch::Operation& operation : batch.operations()) {
    if (operation.kind == Batch::Kind::kEraseRange) {
      clear();
      continue;
    }
    // Rows that are written and never read (results of sessions) are not worth their memory.
    const std::string_view written = name(operation.family, operation.key);
    if (forget(written)) keep(written, operation.kind == Batch::Kind::kPut ? std::optional(operation.value) : std::nullopt);
  }
}

void RowCache::clear() {
  young_.clear();
  old_.clear();
}

}  // namespace kraken::kv
