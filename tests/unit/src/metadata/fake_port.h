#pragma once
// A metadata::Port for tests: one state machine over a map in memory, no log, no quorum. Every read is linearizable,
// every proposal is applied before it returns, at once and in order. Time stands still until `advance`.
//
//   FakePort port;                                  // 128 shards; or FakePort port(Shards)
//   metadata::Client client(port, port.shards());
//   port.fail_next(Code::kUnavailable);             // the next proposal is not applied
//   port.lose_next_answer();                        // the next one is, and the caller hears kOutcomeUnknown
// Threads: any; one lock.

#include <array>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "src/metadata/port.h"
#include "src/metadata/state/machine.h"
#include "storage/kv/overlay.h"

namespace kraken::metadata::test {

/// The rows of all shards, in maps.
class MapView final : public kv::View {
 public:
  Result<std::optional<std::string>> get(kv::Family family, std::string_view key) const override {
    const auto& rows = families_[kv::raw(family)];
    const auto at = rows.find(key);
    if (at == rows.end()) return std::optional<std::string>();
    return std::optional<std::string>(at->second);
  }
  Result<> scan(kv::Family family, std::string_view from, std::string_view to, bool reverse,
                const Each& each) const override {
    const auto& rows = families_[kv::raw(family)];
    const auto first = rows.lower_bound(from);
    const auto last = to.empty() ? rows.end() : rows.lower_bound(to);
    if (reverse) {
      for (auto at = last; at != first;) {
        --at;
        if (!each(at->first, at->second)) break;
      }
    } else {
      for (auto at = first; at != last && each(at->first, at->second); ++at) {
      }
    }
    return {};
  }
  void write(const kv::Batch& batch) {
    for (const auto& operation : batch.operations()) {
      auto& rows = families_[kv::raw(operation.family)];
      switch (operation.kind) {
        case kv::Batch::Kind::kPut:
          rows.insert_or_assign(operation.key, operation.value);
          break;
        case kv::Batch::Kind::kErase:
          rows.erase(operation.key);
          break;
        case kv::Batch::Kind::kEraseRange:
          rows.erase(rows.lower_bound(operation.key),
                     operation.value.empty() ? rows.end() : rows.lower_bound(operation.value));
          break;
      }
    }
  }
  const std::map<std::string, std::string, std::less<>>& rows(kv::Family family) const {
    return families_[kv::raw(family)];
  }

 private:
  std::array<std::map<std::string, std::string, std::less<>>, kv::kFamilies> families_;
};

class FakePort final : public Port {
 public:
  explicit FakePort(Shards shards = {}, state::Observer* observer = nullptr, state::Rules rules = {})
      : shards_(shards), machine_(shards, observer, rules) {}

  net::Task<std::string> propose(ShardId shard, std::string command, Duration) override {
    auto result = propose_now(shard, command);
    co_return result;
  }
  net::Task<std::string> query(ShardId shard, std::string query, Read, Duration) override {
    auto result = query_now(shard, query);
    co_return result;
  }

  /// Answers also while the port is down; `age` and `index` are what set_stale said.
  net::Task<StaleAnswer> query_stale(ShardId shard, std::string query, Duration) override {
    const std::lock_guard lock(mutex_);
    co_return StaleAnswer{machine_.query(shard, query, rows_, now_), stale_index_, stale_age_};
  }
  void set_stale(std::uint64_t index, Duration age) {
    const std::lock_guard lock(mutex_);
    stale_index_ = index;
    stale_age_ = age;
  }

  Result<std::string> propose_now(ShardId shard, const std::string& command) {
    const std::lock_guard lock(mutex_);
    ++proposals_;
    if (before_) {
      if (auto allowed = before_(shard, command); !allowed) return std::unexpected(allowed.error());
    }
    if (fail_next_) {
      const Code code = *std::exchange(fail_next_, std::nullopt);
      return fail(code, "the fake port was told to fail");
    }
    kv::Overlay overlay(rows_);
    std::string outcome = machine_.apply({shard, ++index_[shard], now_}, command, overlay);
    rows_.write(overlay.take_batch());
    machine_.applied(shard);
    if (std::exchange(lose_next_answer_, false)) return fail(Code::kOutcomeUnknown, "the fake port lost the answer");
    return outcome;
  }
  Result<std::string> query_now(ShardId shard, const std::string& query) const {
    const std::lock_guard lock(mutex_);
    ++queries_;
    if (down_) return fail(Code::kUnavailable, "the fake port is down");
    return machine_.query(shard, query, rows_, now_);
  }

  const Shards& shards() const { return shards_; }
  /// Replicated time of every shard.
  Duration now() const {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  void advance(Duration by) {
    const std::lock_guard lock(mutex_);
    now_ += by;
  }
  void fail_next(Code code) {
    const std::lock_guard lock(mutex_);
    fail_next_ = code;
  }
  void lose_next_answer() {
    const std::lock_guard lock(mutex_);
    lose_next_answer_ = true;
  }
  /// No query is answered, no proposal applied, until set false again.
  void set_down(bool down) {
    const std::lock_guard lock(mutex_);
    down_ = down;
    before_ = down ? [](ShardId, const std::string&) -> Result<> { return fail(Code::kUnavailable, "down"); }
                   : Before();
  }
  /// Sees each proposal first; an error is what the proposer gets, and nothing is applied.
  using Before = std::function<Result<>(ShardId, const std::string&)>;
  void before(Before before) {
    const std::lock_guard lock(mutex_);
    before_ = std::move(before);
  }

  std::uint64_t proposals() const {
    const std::lock_guard lock(mutex_);
    return proposals_;
  }
  std::uint64_t queries() const {
    const std::lock_guard lock(mutex_);
    return queries_;
  }
  const MapView& rows() const { return rows_; }
  state::Machine& machine() { return machine_; }

 private:
  mutable std::recursive_mutex mutex_;  // what `before` is given may ask the port
  Shards shards_;
  state::Machine machine_;
  MapView rows_;
  std::map<ShardId, std::uint64_t> index_;
  Duration now_ = std::chrono::seconds(1);
  Before before_;
  std::optional<Code> fail_next_;
  bool lose_next_answer_ = false;
  std::uint64_t stale_index_ = 0;
  Duration stale_age_{};
  bool down_ = false;
  std::uint64_t proposals_ = 0;
  mutable std::uint64_t queries_ = 0;
};

}  // namespace kraken::metadata::test
