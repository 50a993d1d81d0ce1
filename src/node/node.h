#pragma once
// One cluster node: every role of the design's table in this process, started and stopped in order.
//
// Start: folders, store (its logs are walked first), Raft groups, blob store, blobs, tasks, peers, then the listeners, each
// on node.host alone. A node that starts before the others listens, answers 503 and says whom it waits for; it is ready
// when its shards have leaders and have caught up. Stop is the reverse: leaderships are handed on while requests are still
// taken, then no more connections, what runs gets http.drain to end, then threads end.
// Threads: open, start and stop from main. docs/architecture.md has the picture.

#include <cstdint>
#include <memory>
#include <string>

#include "config/load.h"
#include "src/base/error.h"

namespace kraken::node {

class Node {
 public:
  /// Opens everything and joins the groups; listens on the Raft port alone. Each error is the sentence for the user:
  /// configuration, a folder that cannot be used, damage, a port that is taken.
  static Result<std::unique_ptr<Node>> open(config::NodeConfig config, std::string version);
  ~Node();  // stop()

  /// Opens the other ports.
  Result<void> start();
  /// Empty when ready; else what is waited for.
  std::string not_ready() const;
  const std::string& label() const;
  /// Repeating it is harmless.
  void stop();

 private:
  class Impl;
  explicit Node(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kraken::node
