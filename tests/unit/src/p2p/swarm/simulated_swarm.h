#pragma once
// A swarm on virtual time: hosts with one uplink and one downlink each, the product's Swarm and Giver on every host, a
// tracker that hands out everybody. Work goes out in quanta; a connection has at most four unacknowledged. Everything
// is drawn from one seed, so that a run can be repeated.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <vector>

#include "src/p2p/swarm/giver.h"
#include "src/p2p/swarm/swarm.h"

namespace kraken::p2p::swarm::testing {

struct Network {
  double bytes_per_second = 300e6;  // each way, each host
  Duration latency = std::chrono::microseconds(250);
  Duration check_per_mib = std::chrono::microseconds(250);
  std::uint64_t quantum = 512 * 1024;
};

struct Host {
  PeerId id;
  bool origin = false;
  bool corrupt = false;  // sends wrong bytes
  bool stopped = false;  // takes part in nothing: SIGSTOP
  std::unique_ptr<Swarm> swarm;
  Giver giver;
  MonotonicTime uplink_free{};
  MonotonicTime downlink_free{};
  std::uint64_t bytes_given = 0;
  std::uint64_t pieces_received = 0;
  std::optional<MonotonicTime> complete_at;
  bool joined = false;
};

class SimulatedSwarm {
 public:
  SimulatedSwarm(std::uint32_t pieces, std::uint64_t piece_bytes, Network network, std::uint64_t seed)
      : pieces_(pieces), piece_bytes_(piece_bytes), network_(network), rng_(seed) {}

  /// Before run(). `have`: pieces it starts with.
  std::size_t add(bool origin, Bitfield have, MonotonicTime joins, Options options = {}) {
    Host host;
    PeerId::Raw raw{};
    for (auto& byte : raw) byte = static_cast<std::uint8_t>(rng_.next());
    host.id = PeerId(raw);
    host.origin = origin;
    const bool all = have.all();
    host.swarm = std::make_unique<Swarm>(options, host.id, std::move(have), all, !origin, rng_.next());
    const std::size_t index = hosts_.size();
    hosts_.push_back(std::move(host));
    by_id_[hosts_.back().id] = index;
    at(joins, [this, index] {
      hosts_[index].joined = true;
      hosts_[index].swarm->start(now_);
      settle(index);
      tick(index);
    });
    return index;
  }
  std::size_t add_origin() { return add(true, Bitfield(pieces_, true), {}); }
  std::size_t add_agent(MonotonicTime joins = {}, Options options = {}) { return add(false, Bitfield(pieces_), joins, options); }

  Host& host(std::size_t index) { return hosts_[index]; }
  std::size_t size() const { return hosts_.size(); }
  MonotonicTime now() const { return now_; }
  void at(MonotonicTime when, std::function<void()> what) { events_.push({when, sequence_++, std::move(what)}); }
  /// An agent that reads in order from piece 0, as a client of it would.
  void read_in_order(std::size_t index) { readers_.insert(index); hosts_[index].swarm->reader_at(now_, 1, 0); }

  /// Until every joined agent is complete, or until `limit`.
  bool run(MonotonicTime limit) {
    while (!events_.empty()) {
      auto event = events_.top();
      if (event.when > limit) return all_complete();
      events_.pop();
      now_ = event.when;
      event.what();
      if (all_complete()) return true;
    }
    return all_complete();
  }
  bool all_complete() const {
    for (const Host& host : hosts_)
      if (!host.swarm->is_verified() && !host.stopped) return false;
    return true;
  }
  /// What origins gave, in copies of the blob.
  double copies() const {
    double given = 0;
    for (const Host& host : hosts_)
      if (host.origin) given += static_cast<double>(host.bytes_given);
    return given / static_cast<double>(pieces_ * piece_bytes_);
  }
  std::uint64_t duplicates() const {
    std::uint64_t all = 0;
    for (const Host& host : hosts_) all += host.swarm->stats().discarded_pieces;
    return all;
  }
  /// Freezes a host now, as SIGSTOP does: its sockets stay open.
  void stop(std::size_t index) { hosts_[index].stopped = true; }

  std::vector<std::pair<std::size_t, std::uint32_t>> given_order;  // (taker, piece), as uploads began
  std::size_t watched_giver = SIZE_MAX;

 private:
  struct Event {
    MonotonicTime when;
    std::uint64_t sequence;
    std::function<void()> what;
    bool operator<(const Event& other) const {
      return when != other.when ? when > other.when : sequence > other.sequence;
    }
  };
  struct End {
    std::size_t host;
    ConnectionId id;
  };

  void tick(std::size_t index) {
    Host& host = hosts_[index];
    if (host.swarm->is_verified()) return;
    if (!host.stopped) {
      host.swarm->tick(now_);
      settle(index);
    }
    at(now_ + std::chrono::milliseconds(100), [this, index] { tick(index); });
  }

  Duration network_latency() { return network_.latency + Duration(static_cast<Duration::rep>(rng_.below(20000))); }

  void settle(std::size_t index) {
    Host& host = hosts_[index];
    if (readers_.contains(index)) {
      std::uint32_t head = 0;
      while (head < pieces_ && host.swarm->have().test(head)) ++head;
      host.swarm->reader_at(now_, 1, head);
    }
    for (const Action& action : host.swarm->take()) carry_out(index, action);
    if (host.swarm->has_all() && !host.swarm->is_verified()) {
      host.swarm->verified(now_);
      host.complete_at = now_;
      settle(index);
      return;
    }
    give(index);
  }

  void to_peer(std::size_t index, ConnectionId id, std::function<void(Host&, ConnectionId)> what) {
    const auto found = other_.find({index, id.value()});
    if (found == other_.end()) return;
    const End end = found->second;
    deliver(end, std::move(what));
  }
  void deliver(End end, std::function<void(Host&, ConnectionId)> what) {
    at(now_ + network_latency(), [this, end, what = std::move(what)]() mutable { arrive(end, std::move(what)); });
  }
  void arrive(End end, std::function<void(Host&, ConnectionId)> what) {
    if (hosts_[end.host].stopped) {
      frozen_[end.host].push_back([this, end, what] { arrive(end, what); });
      return;
    }
    if (!other_.contains({end.host, end.id.value()})) return;
    what(hosts_[end.host], end.id);
    settle(end.host);
  }

  void carry_out(std::size_t index, const Action& action) {
    if (const auto* dial = std::get_if<Dial>(&action)) return dial_peer(index, dial->peer);
    if (const auto* request = std::get_if<SendRequest>(&action)) {
      const std::uint32_t piece = request->piece;
      return to_peer(index, request->connection, [this, piece](Host& host, ConnectionId id) {
        host.giver.requested(now_, id, piece, host.swarm->share_of(id));
      });
    }
    if (const auto* cancel = std::get_if<SendCancel>(&action)) {
      const std::uint32_t piece = cancel->piece;
      return to_peer(index, cancel->connection, [piece](Host& host, ConnectionId id) { host.giver.cancelled(id, piece); });
    }
    if (const auto* have = std::get_if<SendHave>(&action)) {
      const std::uint32_t piece = have->piece;
      return to_peer(index, have->connection, [this, piece](Host& host, ConnectionId id) {
        host.swarm->peer_has(now_, id, piece);
        host.giver.share_changed(id, host.swarm->share_of(id));
      });
    }
    if (const auto* complete = std::get_if<SendComplete>(&action))
      return to_peer(index, complete->connection, [this](Host& host, ConnectionId id) { host.swarm->peer_complete(now_, id); });
    if (const auto* close = std::get_if<Close>(&action)) return hang_up(index, close->connection);
    at(now_ + std::chrono::milliseconds(2), [this, index] {
      std::vector<PeerInfo> peers;
      for (const Host& host : hosts_)
        if (host.joined && host.id != hosts_[index].id) peers.push_back({host.id, "host", 1, host.origin, host.swarm->is_verified()});
      hosts_[index].swarm->handout(now_, peers, std::chrono::seconds(3));
      settle(index);
    });
  }

  void hang_up(std::size_t index, ConnectionId id) {
    const auto found = other_.find({index, id.value()});
    hosts_[index].giver.disconnected(id);
    if (found == other_.end()) return;
    const End end = found->second;
    other_.erase(found);
    at(now_ + network_latency(), [this, end] {
      other_.erase({end.host, end.id.value()});
      hosts_[end.host].giver.disconnected(end.id);
      hosts_[end.host].swarm->disconnected(now_, end.id);
      settle(end.host);
    });
  }

  void dial_peer(std::size_t from, const PeerInfo& peer) {
    const std::size_t to = by_id_.at(peer.peer_id);
    at(now_ + std::chrono::milliseconds(2), [this, from, to] {
      Host& acceptor = hosts_[to];
      Host& opener = hosts_[from];
      const PeerInfo opener_info{opener.id, "host", 0, false, false};
      const PeerInfo acceptor_info{acceptor.id, "host", 1, acceptor.origin, false};
      if (acceptor.stopped) return opener.swarm->dial_failed(now_, acceptor.id, DialFailure::kFailed), settle(from);
      const ConnectionId a(next_id_++);
      const ConnectionId b(next_id_++);
      other_[{to, a.value()}] = {from, b};
      other_[{from, b.value()}] = {to, a};
      if (!acceptor.swarm->connected(now_, a, opener_info, false, opener.swarm->have())) {
        other_.erase({to, a.value()});
        other_.erase({from, b.value()});
        opener.swarm->dial_failed(now_, acceptor.id, DialFailure::kRefused);
        settle(from);
        return;
      }
      if (!opener.swarm->connected(now_, b, acceptor_info, true, acceptor.swarm->have())) hang_up(from, b);
      settle(to);
      settle(from);
    });
  }

  void give(std::size_t index) {
    Host& host = hosts_[index];
    for (const Upload& upload : host.giver.take(now_)) {
      const auto found = other_.find({index, upload.connection.value()});
      if (found == other_.end()) {
        host.giver.finished(upload.connection);
        continue;
      }
      if (index == watched_giver) given_order.emplace_back(found->second.host, upload.piece);
      send_quantum(index, upload, found->second, 0, true);
    }
  }

  Duration transfer(std::uint64_t bytes) const {
    return Duration(static_cast<Duration::rep>(static_cast<double>(bytes) / network_.bytes_per_second * 1e9));
  }

  void send_quantum(std::size_t index, Upload upload, End end, std::uint64_t offset, bool first) {
    Host& host = hosts_[index];
    if (host.stopped) {
      frozen_[index].push_back([this, index, upload, end, offset, first] { send_quantum(index, upload, end, offset, first); });
      return;
    }
    if (!other_.contains({index, upload.connection.value()})) return;
    const std::uint64_t bytes = std::min(network_.quantum, piece_bytes_ - offset);
    host.uplink_free = std::max(host.uplink_free, now_) + transfer(bytes);
    host.bytes_given += bytes;
    const bool last = offset + bytes == piece_bytes_;
    const bool corrupt = host.corrupt;
    at(host.uplink_free, [this, index, upload, end, offset, bytes, last, first, corrupt] {
      Host& giver = hosts_[index];
      giver.giver.progress(now_, upload.connection);
      Host& taker = hosts_[end.host];
      taker.downlink_free = std::max(taker.downlink_free, now_) + transfer(bytes);
      const MonotonicTime arrives = taker.downlink_free + network_.latency;
      at(arrives, [this, end, upload, first, last, corrupt] { take_quantum(end, upload.piece, first, last, corrupt); });
      if (!last) return send_quantum(index, upload, end, offset + bytes, false);
      giver.giver.finished(upload.connection);
      giver.swarm->gave(now_, upload.connection, upload.piece);
      settle(index);
    });
  }

  void take_quantum(End end, std::uint32_t piece, bool first, bool last, bool corrupt) {
    Host& taker = hosts_[end.host];
    if (!other_.contains({end.host, end.id.value()})) return;
    if (first) {
      const auto verdict = taker.swarm->payload_begins(now_, end.id, piece);
      if (!verdict) return;
      taking_[{end.host, end.id.value()}] = *verdict == Payload::kTake;
    }
    taker.swarm->payload_progress(now_, end.id);
    if (!last) return;
    ++taker.pieces_received;
    const bool take = taking_[{end.host, end.id.value()}];
    const Duration check = network_.check_per_mib * static_cast<Duration::rep>(piece_bytes_ / (1 << 20) + 1);
    at(now_ + check, [this, end, piece, take, corrupt] {
      Host& host = hosts_[end.host];
      if (!take || !host.swarm->may_write(end.id, piece)) {
        host.swarm->payload_dropped(now_, end.id, piece);
      } else if (corrupt) {
        host.swarm->piece_bad(now_, end.id, piece);
      } else {
        host.swarm->piece_good(now_, end.id, piece);
      }
      settle(end.host);
    });
  }

  std::uint32_t pieces_;
  std::uint64_t piece_bytes_;
  Network network_;
  Rng rng_;
  MonotonicTime now_{};
  std::deque<Host> hosts_;
  std::map<PeerId, std::size_t> by_id_;
  std::set<std::size_t> readers_;
  std::map<std::pair<std::size_t, std::uint32_t>, End> other_;
  std::map<std::pair<std::size_t, std::uint32_t>, bool> taking_;
  std::map<std::size_t, std::vector<std::function<void()>>> frozen_;
  std::priority_queue<Event> events_;
  std::uint64_t sequence_ = 0;
  std::uint32_t next_id_ = 1;
};

}  // namespace kraken::p2p::swarm::testing
