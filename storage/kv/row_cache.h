#pragma once
// The rows that were read last, before a store: whoever reads the same few rows again and again, and is the only one
// who writes them, need not ask the store each time.
// REQUIRES: whatever changes the rows below comes through wrote(), or is followed by clear() before the next read.
// Bounded: at most kRows rows of at most kRowBytes. Errors: the base's, and none is kept. Threads: one owner.

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "storage/kv/batch.h"
#include "storage/kv/view.h"

namespace kraken::kv {

class RowCache final : public View {
 public:
  static constexpr std::size_t kRows = 16'384;
  static constexpr std::size_t kRowBytes = 1'024;  // of key and value

  /// `base` outlives the cache.
  explicit RowCache(const View& base) : base_(base) {}

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override;
  /// Straight from the base, which has what wrote() was told of.
  Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const override {
    return base_.scan(family, from, to, reverse, each);
  }

  /// The base has taken this batch.
  void wrote(const Batch& batch);
  void clear();
  std::size_t size() const { return young_.size() + old_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const { return std::hash<std::string_view>{}(key); }
  };
  using Rows = std::unordered_map<std::string, std::optional<std::string>, Hash, std::equal_to<>>;  // by family and key; nullopt: there is none

  std::string_view name(Family family, std::string_view key) const;
  void keep(std::string_view name, std::optional<std::string> value) const;
  bool forget(std::string_view name);  // whether it was there

  const View& base_;
  // Two generations: what is asked for again moves to the young one; when that is full, the old one goes.
  mutable Rows young_, old_;
  mutable std::string name_;
};

}  // namespace kraken::kv
