#pragma once
// Scheduler: the peer of this process. Listens, dials, shakes hands, receives pieces into files and gives pieces out by
// sendfile, for all torrents, as swarm::Swarm and swarm::Giver decide. An origin's has no announcer: it only serves.
//
// Threads: everything of it runs on one loop; checking, hashing and file writing run on the pool. The public functions
// may be called from any loop. Memory: received bytes pass through at most `buffers_max` buffers of 256 KiB; no piece
// is ever held whole.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/core/digest.h"
#include "src/core/peer.h"
#include "src/net/task.h"
#include "src/p2p/announcer.h"
#include "src/p2p/piece_store.h"
#include "src/p2p/swarm/giver.h"
#include "src/p2p/swarm/swarm.h"

namespace kraken::net {
class FilePool;
class Loop;
}  // namespace kraken::net

namespace kraken::p2p {

struct SchedulerOptions {
  std::string host = "127.0.0.1";   // to bind, and what peers are told
  std::uint16_t port = 0;           // 0: any, for tests
  PeerId peer_id;
  bool origin = false;
  swarm::Options swarm;
  swarm::GiverOptions giver;
  Duration handshake_timeout = std::chrono::seconds(5);
  Duration seeder_tti = std::chrono::minutes(5);   // a complete torrent nobody asks for leaves memory (not the disk)
  Duration leecher_tti = std::chrono::minutes(5);  // a download that gets nothing for so long fails
  std::uint64_t egress_bytes_per_second = 0;       // 0: no limit
  std::uint64_t ingress_bytes_per_second = 0;
  std::uint32_t connections_max = 1024;            // of all torrents; beyond, inbound ones are closed silently
  std::uint32_t buffers_max = 48;
};

struct SchedulerStats {
  std::uint64_t torrents = 0;
  std::uint64_t connections = 0;
  std::uint64_t bytes_from_origins = 0;
  std::uint64_t bytes_from_peers = 0;
  std::uint64_t bytes_given = 0;
  std::uint64_t pieces_given = 0;
  std::uint64_t bad_pieces = 0;
  std::uint64_t discarded_pieces = 0;
};

struct BlacklistEntry {
  PeerId peer_id;
  InfoHash infohash;
  Duration remaining;
};

/// One reader of a torrent on this host, while it arrives or after. Keeps the torrent and its file open.
/// Threads: from any loop, one call at a time.
class Download {
 public:
  virtual ~Download() = default;
  virtual const MetaInfo& metainfo() const = 0;
  virtual int fd() const = 0;
  virtual bool complete() const = 0;
  /// How many bytes from `offset` on may be handed out now, at least one: pieces that were checked, the last piece only
  /// after the SHA-256 of the whole matched. Pieces from `offset` on are fetched first from now on. 0 only at the end
  /// of the blob. Fails with what the download failed with, or kDeadlineExceeded if nothing came within `timeout`.
  virtual net::Task<std::uint64_t> readable(std::uint64_t offset, Duration timeout) = 0;
  /// Until all of it is here and its SHA-256 matched.
  virtual net::Task<void> wait_complete(Duration timeout) = 0;
};

class Scheduler {
 public:
  /// `announcer` null: only serves. Everything passed in outlives it.
  Scheduler(net::Loop& loop, net::FilePool& pool, SchedulerOptions options, PieceStore& store, Announcer* announcer);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();  // stop()

  /// Binds and begins to accept. Errors as net::listen's.
  Result<void> start();
  /// The port it really has.
  std::uint16_t port() const;
  /// Closes everything and waits. Not on a loop; repeating it is harmless.
  void stop();

  /// Joins or starts the download of a blob. kNotFound where the cluster has none.
  net::Task<std::shared_ptr<Download>> download(std::string ns, Digest digest);
  /// Stops the torrent, closes its connections; downloads of it fail with kCancelled. The file is the caller's business.
  net::Task<void> remove(Digest digest);
  /// Ends when the loop has run it: the health probe.
  net::Task<void> probe(Duration timeout);
  net::Task<std::vector<BlacklistEntry>> blacklist();
  net::Task<SchedulerStats> stats();
  /// Stock's PATCH /x/config/scheduler replaces settings and drops all connections.
  net::Task<void> reconfigure(SchedulerOptions options);
  net::Task<SchedulerOptions> options();

  struct Impl;  // internal to src/p2p

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace kraken::p2p
