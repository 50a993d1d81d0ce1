#pragma once
// The scrub of one node: compares every file of its store with the records, at start and then at an interval, and hands what
// does not match to Service::scrub, which reads again under the digest's lock and decides. The comparison itself uses whatever
// a replica has, so it costs no quorum, and what is only late in a replica is found to be good.
//
// Threads: one loop; start, stop, now and status from any. Lifetime: stop() before the references go.

#include <cstdint>
#include <functional>
#include <memory>

#include "src/base/clock.h"
#include "src/blobs/service.h"
#include "src/metadata/client.h"
#include "src/net/file_pool.h"
#include "src/net/loop.h"
#include "storage/blob/store.h"

namespace kraken::blobs {

struct ScrubberOptions {
  Duration first = std::chrono::seconds(10);     // after start
  Duration interval = std::chrono::hours(6);     // from the end of a round to the next
  Duration undecided = std::chrono::minutes(5);  // the same where something could not be decided
  Duration retry = std::chrono::seconds(5);      // after a shard could not be read
  std::uint32_t records_per_second = 5000;       // compared
  /// Asked before each round, on a thread of the pool: may files without a record be unlinked? Empty: yes. A store that is another cluster's must not be
  /// emptied because this one's records know nothing of it.
  std::function<bool()> orphans_go;
};

struct ScrubberStatus {
  bool running = false;
  std::uint64_t rounds = 0;   // that went through every shard
  std::uint64_t files = 0;    // compared in this round, or the last
  std::uint64_t records = 0;
  // Since the process began:
  std::uint64_t orphans = 0;  // unlinked: no record
  std::uint64_t left = 0;     // left and unlinked
  std::uint64_t entered = 0;  // named again
  std::uint64_t missing = 0;  // named, and not there or of the wrong size
  std::uint64_t waits = 0;    // of the last round: kept, as it could not be decided
};

class Scrubber {
 public:
  Scrubber(ScrubberOptions options, metadata::Client& metadata, Service& blobs, blob::Store& store, net::FilePool& pool,
           net::Loop& loop);
  ~Scrubber();
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  void start();
  /// Not on the loop. Repeating it is harmless.
  void stop();
  /// A round begins at once, or after the one that runs.
  void now();
  ScrubberStatus status() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace kraken::blobs
