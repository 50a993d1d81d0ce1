#include "consensus/group/transport.h"

#include <boost/asio/write.hpp>

#include <algorithm>
#include <deque>

#include "src/base/assert.h"
#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/net/dial.h"
#include "src/net/io.h"

namespace kraken::group {
namespace {

constexpr Duration kHandshake = std::chrono::seconds(5);
constexpr std::size_t kReadBytes = std::size_t{64} << 10;
constexpr Duration kUnacknowledged = std::chrono::seconds(3);  // then a link is dialled anew: a new connection has no backoff
constexpr std::size_t kHandshakeBytesMax = kShownRingMax + (std::size_t{64} << 10);
constexpr std::size_t kHandshakesMax = 64;  // connections that have not said who they are

}  // namespace

struct Transport::Inbound {
  explicit Inbound(net::Socket from) : socket(std::move(from)) {}
  net::Socket socket;
  std::size_t peer = 0;
};

Transport::Transport(net::Loop& loop, std::vector<Member> members, std::size_t self, Timings timings,
                     std::size_t queue_bytes, Callbacks callbacks)
    : loop_(loop), self_(self), timings_(timings), queue_bytes_(queue_bytes), callbacks_(std::move(callbacks)),
      scope_(loop.executor()) {
  for (Member& member : members) peers_.push_back(std::make_unique<Peer>(std::move(member)));
}

Transport::~Transport() = default;

void Transport::start(net::Acceptor acceptor) {
  acceptor_ = std::move(acceptor);
  scope_.spawn("raft.accept", accept_all());
  started_ = true;
  for (std::size_t peer = 0; peer < peers_.size(); ++peer)
    if (peer != self_) scope_.spawn("raft.connect", keep(peer));
}

std::size_t Transport::add(Member member) {
  peers_.push_back(std::make_unique<Peer>(std::move(member)));
  const std::size_t peer = peers_.size() - 1;
  if (started_ && !stopping_) scope_.spawn("raft.connect", keep(peer));
  return peer;
}

void Transport::set_addresses(std::size_t peer, std::vector<Member> addresses) { peers_[peer]->addresses = std::move(addresses); }

void Transport::stop_and_wait() {
  loop_.post([this] {
    stopping_ = true;
    acceptor_.close();
    boost::system::error_code ignored;
    for (const auto& peer : peers_) {
      if (peer->socket) peer->socket->close(ignored);
      if (peer->inbound) peer->inbound->socket.close(ignored);
    }
  });
  scope_.stop_and_wait();
}

net::Task<void> Transport::accept_all() {
  for (;;) {
    auto socket = co_await acceptor_.accept(loop_.executor());
    if (socket) {
      if (scope_.size() < kHandshakesMax + 3 * peers_.size()) scope_.spawn("raft.inbound", serve(std::move(*socket)));
      continue;
    }
    if (socket.error().code == Code::kCancelled || stopping_) co_return Result<>{};
    log::warn("raft.accept", "error=\"{}\"", socket.error().to_string());
    KR_CO_CHECK(co_await net::sleep_for(std::chrono::milliseconds(100)));
  }
}

net::Task<OwnedFrame> read_frame(net::Socket& socket, std::string& buffer, Duration timeout) {
  net::Watchdog watchdog(socket);
  watchdog.arm(timeout);
  std::string chunk(4096, '\0');
  for (;;) {
    KR_CO_TRY(const std::optional<Frame> frame, next_frame(buffer));
    if (frame) {
      OwnedFrame owned{.kind = frame->kind, .payload = std::string(frame->payload)};
      buffer.erase(0, frame->used);
      co_return owned;
    }
    // Whoever has not shaken hands sends nothing long.
    if (buffer.size() > kHandshakeBytesMax) co_return fail(Code::kProtocol, "a handshake of more than {} bytes", kHandshakeBytesMax);
    KR_CO_TRY(const std::size_t got, co_await net::read_some(socket, chunk, &watchdog));
    buffer.append(chunk, 0, got);
  }
}

net::Task<void> Transport::serve(net::Socket socket) {
  std::string buffer;
  KR_CO_TRY(const OwnedFrame first, co_await read_frame(socket, buffer, kHandshake));
  if (first.kind != FrameKind::kHello) co_return fail(Code::kProtocol, "the first frame is no hello");
  KR_CO_TRY(const Hello hello, decode_hello(first.payload));
  KR_CO_TRY(const Welcome welcome, co_await callbacks_.greet(hello));
  std::string answer;
  append_frame(FrameKind::kWelcome, encode(welcome), answer);
  net::Watchdog watchdog(socket);
  watchdog.arm(kHandshake);
  KR_CO_CHECK(co_await net::write_all(socket, answer, &watchdog));
  watchdog.disarm();
  const auto known = std::ranges::find_if(peers_, [&](const auto& peer) { return peer->member.label == hello.from; });
  if (!welcome.accepted || known == peers_.end()) co_return Result<>{};
  if (hello.purpose == Hello::Purpose::kSnapshot) {
    callbacks_.snapshot(std::move(socket), std::move(buffer));
    co_return Result<>{};
  }
  const auto peer = static_cast<std::size_t>(known - peers_.begin());
  auto inbound = std::make_shared<Inbound>(std::move(socket));
  inbound->peer = peer;
  drop_inbound(peer);
  peers_[peer]->inbound = inbound;
  if (!peers_[peer]->up) peers_[peer]->dialled.notify();
  auto ended = co_await read_frames(inbound, std::move(buffer));
  boost::system::error_code ignored;
  inbound->socket.close(ignored);
  if (peers_[peer]->inbound == inbound) {
    peers_[peer]->inbound.reset();
    if (!stopping_) callbacks_.down(peer);
  }
  if (!ended && ended.error().code == Code::kProtocol)
    co_return std::unexpected(std::move(ended).error().within("from " + hello.from));
  co_return Result<>{};
}

net::Task<void> Transport::read_frames(std::shared_ptr<Inbound> inbound, std::string buffer) {
  static metrics::Counter& byte_total = metrics::counter("kr_raft_received_bytes_total", "Bytes received from other nodes");
  Peer& peer = *peers_[inbound->peer];
  std::size_t filled = buffer.size();
  buffer.resize(std::max(kReadBytes, filled));
  std::size_t begin = 0;
  for (;;) {
    for (;;) {
      KR_CO_TRY(const std::optional<Frame> frame, next_frame(std::string_view(buffer).substr(begin, filled - begin)));
      if (!frame) break;
      KR_CO_CHECK(callbacks_.frame(inbound->peer, frame->kind, frame->payload));
      begin += frame->used;
    }
    if (begin == filled) {
      begin = filled = 0;
      if (buffer.size() > 4 * kReadBytes) {
        buffer.resize(kReadBytes);
        buffer.shrink_to_fit();
      }
    } else if (begin > 0) {
      std::copy(buffer.begin() + static_cast<std::ptrdiff_t>(begin), buffer.begin() + static_cast<std::ptrdiff_t>(filled),
                buffer.begin());
      filled -= begin;
      begin = 0;
    }
    // next_frame has checked the length that a header names.
    if (filled == buffer.size()) buffer.resize(std::min(buffer.size() * 2, kFrameHeaderBytes + kFrameBytesMax));
    KR_CO_TRY(const std::size_t got,
              co_await net::read_some(inbound->socket, std::span(buffer).subspan(filled)));
    filled += got;
    byte_total.add(static_cast<double>(got));
    peer.heard = system_clock().monotonic();
  }
}

void Transport::drop_inbound(std::size_t peer) {
  const auto old = std::move(peers_[peer]->inbound);
  peers_[peer]->inbound.reset();
  if (!old) return;
  boost::system::error_code ignored;
  old->socket.close(ignored);
}

void Transport::drop_outbound(std::size_t peer) {
  boost::system::error_code ignored;
  if (peers_[peer]->socket) peers_[peer]->socket->close(ignored);
}

net::Task<void> Transport::keep(std::size_t peer) {
  Duration pause = timings_.redial_min;
  while (!stopping_) {
    Peer& state = *peers_[peer];
    const MonotonicTime began = system_clock().monotonic();
    const std::uint64_t seen = state.dialled.version();
    auto ended = co_await connect(peer);
    const bool stood = state.up;
    state.up = false;
    state.socket.reset();
    state.queue.clear();
    state.queued = 0;
    if (stopping_) break;
    if (stood) callbacks_.down(peer);
    if (!ended && ended.error().code == Code::kDenied) note_refused(peer, ended.error().detail);
    if (stood && system_clock().monotonic() - began > timings_.redial_max) pause = timings_.redial_min;
    const auto dialled = co_await state.dialled.wait(seen, pause);
    if (!dialled && dialled.error().code == Code::kCancelled) break;
    pause = dialled ? timings_.redial_min : std::min(pause * 2, timings_.redial_max);
  }
  co_return Result<>{};
}

/// Until the connection ends; the error says why.
net::Task<void> Transport::connect(std::size_t peer) {
  Peer& state = *peers_[peer];
  if (!state.addresses.empty()) state.member = state.addresses[state.next_address++ % state.addresses.size()];
  KR_CO_TRY(net::Socket dialled, co_await net::dial(state.member.host, state.member.port, std::chrono::seconds(1)));
  net::limit_unacknowledged(dialled, kUnacknowledged);
  auto socket = std::make_shared<net::Socket>(std::move(dialled));
  std::string hello;
  append_frame(FrameKind::kHello, encode(callbacks_.hello(peer, Hello::Purpose::kRaft)), hello);
  std::string buffer;
  {
    net::Watchdog watchdog(*socket);
    watchdog.arm(kHandshake);
    KR_CO_CHECK(co_await net::write_all(*socket, hello, &watchdog));
  }
  KR_CO_TRY(const OwnedFrame answer, co_await read_frame(*socket, buffer, kHandshake));
  if (answer.kind != FrameKind::kWelcome) co_return fail(Code::kProtocol, "the first answer is no welcome");
  KR_CO_TRY(const Welcome welcome, decode_welcome(answer.payload));
  KR_CO_CHECK(co_await callbacks_.welcomed(peer, welcome));
  if (stopping_) co_return fail(Code::kCancelled, "stopping");
  state.refused.clear();
  if (!state.addresses.empty()) --state.next_address;  // this one is good
  state.socket = socket;
  state.writing = false;
  state.up = true;
  callbacks_.up(peer);
  // Nothing is ever sent back on this connection; reading finds out when it ends.
  std::string nothing(16, '\0');
  KR_CO_CHECK(co_await net::read_some(*socket, nothing));
  co_return fail(Code::kProtocol, "bytes on a connection that is for writing");
}

void Transport::note_refused(std::size_t peer, const std::string& why) {
  Peer& state = *peers_[peer];
  if (state.refused == why) return;
  state.refused = why;
  log::error("raft.refused", "peer={} {}", state.member.label, why);
}

bool Transport::send(std::size_t peer, std::string frames, bool droppable) {
  static metrics::Counter& dropped_total =
      metrics::counter("kr_raft_dropped_chunks_total", "Groups of frames dropped because a peer's queue was full");
  Peer& state = *peers_[peer];
  if (!state.up) return false;
  state.queued += frames.size();
  state.queue.push_back({std::move(frames), droppable});
  if (state.queued <= queue_bytes_) return true;
  // What is being written stands in front and has been moved out of the queue, so any of these may go.
  for (auto chunk = state.queue.begin(); chunk != state.queue.end() && state.queued > queue_bytes_;) {
    if (!chunk->droppable && state.queued <= 2 * queue_bytes_) {
      ++chunk;
      continue;
    }
    state.queued -= chunk->bytes.size();
    chunk = state.queue.erase(chunk);
    dropped_total.add();
  }
  return false;
}

void Transport::flush(std::size_t peer) {
  Peer& state = *peers_[peer];
  if (state.up && !state.writing && !state.queue.empty()) write(peer);
}

void Transport::write(std::size_t peer) {
  static metrics::Counter& byte_total = metrics::counter("kr_raft_sent_bytes_total", "Bytes sent to other nodes");
  Peer& state = *peers_[peer];
  state.writing = true;
  struct Write {
    std::shared_ptr<net::Socket> socket;
    std::vector<std::string> chunks;
    std::size_t bytes = 0;
  };
  auto out = std::make_shared<Write>();
  out->socket = state.socket;
  while (!state.queue.empty() && out->chunks.size() < 32) {
    out->bytes += state.queue.front().bytes.size();
    out->chunks.push_back(std::move(state.queue.front().bytes));
    state.queue.pop_front();
  }
  std::vector<boost::asio::const_buffer> buffers;
  buffers.reserve(out->chunks.size());
  for (const std::string& chunk : out->chunks) buffers.emplace_back(chunk.data(), chunk.size());
  boost::asio::async_write(*out->socket, buffers, [this, peer, out](const boost::system::error_code& ec, std::size_t) {
    Peer& after = *peers_[peer];
    if (after.socket != out->socket) return;  // of a connection that is gone
    after.queued -= std::min(after.queued, out->bytes);
    after.writing = false;
    byte_total.add(static_cast<double>(out->bytes));
    if (ec) {
      boost::system::error_code ignored;
      out->socket->close(ignored);  // the reading side ends and dials again
      return;
    }
    flush(peer);
  });
}

}  // namespace kraken::group
