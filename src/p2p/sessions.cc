#include <algorithm>
#include <vector>

#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/rng.h"
#include "src/p2p/scheduler_impl.h"

namespace kraken::p2p {

using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kHashStepBytes = 8u << 20;  // of one job, so that hashing does not keep a thread of the pool for long
constexpr std::size_t kHashReadBytes = 256 * 1024;
constexpr std::size_t kSuspectsMax = 64;            // blobs
constexpr std::size_t kQueuedFramesMax = 10000;     // as stock; a peer that reads nothing is closed

template <class Take>
Result<> read_range(int fd, std::uint64_t offset, std::uint64_t length, Take take) {
  thread_local std::vector<char> buffer(kHashReadBytes);
  while (length > 0) {
    const std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(length, buffer.size()));
    KR_TRY(const std::size_t got, file::read_at(fd, std::span(buffer).first(want), offset));
    if (got == 0) return fail(Code::kCorrupt, "the file ends {} bytes early", length);
    take(std::string_view(buffer.data(), got));
    offset += got;
    length -= got;
  }
  return {};
}

/// Reads [offset, offset + length) back from the page cache into the hasher.
Result<> hash_range(Sha256& hasher, int fd, std::uint64_t offset, std::uint64_t length) {
  return read_range(fd, offset, length, [&](std::string_view bytes) { hasher.update(bytes); });
}

}  // namespace

Result<std::uint32_t> sum_of_range(int fd, std::uint64_t offset, std::uint64_t length) {
  std::uint32_t sum = 0;
  KR_CHECK(read_range(fd, offset, length, [&](std::string_view bytes) { sum = crc32(bytes, sum); }));
  return sum;
}

net::Task<SessionPtr> Scheduler::Impl::session_for(std::string ns, Digest digest, bool download) {
  for (;;) {
    if (stopped) co_return fail(Code::kCancelled, "stopping");
    if (const auto found = sessions.find(digest); found != sessions.end()) {
      const SessionPtr session = found->second;
      if (download && !session->downloading && !session->swarm.is_verified()) {
        session->downloading = true;
        session->ns = ns;
        session->progress_at = now();
        session->swarm.start(now());
        settle(session);
        busy.notify();
      }
      co_return session;
    }
    if (const auto other = opening.find(digest); other != opening.end()) {
      // Somebody opens it already. An inbound peer that found nothing says nothing about a download: look again.
      const auto under_way = other->second;
      const auto seen = under_way->done.version();
      if (!under_way->result) {
        auto waited = co_await under_way->done.wait(seen, 15min);
        if (!waited) co_return std::unexpected(waited.error());
      }
      if (under_way->result && !*under_way->result && (under_way->download || !download))
        co_return std::unexpected(under_way->result->error());
      continue;
    }
    const auto mine = std::make_shared<Opening>();
    mine->download = download;
    opening[digest] = mine;
    auto opened = co_await open_session(ns, digest, download);
    opening.erase(digest);
    if (opened) {
      sessions[digest] = *opened;
      counters.torrents.set(static_cast<double>(sessions.size()));
      if (!(*opened)->swarm.is_verified()) scope.spawn("p2p.hash", hash_loop(*opened));
      busy.notify();
    }
    mine->result = opened;
    mine->done.notify();
    if (!opened) co_return std::unexpected(opened.error());
  }
}

net::Task<SessionPtr> Scheduler::Impl::open_session(std::string ns, Digest digest, bool download) {
  auto torrent = co_await store.find(digest, ns);
  if (!torrent) {
    if (!download || torrent.error().code != Code::kNotFound) co_return std::unexpected(torrent.error());
    if (announcer == nullptr) co_return fail(Code::kUnsupported, "this host only serves");
    KR_CO_TRY(auto metainfo, co_await announcer->metainfo(ns, digest));
    if (metainfo.digest != digest)
      co_return fail(Code::kProtocol, "the tracker's metainfo of {} names {}", digest.str(), metainfo.digest.str());
    KR_CO_CHECK(metainfo.check());
    torrent = co_await store.create(std::move(metainfo));
    if (!torrent) co_return std::unexpected(torrent.error());
  }
  // The wire has 31 bits for a piece's length.
  if ((*torrent)->metainfo().piece_length > INT32_MAX)
    co_return fail(Code::kUnsupported, "pieces of {} bytes are too long for the peer protocol", (*torrent)->metainfo().piece_length);
  co_return make_session(*std::move(torrent), std::move(ns));
}

SessionPtr Scheduler::Impl::make_session(std::shared_ptr<Torrent> torrent, std::string ns) {
  const bool finished = torrent->finished();
  swarm::Swarm made(options.swarm, options.peer_id, torrent->have(), finished, announcer != nullptr, random_seed());
  if (const auto found = suspects.find(torrent->metainfo().digest); found != suspects.end())
    for (const PeerId& peer : found->second) made.ban(peer);
  auto session = std::make_shared<Session>(std::move(torrent), std::move(made));
  session->ns = std::move(ns);
  session->used_at = session->progress_at = now();
  session->checked = Bitfield(session->metainfo().piece_count());
  advance_prefix(*session);
  return session;
}

void Scheduler::Impl::advance_prefix(Session& session) {
  const Bitfield& have = session.swarm.have();
  while (session.prefix < have.size() && have.test(session.prefix)) ++session.prefix;
}

std::uint64_t Scheduler::Impl::readable(const Session& session, std::uint64_t offset) {
  const MetaInfo& metainfo = session.metainfo();
  if (offset >= metainfo.length) return 0;
  if (session.swarm.is_verified()) return metainfo.length - offset;
  // The last piece is held back until the whole was verified, so that nobody ever has all the bytes of a wrong blob.
  const std::uint32_t last = metainfo.piece_count() - 1;
  auto piece = static_cast<std::uint32_t>(offset / metainfo.piece_length);
  if (piece < session.prefix) piece = session.prefix;
  while (piece < last && session.swarm.have().test(piece)) ++piece;
  const std::uint64_t end = metainfo.piece_offset(std::min(piece, last));
  return end > offset ? end - offset : 0;
}

void Scheduler::Impl::settle(const SessionPtr& session) {
  for (auto actions = session->swarm.take(); !actions.empty(); actions = session->swarm.take()) {
    for (const swarm::Action& action : actions) {
      const auto link_of = [&](swarm::ConnectionId id) -> LinkPtr {
        const auto found = session->links.find(id);
        return found == session->links.end() ? nullptr : found->second;
      };
      const auto send = [&](swarm::ConnectionId id, const Message& message) {
        if (const LinkPtr link = link_of(id)) queue(*link, message);
      };
      if (const auto* dial = std::get_if<swarm::Dial>(&action)) {
        scope.spawn("p2p.dial", outbound(session, dial->peer));
      } else if (const auto* request = std::get_if<swarm::SendRequest>(&action)) {
        const auto bytes = static_cast<std::uint32_t>(session->metainfo().piece_bytes(request->piece));
        send(request->connection, PieceRequest{request->piece, 0, bytes});
      } else if (const auto* cancel = std::get_if<swarm::SendCancel>(&action)) {
        send(cancel->connection, CancelPiece{cancel->piece});
      } else if (const auto* have = std::get_if<swarm::SendHave>(&action)) {
        send(have->connection, AnnouncePiece{have->piece});
      } else if (const auto* complete = std::get_if<swarm::SendComplete>(&action)) {
        send(complete->connection, Complete{});
      } else if (const auto* closing = std::get_if<swarm::Close>(&action)) {
        const LinkPtr link = link_of(closing->connection);
        if (!link) continue;
        log::debug("p2p.closed", "peer={} infohash={} reason={}", link->peer.peer_id.hex(), session->torrent->infohash().hex(),
                   swarm::name_of(closing->reason));
        close(link);
      } else if (const auto* announcement = std::get_if<swarm::Announce>(&action)) {
        if (announcer != nullptr) scope.spawn("p2p.announce", announce(session, announcement->complete));
      }
    }
  }
  std::vector<LinkPtr> stuck;
  for (const auto& [id, link] : session->links)
    if (link->out.size() > kQueuedFramesMax) stuck.push_back(link);
  for (const LinkPtr& link : stuck) close(link);
  give();
}

void Scheduler::Impl::give() {
  for (const swarm::Upload& upload : giver.take(now())) {
    const auto found = links.find(upload.connection);
    if (found == links.end()) {
      giver.finished(upload.connection);
      continue;
    }
    found->second->upload = upload.piece;
    found->second->wake.notify();
  }
  // Whoever waits is looked at again when an upload under way may have become blocked.
  if (giver.waiting() > 0 && giver.under_way() > 0 && !watching_giver) {
    watching_giver = true;
    busy.notify();
  } else if (giver.waiting() == 0) {
    watching_giver = false;
  }
}

void Scheduler::Impl::fail_session(const SessionPtr& session, Error error) {
  if (session->downloading && !session->swarm.is_verified()) counters.downloads_failed.add();
  if (!session->failed) session->failed = std::move(error);
  std::vector<LinkPtr> all;
  for (const auto& [id, link] : session->links) all.push_back(link);
  for (const LinkPtr& link : all) close(link);
  forget(session);
  session->changed.notify();
}

void Scheduler::Impl::forget(const SessionPtr& session) {
  const auto found = sessions.find(session->metainfo().digest);
  if (found != sessions.end() && found->second == session) sessions.erase(found);
  counters.torrents.set(static_cast<double>(sessions.size()));
}

net::Task<void> Scheduler::Impl::announce(SessionPtr session, bool complete) {
  const PeerInfo self{options.peer_id, options.host, options.port, options.origin, complete};
  auto reply = co_await announcer->announce(session->torrent->infohash(), session->metainfo().digest, self);
  if (complete || session->failed) co_return Result<>{};
  if (reply) {
    session->swarm.handout(now(), reply->peers, reply->interval);
  } else {
    log::debug("p2p.announce_failed", "digest={} error={}", session->metainfo().digest.str(), reply.error().to_string());
    session->swarm.announce_failed(now());
  }
  settle(session);
  busy.notify();
  co_return Result<>{};
}

net::Task<void> Scheduler::Impl::hash_loop(SessionPtr session) {
  const MetaInfo& metainfo = session->metainfo();
  const std::shared_ptr<Torrent> torrent = session->torrent;
  auto hasher = std::make_shared<Sha256>();
  std::uint64_t hashed = 0;
  while (hashed < metainfo.length) {
    const auto seen = session->changed.version();
    if (session->failed) co_return Result<>{};
    const std::uint64_t here = std::min(metainfo.length, metainfo.piece_offset(session->prefix));
    if (here > hashed) {
      const std::uint64_t bytes = std::min(here - hashed, kHashStepBytes);
      auto job = [torrent, hasher, hashed, bytes] { return hash_range(*hasher, torrent->fd(), hashed, bytes); };
      auto done = co_await pool.run(std::move(job));
      if (!done && done.error().code == Code::kOverloaded) {
        KR_CO_CHECK(co_await net::sleep_for(2ms));
        continue;
      }
      if (!done) {
        fail_session(session, done.error());
        co_return Result<>{};
      }
      hashed += bytes;
      continue;
    }
    auto waited = co_await session->changed.wait(seen, 1h);
    if (!waited && waited.error().code == Code::kCancelled) co_return Result<>{};
  }
  // Every byte was hashed, so every piece is here.
  const bool good = hasher->finish() == metainfo.digest;
  auto finish = [torrent, good]() -> Result<> {
    if (good) return torrent->finish();
    torrent->discard();
    return {};
  };
  auto finished = co_await pool.run(finish);
  if (session->failed) co_return Result<>{};
  if (!good) {
    log::warn("p2p.digest_mismatch", "digest={} senders={}", metainfo.digest.str(), session->contributors.size());
    if (suspects.size() >= kSuspectsMax) suspects.erase(suspects.begin());
    suspects[metainfo.digest].insert(session->contributors.begin(), session->contributors.end());
    fail_session(session, Error{Code::kDigestMismatch, fmt::format("what came as {} has another SHA-256; it was discarded", metainfo.digest.str())});
    co_return Result<>{};
  }
  if (!finished) {
    fail_session(session, finished.error());
    co_return Result<>{};
  }
  suspects.erase(metainfo.digest);
  counters.downloads_done.add();
  session->swarm.verified(now());
  session->used_at = now();
  session->changed.notify();
  settle(session);
  co_return Result<>{};
}

}  // namespace kraken::p2p
