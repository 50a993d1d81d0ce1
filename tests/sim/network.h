// Links between nodes that delay, lose, repeat and reorder messages, and partitions in both or one direction. Never alters one.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "consensus/raft/messages.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/random.h"

namespace kraken::sim {

struct LinkQuality {
  Time delay_min = us(100), delay_max = us(500);
  double loss = 0, repeat = 0;
  double slow = 0;  // chance that a message takes up to slow_max
  Time slow_max = ms(300);
  bool ordered = false;  // as on one connection: nothing overtakes
};

class Network {
 public:
  using Deliver = std::function<void(size_t to, raft::Message)>;
  Network(EventQueue& events, Random& random, size_t nodes, Deliver deliver)
      : events_(events), random_(random), nodes_(nodes), cut_(nodes * nodes, false), last_due_(nodes * nodes), deliver_(std::move(deliver)) {}

  LinkQuality quality;

  void send(size_t from, size_t to, raft::Message m) {
    if (random_.chance(quality.loss)) return;
    const int copies = random_.chance(quality.repeat) ? 2 : 1;
    for (int i = 0; i < copies; i++) {
      Time delay = quality.delay_min + Time{static_cast<int64_t>(random_.below(static_cast<uint64_t>((quality.delay_max - quality.delay_min).count()) + 1))};
      if (random_.chance(quality.slow)) delay += Time{static_cast<int64_t>(random_.below(static_cast<uint64_t>(quality.slow_max.count())))};
      Time due = events_.now() + delay;
      if (quality.ordered) due = last_due_[from * nodes_ + to] = std::max(due, last_due_[from * nodes_ + to]);
      events_.at(due, [this, from, to, m] {
        if (!cut(from, to)) deliver_(to, m);
      });
    }
  }

  bool cut(size_t from, size_t to) const { return cut_[from * nodes_ + to]; }
  void set_cut(size_t from, size_t to, bool is_cut) { cut_[from * nodes_ + to] = is_cut; }
  void heal() { std::fill(cut_.begin(), cut_.end(), false); }

  /// Only nodes of the same side hear each other; one that is on both sides (a bridge) hears all.
  void split(const std::vector<bool>& left, const std::vector<bool>& right) {
    for (size_t a = 0; a < nodes_; a++)
      for (size_t b = 0; b < nodes_; b++) set_cut(a, b, !((left[a] && left[b]) || (right[a] && right[b])));
  }

 private:
  EventQueue& events_;
  Random& random_;
  size_t nodes_;
  std::vector<bool> cut_;
  std::vector<Time> last_due_;
  Deliver deliver_;
};

}  // namespace kraken::sim
