#pragma once
// A node's Raft groups: the shards it is a replica of, their log in the node's store, the connections to the other nodes,
// and the door through which everybody else proposes and reads, on whatever node they are.
//
// Threads of its own: one loop that steps every group and owns the connections, one that writes and syncs the log of all
// groups (one sync a turn), one that applies, one that answers queries of other nodes, two for snapshots. propose and query
// are awaited on any loop; the rest may be called from any thread.
// Formats: docs/formats/raft_log.md, docs/formats/node_frames.md.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/ring.h"
#include "consensus/group/state_machine.h"
#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/net/task.h"
#include "storage/kv/store.h"

namespace kraken::group {

struct Timings {
  Duration beat = std::chrono::milliseconds(50);
  Duration election_min = std::chrono::milliseconds(500);
  Duration election_max = std::chrono::milliseconds(1000);
  Duration disk_stall = std::chrono::seconds(1);       // a write of the log outstanding for longer: no beats, leadership is handed off
  Duration disk_dead = std::chrono::seconds(30);       // for longer still: the process ends
  Duration digests = std::chrono::seconds(10);         // how often replicas compare their state digests
  Duration redial_min = std::chrono::milliseconds(50);
  Duration redial_max = std::chrono::seconds(1);
  Duration adopt_after = std::chrono::seconds(30);     // for so long a new hashstate must have been the same on all nodes
  Duration move_patience = std::chrono::minutes(10);   // a replica that makes no progress for so long is given up, for as long
  Duration orphan = std::chrono::seconds(60);          // a replica without a leader for so long asks whether it was removed
  Duration snapshot = std::chrono::seconds(120);       // how long the log is kept for a snapshot of which nothing is taken over
};

struct Limits {
  std::uint64_t log_keep_entries = 5'000;                    // a compacted log keeps the last so many entries
  std::uint64_t log_keep_bytes = std::uint64_t{16} << 20;    // or so many bytes, whichever is less
  std::uint64_t log_max_bytes = std::uint64_t{64} << 20;     // beyond it followers that do not answer are not waited for
  std::size_t proposals_in_flight = 1'024;                   // per shard; further ones wait
  std::size_t requests_waiting = 16'384;                     // on this node; further ones are kOverloaded
  std::size_t command_bytes = std::size_t{4} << 20;          // kTooLarge beyond
  std::size_t send_queue_bytes = std::size_t{32} << 20;      // per peer; the oldest Raft messages are dropped beyond
  std::size_t uncommitted_bytes = std::size_t{16} << 20;     // per group; kOverloaded beyond
  std::uint64_t log_max_node_bytes = std::uint64_t{2} << 30; // the same for all logs together, and then they keep less
  std::uint64_t disk_reserve_bytes = 0;                      // below it proposals are kDiskFull and leadership is handed off
  std::uint64_t ballast_bytes = 0;                           // kept free for what is under way when the disk fills up (kv::DiskGuard)
  std::uint64_t snapshot_rate = std::uint64_t{64} << 20;     // bytes a second of all snapshots that this node sends; 0 is no limit
};

struct NodeOptions {
  std::string label;             // this node's, one of `members`
  std::vector<Member> members;   // at least one; the same on every node
  std::uint16_t shards = 128;    // data shards: a power of two up to kv::kShardsMax; fixed once the cluster has formed
  std::string cluster_token;     // nodes with another one are refused; may be empty
  std::string listen_host = "127.0.0.1";
  std::uint16_t listen_port = 14001;
  std::filesystem::path folder;  // where the store lies, to watch its disk (`disk_reserve_bytes`); may be empty
  Order order;
  std::size_t replicas = 3;      // voters per shard at most; fixed once the cluster has formed
  /// The ring is settled only when report_satisfied was called for every shard; false: when the replicas have moved.
  bool records_follow = false;
  /// This folder is to take the place of the label's, which is gone.
  bool replace = false;
  Timings timings;
  Limits limits;
  const Clock* clock = nullptr;      // outlives the node; null: system_clock(). Only its monotonic time is looked at
};

enum class Read : std::uint8_t {
  kLinearizable,  // sees every write that was acknowledged anywhere before the call
  kLocal,         // what this replica has, or, on a node without a replica of the shard, some replica
};

/// A replica's own word, and how old that may be.
struct StaleAnswer {
  std::string result;
  std::uint64_t index = 0;  // everything up to it is in the answer, and perhaps a little more
  /// Since the replica last knew itself up to date: heard its leader, or, as leader, a quorum. Duration::max(): not since it started.
  Duration age{};
};

/// What a shard's leader does to bring its replicas to where the ring says. Known on the leader alone.
struct ShardMove {
  std::string phase;       // empty: nothing moves; else "adding", "snapshot", "catching up", "joint", "removing", or why it waits
  std::string to, from;    // labels that get or lose a replica; several are joined by ", "
  std::uint64_t behind = 0;  // entries that the replica being added lacks
  unsigned percent = 0;    // of the way, 100 when nothing moves
};

struct ShardStatus {
  ShardId shard;
  bool local = false;      // this node is a replica; else only voters and leader are known
  bool is_leader = false;
  bool serving = false;    // leader that has committed an entry of its own term
  std::string leader;      // label; empty if unknown
  std::vector<std::string> voters;
  std::uint64_t term = 0, first = 0, last = 0, commit = 0, applied = 0;
  std::uint64_t log_bytes = 0;
  Duration now{};          // replicated time
  std::string fenced{};     // why this replica does not serve the shard; empty: it does
  std::uint64_t digest_index = 0;
  std::string digest{};     // of this replica's rows at digest_index, in hexadecimal; empty: not known
  /// Since the replica last knew itself up to date (StaleAnswer::age).
  Duration leader_heard{};
  std::vector<std::string> learners{};  // labels of those that receive the log without a vote
  ShardMove move{};
};

struct PeerStatus {
  std::string label;
  bool up = false;         // there is a connection both ways
  Duration heard{};        // since its last frame; Duration::max() if never
  std::string refused;     // why it, or we, refused the other; empty if not
};

/// Data shard of 16 bits that begin a digest or the SHA-256 of a repository's name: their top log2(shards) bits, plus one,
/// since 0 is the system group (consensus §1.3). REQUIRES: shards is a power of two.
ShardId shard_of(std::uint16_t prefix, std::uint16_t shards);

/// Where this node and its cluster stand.
struct MembershipStatus {
  std::string cluster;          // id, hexadecimal; empty until formed
  std::uint64_t epoch = 0;
  bool settled = false;
  std::size_t satisfied = 0;    // shards, of `shards`
  std::size_t shards = 0;
  std::string waits_for;        // what a wished ring waits for; known on the leader of group 0
  std::string standing;         // of this node: "member", "leaving", "not in the ring", in a sentence
  std::size_t replicas = 0;     // that this node has
  std::vector<RingNode> nodes;  // all, dead ones too
};

class Node {
 public:
  /// Checks the store against label and shard count and the log against itself, listens, and starts. Refuses with one
  /// sentence that says what to do: kConflict (the folder belongs to another label, shard count or cluster), kCorrupt
  /// (log or state are damaged), kAlreadyExists (the port is taken), kInvalidArgument (options).
  /// A new cluster forms once every member has been reached; until then ready() is false and a line says who is missing.
  /// `machine` and `store` outlive the node.
  static Result<std::unique_ptr<Node>> open(NodeOptions options, StateMachine& machine, kv::Store& store);
  ~Node();  // stop()

  /// Replicates the command and gives the state machine's result. It is applied exactly once even if it had to be sent
  /// several times. kOutcomeUnknown: it may or may not be applied, now or later. kUnavailable, kOverloaded,
  /// kDiskFull, kDeadlineExceeded, kTooLarge, kCancelled: it never will be.
  net::Task<std::string> propose(ShardId shard, std::string command, Duration deadline);
  /// kUnavailable and kDeadlineExceeded if no quorum (kLinearizable) or no replica (kLocal) answers in time.
  net::Task<std::string> query(ShardId shard, std::string query, Read read, Duration deadline);

  /// As kLocal, and says how stale it is. Needs no quorum.
  net::Task<StaleAnswer> query_stale(ShardId shard, std::string query, Duration deadline);

  std::uint16_t shards() const;
  ShardStatus status(ShardId shard) const;
  std::vector<ShardStatus> status() const;
  std::vector<PeerStatus> peers() const;
  /// Labels of the shard's voters, best first; empty until the cluster has formed.
  std::vector<std::string> voters(ShardId shard) const;
  /// This node's label is among them.
  bool local(ShardId shard) const;
  /// Empty once the cluster has formed and every local shard has a leader and has applied what was committed when it was
  /// found; else the sentence that says what is waited for.
  std::string not_ready() const;
  bool ready() const { return not_ready().empty(); }

  /// Called on the group loop with (shard, true) when this node begins to serve as leader, (shard, false) when it stops.
  /// Must not block. Before open() returns none is called; set it right after.
  void on_leadership(std::function<void(ShardId, bool)> callback);
  /// The adopted ring; epoch 0 and nobody until the cluster has formed. Never null. Any thread.
  std::shared_ptr<const AdoptedRing> ring() const;
  /// Called on the group loop with every further ring, and when one has settled. Must not block. One callback.
  void on_ring(std::function<void(std::shared_ptr<const AdoptedRing>)> callback);
  /// The caller's part of the shard satisfies the ring of this epoch (consensus §1.6); a stale epoch changes nothing. The ring
  /// is settled once this was said of every shard and its replicas are in place. Repeating it is harmless.
  /// It is remembered by this node alone, so the shard's leader reports it, and its successor again.
  net::Task<void> report_satisfied(ShardId shard, std::uint64_t epoch);
  MembershipStatus membership() const;
  /// Makes the data folder that knocks as `label` the ring's, in place of the one that is gone (consensus §1.7). Refused in a
  /// sentence: kNotFound (no such label, or nobody knocks), kConflict (the old one is heard), and as propose fails.
  net::Task<void> replace(std::string label);
  /// For 30 s the next hashstate is adopted without waiting for it to be stable, for the ring before to be settled or for
  /// spare voters. To be called on every node, since any may lead group 0.
  void force_adoption();

  /// Gives leadership of the shard to the member, if it leads and the member is a voter.
  void transfer(ShardId shard, std::string label);

  /// Serves a shard again from a replica that was fenced (ShardStatus::fenced), whatever the others hold. False: it was not.
  bool release(ShardId shard);
  /// Gives all leaderships away, within a second, and takes none until the node stops; goes on serving as a follower. Blocks;
  /// not on a loop of net::Loops.
  void drain();

  std::uint16_t port() const;  // the one it listens on
  /// Hands leadership off (as far as it goes within a second), then ends threads and connections. Waiting requests end with
  /// kCancelled or kOutcomeUnknown. Repeating it is harmless.
  void stop();
  /// As a power cut would: no hand-off, nothing is written any more. For tests.
  void kill();

 private:
  struct Impl;
  explicit Node(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kraken::group
