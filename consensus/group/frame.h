#pragma once
// Frames between nodes: a header of 16 bytes and a payload of at most 8 MB, checked before anything is believed or
// allocated. Grammar and example: docs/formats/node_frames.md.
// A bad frame is an error of the connection, which is closed. Threads: plain values.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "consensus/raft/messages.h"
#include "src/base/error.h"

namespace kraken::group {

inline constexpr std::size_t kFrameHeaderBytes = 16;
inline constexpr std::size_t kFrameBytesMax = std::size_t{8} << 20;  // payload
inline constexpr std::uint8_t kFrameVersion = 3;

/// Sent: do not renumber.
enum class FrameKind : std::uint8_t {
  kHello = 1,          // first on each connection, from the side that dialled
  kWelcome = 2,        // the answer to it
  kMessages = 3,       // Raft messages of any groups
  kBeats = 4,          // BeatReq and BeatResp of many groups, as differences to the last ones on this connection
  kRequests = 5,       // proposals, read indexes and queries for the receiver to answer
  kReplies = 6,        // the answers
  kSnapshotGet = 7,    // on a connection of its own
  kSnapshotChunk = 8,  // bytes of one of its tables
  kSnapshotEnd = 9,    // all was sent; or there is none
  kPledge = 10,        // while a cluster forms: a member binds itself to the founder
  kSystemState = 11,   // the founder's answer; and how members, new ones too, hear of a ring before group 0 tells them
  kDigests = 12,       // shards, their applied index and the state digest there
  kAside = 13,         // whether the sender wants to be given leadership: not while its disk stalls or it is being stopped
  kSnapshotManifest = 14,
  kSnapshotFrom = 15,  // where the receiver wants the tables from
  kReport = 16,        // what a node says of itself, once a second
};

struct FrameHeader {
  FrameKind kind{};
  std::uint32_t bytes = 0;     // of the payload
  std::uint64_t checksum = 0;  // xxh3-64 of the payload, seeded with the first 8 bytes of the header
};

/// Appends header and payload to `out`. REQUIRES: payload.size() <= kFrameBytesMax.
void append_frame(FrameKind kind, std::string_view payload, std::string& out);

/// kProtocol: wrong magic, version, kind, check or length. REQUIRES: kFrameHeaderBytes bytes.
Result<FrameHeader> decode_frame_header(std::string_view bytes);
/// The next whole frame at the front of `in`: nothing if more bytes are needed. `used` says how many were taken.
struct Frame {
  FrameKind kind{};
  std::string_view payload;  // into `in`
  std::size_t used = 0;
};
Result<std::optional<Frame>> next_frame(std::string_view in);

// ---- kMessages ----

/// Appends one message; a payload is any number of them, one after the other.
void encode_message(const raft::Message& message, std::string& out);
/// Every message of a payload. kProtocol: a count or length that does not fit, an unknown kind, entries whose indexes are not
/// contiguous or whose terms go back, replica id 0.
Result<std::vector<raft::Message>> decode_messages(std::string_view payload);

// ---- kBeats ----

/// Beats of one connection and direction, as differences to what was last sent on it: a beat that is as expected (same term,
/// same commit or match, the next read_seq) takes two bytes. Made anew with each connection, on both sides; a frame that is
/// never sent must be followed by forget().
class BeatCoder {
 public:
  /// One payload of all `beats`, which are BeatReq and BeatResp alone, best in order of group; others are an error of ours.
  std::string encode(const std::vector<raft::Message>& beats);
  /// kProtocol as decode_messages.
  Result<std::vector<raft::Message>> decode(std::string_view payload);
  /// The encoder's: the next beats are whole. For when an encoded frame was dropped after all.
  void forget() { last_ = {}; }

 private:
  struct Last {
    raft::ReplicaId from{}, to{};
    raft::Term term{};
    raft::Index index{};  // commit or match
    raft::Seq read_seq = 0;
    bool known = false;
  };
  Last& last_of(bool response, std::uint32_t group);
  std::array<std::vector<Last>, 2> last_;  // of requests and of responses, by group, which has 16 bits
};

}  // namespace kraken::group
