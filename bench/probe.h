#pragma once
// The time from a fault to the next acknowledged write, measured from outside in the same way for any system. An open loop: every
// `period` and for every key a new write goes to the next server, whether or not earlier ones were answered, so that the figure
// does not depend on how long a client would wait before it asks again. After `after` seconds, once every key was written, the
// fault is done by a shell command; a key counts from then to the first acknowledgement of a write that was sent after it began.
// Threads: one owner.

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/words.h"
#include "src/base/error.h"

namespace kraken::bench {

using SteadyClock = std::chrono::steady_clock;

struct ProbeOptions {
  std::vector<std::string> to;  // the servers that the fault leaves alone
  Keys keys;                    // every key below `keys` is probed
  double period_ms = 5;
  double after = 1;             // seconds
  double timeout = 30;          // seconds; then the keys that were not written count as failed
  std::string fault;            // a shell command
};

void add_probe_options(CLI::App& app, ProbeOptions& options);

/// The system that is probed.
class Door {
 public:
  using Answered = std::function<void(std::uint64_t write, bool good)>;
  virtual ~Door() = default;
  /// Starts the write of a key. False: it could not even be sent.
  virtual bool send(std::size_t server, std::uint64_t key, std::uint64_t write) = 0;
  /// Reports answers that came until `until`.
  virtual void wait(SteadyClock::time_point until, const Answered& answered) = 0;
};

/// Prints {"first_ms", "all_ms", "keys", "writes", "refused"}: until the first key, and until each, was written. The exit code.
int run_probe(const ProbeOptions& options, Door& door);

}  // namespace kraken::bench
