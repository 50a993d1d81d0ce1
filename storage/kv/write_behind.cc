#include "storage/kv/write_behind.h"

#include <algorithm>

namespace kraken::kv {
namespace {

std::size_t bytes_of(std::string_view key, const std::optional<std::string>& value) { return key.size() + (value ? value->size() : 0); }

}  // namespace

const WriteBehind::Row* WriteBehind::find(const NameView& name) const {
  if (const auto found = waiting_.find(name); found != waiting_.end()) {
    found->second.read = true;
    return &found->second;
  }
  if (const auto found = young_.find(name); found != young_.end()) return &found->second;
  const auto found = old_.find(name);
  if (found == old_.end()) return nullptr;
  auto node = old_.extract(found);
  make_room();
  return &young_.insert(std::move(node)).position->second;
}

Result<std::optional<std::string>> WriteBehind::get(Family family, std::string_view key) const {
  {
    const std::scoped_lock lock(mutex_);
    if (const Row* row = find({family, key})) return row->value;
  }
  // Only the owner changes rows, and it is here.
  KR_TRY(std::optional<std::string> value, store_.get(family, key));
  if (bytes_of(key, value) > kRowBytes) return value;
  const std::scoped_lock lock(mutex_);
  make_room();
  young_.emplace(Name{family, std::string(key)}, Row{.value = value, .read = true});
  return value;
}

Result<> WriteBehind::scan(Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const {
  {
    const std::scoped_lock lock(mutex_);
    if (waiting_rows_[raw(family)] > 0) KR_CHECK(flush_locked());
  }
  return store_.scan(family, from, to, reverse, each);
}

void WriteBehind::make_room() const {
  if (young_.size() < kRows / 2) return;
  old_ = std::move(young_);
  young_.clear();
}

void WriteBehind::put(Batch::Operation operation) {
  const NameView name{operation.family, operation.key};
  std::optional<std::string> value;
  if (operation.kind == Batch::Kind::kPut) value = std::move(operation.value);
  bytes_ += bytes_of(operation.key, value);
  if (const auto found = waiting_.find(name); found != waiting_.end()) {
    bytes_ -= bytes_of(operation.key, found->second.value);
    found->second.value = std::move(value);
    return;
  }
  bool read = false;
  for (Rows* rows : {&young_, &old_})  // in one of them at most
    if (const auto found = rows->find(name); found != rows->end()) {
      rows->erase(found);
      read = true;
    }
  ++waiting_rows_[raw(operation.family)];
  waiting_.emplace(Name{operation.family, std::move(operation.key)}, Row{.value = std::move(value), .read = read});
}

Result<> WriteBehind::write(Batch batch) {
  const std::scoped_lock lock(mutex_);
  const bool ranges = std::ranges::any_of(batch.operations(), [](const Batch::Operation& one) { return one.kind == Batch::Kind::kEraseRange; });
  if (!ranges) {
    for (Batch::Operation& operation : batch.take()) put(std::move(operation));
    return {};
  }
  KR_CHECK(flush_locked());
  young_.clear();
  old_.clear();
  return store_.write(batch, Durability::kBuffered);
}

Result<> WriteBehind::flush_locked() const {
  if (waiting_.empty()) return {};
  Batch batch;
  for (const auto& [name, row] : waiting_) {
    if (row.value) {
      batch.put(name.family, name.key, *row.value);
    } else {
      batch.erase(name.family, name.key);
    }
  }
  KR_CHECK(store_.write(batch, Durability::kBuffered));
  while (!waiting_.empty()) {
    auto row = waiting_.extract(waiting_.begin());
    if (!row.mapped().read || bytes_of(row.key().key, row.mapped().value) > kRowBytes) continue;
    make_room();
    young_.insert(std::move(row));
  }
  waiting_rows_.fill(0);
  bytes_ = 0;
  return {};
}

Result<> WriteBehind::flush() const {
  const std::scoped_lock lock(mutex_);
  return flush_locked();
}

Result<> WriteBehind::clear() {
  const std::scoped_lock lock(mutex_);
  KR_CHECK(flush_locked());
  young_.clear();
  old_.clear();
  return {};
}

std::size_t WriteBehind::bytes() const {
  const std::scoped_lock lock(mutex_);
  return bytes_;
}

std::size_t WriteBehind::size() const {
  const std::scoped_lock lock(mutex_);
  return young_.size() + old_.size();
}

}  // namespace kraken::kv
