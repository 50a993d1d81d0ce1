#pragma once
// The end of a process that does not know any more what is on its disk: only a start finds out.
// Threads: any.

#include <functional>
#include <string_view>

namespace kraken {

/// EX_SOFTWARE of sysexits.h, which nothing else here uses: a supervisor can tell it from a refusal to start.
inline constexpr int kExitDisk = 70;

/// Logs the error as the last line, hands it to every LastWords, and ends the process with kExitDisk: no destructor runs and
/// nothing is written any more. Of several threads the first wins.
[[noreturn]] void end_process(std::string_view event, std::string_view fields);

/// While it lives, end_process calls `note` with its event and fields. `note` must not block for long, lock or throw.
class LastWords {
 public:
  explicit LastWords(std::function<void(std::string_view)> note);
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;
  ~LastWords();

 private:
  std::function<void(std::string_view)> note_;
};

}  // namespace kraken
