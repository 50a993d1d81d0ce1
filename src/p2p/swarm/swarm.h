#pragma once
// Swarm: which peers to have, which piece to ask of whom, what to tell whom, for one torrent on one host. Pure: time and
// what the peers did come in, actions come out; no clock, socket, thread or random device. The policy is
// reference swarm.md's: one request outstanding over many connections, rarest first with random ties, in order for a
// local reader, a silent giver's requests go to others, no duplicate-making endgame.
//
// After any input the caller takes the actions (`take`) and carries them out; `tick` is wanted by `next_tick()`.
// What this host gives to others is Giver's business (giver.h). Threads: one owner.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <variant>
#include <vector>

#include "src/base/clock.h"
#include "src/base/rng.h"
#include "src/base/strong.h"
#include "src/core/bitfield.h"
#include "src/core/peer.h"

namespace kraken::p2p::swarm {

using namespace std::chrono_literals;

/// A connection of this torrent, unique in the process.
using ConnectionId = Strong<std::uint32_t, struct ConnectionIdTag>;

struct Options {
  std::uint32_t dial_until = 12;        // connections of the torrent up to which this host dials
  std::uint32_t connections_max = 24;   // in and out
  std::uint32_t outstanding = 8;        // whole-piece requests wanted under way over all useful connections
  std::uint32_t outstanding_each_max = 5;
  std::uint32_t candidates_max = 256;   // pieces looked at for one choice
  /// Where other leechers are connected, the piece that a local reader has waited for so long (and four times the usual
  /// service time) is asked for before all others. Without them a reader gets strict order.
  Duration urgent_after = 100ms;
  Duration refused_pause = 1s;          // a peer that closed before its handshake
  Duration failed_pause = 30s;          // one that could not be reached, or broke the rules
  Duration lonely_pause = 2s;           // instead of failed_pause while nobody useful is connected
  Duration silence_min = 500ms;         // a giver owing a piece may be silent this long, or silence_factor times
  std::uint32_t silence_factor = 8;     // the usual service time, whichever is longer
  Duration silence_max = 16s;
  Duration announce_short = 250ms;      // between announces while short of connections, +-25 %
  Duration announce_interval = 3s;      // until the tracker says another
  Duration silent_pause = 5s;           // one that was closed for its silence
  bool pauses = true;                   // stock's disable_blacklist turns pauses off; bans stay
};

enum class CloseReason : std::uint8_t {
  kBothComplete,
  kBadPiece,      // its bytes did not match the piece sum: banned for this torrent
  kSilent,        // twice in a row it owed pieces and sent nothing
  kDuplicate,     // another connection to the same peer is kept
  kIdle,
};
std::string_view name_of(CloseReason reason);

struct Dial {
  PeerInfo peer;
};
struct SendRequest {
  ConnectionId connection;
  std::uint32_t piece;
};
struct SendCancel {
  ConnectionId connection;
  std::uint32_t piece;
};
struct SendHave {
  ConnectionId connection;
  std::uint32_t piece;
};
struct SendComplete {
  ConnectionId connection;
};
struct Close {
  ConnectionId connection;
  CloseReason reason;
};
/// Ask the tracker; the answer comes back by `handout` or `announce_failed`.
struct Announce {
  bool complete;
};
using Action = std::variant<Dial, SendRequest, SendCancel, SendHave, SendComplete, Close, Announce>;

enum class DialFailure : std::uint8_t {
  kRefused,   // closed without an answer to the handshake: full, as stock says it
  kFailed,    // not reachable, no answer in time
  kProtocol,  // answered nonsense, another torrent or another peer
};

/// What to do with a payload whose frame has arrived.
enum class Payload : std::uint8_t {
  kTake,     // receive it, check it, then piece_good or piece_bad
  kDiscard,  // read it from the socket and drop it: it is here already, or another connection delivers it
};

struct Stats {
  std::uint64_t good_pieces = 0;
  std::uint64_t bad_pieces = 0;
  std::uint64_t discarded_pieces = 0;
  std::uint64_t taken_away = 0;  // requests that a silent giver lost
};

/// Who is kept away, and for how long still; for /x/blacklist.
struct Blacklisted {
  PeerId peer;
  Duration remaining;
};

class Swarm {
 public:
  /// `have`: the pieces that are on this host and may be given. `is_verified`: all of them, and the SHA-256 of the whole
  /// matched; such a host is a seeder. `dials`: whether this host opens connections and announces at all (origins do not).
  Swarm(Options options, PeerId self, Bitfield have, bool is_verified, bool dials, std::uint64_t seed);

  // --- inputs
  /// Begins: the first announce. `peers` that are known already may be given by handout.
  void start(MonotonicTime now);
  /// Never connected to, for this torrent.
  void ban(const PeerId& peer) { banned_.insert(peer); }
  void handout(MonotonicTime now, const std::vector<PeerInfo>& peers, Duration interval);
  void announce_failed(MonotonicTime now);

  /// A connection whose handshake has arrived: kept under `id`, or refused (the caller closes it silently). A refusal
  /// has reasons of capacity or identity alone. REQUIRES: bitfield.size() is the torrent's, id is new.
  bool connected(MonotonicTime now, ConnectionId id, const PeerInfo& peer, bool outgoing, Bitfield bitfield);
  void dial_failed(MonotonicTime now, const PeerId& peer, DialFailure failure);
  /// The connection is gone, for whatever reason. Its requests go to others.
  void disconnected(MonotonicTime now, ConnectionId id);

  // What the peer of a connection said. Unknown connections are ignored. REQUIRES: piece < piece count.
  void peer_has(MonotonicTime now, ConnectionId id, std::uint32_t piece);
  void peer_complete(MonotonicTime now, ConnectionId id);
  void peer_error(MonotonicTime now, ConnectionId id, std::uint32_t piece);
  /// The frame before a piece's bytes. nullopt: nobody asked this peer for it; the caller closes as a breach of protocol.
  std::optional<Payload> payload_begins(MonotonicTime now, ConnectionId id, std::uint32_t piece);
  /// Some of the bytes came.
  void payload_progress(MonotonicTime now, ConnectionId id);
  /// False if meanwhile another connection took the piece over: drop the rest. REQUIRES: after payload_begins gave kTake.
  bool may_write(ConnectionId id, std::uint32_t piece) const;
  /// It is on the disk and its sum matched.
  void piece_good(MonotonicTime now, ConnectionId id, std::uint32_t piece);
  void piece_bad(MonotonicTime now, ConnectionId id, std::uint32_t piece);
  /// A payload that was to be discarded has been read to its end, or this host could not store it (disk).
  void payload_dropped(MonotonicTime now, ConnectionId id, std::uint32_t piece);
  /// Every piece is here and the SHA-256 of the whole matched.
  void verified(MonotonicTime now);

  /// A local reader stands at `piece`; nullopt: it has gone. `reader` is the caller's number of it.
  void reader_at(MonotonicTime now, std::uint32_t reader, std::optional<std::uint32_t> piece);

  void tick(MonotonicTime now);

  // --- outputs
  std::vector<Action> take();
  /// When tick has something to do next.
  MonotonicTime next_tick() const { return next_tick_; }

  const Bitfield& have() const { return have_; }
  bool has_all() const { return have_.all(); }
  bool is_verified() const { return verified_; }
  std::size_t connections() const { return connections_.size(); }
  std::size_t useful() const;
  /// Of the peer's blob, 0 to 1; 1 for an unknown connection. What Giver sorts by.
  double share_of(ConnectionId id) const;
  bool peer_lacks(ConnectionId id, std::uint32_t piece) const;
  bool is_origin(ConnectionId id) const;
  /// A piece was sent to it: stock does not announce what it got to the one who gave it.
  void gave(MonotonicTime now, ConnectionId id, std::uint32_t piece);
  std::vector<std::pair<PeerId, Bitfield>> neighbours() const;
  std::vector<Blacklisted> blacklist(MonotonicTime now) const;
  bool banned(const PeerId& peer) const { return banned_.contains(peer); }
  const Stats& stats() const { return stats_; }
  Options& options() { return options_; }

 private:
  struct Outstanding {
    std::uint32_t piece;
    MonotonicTime since;
  };
  struct Connection {
    PeerInfo peer;
    bool outgoing = false;
    Bitfield bitfield;
    std::vector<Outstanding> outstanding;
    std::vector<std::uint32_t> owed;      // taken away from it, and not answered since
    std::optional<std::uint32_t> receiving;
    MonotonicTime heard{};                // anything at all
    MonotonicTime paid{};                 // bytes of a piece
    MonotonicTime last_piece{};           // one of its pieces was good
    std::uint32_t useful_pieces = 0;      // it has and this host lacks
    bool done = false;                    // it said that it has everything; a full bitfield may still be under way to it
    bool erred = false;                   // it took back a piece that it had shown
    bool suspect = false;                 // silent: gets no requests until it is heard or `limit` has passed
    MonotonicTime suspect_since{};
  };
  struct Reader {
    std::uint32_t position = 0;
    std::uint32_t head = 0;  // the first piece from position on that is missing
    MonotonicTime head_since{};
  };
  struct Known {
    PeerInfo info;
    bool dialing = false;
    bool connected = false;
    std::uint32_t failures = 0;
    MonotonicTime paused_at{};
    MonotonicTime not_before{};
  };
  static constexpr std::uint32_t kNobody = UINT32_MAX;

  Connection* find(ConnectionId id);
  const Connection* find(ConnectionId id) const;
  bool is_open(std::uint32_t piece) const { return (open_[piece / 64] >> (piece % 64) & 1) != 0; }
  void set_open(std::uint32_t piece, bool open);
  void heard(MonotonicTime now, Connection& connection);
  void learn(Connection& connection, std::uint32_t piece);
  void count_leecher(const Connection& connection, bool more);
  void ask_all(MonotonicTime now);
  bool ask(MonotonicTime now, ConnectionId id, Connection& connection);
  std::optional<std::uint32_t> choose(MonotonicTime now, const Connection& connection);
  std::optional<std::uint32_t> lowest(const Connection& connection, std::uint32_t first, std::uint32_t last) const;
  std::optional<std::uint32_t> rarest(const Connection& connection, std::uint32_t first, std::uint32_t last);
  std::uint32_t limit_each() const;
  void forget_request(Connection& connection, std::uint32_t piece);
  void release(ConnectionId id, std::uint32_t piece);
  void drop(MonotonicTime now, ConnectionId id, Duration pause);
  void pause(MonotonicTime now, Known& known, Duration duration);
  void dial(MonotonicTime now);
  void watch_silence(MonotonicTime now);
  bool other_has(ConnectionId id, std::uint32_t piece) const;
  void close(MonotonicTime now, ConnectionId id, CloseReason reason, Duration pause);
  Duration silence_limit() const;
  Duration jittered(Duration duration);

  Options options_;
  PeerId self_;
  Bitfield have_;
  bool dials_;
  bool verified_;
  Rng rng_;
  std::map<ConnectionId, Connection> connections_;
  std::map<PeerId, Known> known_;
  std::set<PeerId> banned_;
  std::vector<std::uint64_t> open_;        // bit of a piece: neither here nor asked for
  std::uint32_t open_count_ = 0;
  std::vector<std::uint32_t> holder_;      // piece -> connection that it is asked of
  std::vector<std::uint32_t> receiver_;    // piece -> connection whose bytes are being written
  std::vector<std::uint16_t> leechers_having_;
  std::uint32_t leechers_ = 0;             // connected peers that are not complete
  std::uint32_t dialing_ = 0;
  std::map<std::uint32_t, Reader> readers_;
  Duration usual_service_{};
  Duration interval_;
  Duration announce_pause_;
  bool announcing_ = false;
  bool started_ = false;
  MonotonicTime announce_at_{};
  MonotonicTime next_tick_{};
  std::vector<Action> actions_;
  Stats stats_;
};

}  // namespace kraken::p2p::swarm
