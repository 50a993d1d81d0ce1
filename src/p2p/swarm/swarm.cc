#include "src/p2p/swarm/swarm.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "src/base/assert.h"

namespace kraken::p2p::swarm {

namespace {

constexpr Duration kTick = 100ms;
constexpr std::size_t kKnownMax = 512;
constexpr std::size_t kOwedMax = 64;
/// A second connection dialled by the same side replaces one that has been silent for so long.
constexpr Duration kStale = 10s;

}  // namespace

std::string_view name_of(CloseReason reason) {
  switch (reason) {
    case CloseReason::kBothComplete: return "both_complete";
    case CloseReason::kBadPiece: return "bad_piece";
    case CloseReason::kSilent: return "silent";
    case CloseReason::kDuplicate: return "duplicate";
    case CloseReason::kIdle: return "idle";
  }
  return "unknown";
}

Swarm::Swarm(Options options, PeerId self, Bitfield have, bool is_verified, bool dials, std::uint64_t seed)
    : options_(options),
      self_(self),
      have_(std::move(have)),
      dials_(dials),
      verified_(is_verified),
      rng_(seed),
      open_(have_.word_count()),
      holder_(verified_ ? 0 : have_.size(), kNobody),
      receiver_(verified_ ? 0 : have_.size(), kNobody),
      leechers_having_(verified_ ? 0 : have_.size(), 0),
      interval_(options.announce_interval),
      announce_pause_(options.announce_short),
      next_tick_(MonotonicTime::max()) {
  KR_ASSERT(!verified_ || have_.all());
  if (verified_) return;
  for (std::uint32_t piece = 0; piece < have_.size(); ++piece) set_open(piece, !have_.test(piece));
}

// --- small things

Swarm::Connection* Swarm::find(ConnectionId id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : &found->second;
}

const Swarm::Connection* Swarm::find(ConnectionId id) const {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : &found->second;
}

void Swarm::set_open(std::uint32_t piece, bool open) {
  if (is_open(piece) == open) return;
  open_[piece / 64] ^= std::uint64_t{1} << (piece % 64);
  open_count_ += open ? 1 : -1U;
}

std::size_t Swarm::useful() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      connections_, [](const auto& entry) { return entry.second.useful_pieces > 0 && !entry.second.suspect; }));
}

double Swarm::share_of(ConnectionId id) const {
  const Connection* connection = find(id);
  if (connection == nullptr || have_.size() == 0) return 1;
  return static_cast<double>(connection->bitfield.count()) / have_.size();
}

bool Swarm::peer_lacks(ConnectionId id, std::uint32_t piece) const {
  const Connection* connection = find(id);
  return connection != nullptr && !connection->bitfield.test(piece);
}

bool Swarm::is_origin(ConnectionId id) const {
  const Connection* connection = find(id);
  return connection != nullptr && connection->peer.origin;
}

std::vector<std::pair<PeerId, Bitfield>> Swarm::neighbours() const {
  std::vector<std::pair<PeerId, Bitfield>> all;
  all.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) all.emplace_back(connection.peer.peer_id, connection.bitfield);
  return all;
}

std::vector<Blacklisted> Swarm::blacklist(MonotonicTime now) const {
  std::vector<Blacklisted> all;
  for (const auto& [id, known] : known_)
    if (known.not_before > now) all.push_back({id, known.not_before - now});
  return all;
}

Duration Swarm::jittered(Duration duration) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(duration.count()) * (0.75 + rng_.unit() / 2)));
}

Duration Swarm::silence_limit() const {
  return std::clamp(usual_service_ * options_.silence_factor, options_.silence_min, options_.silence_max);
}

std::vector<Action> Swarm::take() { return std::exchange(actions_, {}); }

// --- connections

void Swarm::start(MonotonicTime now) {
  started_ = true;
  if (!dials_ || verified_) return;
  announcing_ = true;
  actions_.emplace_back(Announce{.complete = false});
  next_tick_ = now + kTick;
}

void Swarm::handout(MonotonicTime now, const std::vector<PeerInfo>& peers, Duration interval) {
  announcing_ = false;
  if (interval > Duration::zero() && interval <= 60s) interval_ = interval;
  bool news = false;
  if (known_.size() + peers.size() > kKnownMax)
    std::erase_if(known_, [&](const auto& entry) {
      return !entry.second.dialing && !entry.second.connected && entry.second.not_before <= now;
    });
  for (const PeerInfo& peer : peers) {
    if (peer.peer_id == self_ || banned_.contains(peer.peer_id)) continue;
    if (known_.size() >= kKnownMax && !known_.contains(peer.peer_id)) continue;
    auto [entry, added] = known_.try_emplace(peer.peer_id);
    // A peer that restarted elsewhere keeps nothing of its old address's failures.
    if (!added && (entry->second.info.ip != peer.ip || entry->second.info.port != peer.port)) entry->second.not_before = {};
    entry->second.info = peer;
    news |= added;
  }
  dial(now);
  announce_pause_ = news ? options_.announce_short : std::min(announce_pause_ * 2, interval_);
  const bool short_of = connections_.size() + dialing_ < options_.dial_until;
  announce_at_ = now + jittered(short_of ? announce_pause_ : interval_);
}

void Swarm::announce_failed(MonotonicTime now) {
  announcing_ = false;
  announce_at_ = now + jittered(1s);
}

void Swarm::pause(MonotonicTime now, Known& known, Duration duration) {
  known.paused_at = now;
  known.not_before = options_.pauses ? now + duration : now + kTick;
}

void Swarm::dial(MonotonicTime now) {
  if (!dials_ || have_.all()) return;
  const std::size_t taken = connections_.size() + dialing_;
  if (taken >= options_.dial_until) return;
  const bool lonely = useful() == 0;
  std::vector<Known*> candidates;
  for (auto& [id, known] : known_) {
    if (known.dialing || known.connected || banned_.contains(id)) continue;
    const bool free = known.not_before <= now || (lonely && known.paused_at + options_.lonely_pause <= now);
    if (free) candidates.push_back(&known);
  }
  for (std::size_t i = candidates.size(); i > 1; --i) std::swap(candidates[i - 1], candidates[rng_.below(i)]);
  if (lonely) std::ranges::partition(candidates, [](const Known* known) { return known->info.complete; });
  if (candidates.size() > options_.dial_until - taken) candidates.resize(options_.dial_until - taken);
  for (Known* known : candidates) {
    known->dialing = true;
    ++dialing_;
    actions_.emplace_back(Dial{known->info});
  }
}

void Swarm::dial_failed(MonotonicTime now, const PeerId& peer, DialFailure failure) {
  const auto found = known_.find(peer);
  if (found == known_.end() || !found->second.dialing) return;
  found->second.dialing = false;
  --dialing_;
  ++found->second.failures;
  pause(now, found->second, failure == DialFailure::kRefused ? options_.refused_pause : options_.failed_pause);
  dial(now);
}

bool Swarm::connected(MonotonicTime now, ConnectionId id, const PeerInfo& peer, bool outgoing, Bitfield bitfield) {
  KR_ASSERT(bitfield.size() == have_.size());
  if (const auto known = known_.find(peer.peer_id); outgoing && known != known_.end() && known->second.dialing) {
    known->second.dialing = false;
    --dialing_;
  }
  if (peer.peer_id == self_ || banned_.contains(peer.peer_id)) return false;
  if (verified_ && bitfield.all()) return false;
  for (const auto& [other, connection] : connections_) {
    if (connection.peer.peer_id != peer.peer_id) continue;
    // Both dialled at once: both keep the one that the smaller id dialled, so that exactly one remains.
    const bool keep_new = connection.outgoing == outgoing ? connection.heard + kStale < now
                                                          : outgoing == (self_ < peer.peer_id);
    if (!keep_new) return false;
    close(now, other, CloseReason::kDuplicate, Duration::zero());
    break;
  }
  if (connections_.size() >= options_.connections_max) return false;

  Connection connection;
  connection.peer = peer;
  connection.outgoing = outgoing;
  connection.bitfield = std::move(bitfield);
  connection.heard = connection.paid = now;
  connection.done = connection.bitfield.all();
  for (std::size_t word = 0; word < have_.word_count(); ++word)
    connection.useful_pieces += static_cast<std::uint32_t>(std::popcount(connection.bitfield.word(word) & ~have_.word(word)));
  if (!connection.done) count_leecher(connection, true);
  auto& known = known_[peer.peer_id];
  if (outgoing || known.info.ip.empty()) known.info = peer;
  known.connected = true;
  known.failures = 0;
  connections_.emplace(id, std::move(connection));
  ask_all(now);
  return true;
}

void Swarm::count_leecher(const Connection& connection, bool more) {
  leechers_ += more ? 1 : -1U;
  if (leechers_having_.empty()) return;
  for (std::size_t word = 0; word < connection.bitfield.word_count(); ++word) {
    for (std::uint64_t bits = connection.bitfield.word(word); bits != 0; bits &= bits - 1) {
      const std::size_t piece = word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
      leechers_having_[piece] = static_cast<std::uint16_t>(leechers_having_[piece] + (more ? 1 : -1));
    }
  }
}

void Swarm::drop(MonotonicTime now, ConnectionId id, Duration duration) {
  auto node = connections_.extract(id);
  if (node.empty()) return;
  Connection& connection = node.mapped();
  if (!connection.done) count_leecher(connection, false);
  for (const Outstanding& request : connection.outstanding) release(id, request.piece);
  if (connection.receiving && receiver_[*connection.receiving] == id.value()) receiver_[*connection.receiving] = kNobody;
  const auto known = known_.find(connection.peer.peer_id);
  if (known != known_.end()) {
    known->second.connected = false;
    // An inbound peer's port is its own affair: only a handout says where it can be dialled.
    if (known->second.info.port == 0) {
      known_.erase(known);
    } else if (duration > Duration::zero()) {
      pause(now, known->second, duration);
    }
  }
}

void Swarm::disconnected(MonotonicTime now, ConnectionId id) {
  const Connection* connection = find(id);
  if (connection == nullptr) return;
  auto& known = known_[connection->peer.peer_id];
  const Duration backoff = options_.refused_pause * (1U << std::min(known.failures, 5U));
  ++known.failures;
  drop(now, id, std::min(backoff, options_.failed_pause));
  if (verified_) return;
  ask_all(now);
  dial(now);
}

void Swarm::close(MonotonicTime now, ConnectionId id, CloseReason reason, Duration duration) {
  actions_.emplace_back(Close{id, reason});
  drop(now, id, duration);
}

// --- what peers say

void Swarm::heard(MonotonicTime now, Connection& connection) {
  connection.heard = now;
}

void Swarm::learn(Connection& connection, std::uint32_t piece) {
  if (connection.bitfield.test(piece)) return;
  connection.bitfield.set(piece);
  if (!have_.test(piece)) ++connection.useful_pieces;
  if (!connection.done && !leechers_having_.empty()) ++leechers_having_[piece];
}

void Swarm::peer_has(MonotonicTime now, ConnectionId id, std::uint32_t piece) {
  Connection* connection = find(id);
  if (connection == nullptr) return;
  heard(now, *connection);
  learn(*connection, piece);
  if (!have_.test(piece) && open_count_ > 0) ask_all(now);
}

void Swarm::gave(MonotonicTime now, ConnectionId id, std::uint32_t piece) {
  Connection* connection = find(id);
  if (connection == nullptr) return;
  heard(now, *connection);
  learn(*connection, piece);
}

void Swarm::peer_complete(MonotonicTime now, ConnectionId id) {
  Connection* connection = find(id);
  if (connection == nullptr) return;
  heard(now, *connection);
  if (verified_) return close(now, id, CloseReason::kBothComplete, Duration::zero());
  if (!connection->done) {
    count_leecher(*connection, false);
    connection->done = true;
    connection->bitfield.set_all();
    connection->useful_pieces = have_.size() - have_.count();
  }
  ask_all(now);
}

void Swarm::peer_error(MonotonicTime now, ConnectionId id, std::uint32_t piece) {
  Connection* connection = find(id);
  if (connection == nullptr) return;
  heard(now, *connection);
  if (verified_) return;
  const bool asked = holder_[piece] == id.value();
  forget_request(*connection, piece);
  std::erase(connection->owed, piece);
  release(id, piece);
  // It has not what it said: not asked again for this piece unless it announces it anew.
  if (asked && connection->bitfield.test(piece) && connection->receiving != piece) {
    if (!connection->done && leechers_having_[piece] > 0) --leechers_having_[piece];
    if (connection->done) {
      connection->done = false;
      connection->bitfield.set(piece, false);
      count_leecher(*connection, true);
    } else {
      connection->bitfield.set(piece, false);
    }
    if (!have_.test(piece)) --connection->useful_pieces;
    connection->erred = true;
  }
  ask_all(now);
}

std::optional<Payload> Swarm::payload_begins(MonotonicTime now, ConnectionId id, std::uint32_t piece) {
  Connection* connection = find(id);
  if (connection == nullptr || verified_) return Payload::kDiscard;
  const bool asked = std::ranges::any_of(connection->outstanding, [&](const auto& request) { return request.piece == piece; });
  const bool owed = std::ranges::find(connection->owed, piece) != connection->owed.end();
  if (!asked && !owed) return std::nullopt;
  heard(now, *connection);
  connection->paid = now;
  connection->suspect = false;
  if (owed) std::erase(connection->owed, piece);
  if (have_.test(piece) || receiver_[piece] != kNobody) {
    forget_request(*connection, piece);
    return Payload::kDiscard;
  }
  if (holder_[piece] != id.value()) {
    // Taken away from it as silent, and it comes after all, before the other's.
    if (holder_[piece] != kNobody) {
      const ConnectionId other(holder_[piece]);
      if (Connection* taker = find(other)) {
        forget_request(*taker, piece);
        if (taker->owed.size() < kOwedMax) taker->owed.push_back(piece);
        actions_.emplace_back(SendCancel{other, piece});
      }
    }
    holder_[piece] = id.value();
    set_open(piece, false);
    if (!asked) connection->outstanding.push_back({piece, now});
  }
  receiver_[piece] = id.value();
  connection->receiving = piece;
  return Payload::kTake;
}

void Swarm::payload_progress(MonotonicTime now, ConnectionId id) {
  Connection* connection = find(id);
  if (connection == nullptr) return;
  connection->heard = connection->paid = now;
  connection->suspect = false;
}

bool Swarm::may_write(ConnectionId id, std::uint32_t piece) const {
  return !verified_ && !have_.test(piece) && receiver_[piece] == id.value();
}

void Swarm::piece_good(MonotonicTime now, ConnectionId id, std::uint32_t piece) {
  Connection* connection = find(id);
  if (connection == nullptr || !may_write(id, piece)) return;
  heard(now, *connection);
  for (const Outstanding& request : connection->outstanding) {
    if (request.piece != piece) continue;
    const Duration service = now - std::max(request.since, connection->last_piece);
    usual_service_ = usual_service_ == Duration::zero() ? service : (usual_service_ * 7 + service) / 8;
    break;
  }
  connection->paid = connection->last_piece = now;
  forget_request(*connection, piece);
  connection->receiving.reset();
  receiver_[piece] = kNobody;
  holder_[piece] = kNobody;
  set_open(piece, false);
  have_.set(piece);
  ++stats_.good_pieces;
  for (auto& [other, neighbour] : connections_) {
    if (neighbour.bitfield.test(piece) && neighbour.useful_pieces > 0) --neighbour.useful_pieces;
    if (other != id) actions_.emplace_back(SendHave{other, piece});
  }
  ask_all(now);
}

void Swarm::piece_bad(MonotonicTime now, ConnectionId id, std::uint32_t) {
  const Connection* connection = find(id);
  if (connection == nullptr) return;
  ++stats_.bad_pieces;
  banned_.insert(connection->peer.peer_id);
  close(now, id, CloseReason::kBadPiece, options_.failed_pause);
  ask_all(now);
  dial(now);
}

void Swarm::payload_dropped(MonotonicTime now, ConnectionId id, std::uint32_t piece) {
  Connection* connection = find(id);
  if (connection == nullptr || verified_) return;
  ++stats_.discarded_pieces;
  forget_request(*connection, piece);
  if (receiver_[piece] == id.value()) receiver_[piece] = kNobody;
  if (connection->receiving == piece) connection->receiving.reset();
  release(id, piece);
  ask_all(now);
}

void Swarm::verified(MonotonicTime now) {
  KR_ASSERT(have_.all());
  if (verified_) return;
  verified_ = true;
  next_tick_ = MonotonicTime::max();
  std::vector<ConnectionId> done;
  for (auto& [id, connection] : connections_) {
    if (connection.done) {
      done.push_back(id);
    } else {
      actions_.emplace_back(SendComplete{id});
    }
  }
  for (const ConnectionId id : done) close(now, id, CloseReason::kBothComplete, Duration::zero());
  if (dials_) actions_.emplace_back(Announce{.complete = true});
}

void Swarm::reader_at(MonotonicTime now, std::uint32_t reader, std::optional<std::uint32_t> piece) {
  if (!piece) {
    readers_.erase(reader);
    return;
  }
  auto [entry, added] = readers_.try_emplace(reader);
  if (!added && entry->second.position == *piece) return;
  // `head` only moves forward while the reader does; one that jumps back begins anew.
  if (added || *piece < entry->second.position) entry->second = {*piece, *piece, now};
  entry->second.position = *piece;
}

// --- requests

void Swarm::forget_request(Connection& connection, std::uint32_t piece) {
  std::erase_if(connection.outstanding, [&](const Outstanding& request) { return request.piece == piece; });
}

void Swarm::release(ConnectionId id, std::uint32_t piece) {
  if (have_.test(piece) || holder_[piece] != id.value()) return;
  holder_[piece] = kNobody;
  set_open(piece, true);
}

std::uint32_t Swarm::limit_each() const {
  const auto useful_connections = static_cast<std::uint32_t>(std::max<std::size_t>(useful(), 1));
  const std::uint32_t each = (options_.outstanding + useful_connections - 1) / useful_connections;
  return std::clamp(each, 1U, options_.outstanding_each_max);
}

void Swarm::ask_all(MonotonicTime now) {
  if (verified_ || open_count_ == 0 || connections_.empty()) return;
  const std::uint32_t limit = limit_each();
  // Where other agents are connected, origins get their share of the requests in all, not each: what an agent can give,
  // an origin need not send twice (the bar: 1.5 copies for three agents at once).
  std::size_t agents = 0;
  std::size_t giving = 0;
  std::size_t at_origins = 0;
  for (const auto& [id, connection] : connections_) {
    if (connection.peer.origin) at_origins += connection.outstanding.size();
    else if (!connection.suspect) {
      ++agents;
      if (connection.useful_pieces > 0) ++giving;
    }
  }
  // Also while those agents have nothing new: without it, a burst of requests to origins whenever that happens makes a
  // good part of all copies.
  const std::size_t least = giving >= 2 ? 1 : 2;
  const std::size_t origins_limit = agents == 0 ? SIZE_MAX : std::max<std::size_t>(least, options_.outstanding / (2 * (agents + 1)));
  // One request each before a second one for anybody; who is first is chance, so that no neighbour is always asked last.
  std::vector<std::pair<ConnectionId, Connection*>> order;
  for (auto& [id, connection] : connections_)
    if (connection.useful_pieces > 0 && !connection.suspect && connection.outstanding.size() < limit)
      order.emplace_back(id, &connection);
  if (order.empty()) return;
  std::ranges::rotate(order, order.begin() + static_cast<std::ptrdiff_t>(rng_.below(order.size())));
  for (std::uint32_t depth = 1; depth <= limit && open_count_ > 0; ++depth)
    for (auto& [id, connection] : order) {
      if (connection->outstanding.size() >= depth || (connection->peer.origin && at_origins >= origins_limit)) continue;
      if (ask(now, id, *connection) && connection->peer.origin) ++at_origins;
    }
}

bool Swarm::ask(MonotonicTime now, ConnectionId id, Connection& connection) {
  const auto piece = choose(now, connection);
  if (!piece) return false;
  holder_[*piece] = id.value();
  set_open(*piece, false);
  if (connection.outstanding.empty()) connection.paid = now;
  connection.outstanding.push_back({*piece, now});
  actions_.emplace_back(SendRequest{id, *piece});
  return true;
}

std::optional<std::uint32_t> Swarm::choose(MonotonicTime now, const Connection& connection) {
  const std::uint32_t count = have_.size();
  for (auto& [number, reader] : readers_) {
    std::uint32_t head = std::max(reader.position, reader.head);
    while (head < count && have_.test(head)) ++head;
    if (head != reader.head) {
      reader.head = head;
      reader.head_since = now;
    }
    // With other leechers about, only what the reader has waited for comes out of turn: hosts that all read in order
    // would all ask for the same pieces, and the swarm would have nothing to exchange.
    const bool strict = leechers_ == 0;
    if (!strict && now - reader.head_since < std::max(options_.urgent_after, usual_service_ * 4)) continue;
    const std::uint32_t end = strict || head == count ? count : head + 1;
    if (const auto piece = lowest(connection, head, end)) return piece;
  }
  return rarest(connection, 0, count);
}

std::optional<std::uint32_t> Swarm::lowest(const Connection& connection, std::uint32_t first, std::uint32_t last) const {
  for (std::uint32_t word = first / 64; word * 64 < last; ++word) {
    std::uint64_t bits = open_[word] & connection.bitfield.word(word);
    if (word == first / 64) bits &= ~std::uint64_t{0} << (first % 64);
    if (bits == 0) continue;
    const std::uint32_t piece = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
    if (piece < last) return piece;
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> Swarm::rarest(const Connection& connection, std::uint32_t first, std::uint32_t last) {
  if (first >= last) return std::nullopt;
  const std::uint32_t first_word = first / 64;
  const std::uint32_t words = (last + 63) / 64 - first_word;
  const auto turn = static_cast<std::uint32_t>(rng_.below(words));
  std::optional<std::uint32_t> best;
  std::uint32_t looked_at = 0;
  std::uint32_t ties = 0;
  for (std::uint32_t i = 0; i < words && looked_at < options_.candidates_max; ++i) {
    const std::uint32_t word = first_word + (turn + i) % words;
    for (std::uint64_t bits = open_[word] & connection.bitfield.word(word); bits != 0; bits &= bits - 1) {
      const std::uint32_t piece = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
      if (piece < first || piece >= last) continue;
      ++looked_at;
      if (!best || leechers_having_[piece] < leechers_having_[*best]) {
        best = piece;
        ties = 1;
      } else if (leechers_having_[piece] == leechers_having_[*best] && rng_.below(++ties) == 0) {
        best = piece;
      }
    }
  }
  return best;
}

// --- time

bool Swarm::other_has(ConnectionId id, std::uint32_t piece) const {
  return std::ranges::any_of(connections_, [&](const auto& entry) {
    return entry.first != id && !entry.second.suspect && entry.second.bitfield.test(piece);
  });
}

void Swarm::watch_silence(MonotonicTime now) {
  const Duration limit = silence_limit();
  std::vector<ConnectionId> silent;
  std::vector<ConnectionId> useless;
  for (auto& [id, connection] : connections_) {
    if (connection.suspect && now - connection.suspect_since >= limit) {
      if (connection.heard < connection.suspect_since) {
        silent.push_back(id);
        continue;
      }
      connection.suspect = false;
    }
    if (connection.outstanding.empty()) {
      // What it took back may be there again after a repair; only a new handshake tells.
      if (connection.erred && connection.useful_pieces == 0) useless.push_back(id);
      continue;
    }
    const MonotonicTime since = std::max(connection.paid, connection.outstanding.front().since);
    if (now - since < limit) continue;
    bool taken = false;
    for (std::size_t i = connection.outstanding.size(); i-- > 0;) {
      const std::uint32_t piece = connection.outstanding[i].piece;
      if (!other_has(id, piece)) continue;
      taken = true;
      ++stats_.taken_away;
      if (receiver_[piece] == id.value()) {
        receiver_[piece] = kNobody;
        connection.receiving.reset();
      } else {
        if (connection.owed.size() < kOwedMax) connection.owed.push_back(piece);
        actions_.emplace_back(SendCancel{id, piece});
      }
      release(id, piece);
      forget_request(connection, piece);
    }
    if (taken) {
      connection.suspect = true;
      connection.suspect_since = now;
    } else if (now - std::max(since, connection.heard) >= options_.silence_max) {
      silent.push_back(id);
    }
  }
  for (const ConnectionId id : silent) close(now, id, CloseReason::kSilent, options_.silent_pause);
  for (const ConnectionId id : useless) close(now, id, CloseReason::kIdle, options_.lonely_pause);
}

void Swarm::tick(MonotonicTime now) {
  if (verified_ || !started_) {
    next_tick_ = MonotonicTime::max();
    return;
  }
  next_tick_ = now + kTick;
  if (have_.all()) return;
  watch_silence(now);
  ask_all(now);
  dial(now);
  if (dials_ && !announcing_ && announce_at_ <= now) {
    announcing_ = true;
    actions_.emplace_back(Announce{.complete = false});
  }
}

}  // namespace kraken::p2p::swarm
