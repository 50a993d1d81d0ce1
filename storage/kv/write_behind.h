#pragma once
// Rows in front of a store, for their only writer: what it writes is in memory until flush() gives the store all of it as one
// batch, so that a row that is written over again and again goes to the store once; and the rows that it read last stay in memory.
// Only for what may be lost in a crash, all of it back to some flush: what a log brings again.
// REQUIRES: whatever changes these rows of the store by other ways is followed by clear() before the next read.
// Bounded: what waits by its owner, who flushes; what was read by kRows rows of at most kRowBytes. Errors: the store's; after one of a
// write nothing may be assumed. Threads: get, scan, write and clear one owner; flush, bytes and size any.

#include <array>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "storage/kv/batch.h"
#include "storage/kv/store.h"
#include "storage/kv/view.h"

namespace kraken::kv {

class WriteBehind final : public View {
 public:
  static constexpr std::size_t kRows = 16'384;
  static constexpr std::size_t kRowBytes = 1'024;  // of key and value

  /// `store` outlives this.
  explicit WriteBehind(Store& store) : store_(store) {}

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override;
  /// From the store, which is given first what waits in this family.
  Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse, const Each& each) const override;

  /// Seen by get() and scan() from now on. An erased range takes everything to the store at once.
  Result<> write(Batch batch);
  /// Visible in the store on return, durable with its next synced write.
  Result<> flush() const;
  /// Flushes, and forgets what was read.
  Result<> clear();

  /// Keys and values that wait.
  std::size_t bytes() const;
  /// Rows that were read and do not wait.
  std::size_t size() const;

 private:
  struct Name {
    Family family{};
    std::string key;
  };
  struct NameView {
    Family family{};
    std::string_view key;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const NameView& name) const { return std::hash<std::string_view>{}(name.key) + raw(name.family); }
    std::size_t operator()(const Name& name) const { return (*this)(NameView{name.family, name.key}); }
  };
  struct Equal {
    using is_transparent = void;
    template <class One, class Other>
    bool operator()(const One& one, const Other& other) const { return one.family == other.family && one.key == other.key; }
  };
  struct Row {
    std::optional<std::string> value;  // nullopt: there is none
    bool read = false;                 // since it was written; the others are not worth their memory once the store has them
  };
  using Rows = std::unordered_map<Name, Row, Hash, Equal>;

  // REQUIRES: mutex_ is held.
  const Row* find(const NameView& name) const;
  void make_room() const;
  void put(Batch::Operation operation);
  Result<> flush_locked() const;

  Store& store_;
  mutable std::mutex mutex_;  // guards the rest
  mutable Rows waiting_;
  mutable std::array<std::size_t, kFamilies> waiting_rows_{};
  mutable std::size_t bytes_ = 0;
  // Two generations: what is asked for again moves to the young one; when that is full, the old one goes.
  mutable Rows young_, old_;
};

}  // namespace kraken::kv
