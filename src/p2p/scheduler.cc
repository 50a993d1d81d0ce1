#include "src/p2p/scheduler.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/net/deadline.h"
#include "src/net/event.h"
#include "src/p2p/scheduler_impl.h"

namespace kraken::p2p {

using namespace std::chrono_literals;

Metrics::Metrics()
    : from_origins(metrics::counter("kr_p2p_received_bytes_total", "Piece bytes received and checked", {{"from", "origin"}})),
      from_peers(metrics::counter("kr_p2p_received_bytes_total", "Piece bytes received and checked", {{"from", "peer"}})),
      given(metrics::counter("kr_p2p_given_bytes_total", "Piece bytes sent to peers")),
      pieces_given(metrics::counter("kr_p2p_given_pieces_total", "Pieces sent to peers")),
      bad_pieces(metrics::counter("kr_p2p_bad_pieces_total", "Pieces whose sum did not match; their senders are banned")),
      discarded(metrics::counter("kr_p2p_discarded_pieces_total", "Pieces that came twice")),
      dials_failed(metrics::counter("kr_p2p_dials_failed_total", "Outgoing connections that came to nothing")),
      refused(metrics::counter("kr_p2p_refused_total", "Handshakes refused for want of room")),
      downloads_done(metrics::counter("kr_p2p_downloads_total", "Downloads that ended", {{"result", "done"}})),
      downloads_failed(metrics::counter("kr_p2p_downloads_total", "Downloads that ended", {{"result", "failed"}})),
      links(metrics::gauge("kr_p2p_connections", "Open peer connections")),
      torrents(metrics::gauge("kr_p2p_torrents", "Torrents in memory")) {
  for (std::size_t i = 0; i < kBreachCount; ++i)
    breaches[i] = &metrics::counter("kr_p2p_protocol_violations_total", "Connections closed for what the peer sent",
                                    {{"reason", std::string(name_of(static_cast<Breach>(i)))}});
}

Scheduler::Impl::Impl(net::Loop& on, net::FilePool& files, SchedulerOptions with, PieceStore& in, Announcer* through)
    : loop(on),
      pool(files),
      options(std::move(with)),
      store(in),
      announcer(through),
      buffers(options.buffers_max),
      giver(options.giver),
      egress(options.egress_bytes_per_second),
      ingress(options.ingress_bytes_per_second),
      scope(on.executor()) {}

namespace {

class Handle final : public Download {
 public:
  Handle(Scheduler::Impl& impl, SessionPtr session)
      : impl_(impl), executor_(impl.loop.executor()), session_(std::move(session)), reader_(session_->next_reader++) {
    ++session_->readers;
  }
  ~Handle() override {
    boost::asio::post(executor_, [session = std::move(session_), reader = reader_] {
      --session->readers;
      session->swarm.reader_at({}, reader, std::nullopt);
      session->used_at = system_clock().monotonic();
    });
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  const MetaInfo& metainfo() const override { return session_->metainfo(); }
  int fd() const override { return session_->torrent->fd(); }
  bool complete() const override { return session_->torrent->finished(); }

  net::Task<std::uint64_t> readable(std::uint64_t offset, Duration timeout) override {
    return net::on(executor_, readable_here(offset, timeout));
  }
  net::Task<void> wait_complete(Duration timeout) override { return net::on(executor_, wait_here(timeout)); }

 private:
  net::Task<std::uint64_t> readable_here(std::uint64_t offset, Duration timeout) {
    const auto& metainfo = session_->metainfo();
    if (offset >= metainfo.length) co_return std::uint64_t{0};
    const MonotonicTime deadline = impl_.now() + timeout;
    for (;;) {
      const auto seen = session_->changed.version();
      if (const std::uint64_t bytes = Scheduler::Impl::readable(*session_, offset); bytes > 0) co_return bytes;
      if (session_->failed) co_return std::unexpected(*session_->failed);
      const auto piece = static_cast<std::uint32_t>(offset / metainfo.piece_length);
      session_->swarm.reader_at(impl_.now(), reader_, piece);
      const Duration left = deadline - impl_.now();
      if (left <= Duration::zero()) co_return fail(Code::kDeadlineExceeded, "no piece of {} came in time", metainfo.digest.str());
      auto waited = co_await session_->changed.wait(seen, left);
      if (!waited && waited.error().code == Code::kCancelled) co_return std::unexpected(waited.error());
    }
  }
  net::Task<void> wait_here(Duration timeout) {
    const MonotonicTime deadline = impl_.now() + timeout;
    for (;;) {
      const auto seen = session_->changed.version();
      if (session_->swarm.is_verified()) co_return Result<>{};
      if (session_->failed) co_return std::unexpected(*session_->failed);
      const Duration left = deadline - impl_.now();
      if (left <= Duration::zero())
        co_return fail(Code::kDeadlineExceeded, "{} is not complete in time", session_->metainfo().digest.str());
      auto waited = co_await session_->changed.wait(seen, left);
      if (!waited && waited.error().code == Code::kCancelled) co_return std::unexpected(waited.error());
    }
  }

  Scheduler::Impl& impl_;
  net::Executor executor_;
  SessionPtr session_;
  std::uint32_t reader_;
};

}  // namespace

net::Task<std::shared_ptr<Download>> Scheduler::Impl::download_here(std::string ns, Digest digest) {
  KR_CO_TRY(auto session, co_await session_for(std::move(ns), digest, true));
  session->used_at = now();
  co_return std::static_pointer_cast<Download>(std::make_shared<Handle>(*this, std::move(session)));
}

void Scheduler::Impl::tick_session(const SessionPtr& session) {
  const MonotonicTime time = now();
  if (session->swarm.next_tick() <= time) {
    session->swarm.tick(time);
    settle(session);
  }
  if (session->downloading && !session->swarm.is_verified() && time - session->progress_at > options.leecher_tti) {
    fail_session(session, Error{Code::kUnavailable, fmt::format("no piece of {} came from any peer for {} s", session->metainfo().digest.str(),
                                                                std::chrono::duration_cast<std::chrono::seconds>(options.leecher_tti).count())});
    return;
  }
  std::vector<LinkPtr> silent;
  for (const auto& [id, link] : session->links)
    if (session->swarm.is_verified() && !link->upload && time - link->active_at > options.seeder_tti) silent.push_back(link);
  for (const LinkPtr& link : silent) close(link);
  const bool idle = session->links.empty() && session->readers == 0 && time - session->used_at > options.seeder_tti;
  // A part that nobody downloads ends too, and with it the task that waits to hash it.
  if (idle && session->swarm.is_verified()) forget(session);
  else if (idle && !session->downloading) fail_session(session, Error{Code::kCancelled, "nobody uses it"});
}

net::Task<void> Scheduler::Impl::tick_loop() {
  MonotonicTime trimmed = now();
  while (!stopped) {
    const auto seen = busy.version();
    MonotonicTime next = now() + 1s;
    // Stepping a session may forget it or make others: a copy of the list is stepped.
    std::vector<SessionPtr> all;
    for (const auto& [digest, session] : sessions) all.push_back(session);
    for (const SessionPtr& session : all) {
      tick_session(session);
      next = std::min(next, session->swarm.next_tick());
    }
    give();
    next = std::min(next, giver.next_tick(now()));
    if (now() - trimmed > 5s) {
      buffers.trim();
      trimmed = now();
    }
    const bool nothing = sessions.empty() && now() - trimmed < 4s;
    const Duration pause = nothing ? Duration(5s) : std::max<Duration>(next - now(), 1ms);
    auto waited = co_await busy.wait(seen, pause);
    if (!waited && waited.error().code == Code::kCancelled) co_return Result<>{};
  }
  co_return Result<>{};
}

// --- the public side

Scheduler::Scheduler(net::Loop& loop, net::FilePool& pool, SchedulerOptions options, PieceStore& store, Announcer* announcer)
    : impl_(std::make_unique<Impl>(loop, pool, std::move(options), store, announcer)) {}

Scheduler::~Scheduler() { stop(); }

Result<void> Scheduler::start() {
  KR_TRY(impl_->acceptor, net::listen(impl_->options.host, impl_->options.port));
  impl_->bound_port = impl_->acceptor.port();
  impl_->options.port = impl_->acceptor.port();
  impl_->started = true;
  impl_->scope.spawn("p2p.accept", impl_->accept_loop());
  impl_->scope.spawn("p2p.tick", impl_->tick_loop());
  return {};
}

std::uint16_t Scheduler::port() const { return impl_->bound_port; }

namespace {

net::Task<void> shut(Scheduler::Impl* impl) {
  impl->stopped = true;
  impl->acceptor.close();
  impl->busy.notify();
  std::vector<SessionPtr> all;
  for (const auto& [digest, session] : impl->sessions) all.push_back(session);
  for (const SessionPtr& session : all) impl->fail_session(session, Error{Code::kCancelled, "stopping"});
  co_return Result<>{};
}

}  // namespace

void Scheduler::stop() {
  if (!impl_->started || impl_->stopped) return;
  (void)net::block_on(impl_->loop.executor(), shut(impl_.get()));
  impl_->scope.stop_and_wait(0ms);
}

net::Task<std::shared_ptr<Download>> Scheduler::download(std::string ns, Digest digest) {
  return net::on(impl_->loop.executor(), impl_->download_here(std::move(ns), digest));
}

namespace {

net::Task<void> remove_here(Scheduler::Impl* impl, Digest digest) {
  impl->suspects.erase(digest);
  const auto found = impl->sessions.find(digest);
  if (found != impl->sessions.end()) {
    const SessionPtr session = found->second;
    impl->fail_session(session, Error{Code::kCancelled, fmt::format("{} was deleted", digest.str())});
  }
  co_return Result<>{};
}

net::Task<void> nothing() { co_return Result<>{}; }

net::Task<std::vector<BlacklistEntry>> blacklist_here(Scheduler::Impl* impl) {
  std::vector<BlacklistEntry> all;
  for (const auto& [digest, session] : impl->sessions)
    for (const auto& entry : session->swarm.blacklist(impl->now()))
      all.push_back({entry.peer, session->torrent->infohash(), entry.remaining});
  co_return all;
}

net::Task<SchedulerStats> stats_here(Scheduler::Impl* impl) {
  SchedulerStats stats = impl->totals;
  stats.torrents = impl->sessions.size();
  stats.connections = impl->links.size();
  co_return stats;
}

net::Task<void> reconfigure_here(Scheduler::Impl* impl, SchedulerOptions options) {
  options.host = impl->options.host;
  options.port = impl->options.port;
  options.peer_id = impl->options.peer_id;
  options.origin = impl->options.origin;
  options.buffers_max = impl->options.buffers_max;
  impl->options = options;
  impl->egress = swarm::TokenBucket(options.egress_bytes_per_second);
  impl->ingress = swarm::TokenBucket(options.ingress_bytes_per_second);
  for (const auto& [digest, session] : impl->sessions) session->swarm.options() = options.swarm;
  std::vector<LinkPtr> all;
  for (const auto& [id, link] : impl->links) all.push_back(link);
  for (const LinkPtr& link : all) impl->close(link);
  co_return Result<>{};
}

net::Task<SchedulerOptions> options_here(Scheduler::Impl* impl) { co_return impl->options; }

}  // namespace

net::Task<void> Scheduler::remove(Digest digest) { return net::on(impl_->loop.executor(), remove_here(impl_.get(), digest)); }

net::Task<void> Scheduler::probe(Duration timeout) {
  return net::with_deadline(timeout, net::on(impl_->loop.executor(), nothing()), "scheduler probe");
}

net::Task<std::vector<BlacklistEntry>> Scheduler::blacklist() {
  return net::on(impl_->loop.executor(), blacklist_here(impl_.get()));
}

net::Task<SchedulerStats> Scheduler::stats() { return net::on(impl_->loop.executor(), stats_here(impl_.get())); }

net::Task<void> Scheduler::reconfigure(SchedulerOptions options) {
  return net::on(impl_->loop.executor(), reconfigure_here(impl_.get(), std::move(options)));
}

net::Task<SchedulerOptions> Scheduler::options() { return net::on(impl_->loop.executor(), options_here(impl_.get())); }

}  // namespace kraken::p2p
