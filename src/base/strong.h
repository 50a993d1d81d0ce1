#pragma once
// Strong<T, Tag>: an integer or string that cannot be passed where another one is meant.
//   using ShardId = Strong<std::uint16_t, struct ShardIdTag>;

#include <compare>
#include <functional>
#include <utility>

namespace kraken {

template <class T, class Tag>
class Strong {
 public:
  using Value = T;
  constexpr Strong() = default;
  constexpr explicit Strong(T value) : value_(std::move(value)) {}
  constexpr const T& value() const noexcept { return value_; }
  friend constexpr auto operator<=>(const Strong&, const Strong&) = default;
  friend constexpr bool operator==(const Strong&, const Strong&) = default;

 private:
  T value_{};
};

}  // namespace kraken

template <class T, class Tag>
struct std::hash<kraken::Strong<T, Tag>> {
  std::size_t operator()(const kraken::Strong<T, Tag>& id) const noexcept { return std::hash<T>{}(id.value()); }
};
