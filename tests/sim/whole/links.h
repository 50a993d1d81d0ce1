// What is between the nodes: bytes that are delayed, lost, repeated, reordered, altered, held back; partitions in both or one
// direction. Either datagrams, or (Link::connections) streams that keep the order and break instead of losing anything.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "consensus/group/system_state.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/random.h"
#include "tests/sim/whole/options.h"

namespace kraken::sim::whole {

/// What the handshake of a connection would have said of the sender.
struct Packet {
  size_t from = 0;
  uint64_t connection = 0;
  uint64_t incarnation_tag = 0;  // index into the world's table of what nodes were
  bool altered = false;          // the simulator knows, the receiver must find out
  bool repeated = false;         // a second copy
  std::string bytes;
  std::shared_ptr<const group::SystemState> ring{};  // that the sender would show when it shakes hands
};

class Links {
 public:
  using Deliver = std::function<void(size_t to, const Packet&)>;
  using Broken = std::function<void(size_t from, size_t to)>;
  Links(EventQueue& events, Random& random, size_t nodes, Deliver deliver, Broken broken)
      : events_(events), random_(random), nodes_(nodes), links_(nodes * nodes), deliver_(std::move(deliver)), broken_(std::move(broken)) {}

  Link quality;

  void send(size_t to, Packet packet);
  uint64_t connection(size_t from, size_t to) const { return link(from, to).connection; }
  void break_connection(size_t from, size_t to);

  bool cut(size_t from, size_t to) const { return link(from, to).cut; }
  void set_cut(size_t from, size_t to, bool is_cut) { link(from, to).cut = is_cut; }
  /// What is sent until then arrives then, all at once.
  void clog(size_t from, size_t to, Time until) { link(from, to).clogged_until = until; }
  void heal();
  /// Only nodes of the same side hear each other; one that is on both sides hears all.
  void split(const std::vector<bool>& left, const std::vector<bool>& right);

 private:
  struct State {
    bool cut = false;
    Time clogged_until{}, last_due{};
    uint64_t connection = 1;
  };
  const State& link(size_t from, size_t to) const { return links_[from * nodes_ + to]; }
  State& link(size_t from, size_t to) { return links_[from * nodes_ + to]; }

  EventQueue& events_;
  Random& random_;
  size_t nodes_;
  std::vector<State> links_;
  Deliver deliver_;
  Broken broken_;
};

}  // namespace kraken::sim::whole
