// A peer that breaks the protocol loses its connection, is counted, and nothing else happens: each kind of malformed
// message once, before and after the handshake, against a seeder and against a leecher.

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "src/base/hex.h"
#include "src/base/metrics.h"
#include "src/p2p/protocol.h"
#include "tests/unit/src/p2p/test_peers.h"

namespace kraken::p2p::testing {
namespace {

/// A plain blocking socket, with a deadline on every wait.
class RawPeer {
 public:
  explicit RawPeer(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;  // NOLINT
  }
  explicit RawPeer(UniqueFd fd) : fd_(std::move(fd)), connected_(true) {}

  bool connected() const { return connected_; }
  void send(std::string_view bytes) { (void)::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  /// Exactly so many bytes; shorter where the other side closed.
  std::string read(std::size_t bytes) {
    std::string out;
    while (out.size() < bytes) {
      pollfd poll{fd_.get(), POLLIN, 0};
      if (::poll(&poll, 1, 20000) != 1) break;
      std::string part(bytes - out.size(), '\0');
      const ssize_t n = ::recv(fd_.get(), part.data(), part.size(), 0);
      if (n <= 0) break;
      out.append(part, 0, static_cast<std::size_t>(n));
    }
    return out;
  }
  std::optional<Message> read_message() {
    const std::string head = read(kFrameHeadBytes);
    if (head.size() < kFrameHeadBytes) return std::nullopt;
    const auto length = decode_frame_head(head);
    if (!length) return std::nullopt;
    auto message = decode(read(*length));
    if (!message) return std::nullopt;
    return *message;
  }
  /// Reads until the other side closes; false if it does not.
  bool closed() {
    for (;;) {
      pollfd poll{fd_.get(), POLLIN, 0};
      if (::poll(&poll, 1, 20000) != 1) return false;
      char part[4096];
      if (::recv(fd_.get(), part, sizeof part, 0) <= 0) return true;
    }
  }

 private:
  UniqueFd fd_;
  bool connected_ = false;
};

double breaches(std::string_view reason) {
  return metrics::counter("kr_p2p_protocol_violations_total", "", {{"reason", std::string(reason)}}).value();
}

std::string raw_frame(std::string_view hex) {
  const std::string body = from_hex(hex).value();
  std::string frame(kFrameHeadBytes, '\0');
  frame[3] = static_cast<char>(body.size());
  return frame + body;
}

struct Row {
  const char* name;
  std::string bytes;
  std::string_view reason;
};

class HostilePeer : public ::testing::Test {
 protected:
  HostilePeer() : content(random_blob(3 * 64 * 1024, 3)), metainfo(make_metainfo(content, 64 * 1024)), infohash(metainfo.infohash()) {
    seeder.store.put(metainfo, content);
  }
  Handshake hello(bool everything = false) const {
    return {infohash, metainfo.digest, random_peer_id(), Bitfield(3, everything).encode(), "test/ns", {}};
  }
  /// Still serves whoever behaves.
  void expect_alive() {
    RawPeer peer(seeder.scheduler->port());
    peer.send(encode(hello()));
    const auto answer = peer.read_message();
    ASSERT_TRUE(answer);
    ASSERT_TRUE(std::holds_alternative<Handshake>(*answer));
    peer.send(encode(PieceRequest{1, 0, 64 * 1024}));
    const auto payload = peer.read_message();
    ASSERT_TRUE(payload);
    ASSERT_TRUE(std::holds_alternative<PiecePayload>(*payload));
    EXPECT_EQ(peer.read(64 * 1024), content.substr(64 * 1024, 64 * 1024));
  }

  std::string content;
  MetaInfo metainfo;
  InfoHash infohash;
  Peer seeder{nullptr};
};

TEST_F(HostilePeer, EachMalformedMessageClosesItsConnectionWithACountedReason) {
  const std::vector<Row> rows = {
      {"oversized frame", std::string("\x00\x00\x80\x01", 4), "frame_too_long"},
      {"huge frame", "\xff\xff\xff\xff", "frame_too_long"},
      {"empty frame", std::string(4, '\0'), "frame_empty"},
      {"no protobuf", raw_frame("ffffffff"), "not_protobuf"},
      {"empty message", raw_frame("0a00"), "body_missing"},
      {"request without body", raw_frame("1001"), "body_missing"},
      {"payload without body", raw_frame("1002"), "body_missing"},
      {"announce without body", raw_frame("1003"), "body_missing"},
      {"error without body", raw_frame("1005"), "body_missing"},
      {"request of piece -1", raw_frame("1001220b10ffffffffffffffffff01"), "bad_index"},
      {"request of piece 3", encode(PieceRequest{3, 0, 1}), "bad_index"},
      {"request of -1 bytes", raw_frame("1001220b20ffffffffffffffffff01"), "bad_length"},
      {"request of nothing", encode(PieceRequest{0, 0, 0}), "bad_length"},
      {"request beyond the piece", encode(PieceRequest{0, 0, 64 * 1024 + 1}), "bad_length"},
      {"announce of piece -1", raw_frame("1003320b10ffffffffffffffffff01"), "bad_index"},
      {"announce of piece 3", encode(AnnouncePiece{3}), "bad_index"},
      {"cancel of piece 3", encode(CancelPiece{3}), "bad_index"},
      {"error of piece 3", encode(PieceError{3, "x"}), "bad_index"},
      {"payload of -1 bytes", raw_frame("10022a0b20ffffffffffffffffff01"), "bad_length"},
      {"payload of 2 GiB", encode(PiecePayload{0, INT32_MAX}), "bad_length"},
      {"payload too short", encode(PiecePayload{0, 1}), "bad_length"},
      {"a second handshake", encode(hello()), "bad_handshake"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const double before = breaches(row.reason);
    RawPeer peer(seeder.scheduler->port());
    peer.send(encode(hello()));
    ASSERT_TRUE(peer.read_message());
    peer.send(row.bytes);
    EXPECT_TRUE(peer.closed());
    EXPECT_TRUE(eventually([&] { return breaches(row.reason) == before + 1; }));
  }
  expect_alive();
}

TEST_F(HostilePeer, AHandshakeThatIsWrongIsClosedSilently) {
  Handshake wrong_infohash = hello();
  wrong_infohash.infohash = InfoHash();
  Handshake own_id = hello();
  own_id.peer_id = seeder.id;
  Handshake short_bitfield = hello();
  short_bitfield.bitfield = Bitfield(2).encode();
  Handshake unknown_blob = hello();
  unknown_blob.digest = Digest::of("not here");
  const std::vector<Row> rows = {
      {"another infohash", encode(wrong_infohash), "wrong_torrent"},
      {"this host's own id", encode(own_id), "wrong_peer"},
      {"a short bitfield", encode(short_bitfield), "bad_handshake"},
      {"a blob that is not here", encode(unknown_blob), ""},
      {"a request first", encode(PieceRequest{0, 0, 64 * 1024}), "bad_handshake"},
      {"an empty message", raw_frame("0a00"), "body_missing"},
      {"an oversized frame", "\xff\xff\xff\xff", "frame_too_long"},
      {"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "frame_too_long"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const double before = row.reason.empty() ? 0 : breaches(row.reason);
    RawPeer peer(seeder.scheduler->port());
    peer.send(row.bytes);
    EXPECT_EQ(peer.read(1), "");
    if (!row.reason.empty()) {
      EXPECT_TRUE(eventually([&] { return breaches(row.reason) == before + 1; }));
    }
  }
  expect_alive();
}

TEST_F(HostilePeer, OneThatSaysNothingIsClosedAfterTheHandshakesTime) {
  SchedulerOptions quick;
  quick.handshake_timeout = 100ms;
  Peer impatient(nullptr, quick);
  RawPeer peer(impatient.scheduler->port());
  EXPECT_EQ(peer.read(1), "");
  RawPeer half(impatient.scheduler->port());
  half.send(std::string("\0\0", 2));
  EXPECT_EQ(half.read(1), "");
}

TEST_F(HostilePeer, APartOfAPieceIsAnsweredWithStocksError) {
  RawPeer peer(seeder.scheduler->port());
  peer.send(encode(hello()));
  ASSERT_TRUE(peer.read_message());
  peer.send(encode(PieceRequest{2, 5, 7}));
  const auto answer = peer.read_message();
  ASSERT_TRUE(answer);
  const auto* error = std::get_if<PieceError>(&*answer);
  ASSERT_NE(error, nullptr);
  EXPECT_EQ(error->piece, 2U);
  EXPECT_EQ(error->text, "reading / writing chunk of piece not supported");
  peer.send(encode(PieceRequest{2, 0, 64 * 1024}));
  const auto payload = peer.read_message();
  ASSERT_TRUE(payload);
  EXPECT_TRUE(std::holds_alternative<PiecePayload>(*payload));
}

TEST_F(HostilePeer, APartThatOnlyAPeerAskedForLeavesMemoryAgain) {
  MemoryTracker tracker;
  SchedulerOptions brief;
  brief.seeder_tti = 50ms;
  Peer agent(&tracker, brief);
  Bitfield some(3);
  some.set(1);
  agent.store.put_part(metainfo, content, some, false);
  {
    RawPeer peer(agent.scheduler->port());
    peer.send(encode(hello()));
    ASSERT_TRUE(peer.read_message());
    EXPECT_EQ(agent.stats().torrents, 1U);
  }
  EXPECT_TRUE(eventually([&] { return agent.stats().torrents == 0; }));
}

TEST_F(HostilePeer, OneThatAsksForMoreThanMayWaitIsClosed) {
  const std::string many(40 * 64 * 1024, 'x');
  const MetaInfo large = make_metainfo(many, 64 * 1024);
  seeder.store.put(large, many);
  const double before = breaches("too_many_requests");
  RawPeer peer(seeder.scheduler->port());
  peer.send(encode(Handshake{large.infohash(), large.digest, random_peer_id(), Bitfield(40).encode(), "", {}}));
  ASSERT_TRUE(peer.read_message());
  std::string requests;
  for (std::uint32_t piece = 0; piece < 40; ++piece) requests += encode(PieceRequest{piece, 0, 64 * 1024});
  peer.send(requests);
  EXPECT_TRUE(peer.closed());
  EXPECT_TRUE(eventually([&] { return breaches("too_many_requests") == before + 1; }));
}

/// A listening peer that the test plays itself.
class RawSeeder {
 public:
  RawSeeder() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 || ::listen(fd_.get(), 8) != 0 ||  // NOLINT
        ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)                                 // NOLINT
      std::abort();
    port_ = ntohs(address.sin_port);
  }
  std::uint16_t port() const { return port_; }
  RawPeer accept() {
    pollfd poll{fd_.get(), POLLIN, 0};
    if (::poll(&poll, 1, 20000) != 1) std::abort();
    return RawPeer(UniqueFd(::accept(fd_.get(), nullptr, nullptr)));
  }

 private:
  UniqueFd fd_;
  std::uint16_t port_ = 0;
};

TEST_F(HostilePeer, ASeederThatAnswersWithNonsenseDoesNotKeepTheLeecherFromAnother) {
  const PeerId liar_id = random_peer_id();
  Handshake other_torrent = hello(true);
  other_torrent.peer_id = liar_id;
  other_torrent.infohash = InfoHash();
  Handshake other_peer = hello(true);
  Handshake good = hello(true);
  good.peer_id = liar_id;
  const std::vector<Row> rows = {
      {"another torrent", encode(other_torrent), "wrong_torrent"},
      {"another peer", encode(other_peer), "wrong_peer"},
      {"no handshake", encode(Complete{}), "bad_handshake"},
      {"a payload nobody asked for", encode(good) + encode(PiecePayload{0, 64 * 1024}) + std::string(64 * 1024, 'x') +
                                         encode(PiecePayload{0, 64 * 1024}) + std::string(64 * 1024, 'x') +
                                         encode(PiecePayload{0, 64 * 1024}),
       ""},
      {"a payload of another length", encode(good) + encode(PiecePayload{0, 64 * 1024 - 1}), "bad_length"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const double before = row.reason.empty() ? 0 : breaches(row.reason);
    MemoryTracker tracker;
    tracker.know(metainfo);
    RawSeeder liar;
    tracker.add(infohash, {liar_id, "127.0.0.1", liar.port(), false, true});
    Peer leecher(&tracker);
    auto handle = leecher.download(metainfo.digest);
    ASSERT_TRUE(handle);
    RawPeer peer = liar.accept();
    ASSERT_TRUE(peer.read_message());
    peer.send(row.bytes);
    EXPECT_TRUE(peer.closed());
    if (!row.reason.empty()) {
      EXPECT_TRUE(eventually([&] { return breaches(row.reason) == before + 1; }));
    }
    auto honest = seeder.info(true);
    honest.origin = true;
    tracker.add(infohash, honest);
    auto done = leecher.wait(*handle);
    EXPECT_TRUE(done) << done.error().to_string();
    EXPECT_EQ(leecher.store.read(metainfo.digest), content);
  }
}

TEST_F(HostilePeer, ASeederThatIsFrozenLosesItsRequestsToAnotherWithinASecond) {
  MemoryTracker tracker;
  tracker.know(metainfo);
  RawSeeder frozen;
  const PeerId frozen_id = random_peer_id();
  tracker.add(infohash, {frozen_id, "127.0.0.1", frozen.port(), true, true});
  Peer leecher(&tracker);
  auto handle = leecher.download(metainfo.digest);
  ASSERT_TRUE(handle);
  RawPeer peer = frozen.accept();
  ASSERT_TRUE(peer.read_message());
  Handshake good = hello(true);
  good.peer_id = frozen_id;
  peer.send(encode(good));
  // It gets the requests and half of a piece comes, then nothing more.
  const auto request = peer.read_message();
  ASSERT_TRUE(request);
  ASSERT_TRUE(std::holds_alternative<PieceRequest>(*request));
  const std::uint32_t piece = std::get<PieceRequest>(*request).piece;
  peer.send(encode(PiecePayload{piece, 64 * 1024}) + content.substr(piece * 64 * 1024, 1000));
  const auto start = std::chrono::steady_clock::now();
  auto honest = seeder.info(true);
  honest.origin = true;
  tracker.add(infohash, honest);
  auto done = leecher.wait(*handle);
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(leecher.store.read(metainfo.digest), content);
  // Five times what is promised, for slow machines.
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  RecordProperty("milliseconds", static_cast<int>((std::chrono::steady_clock::now() - start) / 1ms));
}

TEST_F(HostilePeer, ARecordedConversationOfStocksOpenerIsAnsweredAsStocksOriginAnsweredIt) {
  // Conversation 8 of tests/golden/stock_wire.json: both pieces of 5 MiB, then the first one again.
  std::string blob(5242880, '\0');
  for (std::size_t i = 0; i < blob.size(); ++i) blob[i] = static_cast<char>(i % 251);
  const MetaInfo torrent = make_metainfo(blob, 4 << 20);
  seeder.store.put(torrent, blob);
  RawPeer peer(seeder.scheduler->port());
  peer.send(encode(Handshake{torrent.infohash(), torrent.digest, random_peer_id(), Bitfield(2).encode(), "test/alpine", {}}));
  const auto answer = peer.read_message();
  ASSERT_TRUE(answer);
  const auto* handshake = std::get_if<Handshake>(&*answer);
  ASSERT_NE(handshake, nullptr);
  EXPECT_EQ(handshake->ns, "");
  EXPECT_EQ(to_hex(handshake->bitfield), "00000000000000020000000000000003");
  peer.send(from_hex("00000009100122052080808002").value() + from_hex("0000000a10012206100120808040").value());
  for (const std::string_view expected : {"0000000910022a052080808002", "0000000a10022a06100120808040"}) {
    EXPECT_EQ(to_hex(peer.read(expected.size() / 2)), expected);
    const bool first = expected.size() == 26;
    EXPECT_TRUE(peer.read(first ? 4 << 20 : 1 << 20) == blob.substr(first ? 0 : 4 << 20, first ? 4 << 20 : 1 << 20));
  }
  peer.send(from_hex("00000009100122052080808002").value());
  EXPECT_EQ(to_hex(peer.read(13)), "0000000910022a052080808002");
  EXPECT_TRUE(peer.read(4 << 20) == blob.substr(0, 4 << 20));
  peer.send(from_hex("0000000410033200").value());
  expect_alive();
}

}  // namespace
}  // namespace kraken::p2p::testing
