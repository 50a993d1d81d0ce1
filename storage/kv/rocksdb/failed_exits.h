#pragma once
// Why the process ended the last times that its disk failed (code 70), in a file beside the store. A supervisor starts such a
// process again; three such ends in a row within ten minutes say that starting again does not help, and then a start
// refuses until an operator has looked (`kraken repair --start-again`). A store that is closed in order clears the record.
// Format: docs/formats/wal.md. Threads: note() any, once; the rest one owner.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "src/base/error.h"
#include "src/base/fatal.h"
#include "src/base/file.h"

namespace kraken::kv {

struct FailedExit {
  std::int64_t unix_seconds = 0;
  std::string why;
};

inline constexpr std::size_t kFailedExitsMax = 3;
inline constexpr std::int64_t kFailedExitsSeconds = 600;

/// Oldest first; empty without the file. What is malformed in it is left out.
Result<std::vector<FailedExit>> read_failed_exits(const std::filesystem::path& folder);

/// kIo, with the last reason and what to do, if the last three are not more than ten minutes apart.
Result<> check_failed_exits(const std::filesystem::path& folder);

/// Durably.
Result<> forget_failed_exits(const std::filesystem::path& folder);

/// While it lives, an end_process is noted in the folder.
class FailedExits {
 public:
  /// Creates the file, with its room on the disk, so that a full disk can be noted too.
  static Result<std::unique_ptr<FailedExits>> open(const std::filesystem::path& folder);
  /// After an orderly stop.
  void clear() noexcept;

 private:
  FailedExits(UniqueFd fd, std::size_t next)
      : fd_(std::move(fd)), next_(next), words_([this](std::string_view why) { note(why); }) {}
  void note(std::string_view why) const noexcept;

  UniqueFd fd_;
  std::size_t next_;  // slot
  LastWords words_;
};

}  // namespace kraken::kv
