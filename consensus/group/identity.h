#pragma once
// Who this node is, and whom it knows: what lies under 0xffff in Family::kRaft.
//   [ffff]['i'] identity     [ffff]['t'] system state     [ffff]['g'] pledge     [ffff]['p'][label] what a peer last was
//   [ffff]['r'] recovery epoch
// The system state there is a copy: what this node was told of it when it became a member, and of each ring since. It says to
// which cluster the folder belongs, and how to reach the others before group 0 is heard; group 0's own rows, where newer, win.
// Format: docs/formats/raft_log.md. Threads: plain values; written through the log writer.
//
// Safety rests on incarnations, not on labels: a label that comes back with another data folder has forgotten its votes and
// its log, so it must not vote; one that comes back with an older copy of its folder likewise (consensus §1.7, "No amnesiac voters").

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/envelope.h"
#include "consensus/group/system_state.h"
#include "src/base/error.h"
#include "storage/kv/batch.h"
#include "storage/kv/view.h"

namespace kraken::group {

struct Identity {
  std::string label;
  std::uint16_t shards = 0;
  Incarnation incarnation;
  std::uint64_t boot_epoch = 0;  // counts starts; 1 is the first
  std::uint64_t run = 0;         // random, of the latest start
  std::vector<std::uint32_t> earlier{};  // lower halves of the runs before it, newest first, at most kEarlierRunsMax
};

/// So many starts back a peer can still tell whether a folder is the one that it met. 16 KB in the identity and in a handshake.
constexpr std::size_t kEarlierRunsMax = 4096;

/// One more start of the folder. To be durable before anybody hears of it.
void begin_start(Identity& identity, std::uint64_t run);

/// What a peer durably was when it last shook hands.
struct PeerMemory {
  Incarnation incarnation;
  std::uint64_t boot_epoch = 0;
  std::uint64_t run = 0;  // random, of its process: tells a copy of a folder that runs beside the original
};

/// How a start of a folder relates to the one of it that was met last. Of the same incarnation.
enum class Start : std::uint8_t {
  kSame,
  kLater,    // of a folder that has been through the one that was met
  kOlder,    // of a copy from before that one
  kTwin,     // another process, with as many starts behind it
  kForked,   // of a copy from before that one, which has been started as often since, or more often
  kUnknown,  // the one that was met lies more than kEarlierRunsMax starts back
};

/// A start counter alone would be overtaken: whoever is refused is started again, and each start of the copy counts.
Start judge_start(const PeerMemory& met, const PeerMemory& now, std::span<const std::uint32_t> earlier);

std::string identity_key();
std::string system_copy_key();
std::string pledge_key();
std::string peer_key(std::string_view label);

/// How often a lost quorum was given up (recovery.h); no row: never. A node with a lower one than its peers' is refused.
std::string recovery_key();
std::string encode_recovery_epoch(std::uint64_t epoch);
Result<std::uint64_t> decode_recovery_epoch(std::string_view bytes);

std::string encode(const Identity& identity);
Result<Identity> decode_identity(std::string_view bytes);
std::string encode(const PeerMemory& memory);
Result<PeerMemory> decode_peer(std::string_view bytes);

struct LoadedIdentity {
  std::optional<Identity> identity;
  std::optional<SystemState> system;  // the newer of the copy and group 0's rows
  std::optional<Incarnation> pledge;  // the founder this node bound itself to
  std::uint64_t recovery_epoch = 0;
  std::map<std::string, PeerMemory, std::less<>> peers;
};
Result<LoadedIdentity> load_identity(const kv::View& view);

}  // namespace kraken::group
