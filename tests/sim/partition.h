// The shapes in which both simulators cut their networks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/sim/random.h"

namespace kraken::sim {

enum class Partition : uint8_t {
  kOneAlone,
  kTwoParts,
  kBridge,      // two parts that only one node hears
  kSpeaksOnly,  // one that is heard and does not hear
  kHearsOnly,   // one that hears and is not heard
  kNeighbours,  // a ring of majorities: each hears its neighbours alone
};

/// Draws one of the first `shapes`, then what it needs. `Links` knows split(left, right) and set_cut(from, to, is_cut).
template <class Links>
void partition(Links& links, size_t n, size_t victim, size_t shapes, Random& r) {
  const auto shape = static_cast<Partition>(r.below(shapes));
  std::vector<bool> left(n), right(n);
  const auto deal = [&] {
    for (size_t i = 0; i < n; i++) (r.chance(0.5) ? left : right)[i] = true;
  };
  switch (shape) {
    case Partition::kOneAlone:
      for (size_t i = 0; i < n; i++) (i == victim ? left : right)[i] = true;
      return links.split(left, right);
    case Partition::kTwoParts:
      deal();
      return links.split(left, right);
    case Partition::kBridge: {
      deal();
      const size_t bridge = r.below(n);
      left[bridge] = right[bridge] = true;
      return links.split(left, right);
    }
    case Partition::kSpeaksOnly:
      for (size_t i = 0; i < n; i++) links.set_cut(i, victim, i != victim);
      return;
    case Partition::kHearsOnly:
      for (size_t i = 0; i < n; i++) links.set_cut(victim, i, i != victim);
      return;
    case Partition::kNeighbours:
      for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < n; b++) {
          const size_t apart = a > b ? a - b : b - a, near = std::max<size_t>(1, n / 4);
          links.set_cut(a, b, apart > near && n - apart > near);
        }
      return;
  }
}

}  // namespace kraken::sim
