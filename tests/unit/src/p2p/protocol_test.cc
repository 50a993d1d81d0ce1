#include "src/p2p/protocol.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include <nlohmann/json.hpp>

#include "src/base/hex.h"

namespace kraken::p2p {
namespace {

/// The 18 conversations recorded from stock's processes (tests/golden/stock_wire.json).
const nlohmann::json& conversations() {
  static const nlohmann::json all = [] {
    std::ifstream in(std::string(KR_GOLDEN_FOLDER) + "/stock_wire.json");
    return nlohmann::json::parse(in).at("p2p");
  }();
  return all;
}

std::string bytes_of(std::string_view hex) { return from_hex(hex).value(); }

Decoded<Message> decode_frame(std::string_view frame) {
  auto length = decode_frame_head(frame.substr(0, kFrameHeadBytes));
  if (!length) return std::unexpected(length.error());
  EXPECT_EQ(*length, frame.size() - kFrameHeadBytes);
  return decode(frame.substr(kFrameHeadBytes));
}

std::string frame_of(std::string_view body) {
  std::string frame(kFrameHeadBytes, '\0');
  frame[2] = static_cast<char>(body.size() >> 8);
  frame[3] = static_cast<char>(body.size());
  return frame + std::string(body);
}

/// Byte i is i mod 251, as the recorded blobs are.
std::string recorded_blob(std::size_t bytes) {
  std::string blob(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) blob[i] = static_cast<char>(i % 251);
  return blob;
}

TEST(Protocol, EveryRecordedFrameOfStockIsReadAndWrittenAgainByteForByte) {
  std::size_t frames = 0;
  for (const auto& conversation : conversations()) {
    for (const auto& recorded : conversation.at("frames")) {
      const std::string hex = recorded.at("frame_hex");
      const std::string frame = bytes_of(hex);
      auto message = decode_frame(frame);
      ASSERT_TRUE(message) << recorded.dump();
      const std::string again = encode(*message);
      const auto* handshake = std::get_if<Handshake>(&*message);
      if (handshake != nullptr && handshake->neighbours.size() > 1) {
        // The order of a map is nobody's.
        auto reread = decode_frame(again);
        ASSERT_TRUE(reread);
        EXPECT_EQ(again.size(), frame.size());
        EXPECT_EQ(std::get<Handshake>(*reread).neighbours, handshake->neighbours);
      } else {
        EXPECT_EQ(to_hex(again), hex) << recorded.dump();
      }
      ++frames;
    }
  }
  EXPECT_EQ(conversations().size(), 18U);
  EXPECT_GT(frames, 100U);
}

TEST(Protocol, EveryRecordedConversationFitsItsTorrent) {
  const std::map<std::string, std::size_t> lengths = {
      {"1f825aa2f0020ef7cf91dfa30da4668d791c5d4824fc8e41354b89ec05795ab3", 10},
      {"16b632f11cf950dda67dc4c184a3f9e0aa1ffa4c18927bb8977e7da97ca25bca", 5242880},
      {"555de028b980298460d46e2585687cc9e833d7234ec5206e0a5ce90032e9a9aa", 23081017}};
  // One payload of conversation 15 was recorded in the middle of another; its bytes are not the piece's.
  constexpr std::string_view kMangled = "ac9b60e8c7e7e7bf54e0fb81a3d706de6a76e9b4d9d8652138ad315339685332";
  std::map<std::string, std::pair<std::string, MetaInfo>> torrents;
  for (const auto& conversation : conversations()) {
    auto first = decode_frame(bytes_of(conversation.at("frames")[0].at("frame_hex").get<std::string>()));
    ASSERT_TRUE(first);
    const auto& opener = std::get<Handshake>(*first);
    const auto length = lengths.find(opener.digest.hex());
    ASSERT_NE(length, lengths.end());
    auto& [blob, metainfo] = torrents[opener.digest.hex()];
    if (blob.empty()) {
      blob = recorded_blob(length->second);
      metainfo = make_metainfo(blob, 4 << 20);
    }
    ASSERT_EQ(metainfo.digest, opener.digest);
    for (std::size_t i = 0; i < conversation.at("frames").size(); ++i) {
      const auto& recorded = conversation.at("frames")[i];
      auto message = decode_frame(bytes_of(recorded.at("frame_hex").get<std::string>()));
      ASSERT_TRUE(message);
      if (const auto* handshake = std::get_if<Handshake>(&*message)) {
        auto bitfield = check(*handshake, metainfo, metainfo.infohash());
        ASSERT_TRUE(bitfield) << bitfield.error().detail;
        EXPECT_EQ(bitfield->size(), metainfo.piece_count());
        EXPECT_LT(i, 2U);
      } else {
        const auto violation = check(*message, metainfo);
        EXPECT_FALSE(violation) << violation->detail;
      }
      const auto* payload = std::get_if<PiecePayload>(&*message);
      if (payload != nullptr && recorded.at("payload").at("sha256").get<std::string>() != kMangled) {
        const std::string_view bytes = std::string_view(blob).substr(metainfo.piece_offset(payload->piece), payload->length);
        EXPECT_EQ(Digest::of(bytes).hex(), recorded.at("payload").at("sha256").get<std::string>());
      }
    }
  }
}

struct Malformed {
  const char* name;
  std::string body;  // hexadecimal, of the frame's protobuf
  Breach breach;
};

TEST(Protocol, EveryMalformedFrameIsAViolationWithItsReason) {
  const std::vector<Malformed> rows = {
      {"an empty message is a handshake without its body", "1200", Breach::kNotProtobuf},
      {"type 0 without a body", "0a00", Breach::kBodyMissing},
      {"request without a body", "1001", Breach::kBodyMissing},
      {"payload without a body", "1002", Breach::kBodyMissing},
      {"announce without a body", "1003", Breach::kBodyMissing},
      {"cancel without a body", "1004", Breach::kBodyMissing},
      {"error without a body", "1005", Breach::kBodyMissing},
      {"request of piece -1", "1001220b10ffffffffffffffffff01", Breach::kBadIndex},
      {"request of -1 bytes", "1001220b20ffffffffffffffffff01", Breach::kBadLength},
      {"payload of piece -1", "10022a0b10ffffffffffffffffff01", Breach::kBadIndex},
      {"payload of -1 bytes", "10022a0b20ffffffffffffffffff01", Breach::kBadLength},
      {"announce of piece -1", "1003320b10ffffffffffffffffff01", Breach::kBadIndex},
      {"cancel of piece -1", "10043a0b10ffffffffffffffffff01", Breach::kBadIndex},
      {"error of piece -1", "1005420b18ffffffffffffffffff01", Breach::kBadIndex},
      {"a truncated message", "100122", Breach::kNotProtobuf},
      {"noise", "ffffffffff", Breach::kNotProtobuf},
      {"a handshake whose infohash is short", "1a041202616212", Breach::kNotProtobuf},
      {"a handshake without its fields", "1a00", Breach::kBadHandshake},
  };
  for (const Malformed& row : rows) {
    SCOPED_TRACE(row.name);
    const std::string body = bytes_of(row.body);
    auto message = decode_frame(frame_of(body));
    ASSERT_FALSE(message);
    // A field of the wrong wire type is kept as unknown, so that what it stood for is missing.
    if (row.breach == Breach::kNotProtobuf && message.error().breach == Breach::kBodyMissing) continue;
    EXPECT_EQ(message.error().breach, row.breach) << message.error().detail;
  }
}

TEST(Protocol, FramesBeyondStocksLimitAndEmptyOnesAreViolations) {
  EXPECT_EQ(decode_frame_head(bytes_of("00008001")).error().breach, Breach::kFrameTooLong);
  EXPECT_EQ(decode_frame_head(bytes_of("ffffffff")).error().breach, Breach::kFrameTooLong);
  EXPECT_EQ(decode_frame_head(bytes_of("00000000")).error().breach, Breach::kFrameEmpty);
  EXPECT_EQ(decode_frame_head(bytes_of("00008000")).value(), kFrameBytesMax);
}

TEST(Protocol, IndexesAndLengthsAreCheckedAgainstTheTorrent) {
  const MetaInfo metainfo = make_metainfo(std::string(10, 'x'), 4);  // pieces of 4, 4 and 2 bytes
  const auto breach = [&](const Message& message) {
    const auto violation = check(message, metainfo);
    return violation ? std::string(name_of(violation->breach)) : std::string("none");
  };
  EXPECT_EQ(breach(PieceRequest{2, 0, 2}), "none");
  EXPECT_EQ(breach(PieceRequest{0, 1, 2}), "none");  // a part: well-formed, answered with an ERROR
  EXPECT_EQ(breach(PieceRequest{2, 0, 4}), "bad_length");
  EXPECT_EQ(breach(PieceRequest{0, 4, 1}), "bad_length");
  EXPECT_EQ(breach(PieceRequest{0, 0, 0}), "bad_length");
  EXPECT_EQ(breach(PieceRequest{3, 0, 4}), "bad_index");
  EXPECT_EQ(breach(PiecePayload{2, 2}), "none");
  EXPECT_EQ(breach(PiecePayload{2, 4}), "bad_length");
  EXPECT_EQ(breach(PiecePayload{0, 3}), "bad_length");
  EXPECT_EQ(breach(PiecePayload{3, 4}), "bad_index");
  EXPECT_EQ(breach(AnnouncePiece{2}), "none");
  EXPECT_EQ(breach(AnnouncePiece{INT32_MAX}), "bad_index");
  EXPECT_EQ(breach(CancelPiece{3}), "bad_index");
  EXPECT_EQ(breach(PieceError{3, ""}), "bad_index");
  EXPECT_EQ(breach(Complete{}), "none");
  EXPECT_EQ(breach(Handshake{}), "bad_handshake");
}

TEST(Protocol, AHandshakeOfAnotherTorrentOrBitfieldIsAViolation) {
  const MetaInfo metainfo = make_metainfo(std::string(10, 'x'), 4);
  const InfoHash infohash = metainfo.infohash();
  Handshake good{infohash, metainfo.digest, PeerId(), Bitfield(3).encode(), "ns", {}};
  EXPECT_TRUE(check(good, metainfo, infohash));
  Handshake other = good;
  other.infohash = InfoHash();
  EXPECT_EQ(check(other, metainfo, infohash).error().breach, Breach::kWrongTorrent);
  other = good;
  other.digest = Digest::of("y");
  EXPECT_EQ(check(other, metainfo, infohash).error().breach, Breach::kWrongTorrent);
  for (const std::string& bits : {std::string(), Bitfield(4).encode(), Bitfield(2).encode(), Bitfield(3).encode() + "x", std::string(7, '\0')}) {
    other = good;
    other.bitfield = bits;
    EXPECT_EQ(check(other, metainfo, infohash).error().breach, Breach::kBadHandshake);
  }
}

TEST(Protocol, AHandshakeStaysWithinAFrameHoweverManyNeighboursThereAre) {
  Handshake handshake{InfoHash(), Digest(), PeerId(), Bitfield(131072, true).encode(), "ns", {}};
  for (std::uint8_t i = 0; i < 24; ++i) {
    PeerId::Raw raw{};
    raw[0] = i;
    handshake.neighbours.emplace_back(PeerId(raw), Bitfield(131072, true).encode());
  }
  const std::string frame = encode(handshake);
  EXPECT_LE(frame.size(), kFrameHeadBytes + kFrameBytesMax);
  auto message = decode_frame(frame);
  ASSERT_TRUE(message);
  EXPECT_EQ(std::get<Handshake>(*message).bitfield, handshake.bitfield);
}

TEST(Protocol, ATypeOfALaterVersionIsSkipped) {
  auto message = decode(bytes_of("1009"));
  ASSERT_TRUE(message);
  EXPECT_TRUE(std::holds_alternative<Unknown>(*message));
}

TEST(Protocol, AFrameCutAnywhereNeverReadsAsAnother) {
  const std::string frame = encode(PieceRequest{5, 0, 4 << 20}).substr(kFrameHeadBytes);
  for (std::size_t cut = 0; cut < frame.size(); ++cut) {
    auto message = decode(std::string_view(frame).substr(0, cut));
    if (!message) continue;
    const auto* request = std::get_if<PieceRequest>(&*message);
    EXPECT_FALSE(request != nullptr && request->length == 4 << 20) << cut;
  }
}

}  // namespace
}  // namespace kraken::p2p
