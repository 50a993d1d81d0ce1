#pragma once
// Runs the tasks that the log holds (design §5 `task`, §6). A task was committed by the entry that caused it; it is run at
// least once and ended by a compare-and-swap, so a crash or a change of leader repeats work and loses none. In this
// process: the shards that this node leads. Kinds: `copy` (an owner that lacks a blob gets it), verification of a
// reference, removal of a reference. Tasks of other kinds stay where they are.
// Threads: one loop; leadership() and wake() from any. Lifetime: stop() before the references go.

#include <cstdint>
#include <memory>

#include "src/base/clock.h"
#include "src/net/loop.h"

namespace kraken::metadata {
class Client;
}
namespace kraken::blobs {
class Service;
}

namespace kraken::tasks {

struct Options {
  std::uint16_t shards = 128;                               // data shards, 0 .. shards-1
  std::uint32_t running_max = 8;                            // tasks at a time
  std::uint32_t running_per_shard_max = 2;
  Duration look_interval = std::chrono::seconds(2);         // each led shard is read at least this often
  Duration claim = std::chrono::minutes(10);                // nobody else runs the task meanwhile
  Duration backoff_min = std::chrono::seconds(1);
  Duration backoff_max = std::chrono::minutes(1);
  Duration timeout = std::chrono::seconds(10);              // of one call of the metadata
};

class Executor {
 public:
  Executor(Options options, metadata::Client& metadata, blobs::Service& blobs, net::Loop& loop);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void start();
  /// Not on a loop.
  void stop();
  /// This node began or ceased to lead a data shard.
  void leadership(std::uint16_t shard, bool leads);
  /// A task was added to the shard: look now.
  void wake(std::uint16_t shard);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace kraken::tasks
