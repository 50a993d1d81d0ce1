#pragma once
// The state of group 0 and its commands: who is in the cluster, and which ring counts (consensus §1.6). Everybody's placement is
// derived from it; nothing in the safety of a shard rests on it (that is the shard's own configuration).
//
// Pure: SystemState::apply is the same function of (state, command) on every replica. One row in Family::kSession holds the whole
// state, so it travels with snapshots of shard 0. Format: docs/formats/raft_log.md. Threads: plain values; SystemMachine as StateMachine.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "consensus/group/envelope.h"
#include "consensus/group/ring.h"
#include "consensus/group/state_machine.h"
#include "src/base/error.h"

namespace kraken::group {

inline constexpr std::size_t kNodesMax = 1'024;      // of a ring
inline constexpr std::size_t kDeadRowsMax = 1'024;   // dead nodes that are remembered; their numbers are never given again anyway

/// A node as a hashstate has it.
struct WishNode {
  std::string label;
  std::string host;
  std::uint16_t port = 0;
  double weight = 100;
  friend bool operator==(const WishNode&, const WishNode&) = default;
};
/// Of the nodes in any order: two hashstates are the same if and only if (but for collisions) their hashes are.
std::uint64_t hash_of(std::vector<WishNode> nodes);

/// Makes `nodes` the ring, if the ring is still that of `prev_epoch`. A label that is in the ring keeps its incarnation.
struct AdoptRing {
  std::uint64_t prev_epoch = 0;
  bool force = false;  // even though the ring before is not settled
  struct Node {
    WishNode node;
    Incarnation incarnation;
    friend bool operator==(const Node&, const Node&) = default;
  };
  std::vector<Node> nodes;
};
/// The label's data folder is gone: from now on it is another one, which holds nothing yet.
struct Replace {
  std::string label;
  Incarnation old_incarnation, new_incarnation;
};
/// All of the shard is where the ring of this epoch says.
struct Satisfied {
  std::uint64_t epoch = 0;
  ShardId shard;
};
using SystemCommand = std::variant<AdoptRing, Replace, Satisfied>;

/// Sent: do not renumber.
enum class SystemOutcome : std::uint8_t {
  kDone = 0,
  kMalformed = 1,
  kStale = 2,        // the ring has changed meanwhile
  kNotSettled = 3,   // the ring before is not satisfied yet
  kUnknownLabel = 4,
  kIncarnation = 5,  // not the one that is in the ring, or one that another label has
};
std::string_view to_string(SystemOutcome outcome);

std::string encode(const SystemCommand& command);
/// Total: kCorrupt, or kUnsupported for a version of the future.
Result<SystemCommand> decode_system_command(std::string_view bytes);
/// The first byte of every system command; what begins otherwise goes to the user's state machine.
inline constexpr char kSystemMark = '\xf5';

struct SystemState {
  Incarnation cluster_id, founder;
  std::uint16_t shards = 0;          // data shards
  std::uint16_t replicas = 3;        // voters of a shard at most
  std::uint64_t recovery_epoch = 0;  // counts recoveries from a lost quorum
  std::uint32_t feature_version = 1;
  std::uint64_t revision = 0;        // counts changes of this state
  std::uint64_t epoch = 0;           // counts changes of the ring; 1 is the one the cluster formed with
  std::uint32_t next_member = 1;
  std::vector<RingNode> nodes;       // in order of member number: active, leaving and dead ones
  std::vector<bool> satisfied;       // by data shard, from shard 1 on

  const RingNode* active(std::string_view label) const;
  const RingNode* member(std::uint32_t number) const;
  const RingNode* member(std::string_view label, const Incarnation& incarnation) const;
  bool settled() const;
  std::vector<WishNode> ring() const;  // the active nodes
  AdoptedRing adopted() const;

  SystemOutcome apply(const SystemCommand& command);

 private:
  SystemOutcome run(const AdoptRing& command);
  SystemOutcome run(const Replace& command);
  SystemOutcome run(const Satisfied& command);
  void changed_ring();
};

/// The cluster as it forms: members are numbered in order of label from 1, epoch 1 is settled.
SystemState found_cluster(const Incarnation& cluster_id, const Incarnation& founder, std::uint16_t shards, std::uint16_t replicas,
                          std::vector<AdoptRing::Node> nodes);

std::string encode(const SystemState& state);
/// kCorrupt if it makes no sense.
Result<SystemState> decode_system_state(std::string_view bytes);

// ---- placement ----

/// Who should vote in a shard, best first, and, for group 0, who else receives its log. Member numbers.
struct Placement {
  std::uint64_t epoch = 0;
  std::vector<std::uint32_t> voters;
  std::vector<std::uint32_t> learners;
};
/// Over the active nodes: `replicas` voters for a data shard; for group 0 three, from five nodes on five, and everybody else who
/// is not dead as a learner (consensus §1.5, §1.6).
Placement place(const SystemState& state, ShardId shard, const Order& order);

// ---- as a state machine ----

/// Keeps group 0's state and hands every other command and shard on.
class SystemMachine final : public StateMachine {
 public:
  /// `changed` on the apply thread, after the state was written, with every new one.
  SystemMachine(StateMachine& inner, std::function<void(SystemState)> changed) : inner_(inner), changed_(std::move(changed)) {}

  /// The result of a system command: SystemOutcome u8, epoch u64.
  std::string apply(const ApplyContext& context, std::string_view command, kv::Overlay& state) override;
  /// kSystemMark alone asks shard 0 for its state, encoded; empty if there is none.
  std::string query(ShardId shard, std::string_view query, const kv::View& state, Duration now) const override;
  void applied(ShardId shard, std::uint64_t index) override;
  void restored(ShardId shard, const kv::View& state) override;

 private:
  StateMachine& inner_;
  const std::function<void(SystemState)> changed_;
  std::optional<SystemState> fresh_;  // applied, not told yet; the apply thread's
};

std::string system_state_key();  // in Family::kSession
/// Nothing if there is no row: this node has no state of group 0.
Result<std::optional<SystemState>> load_system_state(const kv::View& view);

}  // namespace kraken::group
