#pragma once
// Scheduler::Impl, in parts: scheduler.cc (the public functions, time), sessions.cc (torrents, hashing, what Swarm
// decided), links.cc (accept, dial, handshake, sending), receive.cc (pieces from socket to file).

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/post.hpp>

#include "src/base/metrics.h"
#include "src/net/file_pool.h"
#include "src/net/listen.h"
#include "src/net/loop.h"
#include "src/net/scope.h"
#include "src/p2p/buffers.h"
#include "src/p2p/scheduler.h"
#include "src/p2p/session.h"
#include "src/p2p/swarm/bandwidth.h"

namespace kraken::p2p {

/// CRC-32 of a part of a file. May block. kCorrupt if the file ends before.
Result<std::uint32_t> sum_of_range(int fd, std::uint64_t offset, std::uint64_t length);

struct Metrics {
  Metrics();
  metrics::Counter& from_origins;
  metrics::Counter& from_peers;
  metrics::Counter& given;
  metrics::Counter& pieces_given;
  metrics::Counter& bad_pieces;
  metrics::Counter& discarded;
  metrics::Counter& dials_failed;
  metrics::Counter& refused;
  metrics::Counter& downloads_done;
  metrics::Counter& downloads_failed;
  metrics::Gauge& links;
  metrics::Gauge& torrents;
  std::array<metrics::Counter*, kBreachCount> breaches{};
};

using SessionPtr = std::shared_ptr<Session>;
using LinkPtr = std::shared_ptr<Link>;

struct Scheduler::Impl {
  Impl(net::Loop& on, net::FilePool& files, SchedulerOptions with, PieceStore& in, Announcer* through);

  // --- scheduler.cc
  MonotonicTime now() const { return system_clock().monotonic(); }
  net::Task<void> tick_loop();
  void tick_session(const SessionPtr& session);
  net::Task<std::shared_ptr<Download>> download_here(std::string ns, Digest digest);

  // --- sessions.cc
  /// The session of a digest if there is one, else made of what the store has or, for a download, the tracker knows.
  net::Task<SessionPtr> session_for(std::string ns, Digest digest, bool download);
  net::Task<SessionPtr> open_session(std::string ns, Digest digest, bool download);
  SessionPtr make_session(std::shared_ptr<Torrent> torrent, std::string ns);
  /// Carries out what the swarm decided, and starts what Giver may start.
  void settle(const SessionPtr& session);
  void give();
  void fail_session(const SessionPtr& session, Error error);
  void forget(const SessionPtr& session);
  net::Task<void> hash_loop(SessionPtr session);
  net::Task<void> announce(SessionPtr session, bool complete);
  void advance_prefix(Session& session);
  /// How many bytes from `offset` on a reader may have.
  static std::uint64_t readable(const Session& session, std::uint64_t offset);

  // --- links.cc
  net::Task<void> accept_loop();
  net::Task<void> inbound(net::Socket socket);
  net::Task<void> shake_inbound(net::Socket socket);
  net::Task<void> outbound(SessionPtr session, PeerInfo peer);
  net::Task<void> shake_outbound(SessionPtr session, PeerInfo peer, swarm::DialFailure& failure);
  Handshake handshake_of(const Session& session, bool with_namespace) const;
  void adopt(LinkPtr link);
  net::Task<void> read_loop(LinkPtr link);
  net::Task<void> write_loop(LinkPtr link);
  net::Task<void> send_piece(LinkPtr link, std::uint32_t piece);
  std::optional<Violation> handle(const LinkPtr& link, const Message& message);
  void queue(Link& link, const Message& message);
  void close(const LinkPtr& link);
  void breach(const PeerInfo& peer, const Violation& violation);

  // --- receive.cc
  net::Task<std::optional<Violation>> receive(LinkPtr link, PiecePayload payload);
  net::Task<void> read_chunk(LinkPtr link, std::span<char> into);

  net::Loop& loop;
  net::FilePool& pool;
  SchedulerOptions options;
  PieceStore& store;
  Announcer* announcer;
  Metrics counters;
  SchedulerStats totals;
  BufferPool buffers;
  swarm::Giver giver;
  swarm::TokenBucket egress;
  swarm::TokenBucket ingress;
  std::map<Digest, SessionPtr> sessions;
  struct Opening {
    bool download = false;
    net::Event done;
    std::optional<Result<SessionPtr>> result;
  };
  std::map<Digest, std::shared_ptr<Opening>> opening;
  std::map<Digest, std::set<PeerId>> suspects;  // who gave to a blob that came out wrong
  std::map<swarm::ConnectionId, LinkPtr> links;
  std::uint32_t handshakes = 0;                 // under way, inbound
  std::uint32_t next_connection = 1;
  net::Acceptor acceptor;
  std::atomic<std::uint16_t> bound_port{0};
  net::Event busy;                              // wakes tick_loop
  bool watching_giver = false;                  // tick_loop knows that requests wait
  bool started = false;
  bool stopped = false;
  net::Scope scope;                             // last: everything it runs uses the rest
};

}  // namespace kraken::p2p
