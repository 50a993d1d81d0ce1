#pragma once
// The peer protocol's messages and their frames, as stock has them (facts §2.1-2.4; the format is p2p.proto).
// A frame is a 4-byte big-endian length and that many bytes of a protobuf Message; a PIECE_PAYLOAD frame is followed by
// the piece's raw bytes. Decoding is total: whatever a peer sends gives a message or a Violation, and the connection
// is closed on a Violation. Threads: plain values and functions.

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "src/base/error.h"
#include "src/core/bitfield.h"
#include "src/core/digest.h"
#include "src/core/metainfo.h"
#include "src/core/peer.h"

namespace kraken::p2p {

/// Longer frames are refused, as stock does.
inline constexpr std::size_t kFrameBytesMax = 32 * 1024;
inline constexpr std::size_t kFrameHeadBytes = 4;

/// Stock's BITFIELD, the first message each way.
struct Handshake {
  InfoHash infohash;
  Digest digest;
  PeerId peer_id;
  std::string bitfield;   // coded; its length can only be checked against the torrent
  std::string ns;         // of the download; empty in an answer
  std::vector<std::pair<PeerId, std::string>> neighbours;  // coded bitfields of whom the sender is connected to
};
struct PieceRequest {
  std::uint32_t piece = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
};
struct PiecePayload {
  std::uint32_t piece = 0;
  std::uint32_t length = 0;  // raw bytes follow
};
struct AnnouncePiece {
  std::uint32_t piece = 0;
};
struct CancelPiece {
  std::uint32_t piece = 0;
};
struct PieceError {
  std::uint32_t piece = 0;
  std::string text;
};
struct Complete {};
/// A type that a later version may have: skipped.
struct Unknown {};

using Message = std::variant<Handshake, PieceRequest, PiecePayload, AnnouncePiece, CancelPiece, PieceError, Complete, Unknown>;

/// Why a connection is closed; the label `reason` of kr_p2p_protocol_violations_total.
enum class Breach : std::uint8_t {
  kFrameTooLong,
  kFrameEmpty,
  kNotProtobuf,
  kBodyMissing,     // the type's own message is not there
  kBadIndex,        // negative, or beyond the torrent's pieces
  kBadLength,       // negative, or not the piece's
  kBadHandshake,    // a field is malformed, or the first message is none
  kWrongTorrent,    // infohash or digest is not this torrent's
  kWrongPeer,       // the peer is not the one that was dialled, or is this host
  kUnasked,         // a payload that nobody asked for
  kTooManyRequests,
  kBadPiece,        // bytes that do not match the piece sum
};
inline constexpr std::size_t kBreachCount = 12;
std::string_view name_of(Breach breach);

struct Violation {
  Breach breach;
  std::string detail;
};
template <class T>
using Decoded = std::expected<T, Violation>;

/// With the length in front. Neighbours that would make a handshake longer than a frame may be are left out.
std::string encode(const Message& message);
/// The number in a frame's first four bytes; kFrameTooLong, kFrameEmpty. REQUIRES: 4 bytes.
Decoded<std::uint32_t> decode_frame_head(std::string_view head);
/// The rest of a frame.
Decoded<Message> decode(std::string_view frame);

/// Checks an index, and a payload's or request's length, against the torrent. A request for a part of a piece is
/// well-formed: it is answered with an ERROR, as stock answers it.
std::optional<Violation> check(const Message& message, const MetaInfo& metainfo);
/// A handshake against the torrent: its bitfield, or what is wrong.
Decoded<Bitfield> check(const Handshake& handshake, const MetaInfo& metainfo, const InfoHash& infohash);

}  // namespace kraken::p2p
