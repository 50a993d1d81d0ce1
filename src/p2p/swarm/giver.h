#pragma once
// Giver: in which order this host's peers get what they asked for, over all torrents. The piece being sent is finished;
// then comes the waiting request of the neighbour with the smallest share of its blob, ties by age (swarm.md §4.7). A
// few uploads run at once; one whose socket takes nothing for a moment does not count. Pure. Threads: one owner.

#include <cstdint>
#include <map>
#include <vector>

#include "src/base/clock.h"
#include "src/p2p/swarm/swarm.h"

namespace kraken::p2p::swarm {

struct GiverOptions {
  std::uint32_t slots = 4;             // uploads under way that make progress
  std::uint32_t uploads_max = 64;      // under way at all
  std::uint32_t waiting_each_max = 16; // requests of one connection; a peer that sends more breaks the rules
  Duration blocked_after = std::chrono::milliseconds(20);
};

struct Upload {
  ConnectionId connection;
  std::uint32_t piece = 0;
};

class Giver {
 public:
  explicit Giver(GiverOptions options = {}) : options_(options) {}

  /// False: too many wait for this connection. A request that waits already is not queued twice.
  bool requested(MonotonicTime now, ConnectionId connection, std::uint32_t piece, double share);
  void cancelled(ConnectionId connection, std::uint32_t piece);
  void share_changed(ConnectionId connection, double share);
  void disconnected(ConnectionId connection);
  void progress(MonotonicTime now, ConnectionId connection);
  void finished(ConnectionId connection);

  /// What to start now; each connection sends one piece at a time.
  std::vector<Upload> take(MonotonicTime now);
  /// When an upload that still makes progress may have become blocked, so that `take` might start another; max() if
  /// nothing waits for that.
  MonotonicTime next_tick(MonotonicTime now) const;
  std::size_t waiting() const { return waiting_count_; }
  std::size_t under_way() const { return sending_.size(); }

 private:
  struct Waiting {
    std::uint32_t piece;
    std::uint64_t age;
  };
  struct Peer {
    double share = 0;
    std::vector<Waiting> queue;
  };
  GiverOptions options_;
  std::map<ConnectionId, Peer> peers_;
  std::map<ConnectionId, MonotonicTime> sending_;  // last progress
  std::size_t waiting_count_ = 0;
  std::uint64_t next_age_ = 0;
};

}  // namespace kraken::p2p::swarm
