#pragma once
// Reading: the latest state (a Store), one moment of it (a snapshot), or a state with one's own writes on top (an Overlay).
// Errors: kCorrupt where the disk gave bytes that fail their checksum, kIo where it gave none. Absence is no error.
// Threads: stores and snapshots any; an Overlay one. May block on the disk.

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "storage/kv/family.h"

namespace kraken::kv {

class View {
 public:
  virtual ~View() = default;

  virtual Result<std::optional<std::string>> get(Family family, std::string_view key) const = 0;

  /// Calls `each` for the keys of [from, to) in byte order, or from the last to the first with `reverse`, until it returns
  /// false. Both views are valid during the call alone. An empty `to` means the end of the family.
  using Each = std::function<bool(std::string_view key, std::string_view value)>;
  virtual Result<> scan(Family family, std::string_view from, std::string_view to, bool reverse,
                        const Each& each) const = 0;
};

}  // namespace kraken::kv
