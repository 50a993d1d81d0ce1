#include "tests/sim/whole/store.h"

#include <xxhash.h>

#include "storage/kv/keys.h"

namespace kraken::sim::whole {

void change(Rows& rows, const kv::Batch& batch) {
  for (const kv::Batch::Operation& op : batch.operations()) {
    auto& keys = rows[kv::raw(op.family)];
    switch (op.kind) {
      case kv::Batch::Kind::kPut:
        keys.insert_or_assign(op.key, op.value);
        break;
      case kv::Batch::Kind::kErase:
        keys.erase(op.key);
        break;
      case kv::Batch::Kind::kEraseRange:
        if (!op.value.empty() && op.value <= op.key) break;
        keys.erase(keys.lower_bound(op.key), op.value.empty() ? keys.end() : keys.lower_bound(op.value));
        break;
    }
  }
}

Result<std::optional<std::string>> RowsView::get(kv::Family family, std::string_view key) const {
  const auto& keys = rows_[kv::raw(family)];
  const auto found = keys.find(key);
  if (found == keys.end()) return std::nullopt;
  return found->second;
}

Result<> RowsView::scan(kv::Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const {
  if (!to.empty() && to <= from) return {};
  const auto& keys = rows_[kv::raw(family)];
  const auto first = keys.lower_bound(from);
  auto last = to.empty() ? keys.end() : keys.lower_bound(to);
  if (!reverse) {
    for (auto next = first; next != last; ++next)
      if (!each(next->first, next->second)) break;
    return {};
  }
  while (last != first) {
    --last;
    if (!each(last->first, last->second)) break;
  }
  return {};
}

namespace {

class Snapshot final : public kv::View {
 public:
  explicit Snapshot(Rows rows) : rows_(std::move(rows)), view_(rows_) {}
  Result<std::optional<std::string>> get(kv::Family family, std::string_view key) const override { return view_.get(family, key); }
  Result<> scan(kv::Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const override {
    return view_.scan(family, from, to, reverse, each);
  }

 private:
  Rows rows_;
  RowsView view_;
};

class Import final : public kv::ShardImport {
 public:
  Import(Store& store, kv::ShardId shard) : store_(store), shard_(shard) {}
  Result<> add(kv::Family family, std::string_view key, std::string_view value) override {
    if (family == kv::Family::kRaft || kv::shard_of_key(key) != shard_) return fail(Code::kInvalidArgument, "import: not a row of the shard");
    rows_.put(family, std::string(key), std::string(value));
    return {};
  }
  Result<> commit(const kv::Batch& raft) override {
    kv::Batch all;
    const std::string from = kv::shard_prefix(shard_);
    for (size_t i = 1; i < kv::kFamilies; i++) all.erase_range(kv::family_at(i), from, kv::after_prefix(from));
    all.append(std::move(rows_));
    all.append(raft);
    return store_.write(all, kv::Durability::kSynced);
  }

 private:
  Store& store_;
  kv::ShardId shard_;
  kv::Batch rows_;
};

}  // namespace

Result<> Store::write(const kv::Batch& batch, kv::Durability durability) {
  change(now_, batch);
  log_.push_back(batch);
  if (durability == kv::Durability::kSynced) sync_to(written());
  return {};
}

void Store::sync_to(uint64_t position) {
  synced_ = std::max(synced_, position);
  while (folded_ < synced_) {
    change(durable_, log_.front());
    log_.pop_front();
    folded_++;
  }
}

void Store::crash(uint64_t survivors) {
  sync_to(std::min(written(), synced_ + survivors));
  log_.clear();
  now_ = durable_;
}

std::unique_ptr<kv::View> Store::snapshot() const { return std::make_unique<Snapshot>(now_); }
Result<std::unique_ptr<kv::ShardImport>> Store::begin_import(kv::ShardId shard) { return std::make_unique<Import>(*this, shard); }
Result<> Store::flush() {
  sync_to(written());
  return {};
}

Rows Store::image() const { return durable_; }

void Store::restore(const Rows& image) {
  now_ = durable_ = image;
  log_.clear();
  folded_ = synced_;
}

uint64_t digest_of(const kv::View& view, kv::ShardId shard) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), &XXH3_freeState);
  XXH3_64bits_reset(state.get());
  const std::string from = kv::shard_prefix(shard), to = kv::after_prefix(from);
  for (size_t f = 1; f < kv::kFamilies; f++) {
    XXH3_64bits_update(state.get(), &f, sizeof f);
    const auto each = [&](std::string_view key, std::string_view value) {
      XXH3_64bits_update(state.get(), key.data(), key.size());
      XXH3_64bits_update(state.get(), value.data(), value.size());
      return true;
    };
    if (!view.scan(kv::family_at(f), from, to, false, each)) return 0;
  }
  return XXH3_64bits_digest(state.get());
}

}  // namespace kraken::sim::whole
