// The Raft core of one group, without clock, thread, socket, file or random device: inputs and the time come in, an Output
// says what the world must do. The same class runs in production (consensus/group) and in the simulator (tests/sim).
//
// Law: step is total and deterministic. The same construction and the same (input, now) sequence give the same Outputs.
// Any input is allowed in any state; what makes no sense is ignored or failed. Violations of our own invariants abort the process.
//
// What the driver must do with an Output, in this order of thought:
//  1. persist_seq != 0: write hard_state, truncate_from, then append in ONE atomic, synced batch, in persist_seq order within the
//     group; when it is durable, step(in::Persisted{persist_seq}) (one may stand for several: it covers all <= upto).
//     A write that fails is fatal to the process: its outcome is unknown. Several groups' batches may share one sync.
//  2. send_now may leave at once. send_after[i] may leave only after the driver was told that `after` is durable;
//     whatever waits is dropped on restart. Sending is best effort; the core repeats what matters.
//  3. [commit_from, commit_to] is committed and durable here: apply it, in order. Ranges are contiguous and come exactly once per
//     boot, starting above max(Boot::applied, Boot::snap_index). Then step(in::Applied). Entries: Core::copy_tail, else the disk.
//  4. accepted: ticket -> (term, index). Every proposal ends in exactly one of: the entry at `index` comes out in a commit range
//     with that very `term` (the core guarantees it: if it loses the place, it says so), or failed{ticket}.
//     kAborted means the outcome is unknown; every other reason means it did not and will not happen.
//  5. reads: serve the ticket once applied >= at. fetch, need_snapshot, install: see the fields; each must be answered.
//  6. Ask deadline() after every step and step(in::Timer) once that time has come.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "consensus/raft/messages.h"
#include "consensus/raft/types.h"

namespace kraken::raft {

// ---- Everything that can happen to a group ----
namespace in {

/// From the transport. The node's router has checked the sender's identity; messages to another replica id are ignored.
struct Receive {
  Message m;
};
/// deadline() has come.
struct Timer {};
/// `ticket` is the driver's and comes back in accepted or failed; unique among what is in flight.
struct Propose {
  Seq ticket = 0;
  Bytes data;
};
/// Several proposals as one append and one message per follower. Each ticket is answered as if it had come alone.
struct ProposeBatch {
  std::vector<Propose> proposals;
};
/// Make `target` the configuration; target.outgoing and learners_next must be empty. The core goes through a joint configuration if
/// the voters change and leaves it by itself once that is committed. The ticket is that of the first entry.
struct ChangeConf {
  Seq ticket = 0;
  ConfState target;
};
/// A linearizable read (thesis 6.4). Answered in Output::reads or failed{kNotLeader, leader}: forward it to that leader's node.
struct ReadIndex {
  Seq ticket = 0;
};
/// Give leadership to `to`, a voter. No answer: look at leader_changed. Proposals fail with kTransferring meanwhile, at most election_min.
struct Transfer {
  ReplicaId to{};
};
/// Every write with persist_seq <= upto is durable.
struct Persisted {
  Seq upto = 0;
};
/// Everything up to here is applied. Monotone.
struct Applied {
  Index upto{};
};
/// Answers Output::Fetch: entries from exactly `lo` on, in order, at least one; none if they are gone or unreadable.
struct Fetched {
  ReplicaId for_peer{};
  std::vector<Entry> entries;
};
/// Answers need_snapshot. ok: `meta` is pinned (or already sent) and the peer may be told to install it. Not ok, at any time until the
/// peer has it: the attempt failed; the core asks again when the peer next answers a beat.
struct SnapReady {
  ReplicaId for_peer{};
  SnapMeta meta;
  bool ok = false;
};
/// Answers Output::install. ok: state, SnapMeta and the removal of the whole old log were made durable in one atomic step, after
/// all writes submitted before; the hard state is untouched. Not ok: nothing happened.
struct SnapInstalled {
  SnapMeta meta;
  bool ok = true;
};
/// The log on disk now starts at `first`; `first - 1` is applied, and its SnapMeta (with Core::conf_at(first - 1)) was written in the same batch.
struct Compacted {
  Index first{};
};
/// The transport saw the peer's process end (connection reset). A hint: it speeds up elections and never affects safety.
struct PeerDown {
  ReplicaId peer{};
};
/// A sync has been outstanding for too long: a leader stops beating and hands leadership to the best follower, if one answers, or steps
/// down after election_min; others do not stand for election. false: the disk answers again.
struct StorageSick {
  bool sick = false;
};

}  // namespace in

using Input = std::variant<in::Receive, in::Timer, in::Propose, in::ProposeBatch, in::ChangeConf, in::ReadIndex, in::Transfer, in::Persisted,
                           in::Applied, in::Fetched, in::SnapReady, in::SnapInstalled, in::Compacted, in::PeerDown, in::StorageSick>;

// ---- Everything a group asks of the world ----

enum class Reject : uint8_t {
  kNotLeader,     // ask `leader`, if it is known
  kOverloaded,    // max_uncommitted_bytes or max_pending_reads reached: retry later
  kTransferring,  // leadership is being handed over: retry in a moment
  kConfInFlight,  // a configuration change is not finished
  kNoTermCommit,  // configuration change before the leader committed an entry of its own term: retry in a moment
  kStaleEpoch,    // target.placement_epoch is older than the one in force
  kInvalid,       // target has no voter, a duplicate, an id that was given before, or is joint
  kAborted,       // leadership was lost with the proposal in flight: OUTCOME UNKNOWN
};
std::string_view to_string(Reject why);

struct Output {
  // Storage. persist_seq is 0 if there is nothing to write.
  Seq persist_seq = 0;
  std::optional<HardState> hard_state;
  std::optional<Index> truncate_from;  // delete all entries at or above, before appending
  std::vector<Entry> append;

  // Network.
  struct Gated {
    Seq after = 0;
    Message m;
  };
  std::vector<Message> send_now;
  std::vector<Gated> send_after;  // `after` never falls, also from one Output to the next: a queue will do

  // State machine. commit_from is 0 if nothing new may be applied; both ends are included.
  Index commit_from{}, commit_to{};

  // Clients.
  struct Accepted {
    Seq ticket = 0;
    Index index{};
    Term term{};
  };
  std::vector<Accepted> accepted;
  struct ReadOk {
    Seq ticket = 0;
    Index at{};
  };
  std::vector<ReadOk> reads;
  struct Fail {
    Seq ticket = 0;
    Reject why{};
    std::optional<ReplicaId> leader;
  };
  std::vector<Fail> failed;

  // Log reads for a follower that is behind what the core holds: read [lo, hi), stop after max_bytes but return at least one
  // entry, and answer each with one in::Fetched. At most one per peer is open.
  struct Fetch {
    ReplicaId peer{};
    Index lo{}, hi{};
    size_t max_bytes = 0;
  };
  std::vector<Fetch> fetch;
  // Make a snapshot for this peer at the applied index and pin the log there (with a deadline); answer with in::SnapReady.
  std::vector<ReplicaId> need_snapshot;
  // Get the bytes of meta.snap_id from `from`, install them, answer with in::SnapInstalled. While it is open no append is taken and
  // nothing is committed; the driver must have applied, or drop, what it was told to apply before.
  struct Install {
    ReplicaId from{};
    SnapMeta meta;
  };
  std::optional<Install> install;

  // Roles, edge-triggered.
  std::optional<ConfState> conf_changed;  // adopted at append, or back after a truncation
  std::optional<bool> became_leader;      // true: now leader; false: no longer
  struct Leader {
    Term term{};
    std::optional<ReplicaId> leader;
  };
  std::optional<Leader> leader_changed;

  // A legitimate-looking leader wants to overwrite what is committed here: state has diverged, or a peer lies. The message was
  // ignored. The driver must log it as an error and stop serving the group.
  struct Conflict {
    ReplicaId from{};
    Index index{};
    Term ours{}, theirs{};
  };
  std::optional<Conflict> conflict;

  /// Empties everything and keeps the capacity of the vectors. step() does it first.
  void clear();
};

struct Options {
  Time heartbeat = std::chrono::milliseconds(50);       // how often a leader beats; beats fall on multiples of it, so that groups share frames
  Time election_min = std::chrono::milliseconds(500);   // silence before an election; also check-quorum's and a transfer's patience
  Time election_max = std::chrono::milliseconds(1000);  // > election_min
  Time election_rank_step = std::chrono::milliseconds(50);
  uint32_t election_rank = 0;  // 0 for the preferred leader: each rank waits one step longer (still below election_max)
  uint32_t max_inflight_msgs = 256;                    // appends in flight per follower
  size_t max_inflight_bytes = size_t{8} << 20;
  size_t max_append_bytes = size_t{1} << 20;           // per message; one larger entry still goes
  size_t max_uncommitted_bytes = size_t{64} << 20;     // per group; beyond it proposals are kOverloaded
  size_t max_pending_reads = 65'536;
  size_t max_tail_bytes = size_t{1} << 20;   // durable, committed entries kept in memory for slow followers
  size_t keep_tail_bytes = size_t{64} << 10;   // of entries that nobody waits for
  bool commit_at_once = false;   // followers hear of each commit by a message of its own, not with what is sent next (a beat at the latest)
};

struct ConfAt {
  Index index{};
  ConfState conf;
};

/// What was found on disk. REQUIRES, checked by the constructor (abort): first == snap_index + 1, last + 1 >= first,
/// snap_index <= applied <= last. A driver that finds anything else refuses to start, it does not construct a Core.
struct Boot {
  ReplicaId self{};
  HardState hs;
  ConfState conf;               // at snap_index
  std::vector<ConfAt> confs;    // the kConfig entries of [first, last], ascending
  Index snap_index{};           // 0, or what the log was last compacted or installed to
  Term snap_term{};
  Index first{1}, last{};       // the log on disk is [first, last]; empty if last < first
  Index applied{};
  Time boot_time{};
};

/// Terms of the log on disk. Read in Core's constructor alone: afterwards the core remembers where terms change.
struct LogView {
  virtual ~LogView() = default;
  /// For every index in [first(), Boot::last].
  virtual std::optional<Term> term_at(Index index) const = 0;
  virtual Index first() const = 0;
};

class Core {
 public:
  /// `log` is not kept. `rng_seed` decides election jitter: give each replica its own.
  Core(GroupId group, const Boot& boot, const Options& options, const LogView& log, uint64_t rng_seed);
  ~Core();
  Core(Core&&) noexcept;
  Core& operator=(Core&&) noexcept;

  /// `now` never goes back. `out` is cleared first.
  void step(const Input& input, Time now, Output& out);
  void step(Input&& input, Time now, Output& out);

  /// When the next in::Timer is due; Time::max() if never.
  Time deadline() const;

  enum class Role : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };
  struct View {
    Term term{};
    std::optional<ReplicaId> vote;
    std::optional<ReplicaId> leader;
    Role role = Role::kFollower;
    bool is_leader = false;
    bool serving = false;  // leader that has committed an entry of its own term
    Index first{}, last{}, stable{}, commit{}, applied{};
    Term last_term{};
    Index conf_index{};    // where the configuration in force stands in the log; committed once commit has passed it
    size_t uncommitted_bytes = 0, tail_bytes = 0;
  };
  View view() const;

  ReplicaId self() const;
  /// As view() has it.
  std::optional<ReplicaId> leader() const;
  /// The configuration in force (latest in the log).
  const ConfState& conf() const;
  /// The configuration in force at `index`: what a snapshot or a compaction at that index records.
  /// REQUIRES: first - 1 <= index <= commit.
  const ConfState& conf_at(Index index) const;
  /// Nothing if `index` is outside [first - 1, last].
  std::optional<Term> term_at(Index index) const;

  /// Appends to `out` the entries of [lo, hi] that are in memory, from lo on without a gap, until max_bytes (at least one entry);
  /// returns the first index that was not copied: == lo means that lo must be read from disk.
  Index copy_tail(Index lo, Index hi, size_t max_bytes, std::vector<Entry>& out) const;

  /// A leader's view of its followers, for status and for compaction; empty on others.
  struct Peer {
    ReplicaId id{};
    Index match{}, next{};
    enum class State : uint8_t { kProbe, kReplicate, kSnapshot } state = State::kProbe;
    Time last_contact{};  // when it last answered in this term
    bool voter = false;
  };
  std::vector<Peer> peers() const;

  // ---- For tests that search many courses (tests/model) ----
  /// Goes on exactly as this one would.
  Core clone() const;
  /// All that decides what this core will say next, as bytes, with every replica id renamed: cores with equal fingerprints behave alike
  /// up to that renaming. Left out is what such a search does not tell apart: time (a leader's ages are counted in heartbeats, up
  /// to election_min), the generator of jitter, the numbers of writes (counted from the durable one) and of rounds of reads.
  void fingerprint(const std::function<ReplicaId(ReplicaId)>& rename, std::string& out) const;

 private:
  struct Impl;
  explicit Core(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kraken::raft
