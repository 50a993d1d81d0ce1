#pragma once
// A store in memory that forgets what was not synced: for tests and for the simulator.
// Threads: any (one mutex). A snapshot copies everything.

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "storage/kv/store.h"

namespace kraken::kv {

class MemoryStore final : public Store {
 public:
  using Families = std::array<std::map<std::string, std::string, std::less<>>, kFamilies>;

  MemoryStore() = default;

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override;
  Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse,
                const Each& each) const override;
  Result<> write(const Batch& batch, Durability durability) override;
  std::unique_ptr<View> snapshot() const override;
  Result<std::unique_ptr<ShardImport>> begin_import(ShardId shard) override;
  Result<> flush() override;
  Statistics statistics() const override;

  /// What a power cut leaves: the synced batches, and of those written since the first `survivors`.
  void crash(std::size_t survivors = 0);
  /// Batches that a crash may forget.
  std::size_t unsynced() const;

 private:
  friend class MemoryImport;
  mutable std::mutex mutex_;  // guards all below
  Families now_;
  Families durable_;
  std::vector<Batch> unsynced_;
  Statistics statistics_;
};

}  // namespace kraken::kv
