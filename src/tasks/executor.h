#pragma once
// Runs the tasks that the log holds (design §5 `task`, §6), in the shards that this node leads. A task was committed by the
// entry that caused it; it runs at least once and is ended by a compare-and-swap on its revision, so a crash or a change of
// leader repeats work and loses none: each kind is idempotent, and no claim is taken that a dead node would leave behind.
//
//   copy         every owner that lacks the blob fetches it and enters the record; while none of them answers, the task waits
//                without an entry in the log
//   verify_ref   src/metadata/ref_sweeper.h
//   remove_refs  the same
// Tasks of other kinds stay where they are.
//
// Threads: one loop; leadership() and wake() from any, also the group's and the apply thread. Lifetime: stop() before the
// references go.

#include <cstdint>
#include <memory>

#include "src/base/clock.h"
#include "src/metadata/client.h"
#include "src/net/loop.h"

namespace kraken::blobs {
class Service;
}

namespace kraken::tasks {

struct Options {
  std::uint32_t running_max = 8;                      // tasks at a time
  Duration look_interval = std::chrono::seconds(5);   // a led shard is read at least this often
  Duration probe_interval = std::chrono::seconds(2);  // how often a node that does not answer is asked whether it does
  Duration backoff_min = std::chrono::seconds(1);     // after a failure, doubled with each
  Duration backoff_max = std::chrono::minutes(1);
};

class Executor {
 public:
  Executor(Options options, metadata::Client& metadata, blobs::Service& blobs, net::Loop& loop);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void start();
  /// Tasks that run are cancelled and joined. Not on the loop. Repeating it is harmless.
  void stop();
  /// This node began to serve as the shard's leader, or ceased to (group::Node::on_leadership).
  void leadership(metadata::ShardId shard, bool leads);
  /// The shard may have a task that is due (state::Observer::tasks_added).
  void wake(metadata::ShardId shard);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace kraken::tasks
