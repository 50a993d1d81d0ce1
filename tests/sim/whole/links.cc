#include "tests/sim/whole/links.h"

#include <algorithm>

namespace kraken::sim::whole {

void Links::send(size_t to, Packet packet) {
  State& l = link(packet.from, to);
  if (random_.chance(quality.loss)) {
    if (quality.connections) break_connection(packet.from, to);
    return;
  }
  packet.connection = l.connection;
  const int copies = !quality.connections && random_.chance(quality.repeat) ? 2 : 1;
  for (int i = 0; i < copies; i++) {
    Time delay = quality.delay_min + Time{static_cast<int64_t>(random_.below(static_cast<uint64_t>((quality.delay_max - quality.delay_min).count()) + 1))};
    if (random_.chance(quality.slow)) delay += Time{static_cast<int64_t>(random_.below(static_cast<uint64_t>(quality.slow_max.count())))};
    Time due = std::max(events_.now(), l.clogged_until) + delay;
    if (quality.connections) due = l.last_due = std::max(due, l.last_due);
    Packet copy = packet;
    copy.repeated = i > 0;
    if (random_.chance(quality.corrupt) && !copy.bytes.empty()) {
      copy.altered = true;
      copy.bytes[random_.below(copy.bytes.size())] ^= static_cast<char>(1 << random_.below(8));
    }
    events_.at(due, [this, to, copy = std::move(copy)] {
      const State& now = link(copy.from, to);
      if (quality.connections && now.connection != copy.connection) return;
      if (now.cut) {
        if (quality.connections) break_connection(copy.from, to);
        return;
      }
      deliver_(to, copy);
    });
  }
}

void Links::break_connection(size_t from, size_t to) {
  link(from, to).connection++;
  link(from, to).last_due = Time{};
  broken_(from, to);
}

void Links::heal() {
  for (State& l : links_) {
    l.cut = false;
    l.clogged_until = Time{};
  }
}

void Links::split(const std::vector<bool>& left, const std::vector<bool>& right) {
  for (size_t a = 0; a < nodes_; a++)
    for (size_t b = 0; b < nodes_; b++) set_cut(a, b, !((left[a] && left[b]) || (right[a] && right[b])));
}

}  // namespace kraken::sim::whole
