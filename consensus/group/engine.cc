#include "consensus/group/engine.h"

#include <algorithm>
#include <future>

#include "src/base/assert.h"
#include "src/base/log.h"

namespace kraken::group {
namespace {

std::uint64_t hash_members(const std::vector<Member>& members) {
  std::vector<WishNode> nodes;
  for (const Member& member : members)
    nodes.push_back({.label = member.label, .host = member.host, .port = member.port, .weight = member.weight});
  return hash_of(std::move(nodes));
}

std::size_t index_of(const std::vector<Member>& members, std::string_view label) {
  const auto found = std::ranges::find(members, label, &Member::label);
  KR_ASSERT(found != members.end());
  return static_cast<std::size_t>(found - members.begin());
}

}  // namespace

Engine::Engine(NodeOptions options, StateMachine& machine, kv::Store& store, Identity identity, LoadedIdentity loaded)
    : options_(std::move(options)), self_(index_of(options_.members, options_.label)),
      machine_(machine, [this](SystemState state) {
        post([this, state = std::move(state)]() mutable {
          system_applied_ = std::max(system_applied_, state.revision);
          system_changed(std::move(state));
        });
      }),
      store_(store), clock_(options_.clock ? *options_.clock : system_clock()), identity_(std::move(identity)), members_hash_(hash_members(options_.members)),
      local_(std::size_t{options_.shards} + 1), system_(std::move(loaded.system)), pledge_(loaded.pledge),
      recovery_epoch_(loaded.recovery_epoch),
      known_(std::move(loaded.peers)), linked_(options_.members.size()), inbound_(options_.members.size()), up_since_(options_.members.size()),
      members_(options_.members), reports_(options_.members.size()), started_(clock_.monotonic()),
      tombstones_(std::size_t{options_.shards} + 1, 1), satisfied_(std::size_t{options_.shards} + 1),
      groups_(std::size_t{options_.shards} + 1), deadlines_(std::size_t{options_.shards} + 1, MonotonicTime::max()), peer_out_(options_.members.size()),
      disk_guard_({.folder = options_.folder, .reserve_bytes = options_.limits.disk_reserve_bytes, .ballast_bytes = options_.limits.ballast_bytes}),
      clients_(std::size_t{options_.shards} + 1), loop_("raft") {
  timer_ = std::make_unique<boost::asio::steady_timer>(loop_.context());
  SnapshotOptions snapshots{.folder = options_.folder.empty() ? options_.folder : options_.folder / "snapshots", .rate = options_.limits.snapshot_rate};
  snapshots_ = std::make_unique<Snapshots>(store_, std::move(snapshots));
  readers_ = std::make_unique<net::FilePool>(1, 4096, "raft/read");
  writer_ = std::make_unique<LogWriter>(store_, clock_, [this](std::vector<std::pair<ShardId, raft::Seq>> done) {
    post([this, done = std::move(done)] { persisted(done); });
  });
  applier_ = std::make_unique<Applier>(store_, machine_, options_.shards, [this](std::vector<Applier::Done> all) {
    post([this, all = std::move(all)]() mutable { applied(all); });
  });
  Transport::Callbacks callbacks{
      .hello = [this](std::size_t peer, Hello::Purpose purpose) { return hello(peer, purpose); },
      .greet = [this](Hello from) { return greet(std::move(from)); },
      .welcomed = [this](std::size_t peer, Welcome welcome) { return welcomed(peer, std::move(welcome)); },
      .frame = [this](std::size_t peer, FrameKind kind, std::string_view payload) { return frame(peer, kind, payload); },
      .up = [this](std::size_t peer) { peer_up(peer); },
      .down = [this](std::size_t peer) { peer_down(peer); },
      .snapshot = [this](net::Socket socket, std::string rest) { snapshots_->serve(std::move(socket), std::move(rest)); }};
  transport_ = std::make_unique<Transport>(loop_, options_.members, self_, options_.timings,
                                           options_.limits.send_queue_bytes, std::move(callbacks));
}

Engine::~Engine() { stop(false, false); }

Result<> Engine::load() {
  if (!system_) return {};
  bind_members();
  return load_groups();
}

void Engine::start(net::Acceptor acceptor) {
  auto shared = std::make_shared<net::Acceptor>(std::move(acceptor));
  post([this, shared] {
    if (system_) start_groups();
    transport_->start(std::move(*shared));
    try_form();
  });
}

void Engine::stop(bool hand_off, bool drop) {
  {
    const std::scoped_lock lock(inbox_mutex_);
    if (closed_) return;
  }
  if (drop) writer_->stop(true);
  if (hand_off) drain();
  on_loop([this] {
    stopped_ = true;
    lose([](const Try&) { return true; });
    for (ClientShard& client : clients_) {
      for (auto& [sequence, proposal] : client.in_flight)
        answers_.add(proposal.pending, fail(proposal.tries > 0 ? Code::kOutcomeUnknown : Code::kCancelled, "this node is stopping"));
      for (Proposal& proposal : client.waiting) answers_.add(proposal.pending, fail(Code::kCancelled, "this node is stopping"));
      for (PendingPtr& read : client.reads) answers_.add(read, fail(Code::kCancelled, "this node is stopping"));
      for (RemoteQuery& query : client.queries) answers_.add(query.pending, fail(Code::kCancelled, "this node is stopping"));
      client = ClientShard{};
    }
    for (const auto& group : groups_) {
      if (!group) continue;
      for (auto& [index, read] : group->waiting_reads) answers_.add(read, fail(Code::kCancelled, "this node is stopping"));
      group->waiting_reads.clear();
    }
    answers_.deliver();
  });
  transport_->stop_and_wait();
  snapshots_->stop();
  std::vector<std::move_only_function<void()>> rest;
  {
    const std::scoped_lock lock(inbox_mutex_);
    closed_ = true;
    rest.swap(inbox_);
  }
  loop_.stop();
  loop_.join();
  readers_->stop();
  writer_->stop(drop);
  applier_->stop(drop);
}

bool Engine::post(std::move_only_function<void()> work) {
  bool first = false;
  {
    const std::scoped_lock lock(inbox_mutex_);
    if (closed_) return false;
    inbox_.push_back(std::move(work));
    first = !std::exchange(inbox_posted_, true);
  }
  if (first) loop_.post([this] { turn(); });
  return true;
}

bool Engine::on_loop(const std::function<void()>& work) {
  if (loop_.is_current()) {
    work();
    return true;
  }
  std::promise<void> ran;
  if (!post([&] {
        work();
        ran.set_value();
      }))
    return false;
  ran.get_future().wait();
  return true;
}

// ---- turns ----

void Engine::schedule_turn() {
  if (std::exchange(turn_scheduled_, true)) return;
  loop_.post([this] { turn(); });
}

void Engine::turn() {
  turn_scheduled_ = false;
  now_ = clock_.monotonic();
  drain_inbox();
  if (stopped_) {
    answers_.deliver();
    return;
  }
  watch_disk();
  step_timers();
  // What this node asks of itself is answered within the turn; a few rounds settle it, the rest comes next turn.
  for (int round = 0; round < 4; ++round) {
    step_dirty();
    std::vector<ShardId> pumped;
    pumped.swap(dirty_clients_);
    for (const ShardId shard : pumped) pump_now(shard);
    std::deque<Reply> replies;
    replies.swap(local_replies_);
    for (Reply& reply : replies) on_reply(std::move(reply));
    if (dirty_.empty() && dirty_clients_.empty() && local_replies_.empty()) break;
  }
  if (!dirty_.empty() || !dirty_clients_.empty() || !local_replies_.empty()) schedule_turn();
  flush();
  rearm();
}

void Engine::drain_inbox() {
  std::vector<std::move_only_function<void()>> work;
  {
    const std::scoped_lock lock(inbox_mutex_);
    work.swap(inbox_);
    inbox_posted_ = false;
  }
  for (auto& one : work) one();
}

void Engine::step_timers() {
  for (std::size_t shard = 0; shard < deadlines_.size(); ++shard)
    if (deadlines_[shard] <= now_) step(*groups_[shard], raft::in::Timer{});
  if (now_ >= next_housekeeping_) housekeeping();
  if (!held_.empty() && now_ >= held_until_) {
    for (const ShardId shard : std::exchange(held_, {}))
      if (Group* group = group_of(shard)) mark(*group);
  }
  for (auto shard = active_.begin(); shard != active_.end();) {
    const ShardId id = *shard++;
    if (clients_[id.value()].due <= now_) pump(id);
  }
}

void Engine::rearm() {
  MonotonicTime next = std::min(next_housekeeping_, std::ranges::min(deadlines_));
  for (const ShardId shard : active_) next = std::min(next, clients_[shard.value()].due);
  if (!held_.empty()) next = std::min(next, held_until_);
  if (next >= armed_ && armed_ > now_) return;
  armed_ = next;
  timer_->expires_after(std::max(next - now_, Duration(std::chrono::microseconds(100))));
  timer_->async_wait([this](const boost::system::error_code& ec) {
    if (ec) return;
    armed_ = MonotonicTime::max();
    turn();
  });
}

void Engine::flush() {
  // First what has the longer way: the followers write what the writer here does, but it must get there before.
  for (std::size_t peer = 0; peer < peer_out_.size(); ++peer)
    if (peer != self_) flush_peer(peer);
  if (!writes_.empty()) {
    writer_->submit(std::move(writes_));
    writes_.clear();
  }
  if (!jobs_.empty()) {
    applier_->submit(std::move(jobs_));
    jobs_.clear();
  }
  if (!answers_.empty()) answers_.deliver();
}

void Engine::flush_peer(std::size_t peer) {
  PeerOut& out = peer_out_[peer];
  const auto finish = [](FrameKind kind, std::string& payload, std::string& frames) {
    if (!payload.empty()) append_frame(kind, payload, frames);
    payload.clear();
  };
  if (out.beats.empty() && out.messages.empty() && out.message_frames.empty() && out.requests.empty() &&
      out.request_frames.empty() && out.replies.empty() && out.reply_frames.empty())
    return;
  finish(FrameKind::kMessages, out.messages, out.message_frames);
  finish(FrameKind::kRequests, out.requests, out.request_frames);
  finish(FrameKind::kReplies, out.replies, out.reply_frames);
  if (!out.beats.empty()) {
    append_frame(FrameKind::kBeats, out.coder.encode(out.beats), out.message_frames);
    out.beats.clear();
  }
  bool whole = true;
  if (!out.message_frames.empty()) whole &= transport_->send(peer, std::move(out.message_frames), true);
  out.request_frames += out.reply_frames;
  if (!out.request_frames.empty()) whole &= transport_->send(peer, std::move(out.request_frames), false);
  if (!whole) out.coder.forget();
  out.message_frames.clear();
  out.request_frames.clear();
  out.reply_frames.clear();
  transport_->flush(peer);
}

}  // namespace kraken::group
