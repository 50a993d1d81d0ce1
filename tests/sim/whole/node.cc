#include "tests/sim/whole/node.h"

#include <algorithm>

#include <fmt/format.h>

#include "consensus/group/removal.h"
#include "consensus/group/replica.h"
#include "storage/kv/keys.h"
#include "tests/sim/whole/history.h"
#include "tests/sim/whole/mutants.h"

namespace kraken::sim::whole {

using namespace raft;
using raft::raw;

World::World(const Options& o, uint64_t seed)
    : options(o), random(seed), net_random(seed ^ 0x11), fault_random(seed ^ 0x22), work_random(seed ^ 0x33), behind_random(seed ^ 0x44), behind(behind_random.chance(0.5)),
      shards(*metadata::Shards::make(static_cast<uint32_t>(o.shards))), directory(o.shards + 1), membership(events, directory, o.shards + 1) {}
World::~World() = default;

Incarnation World::new_incarnation() {
  Incarnation made;
  for (auto& b : made.bytes) b = static_cast<uint8_t>(random.next());
  return made;
}

Node::Node(World& world, size_t number) : world_(world), number_(number), store_(std::make_unique<Store>()), rows_(std::make_unique<kv::WriteBehind>(*store_)) {
  const double spread = static_cast<double>(world_.random.below(2'001)) / 1'000 - 1;
  rate_ = 1 + world_.options.drift * spread;
  clock_base_ = Time{static_cast<int64_t>(world_.random.below(1'000'000'000'000))};
}

Time Node::local() const { return clock_base_ + Time{static_cast<int64_t>(static_cast<double>(world_.events.now().count()) * rate_)}; }
Time Node::to_virtual(Time local_time) const {
  return Time{static_cast<int64_t>(static_cast<double>((local_time - clock_base_).count()) / rate_) + 1};
}

// ---- disks and processes ----

void Node::format(const Incarnation& incarnation, kv::Batch rows) {
  format(group::Identity{.label = label_of(number_), .shards = static_cast<uint16_t>(world_.options.shards), .incarnation = incarnation}, std::move(rows));
}

void Node::format(const group::Identity& identity, kv::Batch rows) {
  store_ = std::make_unique<Store>();
  rows_ = std::make_unique<kv::WriteBehind>(*store_);
  rows.put(kv::Family::kRaft, group::identity_key(), group::encode(identity));
  require(store_->write(rows, kv::Durability::kSynced).has_value(), "simulator", "write");
  identity_ = identity;
  damaged_ = false;
  disk_full_ = false;
}

void Node::restore(const Rows& image) {
  store_->restore(image);
  damaged_ = false;
}

void Node::start() {
  if (up()) return;
  boot_++;
  groups_.clear();
  groups_.resize(world_.groups());
  out_to_.assign(world_.options.nodes, {});
  clients_.assign(world_.groups(), {});
  known_.clear();
  now_ = local();
  auto loaded = group::load_identity(*store_);
  if (!loaded || !loaded->identity) violated("node does not start", fmt::format("node {}: identity", number_));
  identity_ = *loaded->identity;
  group::begin_start(identity_, world_.random.next() | 1);
  for (size_t peer = 0; peer < world_.options.nodes; peer++)
    if (const auto found = loaded->peers.find(label_of(peer)); found != loaded->peers.end()) known_[peer] = found->second;
  kv::Batch batch;
  batch.put(kv::Family::kRaft, group::identity_key(), group::encode(identity_));
  require(store_->write(batch, kv::Durability::kSynced).has_value(), "simulator", "write");
  world_.oracle->started(number_, identity_.incarnation, identity_.boot_epoch);
  self_tag_ = world_.selves.size();
  world_.selves.push_back({{.incarnation = identity_.incarnation, .boot_epoch = identity_.boot_epoch, .run = identity_.run}, identity_.earlier});
  status_ = Status::kUp;
  frozen_until_ = timer_at_ = next_housekeeping_ = Time{};
  timer_at_ = Time::max();
  sessions_ = group::Sessions{};
  commands_ = std::make_unique<metadata::Machine>(world_.shards);
  system_applied_ = 0;
  const uint64_t boot = boot_;
  machine_ = std::make_unique<group::SystemMachine>(*commands_, [this, boot](SystemState state) {
    if (boot != boot_) return;
    input([this, state = std::move(state)]() mutable {
      system_applied_ = std::max(system_applied_, state.revision);
      system_changed(std::move(state));
    });
  });
  open_membership(std::move(loaded->system));
  for (size_t i = 0; i < world_.groups(); i++) {
    const ShardId shard{static_cast<uint16_t>(i)};
    const auto tombstone = group::load_tombstone(*store_, shard);
    const auto replica = group::load_replica(*store_, shard);
    if (!tombstone || !replica) violated("node does not start", fmt::format("node {}: rows of replicas", number_));
    tombstones_[i] = *tombstone;
    world_.oracle->found(number_, shard, *replica, *tombstone);
    if (*replica) open_group(shard, **replica, std::nullopt);
    if (!up()) return;
  }
  if (reached(Point::kAfterBoot)) return;
  wake();
}

void Node::open_membership(std::optional<SystemState> system) {
  hashstate_ = next_hashstate_;
  world_.membership.started_with(number_, hashstate_);
  take_system(std::move(system));
  node_by_member_.clear();
  targets_.clear();
  reports_.assign(world_.options.nodes, {});
  heard_.assign(world_.options.nodes, Time{});
  strangers_.clear();
  replace_wanted_.clear();
  tombstones_.assign(world_.groups(), 1);
  destroying_.clear();
  questions_.clear();
  started_ = now_;
  next_moves_ = next_report_ = next_state_ = next_replace_ = next_hand_over_ = Time{};
  joining_ = adopting_ = false;
  self_member_ = 0;
  if (system_) bind_members();
}

void Node::crash() {
  if (!up()) return;
  world_.membership.started_with(number_, {});
  status_ = Status::kDown;
  boot_++;
  doomed_ = false;
  crash_point_ = Point::kNone;
  store_->crash(world_.random.chance(0.5) ? 0 : world_.random.below(store_->unsynced() + 1));
  rows_ = std::make_unique<kv::WriteBehind>(*store_);
  inbox_.clear();
  inbox_frames_ = 0;
  turn_scheduled_ = false;
  groups_.clear();
  groups_.resize(world_.groups());
  log_queue_.clear();
  syncing_items_.clear();
  syncing_ = sick_ = sync_fails_ = applying_ = false;
  apply_queue_.clear();
  applied_at_.clear();
  remembering_.clear();
  fail_all("the connection broke");
  for (size_t peer = 0; peer < world_.options.nodes; peer++) {
    if (peer == number_) continue;
    world_.links->break_connection(number_, peer);
    world_.links->break_connection(peer, number_);
  }
  clients_.assign(world_.groups(), {});
  tries_.clear();
  local_replies_.clear();
  proposal_tickets_.clear();
  read_tickets_.clear();
}

void Node::crash_at(Point p, std::function<void()> then) {
  crash_point_ = p;
  crashed_ = std::move(then);
}

bool Node::reached(Point p) {
  if (crash_point_ == p && !doomed_) doom();
  return doomed_;
}

void Node::doom() {
  doomed_ = true;
  crash_point_ = Point::kNone;
  const uint64_t boot = boot_;
  world_.events.after(Time{}, [this, boot] {
    if (boot != boot_) return;
    crash();
    if (const auto then = std::exchange(crashed_, {})) then();
  });
}

void Node::freeze(Time until) {
  if (up()) frozen_until_ = std::max(frozen_until_, until);
}

bool Node::damage(Random& r) {
  std::vector<std::pair<std::string, std::string>> records;
  for (size_t i = 0; i < world_.groups(); i++) {
    const ShardId shard{static_cast<uint16_t>(i)};
    const auto each = [&](std::string_view key, std::string_view value) {
      records.emplace_back(key, value);
      return true;
    };
    if (!store_->scan(kv::Family::kRaft, group::entry_key(shard, Index{0}), group::entries_end(shard), false, each)) return false;
  }
  if (records.size() < 2) return false;
  auto& [key, value] = records[r.below(records.size())];
  std::string changed = value;
  if (r.chance(0.5)) {
    changed[r.below(changed.size())] ^= static_cast<char>(1 << r.below(8));
  } else {
    changed = records[r.below(records.size())].second;
  }
  if (changed == value) return false;
  kv::Batch batch;
  batch.put(kv::Family::kRaft, key, changed);
  damaged_ = true;
  return store_->write(batch, kv::Durability::kSynced).has_value();
}

bool Node::believed_stale_by_all() const {
  for (const auto& other : world_.nodes) {
    if (other.get() == this) continue;
    const group::PeerMemory* memory = other->knows(number_);
    if (memory == nullptr || memory->incarnation != identity_.incarnation || memory->boot_epoch < identity_.boot_epoch + 1) return false;
  }
  return true;
}

// ---- turns ----

void Node::later(Time delay, std::function<void()> work) {
  const uint64_t boot = boot_;
  world_.events.after(delay, [this, boot, work = std::move(work)]() mutable {
    if (boot != boot_ || doomed_) return;
    if (frozen()) {
      later(frozen_until_ - world_.events.now(), std::move(work));
    } else {
      work();
    }
  });
}

void Node::input(std::function<void()> work) {
  if (!up()) return;
  inbox_.push_back(std::move(work));
  wake();
}

void Node::wake() {
  if (turn_scheduled_ || !up()) return;
  turn_scheduled_ = true;
  later(world_.delay(us(30)), [this] { turn(); });
}

void Node::turn() {
  turn_scheduled_ = false;
  now_ = std::max(now_, local());
  std::deque<std::function<void()>> work;
  work.swap(inbox_);
  inbox_frames_ = 0;
  for (auto& one : work) one();
  for (const auto& g : groups_)
    if (g && g->deadline <= now_) step(*g, in::Timer{});
  if (now_ >= next_housekeeping_) housekeeping();
  for (int round = 0; round < 4; round++) {
    step_dirty();
    for (size_t i = 0; i < clients_.size(); i++) pump(ShardId{static_cast<uint16_t>(i)});
    std::deque<group::Reply> replies;
    replies.swap(local_replies_);
    if (replies.empty()) break;
    for (group::Reply& reply : replies) on_reply(std::move(reply));
  }
  if (!local_replies_.empty()) wake();
  flush();
  check_bounds();
  rearm();
}

void Node::rearm() {
  if (!up()) return;
  Time next = next_housekeeping_;
  for (const auto& g : groups_)
    if (g) next = std::min(next, g->deadline);
  if (next >= timer_at_) return;  // an earlier alarm looks again
  timer_at_ = next;
  const uint64_t boot = boot_;
  const Time due = std::max(to_virtual(next), world_.events.now()) + world_.delay(world_.options.late_timer);
  world_.events.at(due, [this, boot, next] {
    if (boot != boot_ || timer_at_ != next) return;
    timer_at_ = Time::max();
    wake();
  });
}

void Node::housekeeping() {
  bool clients = !tries_.empty() || !open_.empty();
  for (const ClientShard& c : clients_) clients = clients || !c.empty();
  next_housekeeping_ = now_ + (clients ? ms(20) : ms(100));
  if (clients) expire();
  membership_turn();
  if (rows_->bytes() > 0 && world_.events.now() - behind_since_ >= ms(300)) flush_rows();
  if (now_ < next_slow_housekeeping_) return;
  next_slow_housekeeping_ = now_ + ms(100);
  for (const auto& g : groups_) {
    if (!g) continue;
    compact(*g);
  }
  if (disk_full_)
    for (const auto& g : groups_) {
      if (!g || !g->core.view().serving) continue;
      for (const Core::Peer& peer : g->core.peers())
        if (peer.voter) {
          step(*g, in::Transfer{peer.id});
          break;
        }
    }
}

void Node::check_bounds() const {
  const Options& o = world_.options;
  const auto bad = [&](const char* what) { violated("20 bounds", fmt::format("node {}: {}", number_, what)); };
  if (inbox_frames_ > o.inbox_max) bad("inbox");
  for (const ClientShard& c : clients_)
    if (c.in_flight.size() > o.in_flight_max) bad("proposals in flight");
  for (const auto& g : groups_) {
    if (!g) continue;
    const Core::View v = g->core.view();
    // What is not durable or not committed stays; beyond it the tail is bounded.
    if (v.is_leader && v.uncommitted_bytes > o.raft.max_uncommitted_bytes + 8'192) bad("uncommitted bytes");
    if (g->offers.size() > 16) bad("snapshots on offer");
  }
}

// ---- links ----

void Node::flush() {
  if (!up()) return;
  if (!log_queue_.empty()) {
    if (reached(Point::kBeforeWrite)) return;
    start_sync();
  }
  start_apply();
  if (reached(Point::kBeforeSend)) return;
  for (size_t peer = 0; peer < out_to_.size(); peer++)
    if (peer != number_) flush_peer(peer);
  reached(Point::kAfterSend);
}

void Node::flush_peer(size_t peer) {
  PeerOut& out = out_to_[peer];
  std::string bytes = std::exchange(out.frames, {});
  if (!out.messages.empty()) group::append_frame(group::FrameKind::kMessages, out.messages, bytes);
  if (!out.beats.empty()) {
    const uint64_t connection = world_.links->connection(number_, peer);
    if (connection != out.coder_connection) {
      out.coder = {};
      out.coder_connection = connection;
    }
    group::append_frame(group::FrameKind::kBeats, out.coder.encode(out.beats), bytes);
  }
  if (!out.requests.empty()) group::append_frame(group::FrameKind::kRequests, out.requests, bytes);
  if (!out.replies.empty()) group::append_frame(group::FrameKind::kReplies, out.replies, bytes);
  out.messages.clear();
  out.beats.clear();
  out.requests.clear();
  out.replies.clear();
  // Connections are kept up where nothing is said, too: a packet without a frame is a handshake.
  if (bytes.empty() && now_ - out.last_sent < ms(200)) return;
  out.last_sent = now_;
  world_.links->send(peer, {.from = number_, .connection = 0, .incarnation_tag = self_tag_, .altered = false, .repeated = false, .bytes = std::move(bytes), .ring = shown_});
}

void Node::route(ShardId shard, const Message& m) {
  if (doomed_) return;
  const auto to = peer_of(header(m).to);
  if (!to || *to == number_) return;
  world_.oracle->sent(number_, shard, m);
  if (world_.dropped_kind == m.index()) return;
  PeerOut& out = out_to_[*to];
  const bool beat = std::holds_alternative<BeatReq>(m) || std::holds_alternative<BeatResp>(m);
  if (beat && world_.links->quality.connections) {
    out.beats.push_back(m);
  } else {
    group::encode_message(m, out.messages);
  }
}

void Node::deliver(const Packet& packet) {
  if (!up() || doomed_) {
    if (world_.links->quality.connections) world_.links->break_connection(packet.from, number_);
    return;
  }
  if (inbox_frames_ >= world_.options.inbox_max) {
    // A receiver that does not read makes the sender's connection stall and break.
    if (world_.links->quality.connections) world_.links->break_connection(packet.from, number_);
    return;
  }
  inbox_frames_++;
  input([this, packet] { receive(packet); });
}

bool Node::accept(const Packet& packet) {
  const group::PeerMemory& self = world_.selves[packet.incarnation_tag].memory;
  // Each refused connection begins with a handshake.
  if (objects(packet.from, self) && (!heard_of_ring(packet) || objects(packet.from, self))) return false;
  const auto known = known_.find(packet.from);
  if (known != known_.end() && known->second.incarnation == self.incarnation) {
    const group::Start start = group::judge_start(known->second, self, world_.selves[packet.incarnation_tag].earlier);
    if (start == group::Start::kSame) return true;
    if (start != group::Start::kLater && !mutant(DriverMutant::kStaleBootAccepted)) return false;
  }
  // As formation.cc: durable before anything is exchanged, so that an older copy of the peer is recognised after our own crash, too.
  const auto writing = remembering_.find(packet.from);
  if (writing != remembering_.end() && writing->second.run == self.run) return false;
  remembering_[packet.from] = self;
  LogItem item;
  item.extra.put(kv::Family::kRaft, group::peer_key(label_of(packet.from)), group::encode(self));
  item.after = [this, from = packet.from, self] {
    known_[from] = self;
    remembering_.erase(from);
  };
  log_queue_.push_back(std::move(item));
  return false;
}

void Node::receive(const Packet& packet) {
  // What came on a connection that has broken meanwhile is not read any more.
  if (world_.links->quality.connections && world_.links->connection(packet.from, number_) != packet.connection) return;
  PeerOut& in = out_to_[packet.from];
  if (in.decoder_connection != packet.connection) {
    in.decoder = {};
    in.decoder_connection = packet.connection;
  }
  if (!accept(packet)) {
    // The handshake that would have come first has not happened: nothing of this connection is understood.
    if (world_.links->quality.connections) world_.links->break_connection(packet.from, number_);
    return;
  }
  heard_[packet.from] = now_;
  std::string_view rest = packet.bytes;
  const auto refuse = [&] {
    if (packet.altered) world_.corrupt_rejected++;
    else violated("frames", "a frame that nobody altered is refused");
    if (world_.links->quality.connections) world_.links->break_connection(packet.from, number_);
  };
  while (!rest.empty()) {
    const auto frame = group::next_frame(rest);
    if (!frame || !*frame) return refuse();
    const std::string_view payload = (*frame)->payload;
    switch ((*frame)->kind) {
      case group::FrameKind::kMessages: {
        auto messages = group::decode_messages(payload);
        if (!messages) return refuse();
        take_messages(packet.from, std::move(*messages));
        break;
      }
      case group::FrameKind::kBeats: {
        auto beats = in.decoder.decode(payload);
        if (!beats) return refuse();
        take_messages(packet.from, std::move(*beats));
        break;
      }
      case group::FrameKind::kRequests: {
        auto requests = group::decode_requests(payload);
        if (!requests) return refuse();
        // Requests come over a connection in production, at most once; only Raft's own messages bear repetition.
        if (!packet.repeated)
          for (auto& r : *requests) serve(packet.from, std::move(r));
        break;
      }
      case group::FrameKind::kReplies: {
        auto replies = group::decode_replies(payload);
        if (!replies) return refuse();
        for (auto& r : *replies) on_reply(std::move(r));
        break;
      }
      case group::FrameKind::kReport: {
        auto report = group::decode_report(payload);
        if (!report) return refuse();
        take_report(packet.from, std::move(*report));
        break;
      }
      case group::FrameKind::kSystemState: {
        auto state = group::decode_system_state(payload);
        if (!state) return refuse();
        take_state(std::move(*state));
        break;
      }
      default:
        return refuse();
    }
    rest.remove_prefix((*frame)->used);
  }
  if (packet.altered) violated("frames", "an altered packet was taken for good");
}

void Node::take_messages(size_t peer, std::vector<Message> messages) {
  if (!system_) return;
  for (Message& m : messages) {
    const Hdr h = header(m);
    if (raw(h.group) >= world_.groups() || peer_of(h.from) != peer) continue;
    const ShardId shard = group::shard_of(h.group);
    if (mutant(DriverMutant::kStaleBootAccepted)) {
      // A disk that went back must not be believed.
      const Directory::Replica* from = world_.directory.find(shard, h.from);
      const Node& there = *world_.nodes[peer];
      if (from != nullptr && from->gone && there.up() && there.group(shard) && there.group(shard)->core.self() == h.from)
        violated("11 replica ids", fmt::format("node {} believes replica {} of shard {}, whose disk went back", number_, raw(h.from), shard.value()));
    }
    const bool leads = std::holds_alternative<AppendReq>(m) || std::holds_alternative<BeatReq>(m) || std::holds_alternative<SnapReq>(m);
    // One that asks for votes although it was removed has not heard of it: whoever knows says so.
    if (Group* knows = std::holds_alternative<VoteReq>(m) ? group(shard) : nullptr; knows && !knows->stopped && group::is_removed(knows->core, h.from)) {
      knows->doomed.emplace(h.from, Time{});
      tell_doomed(*knows);
    }
    Group* g = group_for(h, leads);
    if (g == nullptr) continue;
    step(*g, in::Receive{std::move(m)});
    if (leads && g->core.view().leader == h.from) g->led = now_;
  }
}

void Node::connection_broken(size_t peer) {
  if (!up()) return;
  input([this, peer] {
    std::vector<uint64_t> lost;
    for (const auto& [id, t] : tries_)
      if (t.target == peer) lost.push_back(id);
    for (uint64_t id : lost) on_reply({.id = id, .outcome = group::Reply::Outcome::kLost});
  });
}

void Node::peer_down(size_t peer) {
  if (!up()) return;
  input([this, peer] {
    for (const auto& g : groups_) {
      if (!g) continue;
      const auto leader = g->core.view().leader;
      if (leader && peer_of(*leader) == peer) step(*g, in::PeerDown{*leader});
    }
  });
}

const Core* Node::core(ShardId shard) const {
  const Group* g = up() ? group(shard) : nullptr;
  return g == nullptr ? nullptr : &g->core;
}

Index Node::applied(ShardId shard) const {
  const Group* g = up() ? group(shard) : nullptr;
  return g == nullptr ? Index{} : g->state.index;
}

void Node::transfer(ShardId shard, ReplicaId to) {
  input([this, shard, to] {
    if (Group* g = group(shard)) step(*g, in::Transfer{to});
  });
}

}  // namespace kraken::sim::whole
