#pragma once
// A store whose synced writes can be held up, as by a disk that hangs: put between a node and its own store.

#include <condition_variable>
#include <memory>
#include <mutex>

#include "storage/kv/store.h"

namespace kraken::group::test {

class StallStore final : public kv::Store {
 public:
  explicit StallStore(std::unique_ptr<kv::Store> inner) : inner_(std::move(inner)) {}
  ~StallStore() override { stall(false); }

  void stall(bool on) {
    const std::scoped_lock lock(mutex_);
    stalled_ = on;
    if (!on) wake_.notify_all();
  }
  /// A synced write has come and waits.
  bool waiting() const {
    const std::scoped_lock lock(mutex_);
    return waiting_ > 0;
  }

  Result<> write(const kv::Batch& batch, kv::Durability durability) override {
    if (durability == kv::Durability::kSynced) {
      std::unique_lock lock(mutex_);
      ++waiting_;
      wake_.wait(lock, [this] { return !stalled_; });
      --waiting_;
    }
    return inner_->write(batch, durability);
  }
  Result<std::optional<std::string>> get(kv::Family family, std::string_view key) const override { return inner_->get(family, key); }
  Result<> scan(kv::Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const override {
    return inner_->scan(family, from, to, reverse, each);
  }
  std::unique_ptr<kv::View> snapshot() const override { return inner_->snapshot(); }
  Result<std::unique_ptr<kv::ShardImport>> begin_import(kv::ShardId shard) override { return inner_->begin_import(shard); }
  Result<> flush() override { return inner_->flush(); }
  Statistics statistics() const override { return inner_->statistics(); }

 private:
  const std::unique_ptr<kv::Store> inner_;
  mutable std::mutex mutex_;  // guards the rest
  std::condition_variable wake_;
  bool stalled_ = false;
  int waiting_ = 0;
};

}  // namespace kraken::group::test
