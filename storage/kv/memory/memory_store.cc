#include "storage/kv/memory/memory_store.h"

#include <algorithm>

#include "storage/kv/keys.h"

namespace kraken::kv {
namespace {

using Families = MemoryStore::Families;

void change(Families& families, const Batch& batch) {
  for (const Batch::Operation& operation : batch.operations()) {
    auto& keys = families[raw(operation.family)];
    switch (operation.kind) {
      case Batch::Kind::kPut:
        keys.insert_or_assign(operation.key, operation.value);
        break;
      case Batch::Kind::kErase:
        keys.erase(operation.key);
        break;
      case Batch::Kind::kEraseRange: {
        if (!operation.value.empty() && operation.value <= operation.key) break;
        const auto last = operation.value.empty() ? keys.end() : keys.lower_bound(operation.value);
        keys.erase(keys.lower_bound(operation.key), last);
        break;
      }
    }
  }
}

std::optional<std::string> find(const Families& families, Family family, std::string_view key) {
  const auto& keys = families[raw(family)];
  const auto found = keys.find(key);
  if (found == keys.end()) return std::nullopt;
  return found->second;
}

void walk(const Families& families, Family family, std::string_view from, std::string_view to, bool reverse,
          const View::Each& each) {
  if (!to.empty() && to <= from) return;
  const auto& keys = families[raw(family)];
  const auto first = keys.lower_bound(from);
  auto last = to.empty() ? keys.end() : keys.lower_bound(to);
  if (!reverse) {
    for (auto next = first; next != last; ++next)
      if (!each(next->first, next->second)) return;
    return;
  }
  while (last != first) {
    --last;
    if (!each(last->first, last->second)) return;
  }
}

class MemoryView final : public View {
 public:
  explicit MemoryView(Families families) : families_(std::move(families)) {}
  Result<std::optional<std::string>> get(Family family, std::string_view key) const override {
    return find(families_, family, key);
  }
  Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse,
                const Each& each) const override {
    walk(families_, family, from, to, reverse, each);
    return {};
  }

 private:
  Families families_;
};

}  // namespace

class MemoryImport final : public ShardImport {
 public:
  MemoryImport(MemoryStore& store, ShardId shard) : store_(store), shard_(shard) {}

  Result<> add(Family family, std::string_view key, std::string_view value) override {
    if (family == Family::kRaft || raw(family) >= kFamilies)
      return fail(Code::kInvalidArgument, "import: family {} does not travel", raw(family));
    if (shard_of_key(key) != shard_) return fail(Code::kInvalidArgument, "import: a key of another shard");
    if (family < family_ || (family == family_ && !last_.empty() && key <= last_))
      return fail(Code::kInvalidArgument, "import: keys are not in order");
    family_ = family;
    last_ = key;
    rows_.put(family, std::string(key), std::string(value));
    return {};
  }

  Result<> commit(const Batch& raft) override {
    Batch all;
    const std::string from = shard_prefix(shard_);
    for (std::size_t i = 1; i < kFamilies; ++i) all.erase_range(family_at(i), from, after_prefix(from));
    all.append(std::move(rows_));
    for (const Batch::Operation& operation : raft.operations())
      if (operation.kind == Batch::Kind::kEraseRange)
        all.erase_range(operation.family, operation.key, operation.value);
    for (const Batch::Operation& operation : raft.operations())
      if (operation.kind == Batch::Kind::kPut) all.put(operation.family, operation.key, operation.value);
    return store_.write(all, Durability::kSynced);
  }

 private:
  MemoryStore& store_;
  ShardId shard_;
  Family family_ = Family::kRaft;
  std::string last_;
  Batch rows_;
};

Result<std::optional<std::string>> MemoryStore::get(Family family, std::string_view key) const {
  const std::scoped_lock lock(mutex_);
  return find(now_, family, key);
}

Result<> MemoryStore::scan(Family family, std::string_view from, std::string_view to, bool reverse,
                           const Each& each) const {
  // `each` may read the store again, so it runs on a copy of what it is shown.
  std::vector<std::pair<std::string, std::string>> rows;
  {
    const std::scoped_lock lock(mutex_);
    walk(now_, family, from, to, reverse, [&](std::string_view key, std::string_view value) {
      rows.emplace_back(key, value);
      return true;
    });
  }
  for (const auto& [key, value] : rows)
    if (!each(key, value)) break;
  return {};
}

Result<> MemoryStore::write(const Batch& batch, Durability durability) {
  const std::scoped_lock lock(mutex_);
  change(now_, batch);
  unsynced_.push_back(batch);
  ++statistics_.batches;
  statistics_.bytes_written += batch.bytes();
  if (durability == Durability::kSynced) {
    ++statistics_.syncs;
    for (const Batch& one : unsynced_) change(durable_, one);
    unsynced_.clear();
  }
  return {};
}

std::unique_ptr<View> MemoryStore::snapshot() const {
  const std::scoped_lock lock(mutex_);
  return std::make_unique<MemoryView>(now_);
}

Result<std::unique_ptr<ShardImport>> MemoryStore::begin_import(ShardId shard) {
  return std::make_unique<MemoryImport>(*this, shard);
}

Result<> MemoryStore::flush() { return write({}, Durability::kSynced); }

Store::Statistics MemoryStore::statistics() const {
  const std::scoped_lock lock(mutex_);
  return statistics_;
}

void MemoryStore::crash(std::size_t survivors) {
  const std::scoped_lock lock(mutex_);
  for (std::size_t i = 0; i < std::min(survivors, unsynced_.size()); ++i) change(durable_, unsynced_[i]);
  unsynced_.clear();
  now_ = durable_;
}

std::size_t MemoryStore::unsynced() const {
  const std::scoped_lock lock(mutex_);
  return unsynced_.size();
}

}  // namespace kraken::kv
