#pragma once
// The group loop: one thread steps every group of this node (raft::Core) and is the only one that touches what is below.
//
// A turn takes what came from sockets, from the log writer, the applier and from callers; steps the groups; and ends in flush():
// one submission to the log writer, one to the applier, one write per connection, one post per caller's loop. A turn that
// meets more work makes bigger batches of each, so the cost per proposal falls with load.
//
//   engine.cc     turns and timers                 client.cc     proposals and reads of this node, tried until answered
//   groups.cc     steps, and what comes of them    serve.cc      what peers (and this node) ask of groups it leads
//   catch_up.cc   compaction, snapshots            formation.cc  how a cluster comes to be      handshakes.cc  who may talk
//   members.cc    the ring, and how it changes     moves.cc      replicas made, moved and destroyed
//   roles.cc      leadership, the disk             peers.cc      connections and frames         status.cc  for the operator
//   fences.cc     who must not serve or lead
// Threads: everything on the loop, except where a comment says otherwise.

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "consensus/group/adoption.h"
#include "consensus/group/applier.h"
#include "consensus/group/frame.h"
#include "consensus/group/handshake.h"
#include "consensus/group/identity.h"
#include "consensus/group/log_writer.h"
#include "consensus/group/node.h"
#include "consensus/group/pending.h"
#include "consensus/group/reconcile.h"
#include "consensus/group/report.h"
#include "consensus/group/requests.h"
#include "consensus/group/snapshots.h"
#include "consensus/group/state_digest.h"
#include "consensus/group/transport.h"
#include "consensus/raft/core.h"
#include "src/net/file_pool.h"
#include "storage/kv/disk_guard.h"

namespace kraken::group {

class Engine {
 public:
  Engine(NodeOptions options, StateMachine& machine, kv::Store& store, Identity identity, LoadedIdentity loaded);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  // On the thread that opens the node.
  /// Loads and checks the logs of all local shards, if the cluster has formed.
  Result<> load();
  void start(net::Acceptor acceptor);
  /// Gives all leaderships away, which takes a second at most, and takes none any more; goes on as a follower. Not on the loop.
  void drain();
  /// hand_off: give leadership away first. drop: as a power cut would.
  void stop(bool hand_off, bool drop);

  // From any thread.
  net::Loop& loop() { return loop_; }
  const NodeOptions& options() const { return options_; }
  const Clock& clock() const { return clock_; }
  Applier& applier() { return *applier_; }
  StateMachine& machine() { return machine_; }
  /// Nonzero while a replica here may be read, and another number each time that begins anew: rows that were read are good if the
  /// number was the same before and after.
  std::uint32_t local(ShardId shard) const { return local_[shard.value()].load(std::memory_order_acquire); }
  bool is_local(ShardId shard) const { return local(shard) != 0; }
  std::shared_ptr<const AdoptedRing> ring() const;
  void propose(ShardId shard, std::string command, PendingPtr pending);
  /// Ready (with an empty answer) once a linearizable read may look at the local rows. REQUIRES: is_local.
  void read(ShardId shard, PendingPtr pending);
  /// Asks some replica, since this node has none.
  void query(ShardId shard, std::string query, Read read, PendingPtr pending);
  /// What some replica has, this node's if it may: index u64, age i64, answer.
  void query_stale(ShardId shard, std::string query, PendingPtr pending);
  /// Runs `work` on the loop and waits for it; in place when already there; not at all (false) once the loop has ended.
  bool on_loop(const std::function<void()>& work);
  /// False, and the work dropped, after stop.
  bool post(std::move_only_function<void()> work);

  // On the loop.
  ShardStatus status(ShardId shard) const;
  std::vector<PeerStatus> peer_status() const;
  std::vector<std::string> voter_labels(ShardId shard) const;
  std::string not_ready() const;
  /// Why a peer refuses this node, or this node a peer; empty if none does.
  std::string refusal() const;
  void set_leadership_callback(std::function<void(ShardId, bool)> callback) { on_leadership_ = std::move(callback); }
  void set_ring_callback(std::function<void(std::shared_ptr<const AdoptedRing>)> callback) { on_ring_ = std::move(callback); }
  void transfer(ShardId shard, const std::string& label);
  /// The command that makes the folder which says it is `label` the ring's, or why not (Node::replace).
  Result<Replace> replacement(const std::string& label) const;
  /// Hands a command to group 0, from whatever node. `done` on the loop, with the outcome; may be empty.
  void propose_system(const SystemCommand& command, std::function<void(Result<SystemOutcome>)> done);
  void report_satisfied(ShardId shard, std::uint64_t epoch);
  void force_adoption() { adopt_force_until_ = clock_.monotonic() + std::chrono::seconds(30); }
  MembershipStatus membership() const;
  /// Lets a fenced replica serve again, however it differs. False if it is not fenced.
  bool release(ShardId shard);

 private:
  static constexpr std::size_t kNobody = ~std::size_t{0};

  /// Who asked: a peer, or this node itself (kNobody).
  struct Origin {
    std::size_t peer = kNobody;
    std::uint64_t id = 0;
  };

  /// A digest of another replica.
  struct Told {
    raft::Index index{};
    StateDigest digest;
  };

  struct Group {
    Group(ShardId id, raft::Core made) : shard(id), core(std::move(made)) {}
    ShardId shard;
    raft::Core core;
    std::deque<raft::Output::Gated> gated;  // messages that wait for the disk
    struct InFlight {
      raft::Index index{};
      std::uint64_t ticket = 0;
    };
    std::deque<InFlight> in_flight;  // accepted proposals whose answer has not come from the applier
    std::vector<raft::in::Propose> proposals;  // of this turn, or held back
    MonotonicTime proposed{};                  // when the last ones were given to the core
    std::vector<Origin> reads;                 // of this turn
    bool dirty = false;                        // is in dirty_
    MonotonicTime stamped{};   // leader: when replicated time was last advanced
    MonotonicTime led{};       // when it last had a leader, or began
    MonotonicTime heard = MonotonicTime::min();  // follower: when the leader was last heard; min: not since the start
    bool serving = false;
    bool stopped = false;      // diverged: see Output::conflict
    MonotonicTime next_return{};  // no leadership goes back to the preferred voter before: the last try came to nothing
    // State digests.
    DigestVotes votes;
    std::map<raft::ReplicaId, Told> told;  // by others, of indexes that are not applied here yet
    std::size_t differences = 0;           // that were reported
    std::string fenced;                    // why this replica does not serve; empty: it does
    raft::Index fenced_at{};
    bool odd = false;                      // fenced, and the majority is against it
    bool released = false;                 // by hand: differences no longer matter
    raft::Index applied{};
    std::multimap<raft::Index, PendingPtr> waiting_reads;  // wait until applied
    // The log on disk, or about to be: payload bytes of the entries from first on.
    raft::Index first{1};
    std::deque<std::uint32_t> sizes;
    std::uint64_t log_bytes = 0;
    bool compacting = false;
    struct Pin {
      std::uint64_t snap_id = 0;
      raft::ReplicaId peer{};
      raft::SnapMeta meta;
      MonotonicTime until{};     // at the latest
    };
    std::vector<Pin> pins;  // snapshots being taken over
    bool caught_up = false;  // for ready: has had a leader, and had applied what was committed
    // Moves, on the leader.
    std::shared_ptr<std::atomic<bool>> alive = std::make_shared<std::atomic<bool>>(true);  // false: being destroyed
    MoveMemory memory;
    MoveAction move;
    bool moving = false;
    std::optional<std::pair<std::uint64_t, raft::Index>> in_place;  // (target version, conf index) at which nothing was left to do
    std::set<raft::ReplicaId> known;            // replicas of the last committed configuration it saw as leader
    std::map<raft::ReplicaId, MonotonicTime> doomed;  // removed by a committed configuration; when they were told last
    MonotonicTime next_satisfied{};
    MonotonicTime next_question{};              // orphan: when to ask again
  };

  /// What a peer says of itself.
  struct Reported {
    Report said;
    std::uint64_t wish = 0;    // hash of said.wish
    MonotonicTime since{};     // it has wished for that
    MonotonicTime at = MonotonicTime::min();
  };
  /// Asked about a replica: whether it is destroyed, or to be.
  struct Question {
    ShardId shard;
    raft::ReplicaId replica{};
    bool destroy = false;
    MonotonicTime sent{};
  };
  /// Somebody with a label of the ring but another folder than the ring's.
  struct Stranger {
    Incarnation incarnation;
    MonotonicTime seen{};
  };

  /// A command of this node that has a place in the shard's session.
  struct Proposal {
    PendingPtr pending;
    std::string command;
    std::uint64_t session = 0;  // that its sequence belongs to
    std::uint64_t try_id = 0;   // the open try, 0 if none
    MonotonicTime next_try{};
    unsigned tries = 0;        // that may have had an effect
  };
  struct RemoteQuery {
    PendingPtr pending;
    std::string query;
    Request::Kind kind{};
  };
  /// This node as a client of one shard.
  struct ClientShard {
    std::uint64_t session = 0;  // 0: none yet
    bool opening = false;
    std::uint64_t next_sequence = 1;
    std::map<std::uint64_t, Proposal> in_flight;
    std::deque<Proposal> waiting;
    std::vector<PendingPtr> reads;
    std::deque<RemoteQuery> queries;
    std::size_t hint = kNobody;   // where the leader was said to be; for shards that are not local
    std::size_t rotation = 0;
    MonotonicTime due = MonotonicTime::max();  // when to pump again
    MonotonicTime pause{};        // no opening, read or query before
    bool dirty = false;
    bool empty() const { return in_flight.empty() && waiting.empty() && reads.empty() && queries.empty() && !opening; }
  };
  struct Try {
    enum class Kind : std::uint8_t { kPropose, kOpen, kRead, kQuery } kind{};
    ShardId shard;
    std::size_t target = kNobody;
    MonotonicTime sent{};
    std::uint64_t sequence = 0;       // kPropose
    std::vector<PendingPtr> readers;  // kRead
    RemoteQuery query;                // kQuery
  };

  struct PeerOut {
    // Payloads of this turn, and whole frames of those that grew large.
    std::string messages, requests, replies;
    std::string message_frames, request_frames, reply_frames;
    std::vector<raft::Message> beats;
    BeatCoder coder;     // of what we send
    BeatCoder decoder;   // of what comes
  };

  // engine.cc
  void schedule_turn();
  void turn();
  void drain_inbox();
  void step_timers();
  void flush();
  void flush_peer(std::size_t peer);
  void rearm();

  // groups.cc
  void mark(Group& group);
  void step(Group& group, raft::Input&& input);
  void collect(Group& group);
  void collect_storage(Group& group);
  void find_waiting(const Group& group, Applier::Job& job) const;
  void collect_roles(Group& group);
  void collect_snapshots(Group& group);
  void route(const raft::Message& message);
  void persisted(const std::vector<std::pair<ShardId, raft::Seq>>& done);
  void applied(std::vector<Applier::Done>& all);
  void release_reads(Group& group);
  Group* group_of(ShardId shard) const;
  std::optional<std::size_t> peer_of(raft::ReplicaId replica) const;

  // catch_up.cc
  void compact_all();
  void compact(Group& group);
  std::uint64_t keep_bytes() const;
  raft::Index compaction_target(const Group& group) const;
  void fetch(Group& group, const raft::Output::Fetch& wanted);
  void offer_snapshot(Group& group, raft::ReplicaId peer);
  void install(Group& group, raft::Output::Install wanted);
  void installed(ShardId shard, const raft::SnapMeta& meta, bool ok);

  // roles.cc
  void housekeeping();
  void rebalance();

  // peers.cc
  void peer_up(std::size_t peer);
  void peer_down(std::size_t peer);
  Result<> frame(std::size_t peer, FrameKind kind, std::string_view payload);
  Result<> receive(std::size_t peer, std::vector<raft::Message> messages);

  // fences.cc
  void watch_disk();
  void set_sick(Group& group);
  bool aside() const;
  void tell_aside();
  void send_aside(std::size_t peer);
  Result<> on_aside(std::size_t peer, std::string_view payload);
  std::vector<raft::ReplicaId> replicas_of(const Group& group) const;
  void say_digests();
  Result<> on_digests(std::size_t peer, std::string_view payload);
  void compare_told(Group& group);
  void judge(Group& group);
  void report(const Group& group, const DigestVotes::Difference& one) const;
  void fence(Group& group, const std::vector<DigestVotes::Difference>& differences);
  void close_fence(Group& group);
  void lift_fence(Group& group, std::string_view why);
  void count_differences() const;

  // disk.cc
  void watch_space();
  void take_space(const kv::DiskGuard::State& state);

  // handshakes.cc
  Hello hello(std::size_t peer, Hello::Purpose purpose) const;
  net::Task<Welcome> greet(Hello hello);
  net::Task<void> welcomed(std::size_t peer, Welcome welcome);
  void heard_of_cluster(const Incarnation& cluster_id, std::uint64_t recovery_epoch);
  std::string shown_ring() const;
  Result<> heard_of_ring(const std::string& label, const PeerMemory& self, std::uint64_t recovery_epoch, std::string_view shown);
  std::string bygone(const std::string& label, std::uint64_t recovery_epoch) const;
  /// Why not to talk to the node that says this of itself; empty if all is well.
  std::string objection(const std::string& label, const Incarnation& cluster_id, const PeerMemory& self, std::span<const std::uint32_t> earlier);
  net::Task<void> remember(std::string label, PeerMemory self);
  net::Task<void> durable(kv::Batch batch);

  // formation.cc
  void pledge_to_founder();
  void send_state(std::size_t peer);
  Result<> on_pledge(std::size_t peer, std::string_view payload);
  Result<> on_state(std::size_t peer, std::string_view payload);
  void try_form();
  void become_member(SystemState state);
  kv::Batch first_rows(const SystemState& state) const;
  Result<> load_groups();
  void start_groups();
  Group& start_group(ShardId shard, LoadedLog log);
  std::size_t founder() const;

  // members.cc
  std::optional<std::size_t> slot_of(std::string_view label) const;
  std::size_t add_slot(Member member);
  void bind_members();
  void publish_ring();
  void system_changed(SystemState state);
  void cut_strangers();
  std::string label_of(std::uint32_t member) const;
  std::string label_of(raft::ReplicaId replica) const { return label_of(raft::member_of(replica)); }
  raft::ReplicaId hint_of(std::size_t peer) const;
  bool live(std::size_t peer) const;
  Report own_report() const;
  void send_reports();
  void send_report(std::size_t peer, const std::string& payload);
  Result<> on_report(std::size_t peer, std::string_view payload);
  void look_at_adoption();
  void take_replacements();

  // moves.cc
  void move_replicas();
  void move(Group& group, std::map<std::uint32_t, int>& inbound);
  void note_removed(Group& group);
  void say_satisfied(Group& group, const ShardView& view, const Placement& target);
  ShardView view_of(const Group& group) const;
  std::uint64_t target_version() const { return system_->epoch << 1 | (system_->settled() ? 1 : 0); }
  Group* group_for(const raft::Hdr& header, bool from_leader);
  Group* same(ShardId shard, raft::ReplicaId self) const;
  void set_local(ShardId shard, bool readable);
  void destroy(Group& group, std::uint64_t min_sequence);
  void tell_doomed(Group& group);
  void ask_if_gone(Group& group);
  void serve_destroy(Origin origin, const Request& request);
  void serve_am_i_gone(Origin origin, const Request& request);
  bool question_answered(const Reply& reply);

  // client.cc
  void pump(ShardId shard);
  void pump_later(ShardId shard, MonotonicTime when);
  void pump_now(ShardId shard);
  void ask(ShardId shard, std::string query, Request::Kind kind, PendingPtr pending);
  bool answers(std::size_t peer) const;
  std::size_t target_of(ShardId shard, ClientShard& client);
  std::size_t stale_target_of(ShardId shard, ClientShard& client);
  void open_session(ShardId shard, ClientShard& client, std::size_t target);
  void send_proposals(ShardId shard, ClientShard& client, std::size_t target);
  void send_proposal(ShardId shard, ClientShard& client, std::uint64_t sequence, std::size_t target);
  void send_reads(ShardId shard, ClientShard& client, std::size_t target);
  void send_queries(ShardId shard, ClientShard& client);
  void on_reply(Reply reply);
  void proposal_answered(Try& tried, Reply& reply);
  void proposal_applied(ClientShard& client, std::uint64_t sequence, Reply& reply);
  void retry_proposal(ClientShard& client, std::uint64_t sequence, Duration pause);
  void refuse_proposal(ClientShard& client, std::uint64_t sequence, Code code, std::string_view why);
  void session_answered(Try& tried, const Reply& reply);
  void read_answered(Try& tried, const Reply& reply);
  void query_answered(Try& tried, Reply& reply);
  void take_hint(ShardId shard, ClientShard& client, const Reply& reply);
  void expire();
  void expire_shard(ShardId shard, ClientShard& client);
  void lose(const std::function<bool(const Try&)>& which);
  void dispatch(std::size_t target, Request request);

  // serve.cc
  void serve(Origin origin, Request request);
  void serve_proposal(Origin origin, Group& group, const Request& request);
  void serve_query(Origin origin, Request request);
  void serve_stale(Origin origin, Group& group, Request request);
  Duration age_of(const Group& group) const;
  void answer(Origin origin, Reply reply);
  void step_dirty();
  bool held_back(const Group& group);
  void collect_clients(Group& group);

  const NodeOptions options_;
  const std::size_t self_;       // in members_
  SystemMachine machine_;
  kv::Store& store_;
  const Clock& clock_;
  const Identity identity_;
  const std::uint64_t members_hash_;  // of the hashstate

  // Any thread.
  std::vector<std::atomic<std::uint32_t>> local_;  // by shard
  std::mutex inbox_mutex_;
  std::vector<std::move_only_function<void()>> inbox_;
  bool inbox_posted_ = false;
  bool closed_ = false;          // guarded by inbox_mutex_: no more work is taken
  mutable std::mutex ring_mutex_;
  std::shared_ptr<const AdoptedRing> ring_ = std::make_shared<const AdoptedRing>();  // guarded by ring_mutex_

  // Formation.
  std::optional<SystemState> system_;  // the newest that this node has heard of; nothing: not a member of a cluster yet
  std::uint64_t system_applied_ = 0;   // the revision of group 0's rows here, which may be behind
  std::optional<Incarnation> pledge_;
  std::uint64_t recovery_epoch_;
  std::uint64_t recovery_seen_ = 0;    // of those who may take this node in
  bool pledging_ = false, forming_ = false;
  bool must_join_ = false;             // a cluster exists: never found another
  std::map<std::string, PeerMemory, std::less<>> known_;
  std::map<std::string, Incarnation, std::less<>> pledged_;  // founder: who has bound itself
  std::vector<std::optional<Incarnation>> linked_;   // by peer: incarnation behind the connection to it
  std::vector<std::optional<Incarnation>> inbound_;  // and behind the one from it
  std::vector<MonotonicTime> up_since_;              // of the connection to it

  // Members.
  std::vector<Member> members_;                        // by slot: of the hashstate or the ring; a slot stays its label's
  std::map<std::uint32_t, std::size_t> slot_by_member_;  // those that are not dead
  std::uint32_t self_member_ = 0;                      // 0: the ring does not know this folder
  std::vector<Placement> targets_;                     // by shard; empty until there is a ring
  std::vector<Reported> reports_;                      // by slot
  std::map<std::string, Stranger, std::less<>> strangers_;
  std::map<std::string, std::string, std::less<>> refused_;  // by label: what was logged last
  std::set<std::string, std::less<>> replace_wanted_;  // labels whose strangers ask to be taken
  std::string adoption_waits_for_;
  std::string adoption_sentence_;                      // last logged
  MonotonicTime adopt_force_until_{};
  bool adopting_ = false;
  MonotonicTime next_replace_{};
  MonotonicTime started_{};

  // Moves.
  std::vector<std::uint64_t> tombstones_;              // by shard: the least sequence that may come
  std::vector<std::uint64_t> satisfied_;               // by shard: the epoch that the caller's part satisfies
  std::set<ShardId> destroying_;
  std::unordered_map<std::uint64_t, Question> questions_;
  MonotonicTime next_moves_{};
  std::uint32_t lives_ = 0;                            // counts what set_local began

  // Groups.
  std::vector<std::unique_ptr<Group>> groups_;  // by shard; null: no replica here
  std::vector<MonotonicTime> deadlines_;        // of them, side by side, since each turn looks at all; max() where there is none
  std::map<ShardId, LoadedLog> loaded_;         // between load() and start()
  raft::Output out_;                            // of the step under way
  std::vector<Group*> dirty_;
  std::vector<LogWriter::Write> writes_;
  std::vector<Applier::Job> jobs_;
  std::vector<PeerOut> peer_out_;
  MonotonicTime now_{};
  bool turn_scheduled_ = false;
  bool sick_ = false, draining_ = false, looking_ = false;
  kv::DiskGuard disk_guard_;            // the readers' thread
  kv::DiskGuard::State disk_;
  bool logs_too_large_ = false;         // of all shards together
  bool told_aside_ = false;             // what the peers were told
  std::set<std::size_t> aside_;         // peers that want no leadership
  MonotonicTime next_housekeeping_{}, next_disk_look_{}, next_digests_{};
  std::function<void(ShardId, bool)> on_leadership_;
  std::function<void(std::shared_ptr<const AdoptedRing>)> on_ring_;

  // Clients.
  std::vector<ClientShard> clients_;  // by shard
  std::set<ShardId> active_;          // those that are not empty
  std::set<ShardId> held_;            // led here, whose proposals wait for those in flight
  MonotonicTime held_until_{};        // at the latest, if there are any
  std::vector<ShardId> dirty_clients_;
  std::unordered_map<std::uint64_t, Try> tries_;
  std::uint64_t next_id_ = 1;
  std::deque<Reply> local_replies_;
  Answers answers_;

  // Servers.
  std::unordered_map<raft::Seq, Origin> proposal_tickets_;
  std::unordered_map<raft::Seq, std::vector<Origin>> read_tickets_;
  raft::Seq next_ticket_ = 1;

  net::Loop loop_;
  std::unique_ptr<boost::asio::steady_timer> timer_;
  MonotonicTime armed_ = MonotonicTime::max();
  bool stopped_ = false;

  std::unique_ptr<Snapshots> snapshots_;
  std::unique_ptr<net::FilePool> readers_;  // log reads for slow followers, queries of other nodes
  std::unique_ptr<LogWriter> writer_;
  std::unique_ptr<Applier> applier_;
  std::unique_ptr<Transport> transport_;
};

}  // namespace kraken::group
