// One simulated node: the production core of each group, one store, sessions, state machine and frames, and the driver's duties
// between them. The driver follows consensus/group/engine.cc, whose threads and sockets are events here:
//
//   turn     takes what came from the links, the disk, the applier and clients; steps groups; ends in one submission to the log,
//            one to the applier, one packet per peer
//   log      one write and one sync at a time for all groups (log_writer.cc)
//   applier  one ApplyTurn for all groups, one batch (applier.cc)
//   client   proposals under a session, tried until answered; reads by ReadIndex (client.cc)
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "consensus/group/apply_turn.h"
#include "consensus/group/frame.h"
#include "consensus/group/identity.h"
#include "consensus/group/requests.h"
#include "consensus/raft/core.h"
#include "src/metadata/machine.h"
#include "src/metadata/port.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/random.h"
#include "tests/sim/whole/links.h"
#include "tests/sim/whole/oracle.h"
#include "tests/sim/whole/options.h"
#include "tests/sim/whole/store.h"

namespace kraken::sim::whole {

class Node;
class History;

/// What a process says of itself when it connects.
struct Self {
  group::PeerMemory memory;
  std::vector<uint32_t> earlier;
};

/// What all nodes of a run share.
struct World {
  World(const Options& o, uint64_t seed);
  ~World();

  Options options;
  EventQueue events;
  Random random, net_random, fault_random, work_random;  // apart, so that one fault less changes little else
  metadata::Shards shards;
  Directory directory;
  std::unique_ptr<Links> links;
  std::unique_ptr<Oracle> oracle;
  std::unique_ptr<History> history;
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<raft::ConfState> first_conf;     // by shard: what it was formed with
  std::vector<std::vector<size_t>> target;     // by shard: the nodes that should vote
  std::vector<Self> selves;                    // by Packet::incarnation_tag
  std::optional<size_t> dropped_kind;          // of message, between all nodes
  uint64_t trace = 0, steps = 0, snapshots = 0, corrupt_rejected = 0, read_at_disk = 0;
  bool verbose = false, calm = false;

  Time delay(Time max) { return Time{static_cast<int64_t>(random.below(static_cast<uint64_t>(max.count()) + 1))}; }
  size_t groups() const { return options.shards + 1; }
  Incarnation new_incarnation();
};

/// Where power may go. Each is a boundary of storage, apply, network, installation or start.
enum class Point : uint8_t {
  kNone, kBeforeWrite, kAfterWrite, kAfterSync, kBeforeSend, kAfterSend, kBeforeApply, kAfterApply, kBeforeInstall, kAfterInstall, kAfterBoot, kCount,
};

class Node {
 public:
  using Finish = std::function<void(Result<std::string>)>;
  enum class Status : uint8_t { kDown, kUp, kRefusesToStart };

  Node(World& world, size_t number);

  size_t number() const { return number_; }
  bool up() const { return status_ == Status::kUp; }
  Status status() const { return status_; }
  bool frozen() const { return world_.events.now() < frozen_until_; }
  const Incarnation& incarnation() const { return identity_.incarnation; }
  const group::Identity& identity() const { return identity_; }
  const Store& store() const { return *store_; }

  /// An empty disk becomes this node's. `replicas`: (shard, id) that it is born with.
  void format(const Incarnation& incarnation, const std::vector<std::pair<ShardId, ReplicaId>>& replicas);
  void format(const group::Identity& identity, const std::vector<std::pair<ShardId, ReplicaId>>& replicas);
  void start();
  void crash();
  void crash_at(Point p, std::function<void()> then);
  void disarm() {
    crash_point_ = Point::kNone;
    sync_fails_ = false;
  }
  void freeze(Time until);
  void jump(Time by) { clock_base_ += by; }
  void stall_disk(Time until) { stalled_until_ = until; }
  void slow_apply(Time until) { apply_slow_until_ = until; }
  void fail_next_sync(std::function<void()> then) {
    sync_fails_ = true;
    crashed_ = std::move(then);
  }
  void fill_disk(bool full) { disk_full_ = full; }
  /// While down: flips a bit of a log record, or puts one in the place of another. False if there is none.
  bool damage(Random& r);
  bool damaged() const { return damaged_; }
  Rows image() const { return store_->image(); }
  uint64_t image_epoch() const { return identity_.boot_epoch; }
  void restore(const Rows& image);
  /// Refused by everyone who matters: it must be wiped.
  bool believed_stale_by_all() const;
  const group::PeerMemory* knows(size_t peer) const {
    const auto found = known_.find(peer);
    return found == known_.end() ? nullptr : &found->second;
  }

  void deliver(const Packet& packet);
  void connection_broken(size_t peer);
  /// The process at the other end is said to be gone.
  void peer_down(size_t peer);
  void destroy(ShardId shard, ReplicaId id);

  // As consensus/group/node.h: from any node, tried until answered or until the deadline (in this node's time).
  void propose(ShardId shard, std::string command, Time patience, uint64_t op, Finish finish);
  void query(ShardId shard, std::string query, metadata::Read read, Time patience, uint64_t op, Finish finish);

  struct Group;
  Group* group(ShardId shard) const { return groups_[shard.value()].get(); }
  const raft::Core* core(ShardId shard) const;
  Index applied(ShardId shard) const;
  void transfer(ShardId shard, ReplicaId to);
  void change_conf(ShardId shard, const ConfState& target);
  bool idle() const;  // no client's request is open
  std::string describe_clients() const;

 private:
  // node.cc: time, turns, links
  Time local() const;
  Time to_virtual(Time local) const;
  void input(std::function<void()> work);
  void wake();
  void turn();
  void flush();
  void flush_peer(size_t peer);
  void rearm();
  void housekeeping();
  void later(Time delay, std::function<void()> work);
  bool reached(Point p);
  void doom();
  void receive(const Packet& packet);
  void take_messages(size_t peer, std::vector<Message> messages);
  bool accept(const Packet& packet);
  void route(ShardId shard, const Message& m);
  void maybe_create(ShardId shard, ReplicaId id);
  void destroyed(ShardId shard, ReplicaId id);
  void check_bounds() const;

  // node_groups.cc: stepping, storage, apply, snapshots
  void open_group(ShardId shard, ReplicaId self);
  void step(Group& g, raft::Input input);
  void collect(Group& g);
  void collect_clients(Group& g);
  void start_sync();
  void sync_done();
  void persisted(const std::map<ShardId, raft::Seq>& done);
  void start_apply();
  void apply_some();
  struct Done {
    ShardId shard;
    Index upto{};
    std::vector<std::pair<Index, Answer>> answers;
  };
  void applied(std::vector<Done>& all);
  void release_reads(Group& g);
  void fetch(Group& g, const raft::Output::Fetch& f);
  void offer_snapshot(ShardId shard, ReplicaId peer);
  void install(Group& g, const raft::Output::Install& in);
  void transferred(ShardId shard, const raft::SnapMeta& meta, size_t from, uint64_t from_boot);
  void try_install();
  void installed(ShardId shard, const raft::SnapMeta& meta, bool ok);
  void compact(Group& g);
  void reconcile(Group& g);

  // node_client.cc: this node as a server and as a client
  struct Pending {
    Time deadline{};
    uint64_t op = 0;
    Finish finish;
    bool done = false;
  };
  using PendingPtr = std::shared_ptr<Pending>;
  struct Proposal {
    PendingPtr pending;
    std::string command;
    uint64_t session = 0, try_id = 0;
    Time next_try{};
    unsigned tries = 0;
  };
  struct Question {
    PendingPtr pending;
    std::string query;
    metadata::Read read{};
    size_t origin_peer = SIZE_MAX;  // asked by a peer: whom to answer
    uint64_t origin_id = 0;
  };
  struct ClientShard {
    uint64_t session = 0;
    bool opening = false;
    uint64_t next_sequence = 1;
    std::map<uint64_t, Proposal> in_flight;
    std::deque<Proposal> waiting;
    std::vector<Question> reads, remote;
    Time pause{};
    size_t hint = SIZE_MAX, rotation = 0;
    bool empty() const { return in_flight.empty() && waiting.empty() && reads.empty() && remote.empty() && !opening; }
  };
  struct Try {
    enum class Kind : uint8_t { kPropose, kOpen, kRead, kQuery } kind{};
    ShardId shard;
    size_t target = 0;
    Time sent{};
    uint64_t sequence = 0;
    std::vector<Question> questions;
  };
  void pump(ShardId shard);
  size_t target_of(ShardId shard, ClientShard& c);
  void dispatch(size_t target, group::Request request);
  void serve(size_t peer, group::Request request);
  void answer(size_t peer, uint64_t id, group::Reply reply);
  void step_dirty();
  void on_reply(group::Reply reply);
  void proposal_answered(ClientShard& c, Try& t, group::Reply& reply);
  void expire();
  void finish(const PendingPtr& p, Result<std::string> result);
  void run_query(ShardId shard, const Question& q);
  void fail_all(const char* why);

  World& world_;
  size_t number_;
  std::unique_ptr<Store> store_;
  Status status_ = Status::kDown;
  bool damaged_ = false;
  uint64_t boot_ = 0;  // counts processes; what belongs to an earlier one is dropped
  double rate_ = 1;
  Time clock_base_{};
  Time frozen_until_{}, stalled_until_{}, apply_slow_until_{};
  Point crash_point_ = Point::kNone;
  std::function<void()> crashed_;
  bool doomed_ = false, sync_fails_ = false, disk_full_ = false;

  // ---- of the process ----
  group::Identity identity_;
  uint64_t self_tag_ = 0;
  std::map<size_t, group::PeerMemory> known_;      // durable memory of peers
  std::map<size_t, group::PeerMemory> remembering_;
  std::deque<std::function<void()>> inbox_;
  size_t inbox_frames_ = 0;
  bool turn_scheduled_ = false;
  Time now_{}, timer_at_{}, next_housekeeping_{}, next_slow_housekeeping_{};
  raft::Output out_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::set<ShardId> creating_;
  struct PeerOut {
    std::string messages, requests, replies;
    std::vector<Message> beats;
    group::BeatCoder coder, decoder;
    uint64_t coder_connection = 0, decoder_connection = 0;
    Time last_sent{};
  };
  std::vector<PeerOut> out_to_;

  struct LogItem {
    ShardId shard;
    raft::Seq seq = 0;
    std::optional<raft::HardState> hard_state;
    std::optional<Index> truncate_from;
    std::vector<Entry> append;
    std::optional<std::pair<Index, raft::SnapMeta>> compaction;
    kv::Batch extra;
    std::function<void()> after;
  };
  std::vector<LogItem> log_queue_, syncing_items_;
  bool syncing_ = false, sick_ = false;
  uint64_t sync_position_ = 0;

  struct Job {
    ShardId shard;
    ReplicaId self{};
    Index from{}, to{};
    std::vector<Entry> entries;
  };
  std::deque<Job> apply_queue_;
  bool applying_ = false;
  group::Sessions sessions_;
  std::unique_ptr<metadata::Machine> machine_;
  struct AppliedAt {
    uint64_t position = 0;
    ShardId shard;
    Index index{};
  };
  std::deque<AppliedAt> applied_at_;

  std::vector<ClientShard> clients_;
  std::map<uint64_t, Try> tries_;
  uint64_t next_id_ = 1;
  std::vector<PendingPtr> open_;  // every request of a handler that has no answer
  std::deque<group::Reply> local_replies_;
  struct Origin {
    size_t peer = 0;
    uint64_t id = 0;
  };
  std::map<raft::Seq, Origin> proposal_tickets_;
  std::map<raft::Seq, std::vector<Origin>> read_tickets_;
  raft::Seq next_ticket_ = 1;
};

struct Node::Group {
  Group(ShardId id, raft::Core made) : shard(id), core(std::move(made)) {}
  ShardId shard;
  raft::Core core;
  Time deadline{};
  std::deque<raft::Output::Gated> gated;
  struct InFlight {
    Index index{};
    raft::Seq ticket = 0;
  };
  std::deque<InFlight> in_flight;
  std::vector<raft::in::Propose> proposals;
  std::vector<Origin> reads;
  Time stamped{};
  Index applied{};               // as the loop knows it
  group::AppliedState state;     // the applier's
  std::multimap<Index, Question> waiting;
  bool compacting = false, stopped = false;
  struct Offer {
    raft::SnapMeta meta;
    std::vector<std::tuple<kv::Family, std::string, std::string>> rows;
    ReplicaId peer{};
    Time until{};
  };
  std::map<uint64_t, Offer> offers;  // by snap_id; each pins the log
  std::optional<raft::SnapMeta> installing;
  std::optional<Offer> arrived;      // rows that wait for their atomic step
};

}  // namespace kraken::sim::whole
