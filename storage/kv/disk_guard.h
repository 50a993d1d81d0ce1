#pragma once
// Room on the store's disk (consensus §2.5): RocksDB must not be the one to find it full. Below the reserve the node takes no
// more proposals; below half of it the ballast, a file that only takes room, is given up, so that what is under way can still be
// written; below a quarter nothing more is taken from leaders either. Once enough is free the ballast is laid down again first.
// Threads: one owner; may block on the disk.

#include <cstdint>
#include <filesystem>

#include "src/base/error.h"

namespace kraken::kv {

class DiskGuard {
 public:
  struct Options {
    std::filesystem::path folder;      // where the store lies
    std::uint64_t reserve_bytes = 0;   // 0: there is always room
    std::uint64_t ballast_bytes = 0;   // at most a fiftieth of the disk is used
  };
  struct State {
    bool full = false;      // no more proposals
    bool critical = false;  // nothing more at all
    bool ballast = false;   // it lies there
    std::uint64_t available_bytes = 0;
    friend bool operator==(const State&, const State&) = default;
  };

  explicit DiskGuard(Options options) : options_(std::move(options)) {}

  /// Before the store opens, which needs room itself: gives the ballast up if less than half of the reserve is free.
  Result<> make_room();
  /// Looks, gives up or lays down the ballast, and judges. An error leaves the last state as it was.
  Result<State> look();

 private:
  std::filesystem::path ballast() const { return options_.folder / "BALLAST"; }
  bool has_ballast() const;
  Result<> lay_ballast(std::uint64_t bytes) const;

  const Options options_;
  State last_;
};

}  // namespace kraken::kv
