#pragma once
// Writes that become visible, and survive, all together or not at all. In order: a later operation on a key wins.
// Threads: plain value.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/kv/family.h"

namespace kraken::kv {

class Batch {
 public:
  enum class Kind : std::uint8_t { kPut, kErase, kEraseRange };
  struct Operation {
    Kind kind{};
    Family family{};
    std::string key;    // or the first of a range
    std::string value;  // or the end of a range, which is not part of it
  };

  void put(Family family, std::string key, std::string value) {
    add({Kind::kPut, family, std::move(key), std::move(value)});
  }
  void erase(Family family, std::string key) { add({Kind::kErase, family, std::move(key), {}}); }
  /// [from, to)
  void erase_range(Family family, std::string from, std::string to) {
    add({Kind::kEraseRange, family, std::move(from), std::move(to)});
  }
  void append(Batch other) {
    for (Operation& operation : other.operations_) add(std::move(operation));
  }

  const std::vector<Operation>& operations() const { return operations_; }
  /// The batch is empty afterwards.
  std::vector<Operation> take() {
    bytes_ = 0;
    return std::exchange(operations_, {});
  }
  bool empty() const { return operations_.empty(); }
  /// Keys and values.
  std::size_t bytes() const { return bytes_; }
  void clear() {
    operations_.clear();
    bytes_ = 0;
  }

 private:
  void add(Operation operation) {
    bytes_ += operation.key.size() + operation.value.size();
    operations_.push_back(std::move(operation));
  }

  std::vector<Operation> operations_;
  std::size_t bytes_ = 0;
};

}  // namespace kraken::kv
