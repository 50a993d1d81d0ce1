#include "tests/sim/workload.h"

namespace kraken::sim {

using namespace raft;

void Workload::start() {
  if (stopped_) return;
  one();
  world_.events.after(world_.delay(world_.options.client_gap * 2), [this] { start(); });
}

void Workload::one() {
  const size_t node = world_.random.chance(0.5) ? favourite_ : world_.random.below(nodes_.size());
  if (world_.random.chance(0.5)) {
    write_at(node, [](bool) {});
  } else if (world_.random.chance(0.3)) {
    read_through(favourite_, node);
  } else {
    read_at(node, 0);
  }
}

void Workload::write_at(size_t node, std::function<void(bool)> done) {
  const Command c{world_.random.below(kKeys), next_value_++};
  nodes_[node]->write(c, [this, node, c, done = std::move(done)](std::optional<Reject> why, Index at) {
    if (!why) {
      favourite_ = node;
      world_.clients.acknowledged(c.key, c.value, at);
    } else if (*why != Reject::kAborted) {
      world_.clients.refused(c.value);
    }
    done(!why);
  });
}

void Workload::read_at(size_t node, int hops) {
  const size_t key = world_.random.below(kKeys);
  const auto floor = world_.clients.begin_read(key);
  nodes_[node]->read([this, node, hops, key, floor](const State* s, Reject, std::optional<ReplicaId> leader) {
    if (s != nullptr) {
      favourite_ = node;
      world_.clients.read(key, floor, s->cells[key]);
    } else if (leader && hops < 2) {
      const size_t next = raw(*leader) - 1;
      favourite_ = next;
      world_.events.after(world_.delay(ms(1)), [this, next, hops] { read_at(next, hops + 1); });
    }
  });
}

// A follower serves the read: it asks the leader for the index and waits until it has applied that much.
void Workload::read_through(size_t leader, size_t server) {
  const size_t key = world_.random.below(kKeys);
  const auto floor = world_.clients.begin_read(key);
  nodes_[leader]->read_index([this, server, key, floor](std::optional<Index> at) {
    if (!at) return;
    world_.events.after(world_.delay(ms(5)), [this, server, key, floor, at = *at] {
      if (!nodes_[server]->up()) return;
      nodes_[server]->when_applied(at, [this, key, floor](const State& s) { world_.clients.read(key, floor, s.cells[key]); });
    });
  });
}

}  // namespace kraken::sim
