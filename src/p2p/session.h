#pragma once
// What the scheduler keeps in memory: a Session for each torrent in use, a Link for each connection. Internal to p2p;
// everything here belongs to the scheduler's loop.

#include <boost/asio/ip/tcp.hpp>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "src/core/digest.h"
#include "src/net/event.h"
#include "src/p2p/piece_store.h"
#include "src/p2p/protocol.h"
#include "src/p2p/swarm/swarm.h"

namespace kraken::p2p {

struct Session;

/// Frames out of a stream: what was read beyond a frame is kept for the next one, or for the payload.
class Inbox {
 public:
  /// The next frame's bytes, valid until the next call. A violation and an I/O error are told apart.
  net::Task<Decoded<std::string_view>> frame(net::Socket& socket);
  /// Bytes of a payload that came with the frame before it: moved out, at most into.size().
  std::size_t drain(std::span<char> into);

 private:
  net::Task<void> fill(net::Socket& socket, std::size_t bytes);
  std::string bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

struct Link {
  Link(swarm::ConnectionId link_id, net::Socket link_socket, std::shared_ptr<Session> of)
      : id(link_id), socket(std::move(link_socket)), session(std::move(of)) {}

  swarm::ConnectionId id;
  net::Socket socket;
  std::shared_ptr<Session> session;
  PeerInfo peer;
  Inbox inbox;
  std::deque<std::string> out;                // frames waiting to be sent
  std::optional<std::uint32_t> upload;        // the piece Giver chose to send next
  net::Event wake;                            // out or upload or closed changed
  bool closed = false;
  MonotonicTime active_at{};
};

struct Session {
  Session(std::shared_ptr<Torrent> of, swarm::Swarm made) : torrent(std::move(of)), swarm(std::move(made)) {}

  const MetaInfo& metainfo() const { return torrent->metainfo(); }

  std::shared_ptr<Torrent> torrent;
  swarm::Swarm swarm;
  std::string ns;
  std::map<swarm::ConnectionId, std::shared_ptr<Link>> links;
  net::Event changed;                          // a piece came, the whole was verified, or it failed
  std::optional<Error> failed;
  bool downloading = false;
  std::uint32_t readers = 0;                   // handles that are alive
  std::uint32_t next_reader = 0;
  std::uint32_t prefix = 0;                    // pieces [0, prefix) are here
  std::map<std::uint32_t, std::uint32_t> writes;  // piece -> jobs on the pool that write to it
  net::Event written;                          // a piece has no more jobs
  Bitfield checked;                            // pieces whose sum was checked before giving
  std::set<PeerId> contributors;               // agents whose pieces are in the file
  MonotonicTime progress_at{};                 // of a download
  MonotonicTime used_at{};
};

}  // namespace kraken::p2p
