#pragma once
// A state with one's own writes on top: apply reads what it has just written, and the batch goes to the store in one piece.
// Lifetime: the base outlives the overlay and does not change meanwhile (apply is the only writer of its keys).
// Threads: one owner.

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/kv/batch.h"
#include "storage/kv/view.h"

namespace kraken::kv {

class Overlay final : public View {
 public:
  /// Told of each write, in order, with `value` empty for an erased key and the end for an erased range.
  class Watch {
   public:
    virtual ~Watch() = default;
    virtual void wrote(Batch::Kind kind, Family family, std::string_view key, std::string_view value) = 0;
  };

  explicit Overlay(const View& base) : base_(base) {}

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override;
  Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse,
                const Each& each) const override;

  void put(Family family, std::string_view key, std::string_view value);
  void erase(Family family, std::string_view key);
  /// [from, to); an empty `to` is the end of the family.
  void erase_range(Family family, std::string_view from, std::string_view to);

  /// From now on; null for nobody.
  void watch(Watch* watch) { watch_ = watch; }

  bool empty() const;
  /// Keys and values written so far.
  std::size_t bytes() const { return bytes_; }
  /// Everything written, as one batch; the overlay is empty afterwards.
  Batch take_batch();

 private:
  struct Changes {
    std::map<std::string, std::optional<std::string>, std::less<>> keys;  // nullopt: erased
    std::vector<std::pair<std::string, std::string>> ranges;              // erased before `keys` were written
    bool erased(std::string_view key) const;
  };
  const View& base_;
  std::array<Changes, kFamilies> changes_;
  std::size_t bytes_ = 0;
  Watch* watch_ = nullptr;
};

}  // namespace kraken::kv
