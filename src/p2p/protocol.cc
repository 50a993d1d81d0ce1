#include "src/p2p/protocol.h"

#include <algorithm>

#include "src/base/assert.h"
#include "src/p2p/p2p.pb.h"

namespace kraken::p2p {

namespace {

constexpr std::string_view kBreachNames[kBreachCount] = {
    "frame_too_long", "frame_empty",   "not_protobuf", "body_missing", "bad_index",         "bad_length",
    "bad_handshake",  "wrong_torrent", "wrong_peer",   "unasked",      "too_many_requests", "bad_piece"};

template <class... Args>
std::unexpected<Violation> violation(Breach breach, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Violation{breach, fmt::format(format, std::forward<Args>(args)...)});
}

template <class... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};

std::int32_t to_wire(std::uint32_t number) {
  KR_ASSERT(number <= INT32_MAX);
  return static_cast<std::int32_t>(number);
}

void fill(wire::Message& out, const Handshake& handshake) {
  auto& body = *out.mutable_bitfield();
  body.set_info_hash(handshake.infohash.hex());
  body.set_name(handshake.digest.hex());
  body.set_peer_id(handshake.peer_id.hex());
  body.set_bitfield_bytes(handshake.bitfield);
  body.set_ns(handshake.ns);
  std::size_t bytes = out.ByteSizeLong();
  for (const auto& [peer, bitfield] : handshake.neighbours) {
    bytes += bitfield.size() + 60;  // key, value and their tags and lengths, at most
    if (bytes > kFrameBytesMax) break;
    (*body.mutable_remote_bitfield_bytes())[peer.hex()] = bitfield;
  }
}

std::string frame(const wire::Message& message) {
  const std::size_t bytes = message.ByteSizeLong();
  KR_ASSERT(bytes <= kFrameBytesMax);
  std::string out(kFrameHeadBytes + bytes, '\0');
  for (std::size_t i = 0; i < kFrameHeadBytes; ++i) out[i] = static_cast<char>(bytes >> (24 - 8 * i) & 0xff);
  KR_ASSERT(message.SerializeToArray(out.data() + kFrameHeadBytes, static_cast<int>(bytes)));
  return out;
}

Decoded<Message> decode_handshake(const wire::BitfieldBody& body) {
  Handshake handshake;
  const auto infohash = InfoHash::parse(body.info_hash());
  if (!infohash) return violation(Breach::kBadHandshake, "infohash is not 40 hexadecimal digits");
  const auto digest = Digest::from_hex(body.name());
  if (!digest) return violation(Breach::kBadHandshake, "name is not 64 hexadecimal digits");
  const auto peer_id = PeerId::parse(body.peer_id());
  if (!peer_id) return violation(Breach::kBadHandshake, "peer id is not 40 hexadecimal digits");
  handshake.infohash = *infohash;
  handshake.digest = *digest;
  handshake.peer_id = *peer_id;
  handshake.bitfield = body.bitfield_bytes();
  handshake.ns = body.ns();
  for (const auto& [peer, bitfield] : body.remote_bitfield_bytes()) {
    const auto id = PeerId::parse(peer);
    if (!id) return violation(Breach::kBadHandshake, "a neighbour's id is not 40 hexadecimal digits");
    handshake.neighbours.emplace_back(*id, bitfield);
  }
  std::ranges::sort(handshake.neighbours);
  return Message(std::move(handshake));
}

Decoded<std::uint32_t> index_of(std::int32_t index) {
  if (index < 0) return violation(Breach::kBadIndex, "piece {}", index);
  return static_cast<std::uint32_t>(index);
}

}  // namespace

std::string_view name_of(Breach breach) { return kBreachNames[static_cast<std::size_t>(breach)]; }

std::string encode(const Message& message) {
  wire::Message out;
  std::visit(Overloaded{
                 [&](const Handshake& handshake) { fill(out, handshake); },
                 [&](const PieceRequest& request) {
                   out.set_type(wire::Message::PIECE_REQUEST);
                   out.mutable_piece_request()->set_index(to_wire(request.piece));
                   out.mutable_piece_request()->set_offset(to_wire(request.offset));
                   out.mutable_piece_request()->set_length(to_wire(request.length));
                 },
                 [&](const PiecePayload& payload) {
                   out.set_type(wire::Message::PIECE_PAYLOAD);
                   out.mutable_piece_payload()->set_index(to_wire(payload.piece));
                   out.mutable_piece_payload()->set_length(to_wire(payload.length));
                 },
                 [&](const AnnouncePiece& announce) {
                   out.set_type(wire::Message::ANNOUCE_PIECE);
                   out.mutable_announce_piece()->set_index(to_wire(announce.piece));
                 },
                 [&](const CancelPiece& cancel) {
                   out.set_type(wire::Message::CANCEL_PIECE);
                   out.mutable_cancel_piece()->set_index(to_wire(cancel.piece));
                 },
                 [&](const PieceError& error) {
                   out.set_type(wire::Message::ERROR);
                   out.mutable_error()->set_error(error.text);
                   out.mutable_error()->set_index(to_wire(error.piece));
                 },
                 [&](const Complete&) { out.set_type(wire::Message::COMPLETE); },
                 [&](const Unknown&) { KR_ASSERT(false && "an unknown message is never sent"); },
             },
             message);
  return frame(out);
}

Decoded<std::uint32_t> decode_frame_head(std::string_view head) {
  KR_ASSERT(head.size() == kFrameHeadBytes);
  std::uint32_t bytes = 0;
  for (const char byte : head) bytes = bytes << 8 | static_cast<std::uint8_t>(byte);
  if (bytes > kFrameBytesMax) return violation(Breach::kFrameTooLong, "frame of {} bytes", bytes);
  if (bytes == 0) return violation(Breach::kFrameEmpty, "empty frame");
  return bytes;
}

Decoded<Message> decode(std::string_view frame) {
  wire::Message in;
  if (!in.ParseFromArray(frame.data(), static_cast<int>(frame.size())))
    return violation(Breach::kNotProtobuf, "frame of {} bytes is no message", frame.size());
  const auto missing = [&] { return violation(Breach::kBodyMissing, "type {} without its body", static_cast<int>(in.type())); };
  switch (in.type()) {
    case wire::Message::BITFIELD:
      if (!in.has_bitfield()) return missing();
      return decode_handshake(in.bitfield());
    case wire::Message::PIECE_REQUEST: {
      if (!in.has_piece_request()) return missing();
      const auto& body = in.piece_request();
      const auto index = index_of(body.index());
      if (!index) return std::unexpected(index.error());
      if (body.length() < 0 || body.offset() < 0)
        return violation(Breach::kBadLength, "request of {} bytes at {}", body.length(), body.offset());
      return PieceRequest{*index, static_cast<std::uint32_t>(body.offset()), static_cast<std::uint32_t>(body.length())};
    }
    case wire::Message::PIECE_PAYLOAD: {
      if (!in.has_piece_payload()) return missing();
      const auto& body = in.piece_payload();
      const auto index = index_of(body.index());
      if (!index) return std::unexpected(index.error());
      if (body.length() < 0 || body.offset() != 0)
        return violation(Breach::kBadLength, "payload of {} bytes at {}", body.length(), body.offset());
      return PiecePayload{*index, static_cast<std::uint32_t>(body.length())};
    }
    case wire::Message::ANNOUCE_PIECE: {
      if (!in.has_announce_piece()) return missing();
      const auto index = index_of(in.announce_piece().index());
      if (!index) return std::unexpected(index.error());
      return AnnouncePiece{*index};
    }
    case wire::Message::CANCEL_PIECE: {
      if (!in.has_cancel_piece()) return missing();
      const auto index = index_of(in.cancel_piece().index());
      if (!index) return std::unexpected(index.error());
      return CancelPiece{*index};
    }
    case wire::Message::ERROR: {
      if (!in.has_error()) return missing();
      const auto index = index_of(in.error().index());
      if (!index) return std::unexpected(index.error());
      return PieceError{*index, in.error().error()};
    }
    case wire::Message::COMPLETE: return Complete{};  // stock sends it without its body
    default: return Unknown{};
  }
}

std::optional<Violation> check(const Message& message, const MetaInfo& metainfo) {
  const auto bad_index = [&](std::uint32_t piece) -> std::optional<Violation> {
    if (piece < metainfo.piece_count()) return std::nullopt;
    return Violation{Breach::kBadIndex, fmt::format("piece {} of {}", piece, metainfo.piece_count())};
  };
  return std::visit(
      Overloaded{
          [&](const PieceRequest& request) -> std::optional<Violation> {
            if (auto bad = bad_index(request.piece)) return bad;
            const std::uint64_t end = std::uint64_t{request.offset} + request.length;
            if (request.length > 0 && end <= metainfo.piece_bytes(request.piece)) return std::nullopt;
            return Violation{Breach::kBadLength, fmt::format("request of {} bytes at {} of piece {}", request.length,
                                                             request.offset, request.piece)};
          },
          [&](const PiecePayload& payload) -> std::optional<Violation> {
            if (auto bad = bad_index(payload.piece)) return bad;
            if (payload.length == metainfo.piece_bytes(payload.piece)) return std::nullopt;
            return Violation{Breach::kBadLength, fmt::format("payload of {} bytes for piece {} of {}", payload.length,
                                                             payload.piece, metainfo.piece_bytes(payload.piece))};
          },
          [&](const AnnouncePiece& announce) { return bad_index(announce.piece); },
          [&](const CancelPiece& cancel) { return bad_index(cancel.piece); },
          [&](const PieceError& error) { return bad_index(error.piece); },
          [&](const Handshake&) -> std::optional<Violation> {
            return Violation{Breach::kBadHandshake, "a second handshake"};
          },
          [](const auto&) -> std::optional<Violation> { return std::nullopt; },
      },
      message);
}

Decoded<Bitfield> check(const Handshake& handshake, const MetaInfo& metainfo, const InfoHash& infohash) {
  if (handshake.infohash != infohash || handshake.digest != metainfo.digest)
    return violation(Breach::kWrongTorrent, "infohash {} of blob {}", handshake.infohash.hex(), handshake.digest.hex());
  auto bitfield = Bitfield::decode(handshake.bitfield, metainfo.piece_count());
  if (!bitfield) return violation(Breach::kBadHandshake, "{}", bitfield.error().detail);
  return *std::move(bitfield);
}

}  // namespace kraken::p2p
