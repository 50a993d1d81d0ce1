#include "src/p2p/swarm/giver.h"

#include <algorithm>

namespace kraken::p2p::swarm {

bool Giver::requested(MonotonicTime, ConnectionId connection, std::uint32_t piece, double share) {
  Peer& peer = peers_[connection];
  peer.share = share;
  if (std::ranges::any_of(peer.queue, [&](const Waiting& waiting) { return waiting.piece == piece; })) return true;
  if (peer.queue.size() >= options_.waiting_each_max) return false;
  peer.queue.push_back({piece, next_age_++});
  ++waiting_count_;
  return true;
}

void Giver::cancelled(ConnectionId connection, std::uint32_t piece) {
  const auto found = peers_.find(connection);
  if (found == peers_.end()) return;
  waiting_count_ -= std::erase_if(found->second.queue, [&](const Waiting& waiting) { return waiting.piece == piece; });
}

void Giver::share_changed(ConnectionId connection, double share) {
  const auto found = peers_.find(connection);
  if (found != peers_.end()) found->second.share = share;
}

void Giver::disconnected(ConnectionId connection) {
  const auto found = peers_.find(connection);
  if (found != peers_.end()) {
    waiting_count_ -= found->second.queue.size();
    peers_.erase(found);
  }
  sending_.erase(connection);
}

void Giver::progress(MonotonicTime now, ConnectionId connection) {
  const auto found = sending_.find(connection);
  if (found != sending_.end()) found->second = now;
}

void Giver::finished(ConnectionId connection) { sending_.erase(connection); }

std::vector<Upload> Giver::take(MonotonicTime now) {
  std::vector<Upload> started;
  if (waiting_count_ == 0) return started;
  auto moving = static_cast<std::size_t>(std::ranges::count_if(
      sending_, [&](const auto& entry) { return now - entry.second < options_.blocked_after; }));
  while (moving < options_.slots && sending_.size() < options_.uploads_max) {
    auto best = peers_.end();
    for (auto peer = peers_.begin(); peer != peers_.end(); ++peer) {
      if (peer->second.queue.empty() || sending_.contains(peer->first)) continue;
      if (best == peers_.end() || peer->second.share < best->second.share ||
          (peer->second.share == best->second.share && peer->second.queue.front().age < best->second.queue.front().age))
        best = peer;
    }
    if (best == peers_.end()) break;
    started.push_back({best->first, best->second.queue.front().piece});
    best->second.queue.erase(best->second.queue.begin());
    --waiting_count_;
    sending_[best->first] = now;
    ++moving;
  }
  return started;
}

MonotonicTime Giver::next_tick(MonotonicTime now) const {
  MonotonicTime next = MonotonicTime::max();
  if (waiting_count_ == 0) return next;
  // Those that are blocked already gave their slots away when take() last ran.
  for (const auto& [connection, last] : sending_)
    if (last + options_.blocked_after > now) next = std::min(next, last + options_.blocked_after);
  return next;
}

}  // namespace kraken::p2p::swarm
