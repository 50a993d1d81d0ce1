#pragma once
// Announcer: what a scheduler asks of the trackers. Origins have none.

#include <string>
#include <vector>

#include "src/core/digest.h"
#include "src/core/metainfo.h"
#include "src/core/peer.h"
#include "src/net/task.h"

namespace kraken::p2p {

struct AnnounceReply {
  std::vector<PeerInfo> peers;
  Duration interval{};  // zero: the tracker did not say
};

/// Called on the scheduler's loop, several at once. Each call ends by itself: it has its own deadlines and tries other
/// trackers when one does not answer.
class Announcer {
 public:
  virtual ~Announcer() = default;
  virtual net::Task<AnnounceReply> announce(InfoHash infohash, Digest digest, PeerInfo self) = 0;
  /// kNotFound where the cluster has no such blob; waits while the tracker says that it is still being fetched.
  virtual net::Task<MetaInfo> metainfo(std::string ns, Digest digest) = 0;
};

}  // namespace kraken::p2p
