#pragma once
// What the closed-loop load programs share, so that two systems are loaded in the same way: the words of the command line, the
// keys, what is counted and when, the line of JSON. A closed loop: each client sends its next request when it has the answer to
// its last. What is answered during the warm-up is not counted. Threads: one owner.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/words.h"
#include "src/base/error.h"

namespace kraken::bench {

using SteadyClock = std::chrono::steady_clock;

struct LoadOptions {
  std::vector<std::string> to;  // addresses; connections are dealt to them in turn
  unsigned clients = 64;
  double warm_up = 0;          // seconds before anything counts
  double seconds = 5;          // that count
  std::uint64_t requests = 0;  // instead of seconds: so many, and no more
  Keys keys;
};

void add_load_options(CLI::App& app, LoadOptions& options);

/// Who may send, and what came back. Latencies in milliseconds.
class Tally {
 public:
  explicit Tally(const LoadOptions& options);
  /// The number of the next request; nothing when it is over.
  std::optional<std::uint64_t> next(SteadyClock::time_point now);
  void answered(SteadyClock::time_point sent, SteadyClock::time_point now, bool good, const std::string& bad);
  /// The line of JSON; the exit code. `answers` counts the warm-up's too, as whoever asks the servers' CPU must.
  int print(const char* program);

 private:
  double percentile(double p) const;
  const LoadOptions& options_;
  const SteadyClock::time_point start_;
  const SteadyClock::time_point begin_;
  const SteadyClock::time_point end_;
  std::uint64_t sent_ = 0;
  std::uint64_t answers_ = 0;
  std::uint64_t good_ = 0;
  std::uint64_t bad_ = 0;
  std::string first_bad_;
  std::vector<float> latencies_ms_;
};

}  // namespace kraken::bench
