// A node's store: kv::Store over maps, whose log of batches is durable up to a point that the driver moves. What a crash leaves is
// a prefix of the batches in the order of write(), with at least all that were synced: what storage/kv/store.h promises.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "storage/kv/store.h"

namespace kraken::sim::whole {

using Rows = std::array<std::map<std::string, std::string, std::less<>>, kv::kFamilies>;

void change(Rows& rows, const kv::Batch& batch);

class RowsView : public kv::View {
 public:
  explicit RowsView(const Rows& rows) : rows_(rows) {}
  Result<std::optional<std::string>> get(kv::Family family, std::string_view key) const override;
  Result<> scan(kv::Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const override;

 private:
  const Rows& rows_;
};

class Store final : public kv::Store {
 public:
  Store() : view_(now_) {}
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  Result<std::optional<std::string>> get(kv::Family family, std::string_view key) const override { return view_.get(family, key); }
  Result<> scan(kv::Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const override {
    return view_.scan(family, from, to, reverse, each);
  }
  Result<> write(const kv::Batch& batch, kv::Durability durability) override;
  std::unique_ptr<kv::View> snapshot() const override;
  Result<std::unique_ptr<kv::ShardImport>> begin_import(kv::ShardId shard) override;
  Result<> flush() override;
  Statistics statistics() const override { return {}; }

  /// How many batches were ever written: where the log of batches stands.
  uint64_t written() const { return folded_ + log_.size(); }
  /// Everything written up to there is durable.
  void sync_to(uint64_t position);
  uint64_t unsynced() const { return written() - synced_; }
  /// Power loss: what is durable stays, and the first `survivors` of the rest.
  void crash(uint64_t survivors);
  /// What is durable now, to be restored one day.
  Rows image() const;
  void restore(const Rows& image);

 private:
  Rows now_, durable_;
  std::deque<kv::Batch> log_;  // written and not in durable_
  uint64_t folded_ = 0;        // batches that are
  uint64_t synced_ = 0;
  RowsView view_;
};

/// Of all rows of a shard, the log aside.
uint64_t digest_of(const kv::View& view, kv::ShardId shard);

}  // namespace kraken::sim::whole
