#include <algorithm>
#include <cstring>

#include "src/base/assert.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/net/deadline.h"
#include "src/net/dial.h"
#include "src/net/io.h"
#include "src/p2p/scheduler_impl.h"

namespace kraken::p2p {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kInboxBytes = 4096;
constexpr std::uint32_t kHandshakesMax = 256;
constexpr Duration kStall = 60s;                  // a peer that takes nothing of what it asked for
constexpr std::uint64_t kSendBytes = 1 << 20;     // between two looks at the upload's progress
constexpr std::string_view kPartText = "reading / writing chunk of piece not supported";

}  // namespace

// --- Inbox

net::Task<void> Inbox::fill(net::Socket& socket, std::size_t bytes) {
  if (bytes_.size() < std::max(bytes, kInboxBytes)) bytes_.resize(std::max(bytes, kInboxBytes));
  if (begin_ > 0 && (begin_ == end_ || begin_ + bytes > bytes_.size())) {
    std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  while (end_ - begin_ < bytes) {
    const std::span<char> room(bytes_.data() + end_, bytes_.size() - end_);
    KR_CO_TRY(const auto n, co_await net::read_some(socket, room));
    end_ += n;
  }
  co_return Result<>{};
}

net::Task<Decoded<std::string_view>> Inbox::frame(net::Socket& socket) {
  KR_CO_CHECK(co_await fill(socket, kFrameHeadBytes));
  const auto length = decode_frame_head({bytes_.data() + begin_, kFrameHeadBytes});
  if (!length) co_return Decoded<std::string_view>(std::unexpected(length.error()));
  begin_ += kFrameHeadBytes;
  KR_CO_CHECK(co_await fill(socket, *length));
  const std::string_view body(bytes_.data() + begin_, *length);
  begin_ += *length;
  co_return Decoded<std::string_view>(body);
}

std::size_t Inbox::drain(std::span<char> into) {
  const std::size_t bytes = std::min(into.size(), end_ - begin_);
  std::memcpy(into.data(), bytes_.data() + begin_, bytes);
  begin_ += bytes;
  return bytes;
}

// --- handshakes

void Scheduler::Impl::breach(const PeerInfo& peer, const Violation& violation) {
  counters.breaches[static_cast<std::size_t>(violation.breach)]->add();
  log::info("p2p.breach", "peer={} ip={} reason={} detail={}", peer.peer_id.hex(), peer.ip, name_of(violation.breach), violation.detail);
}

Handshake Scheduler::Impl::handshake_of(const Session& session, bool with_namespace) const {
  Handshake made{session.torrent->infohash(), session.metainfo().digest, options.peer_id, session.swarm.have().encode(),
                 with_namespace ? session.ns : std::string(), {}};
  for (const auto& [peer, bitfield] : session.swarm.neighbours()) made.neighbours.emplace_back(peer, bitfield.encode());
  return made;
}

net::Task<void> Scheduler::Impl::accept_loop() {
  while (!stopped) {
    auto socket = co_await acceptor.accept(loop.executor());
    if (!socket) {
      if (socket.error().code == Code::kCancelled) co_return Result<>{};
      log::warn("p2p.accept_failed", "error={}", socket.error().to_string());
      KR_CO_CHECK(co_await net::sleep_for(100ms));
      continue;
    }
    if (links.size() >= options.connections_max || handshakes >= kHandshakesMax) {
      counters.refused.add();
      continue;
    }
    scope.spawn("p2p.inbound", inbound(*std::move(socket)));
  }
  co_return Result<>{};
}

net::Task<void> Scheduler::Impl::inbound(net::Socket socket) {
  ++handshakes;
  // Every refusal is a silent close, as stock's: there is no message for it.
  auto shaken = co_await net::with_deadline(options.handshake_timeout, shake_inbound(std::move(socket)), "handshake");
  --handshakes;
  if (!shaken) log::debug("p2p.inbound_failed", "error={}", shaken.error().to_string());
  co_return Result<>{};
}

net::Task<void> Scheduler::Impl::shake_inbound(net::Socket socket) {
  PeerInfo peer;
  boost::system::error_code ec;
  peer.ip = socket.remote_endpoint(ec).address().to_string();
  Inbox inbox;
  KR_CO_TRY(const auto frame, co_await inbox.frame(socket));
  auto message = frame ? decode(*frame) : Decoded<Message>(std::unexpected(frame.error()));
  if (message && !std::holds_alternative<Handshake>(*message))
    message = std::unexpected(Violation{Breach::kBadHandshake, "the first message is no handshake"});
  if (!message) {
    breach(peer, message.error());
    co_return Result<>{};
  }
  const auto& handshake = std::get<Handshake>(*message);
  peer.peer_id = handshake.peer_id;
  if (handshake.peer_id == options.peer_id) {
    breach(peer, {Breach::kWrongPeer, "it has this host's own id"});
    co_return Result<>{};
  }
  KR_CO_TRY(const SessionPtr session, co_await session_for(handshake.ns, handshake.digest, false));
  auto bitfield = check(handshake, session->metainfo(), session->torrent->infohash());
  if (!bitfield) {
    breach(peer, bitfield.error());
    co_return Result<>{};
  }
  auto link = std::make_shared<Link>(swarm::ConnectionId(next_connection++), std::move(socket), session);
  link->peer = peer;
  link->inbox = std::move(inbox);
  if (!session->swarm.connected(now(), link->id, peer, false, *std::move(bitfield))) {
    counters.refused.add();
    settle(session);
    co_return Result<>{};
  }
  queue(*link, handshake_of(*session, false));
  adopt(std::move(link));
  co_return Result<>{};
}

net::Task<void> Scheduler::Impl::outbound(SessionPtr session, PeerInfo peer) {
  auto failure = swarm::DialFailure::kFailed;
  auto shaking = shake_outbound(session, peer, failure);  // NOLINT: `failure` lives until it is awaited below
  auto shaken = co_await net::with_deadline(options.handshake_timeout * 2, std::move(shaking), "dial");
  if (!shaken) {
    counters.dials_failed.add();
    log::debug("p2p.dial_failed", "peer={} at={}:{} error={}", peer.peer_id.hex(), peer.ip, peer.port, shaken.error().to_string());
    session->swarm.dial_failed(now(), peer.peer_id, failure);
    settle(session);
  }
  co_return Result<>{};
}

net::Task<void> Scheduler::Impl::shake_outbound(SessionPtr session, PeerInfo peer, swarm::DialFailure& failure) {
  KR_CO_TRY(auto socket, co_await net::dial(peer.ip, peer.port, options.handshake_timeout));
  const std::string hello = encode(handshake_of(*session, true));
  KR_CO_CHECK(co_await net::write_all(socket, hello));
  Inbox inbox;
  auto frame = co_await inbox.frame(socket);
  if (!frame) {
    if (frame.error().code == Code::kClosed) failure = swarm::DialFailure::kRefused;
    co_return std::unexpected(frame.error());
  }
  const auto refuse = [&](const Violation& violation) {
    failure = swarm::DialFailure::kProtocol;
    breach(peer, violation);
    return fail(Code::kProtocol, "{}: {}", name_of(violation.breach), violation.detail);
  };
  if (!*frame) co_return refuse(frame->error());
  auto message = decode(**frame);
  if (!message) co_return refuse(message.error());
  const auto* handshake = std::get_if<Handshake>(&*message);
  if (handshake == nullptr) co_return refuse({Breach::kBadHandshake, "the first message is no handshake"});
  if (handshake->peer_id != peer.peer_id)
    co_return refuse({Breach::kWrongPeer, fmt::format("it is {}", handshake->peer_id.hex())});
  auto bitfield = check(*handshake, session->metainfo(), session->torrent->infohash());
  if (!bitfield) co_return refuse(bitfield.error());
  if (session->failed) co_return Result<>{};
  auto link = std::make_shared<Link>(swarm::ConnectionId(next_connection++), std::move(socket), session);
  link->peer = peer;
  link->inbox = std::move(inbox);
  if (session->swarm.connected(now(), link->id, peer, true, *std::move(bitfield))) {
    adopt(std::move(link));
  } else {
    settle(session);
  }
  co_return Result<>{};
}

void Scheduler::Impl::adopt(LinkPtr link) {
  const SessionPtr session = link->session;
  link->active_at = session->used_at = now();
  links[link->id] = link;
  session->links[link->id] = link;
  counters.links.set(static_cast<double>(links.size()));
  scope.spawn("p2p.read", read_loop(link));
  scope.spawn("p2p.write", write_loop(link));
  settle(session);
}

void Scheduler::Impl::close(const LinkPtr& link) {
  if (link->closed) return;
  link->closed = true;
  boost::system::error_code ec;
  link->socket.close(ec);
  link->wake.notify();
  link->out.clear();
  giver.disconnected(link->id);
  links.erase(link->id);
  link->session->links.erase(link->id);
  link->session->used_at = now();
  counters.links.set(static_cast<double>(links.size()));
  link->session->swarm.disconnected(now(), link->id);
}

// --- messages

void Scheduler::Impl::queue(Link& link, const Message& message) {
  if (link.closed) return;
  link.out.push_back(encode(message));
  link.wake.notify();
}

std::optional<Violation> Scheduler::Impl::handle(const LinkPtr& link, const Message& message) {
  swarm::Swarm& swarm = link->session->swarm;
  link->active_at = now();
  if (const auto* request = std::get_if<PieceRequest>(&message)) {
    if (request->offset != 0 || request->length != link->session->metainfo().piece_bytes(request->piece)) {
      queue(*link, PieceError{request->piece, std::string(kPartText)});
    } else if (!swarm.have().test(request->piece)) {
      queue(*link, PieceError{request->piece, "piece not available"});
    } else if (!giver.requested(now(), link->id, request->piece, swarm.share_of(link->id))) {
      return Violation{Breach::kTooManyRequests, "too many requests wait"};
    }
  } else if (const auto* announced = std::get_if<AnnouncePiece>(&message)) {
    swarm.peer_has(now(), link->id, announced->piece);
    giver.share_changed(link->id, swarm.share_of(link->id));
  } else if (const auto* cancel = std::get_if<CancelPiece>(&message)) {
    giver.cancelled(link->id, cancel->piece);
  } else if (const auto* error = std::get_if<PieceError>(&message)) {
    log::debug("p2p.peer_error", "peer={} piece={} text={}", link->peer.peer_id.hex(), error->piece, error->text);
    swarm.peer_error(now(), link->id, error->piece);
  } else if (std::holds_alternative<Complete>(message)) {
    swarm.peer_complete(now(), link->id);
  }
  return std::nullopt;
}

net::Task<void> Scheduler::Impl::read_loop(LinkPtr link) {
  const SessionPtr session = link->session;
  while (!link->closed) {
    auto frame = co_await link->inbox.frame(link->socket);
    if (!frame) break;
    auto message = *frame ? decode(**frame) : Decoded<Message>(std::unexpected((*frame).error()));
    std::optional<Violation> violation;
    if (!message) {
      violation = message.error();
    } else if (violation = check(*message, session->metainfo()); !violation) {
      if (const auto* payload = std::get_if<PiecePayload>(&*message)) {
        auto received = co_await receive(link, *payload);
        if (!received) break;
        violation = *received;
      } else {
        violation = handle(link, *message);
      }
    }
    if (violation) {
      breach(link->peer, *violation);
      break;
    }
    settle(session);
  }
  close(link);
  settle(session);
  co_return Result<>{};
}

net::Task<void> Scheduler::Impl::write_loop(LinkPtr link) {
  const SessionPtr session = link->session;
  net::Watchdog watchdog(link->socket);
  while (!link->closed) {
    const auto seen = link->wake.version();
    if (!link->out.empty()) {
      std::string batch;
      for (const std::string& frame : link->out) batch += frame;
      link->out.clear();
      watchdog.arm(kStall);
      auto written = co_await net::write_all(link->socket, batch, &watchdog);
      watchdog.disarm();
      if (!written) break;
    } else if (link->upload) {
      auto sent = co_await send_piece(link, *link->upload);
      if (!sent) {
        log::debug("p2p.send_failed", "peer={} error={}", link->peer.peer_id.hex(), sent.error().to_string());
        break;
      }
    } else {
      auto waited = co_await link->wake.wait(seen, 1h);
      if (!waited && waited.error().code == Code::kCancelled) break;
    }
  }
  close(link);
  settle(session);
  co_return Result<>{};
}

net::Task<void> Scheduler::Impl::send_piece(LinkPtr link, std::uint32_t piece) {
  const SessionPtr session = link->session;
  const std::shared_ptr<Torrent> torrent = session->torrent;
  const std::uint64_t bytes = session->metainfo().piece_bytes(piece);
  std::uint64_t offset = session->metainfo().piece_offset(piece);
  if (torrent->check_before_giving() && !session->checked.test(piece)) {
    auto job = [torrent, offset, bytes]() -> Result<std::uint32_t> { return sum_of_range(torrent->fd(), offset, bytes); };
    auto sum = co_await pool.run(job);
    if (!sum || *sum != session->metainfo().piece_sums[piece]) {
      const bool damaged = sum.has_value() || sum.error().code == Code::kCorrupt;
      log::error("p2p.damaged", "digest={} piece={} error={}", session->metainfo().digest.str(), piece,
                 sum ? "its sum does not match" : sum.error().to_string());
      if (damaged) torrent->damaged(piece);
      queue(*link, PieceError{piece, "piece is damaged"});
      link->upload.reset();
      giver.finished(link->id);
      give();
      co_return Result<>{};
    }
    session->checked.set(piece);
  }
  net::Watchdog watchdog(link->socket);
  watchdog.expect(kSendBytes, kStall);
  const std::string head = encode(PiecePayload{piece, static_cast<std::uint32_t>(bytes)});
  KR_CO_CHECK(co_await net::write_all(link->socket, net::Pieces{.first = head, .more = true}, &watchdog));
  for (std::uint64_t left = bytes; left > 0;) {
    std::uint64_t step = std::min(left, kSendBytes);
    if (egress.limited()) {
      step = std::min(step, swarm::kQuantumBytes);
      const Duration wait = egress.take(now(), step);
      if (wait > Duration::zero()) KR_CO_CHECK(co_await net::sleep_for(wait));
    }
    KR_CO_CHECK(co_await net::send_file(link->socket, pool, torrent->fd(), offset, step, &watchdog));
    offset += step;
    left -= step;
    giver.progress(now(), link->id);
  }
  link->upload.reset();
  link->active_at = session->used_at = now();
  totals.bytes_given += bytes;
  ++totals.pieces_given;
  counters.given.add(static_cast<double>(bytes));
  counters.pieces_given.add();
  giver.finished(link->id);
  session->swarm.gave(now(), link->id, piece);
  settle(session);
  co_return Result<>{};
}

}  // namespace kraken::p2p
