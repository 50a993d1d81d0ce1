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
#include "consensus/group/reconcile.h"
#include "consensus/group/report.h"
#include "consensus/group/requests.h"
#include "consensus/raft/core.h"
#include "src/metadata/machine.h"
#include "src/metadata/port.h"
#include "storage/kv/write_behind.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/random.h"
#include "tests/sim/whole/links.h"
#include "tests/sim/whole/membership.h"
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
  Random random, net_random, fault_random, work_random, behind_random;  // apart, so that one fault less changes little else
  const bool behind;                           // turns of apply may wait for the store, as in production; else none does
  metadata::Shards shards;
  Directory directory;
  Membership membership;                       // as the log has it; no node reads it
  std::unique_ptr<Links> links;
  std::unique_ptr<Oracle> oracle;
  std::unique_ptr<History> history;
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<Self> selves;                    // by Packet::incarnation_tag
  std::optional<size_t> dropped_kind;          // of message, between all nodes
  uint64_t trace = 0, steps = 0, snapshots = 0, corrupt_rejected = 0, read_at_disk = 0;
  bool verbose = false, calm = false, force_adoption = false;
  bool small_ring_proposed = false;            // of fewer than three nodes, and not known to have come to nothing

  Time delay(Time max) { return Time{static_cast<int64_t>(random.below(static_cast<uint64_t>(max.count()) + 1))}; }
  size_t groups() const { return options.shards + 1; }
  Incarnation new_incarnation();
};

/// Where power may go. Each is a boundary of storage, apply, network, installation or start.
enum class Point : uint8_t {
  kNone, kBeforeWrite, kAfterWrite, kAfterSync, kBeforeSend, kAfterSend, kBeforeApply, kAfterApply, kBeforeInstall, kAfterInstall, kAfterBoot,
  kAfterTermWrite,  // a write of both a new hard state and entries
  kCount,
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
  /// With everything that was applied.
  const Store& store() {
    flush_rows();
    return *store_;
  }

  /// An empty disk becomes this node's, with these rows.
  void format(const Incarnation& incarnation, kv::Batch rows);
  void format(const group::Identity& identity, kv::Batch rows);
  /// The hashstate that the next start reads, and whether it is told that its folder takes the place of the label's (--replace).
  void configure(std::vector<WishNode> hashstate) { next_hashstate_ = std::move(hashstate); }
  const std::vector<WishNode>& configured() const { return next_hashstate_; }
  void take_place() { replace_ = true; }
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

  // As consensus/group/node.h: from any node, tried until answered or until the deadline (in this node's time).
  void propose(ShardId shard, std::string command, Time patience, uint64_t op, Finish finish);
  void query(ShardId shard, std::string query, metadata::Read read, Time patience, uint64_t op, Finish finish);

  struct Group;
  Group* group(ShardId shard) const { return groups_[shard.value()].get(); }
  const raft::Core* core(ShardId shard) const;
  Index applied(ShardId shard) const;
  void transfer(ShardId shard, ReplicaId to);
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
  void check_bounds() const;

  // node_groups.cc: stepping, storage, apply, snapshots
  /// Without a log: as it is on disk.
  void open_group(ShardId shard, ReplicaId self, std::optional<group::LoadedLog> log);
  void step(Group& g, raft::Input input);
  void collect(Group& g);
  void collect_clients(Group& g);
  void start_sync();
  void sync_done();
  void persisted(const std::map<ShardId, raft::Seq>& done);
  void start_apply();
  void apply_some();
  void flush_rows();
  void clear_rows();
  struct Done {
    ShardId shard;
    ReplicaId self{};
    Index upto{};
    std::vector<std::pair<Index, Answer>> answers;
  };
  void applied(std::vector<Done>& all);
  void release_reads(Group& g);
  void fetch(Group& g, const raft::Output::Fetch& f);
  void offer_snapshot(ShardId shard, ReplicaId peer);
  void install(Group& g, const raft::Output::Install& in);
  void transferred(ShardId shard, ReplicaId self, const raft::SnapMeta& meta, size_t from, uint64_t from_boot);
  void try_install();
  void installed(ShardId shard, ReplicaId self, const raft::SnapMeta& meta, bool ok);
  void compact(Group& g);
  Group* same(ShardId shard, ReplicaId self) const;

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

  // node_members.cc: the ring, and what nodes say of themselves
  std::optional<size_t> peer_of(ReplicaId replica) const;
  bool hears(size_t peer) const;
  bool live(size_t peer) const;
  void bind_members();
  void system_changed(SystemState state);
  void take_state(SystemState state);
  void take_system(std::optional<SystemState> state);
  bool heard_of_ring(const Packet& packet);
  bool objects(size_t peer, const group::PeerMemory& self);
  group::Report own_report() const;
  void take_report(size_t peer, group::Report said);
  void membership_turn();
  void look_at_adoption();
  std::optional<group::Replace> replacement(size_t peer) const;
  void take_replacements();
  void propose_system(const group::SystemCommand& command, std::function<void()> done);

  // node_moves.cc: replicas that are made, moved and destroyed
  group::ShardView view_of(const Group& g) const;
  void move_replicas();
  bool move(Group& g, std::map<uint32_t, int>& inbound, uint64_t version);
  void say_satisfied(Group& g, const Placement& target);
  void note_removed(Group& g);
  void tell_doomed(Group& g);
  Group* group_for(const raft::Hdr& h, bool from_leader);
  void destroy(Group& g, uint64_t min_sequence);
  void read_elsewhere(ClientShard& c, Question q);
  void serve_destroy(size_t peer, const group::Request& request);
  void ask_if_gone(Group& g);
  void serve_am_i_gone(size_t peer, const group::Request& request);
  bool question_answered(const group::Reply& reply);
  void open_membership(std::optional<SystemState> system);

  World& world_;
  size_t number_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<kv::WriteBehind> rows_;      // what was applied, before the store
  Time behind_since_{};                        // something may wait since then
  Status status_ = Status::kDown;
  bool damaged_ = false;
  uint64_t boot_ = 0;  // counts processes; what belongs to an earlier one is dropped
  double rate_ = 1;
  Time clock_base_{};
  Time frozen_until_{}, stalled_until_{}, apply_slow_until_{};
  Point crash_point_ = Point::kNone;
  std::function<void()> crashed_;
  bool doomed_ = false, sync_fails_ = false, disk_full_ = false;
  std::vector<WishNode> next_hashstate_;  // of the configuration file
  bool replace_ = false;

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
  struct PeerOut {
    std::string messages, requests, replies, frames;
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
    std::optional<ReplicaId> destroys;
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
  std::unique_ptr<metadata::Machine> commands_;
  std::unique_ptr<group::SystemMachine> machine_;
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

  // Membership.
  struct Reported {
    group::Report said;
    uint64_t wish = 0;
    Time since{}, at{};
  };
  struct Asked {
    ShardId shard;
    ReplicaId replica{};
    bool destroy = false;
    Time sent{};
  };
  struct Stranger {
    Incarnation incarnation;
    Time seen{};
  };
  std::vector<WishNode> hashstate_;            // that this process was started with
  std::optional<SystemState> system_;          // the newest that it has heard of
  std::shared_ptr<const SystemState> shown_;   // the same, for packets
  uint64_t system_applied_ = 0;                // the revision of group 0's rows here
  std::map<uint32_t, size_t> node_by_member_;  // those that are not dead
  uint32_t self_member_ = 0;
  std::vector<Placement> targets_;             // by shard
  std::vector<Reported> reports_;              // by node
  std::vector<Time> heard_;                    // by node; 0: not by this process
  std::map<size_t, Stranger> strangers_;
  std::set<size_t> replace_wanted_;
  std::vector<uint64_t> tombstones_;           // by shard
  std::set<ShardId> destroying_;
  std::map<uint64_t, Asked> questions_;
  Time started_{}, next_moves_{}, next_report_{}, next_state_{}, next_replace_{}, next_hand_over_{};
  bool joining_ = false, adopting_ = false;
  std::string adoption_waits_for_;
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
  Index stored{};                // what the store has of it
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
  bool local = false;            // may be read
  bool caught_up = false;
  Time led{};                    // when it last had a leader, or began
  group::MoveMemory memory;
  std::string phase;
  std::optional<std::pair<uint64_t, Index>> in_place;
  std::set<ReplicaId> known;
  std::map<ReplicaId, Time> doomed;
  Time next_satisfied{}, next_question{};
  std::optional<raft::SnapMeta> installing;
  std::optional<Offer> arrived;      // rows that wait for their atomic step
};

}  // namespace kraken::sim::whole
