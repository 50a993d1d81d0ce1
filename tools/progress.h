#pragma once
// Progress of a transfer: a bar with rate and time left on a terminal, one plain line a blob elsewhere. Threads: one.

#include <cstdint>
#include <string>

#include "src/base/clock.h"

namespace kraken::tools {

class Progress {
 public:
  /// `total_bytes` of everything that will be moved, 0 if unknown.
  explicit Progress(std::string verb);
  void add_total(std::uint64_t bytes) { total_ += bytes; }
  void moved(std::uint64_t bytes);
  /// One blob is done; `how`: "pushed", "there already".
  void done(const std::string& name, std::uint64_t bytes, std::string_view how);
  /// The last line.
  void finish();

 private:
  void draw(bool last);
  std::string verb_;
  bool terminal_;
  std::uint64_t total_ = 0;
  std::uint64_t moved_ = 0;
  std::uint64_t moved_by_wire_ = 0;
  MonotonicTime start_;
  MonotonicTime drawn_{};
};

}  // namespace kraken::tools
