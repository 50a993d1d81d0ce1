#include "consensus/group/engine.h"

#include <unistd.h>

#include <xxhash.h>

#include <algorithm>
#include <future>

#include "src/base/assert.h"
#include "src/base/codec.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/base/rng.h"
#include "storage/kv/keys.h"

namespace kraken::group {
namespace {

constexpr std::size_t kFrameFull = std::size_t{1} << 20;  // a payload that has grown to this becomes a frame
constexpr std::size_t kApplyCopyBytes = std::size_t{8} << 20;
constexpr std::uint64_t kEntryOverhead = 64;
constexpr Duration kSettled = std::chrono::seconds(3);  // how long a node must have been there to be given leadership
constexpr Duration kHousekeepingBusy = std::chrono::milliseconds(50);
constexpr Duration kHousekeepingIdle = std::chrono::milliseconds(500);

std::uint64_t hash_members(const std::vector<Member>& members) {
  std::vector<std::string> lines;
  for (const Member& member : members) lines.push_back(fmt::format("{}\n{}\n", member.label, member.weight));
  std::ranges::sort(lines);
  std::string all;
  for (const std::string& line : lines) all += line;
  return XXH3_64bits(all.data(), all.size());
}

std::size_t index_of(const std::vector<Member>& members, std::string_view label) {
  const auto found = std::ranges::find(members, label, &Member::label);
  KR_ASSERT(found != members.end());
  return static_cast<std::size_t>(found - members.begin());
}

}  // namespace

Engine::Engine(NodeOptions options, StateMachine& machine, kv::Store& store, Identity identity, LoadedIdentity loaded)
    : options_(std::move(options)), self_(index_of(options_.members, options_.label)), machine_(machine), store_(store),
      clock_(system_clock()), identity_(std::move(identity)), run_(random_seed()), members_hash_(hash_members(options_.members)),
      local_(std::size_t{options_.shards} + 1), table_(std::move(loaded.table)), pledge_(loaded.pledge),
      known_(std::move(loaded.peers)), linked_(options_.members.size()), inbound_(options_.members.size()), up_since_(options_.members.size()),
      groups_(std::size_t{options_.shards} + 1), peer_out_(options_.members.size()),
      clients_(std::size_t{options_.shards} + 1), loop_("raft") {
  timer_ = std::make_unique<boost::asio::steady_timer>(loop_.context());
  snapshots_ = std::make_unique<Snapshots>(store_);
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
  if (!table_) return {};
  bind_members();
  return load_groups();
}

void Engine::start(net::Acceptor acceptor) {
  auto shared = std::make_shared<net::Acceptor>(std::move(acceptor));
  post([this, shared] {
    if (table_) start_groups();
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
  std::size_t led = 1;
  for (int i = 0; hand_off && led > 0 && i < 100; ++i) {
    on_loop([&] {
      led = 0;
      for (const auto& group : groups_) {
        if (!group || !group->core.view().is_leader) continue;
        ++led;
        if (i % 25 == 0) transfer(group->shard, "");
      }
      // Alone, or with nobody up, there is nobody to give it to.
      bool anyone = false;
      for (std::size_t peer = 0; peer < options_.members.size(); ++peer) anyone |= peer != self_ && transport_->up(peer);
      if (!anyone) led = 0;
      schedule_turn();
    });
    if (led > 0) ::usleep(10'000);
  }
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
  for (const auto& group : groups_)
    if (group && group->deadline <= now_) step(*group, raft::in::Timer{});
  if (now_ >= next_housekeeping_) housekeeping();
  for (auto shard = active_.begin(); shard != active_.end();) {
    const ShardId id = *shard++;
    if (clients_[id.value()].due <= now_) pump(id);
  }
}

void Engine::rearm() {
  MonotonicTime next = next_housekeeping_;
  for (const auto& group : groups_)
    if (group) next = std::min(next, group->deadline);
  for (const ShardId shard : active_) next = std::min(next, clients_[shard.value()].due);
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
  if (!writes_.empty()) {
    writer_->submit(std::move(writes_));
    writes_.clear();
  }
  if (!jobs_.empty()) {
    applier_->submit(std::move(jobs_));
    jobs_.clear();
  }
  for (std::size_t peer = 0; peer < peer_out_.size(); ++peer)
    if (peer != self_) flush_peer(peer);
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

void Engine::housekeeping() {
  static metrics::Gauge& queue = metrics::gauge("kr_raft_log_queue", "Writes that wait for the log's writer");
  static metrics::Gauge& apply_queue = metrics::gauge("kr_raft_apply_queue", "Jobs that wait for the apply thread");
  static metrics::Gauge& leaders = metrics::gauge("kr_raft_leaders", "Groups this node leads");
  expire();
  watch_disk();
  next_housekeeping_ = now_ + (active_.empty() && tries_.empty() ? kHousekeepingIdle : kHousekeepingBusy);
  if (now_ < next_disk_look_) return;
  next_disk_look_ = now_ + std::chrono::seconds(1);
  double led = 0;
  for (const auto& group : groups_) {
    if (!group) continue;
    compact(*group);
    if (group->serving) ++led;
  }
  rebalance();
  queue.set(static_cast<double>(writer_->queued()));
  apply_queue.set(static_cast<double>(applier_->queued()));
  leaders.set(led);
  if (options_.limits.disk_reserve_bytes == 0 || options_.folder.empty()) return;
  const auto space = file::disk_space(options_.folder);
  const bool full = space && space->available_bytes < options_.limits.disk_reserve_bytes;
  if (full != disk_full_) log::error("raft.disk", "full={} available={} reserve={}", full, space->available_bytes, options_.limits.disk_reserve_bytes);
  disk_full_ = full;
  if (!full) return;
  for (const auto& group : groups_)
    if (group && group->serving) transfer(group->shard, "");
}

/// Leadership goes back to the voter that the ring prefers, so that it stays spread after failures; slowly, and only to one
/// that has been there for a while and holds everything that is committed.
void Engine::rebalance() {
  int moves = 16;
  for (const auto& group : groups_) {
    if (!group || !group->serving || sick_) continue;
    const raft::ReplicaId preferred = voters_[group->shard.value()].front();
    const auto member = peer_of(preferred);
    if (preferred == self_replica_ || !member || !transport_->up_both(*member) || now_ - up_since_[*member] < kSettled) continue;
    const auto view = group->core.view();
    for (const raft::Core::Peer& peer : group->core.peers()) {
      if (peer.id != preferred || !peer.voter || peer.state != raft::Core::Peer::State::kReplicate || peer.match < view.commit) continue;
      step(*group, raft::in::Transfer{preferred});
      --moves;
    }
    if (moves <= 0) return;
  }
}

void Engine::watch_disk() {
  const Duration outstanding = writer_->sync_outstanding();
  if (outstanding > options_.timings.disk_dead) {
    log::error("raft.disk_dead", "seconds={} A sync of the log does not come back; the process ends",
               std::chrono::duration_cast<std::chrono::seconds>(outstanding).count());
    ::_exit(70);
  }
  const bool sick = outstanding > options_.timings.disk_stall;
  if (sick == sick_) return;
  sick_ = sick;
  log::warn("raft.disk_stall", "stalled={} milliseconds={}", sick,
            std::chrono::duration_cast<std::chrono::milliseconds>(outstanding).count());
  for (const auto& group : groups_)
    if (group) step(*group, raft::in::StorageSick{sick});
}

// ---- groups ----

Engine::Group* Engine::group_of(ShardId shard) const {
  return shard.value() < groups_.size() ? groups_[shard.value()].get() : nullptr;
}

std::optional<std::size_t> Engine::peer_of(raft::ReplicaId replica) const {
  const auto found = peer_by_replica_.find(replica);
  if (found == peer_by_replica_.end()) return std::nullopt;
  return found->second;
}

void Engine::mark(Group& group) {
  if (std::exchange(group.dirty, true)) return;
  dirty_.push_back(&group);
}

void Engine::step(Group& group, raft::Input&& input) {
  if (group.stopped) return;
  group.core.step(std::move(input), now_, out_);
  collect(group);
  group.deadline = group.core.deadline();
}

void Engine::collect(Group& group) {
  collect_storage(group);
  for (const raft::Message& message : out_.send_now) route(message);
  for (raft::Output::Gated& gated : out_.send_after) group.gated.push_back(std::move(gated));
  collect_clients(group);
  if (raft::raw(out_.commit_from) != 0) {
    Applier::Job job{.shard = group.shard, .from = out_.commit_from, .to = out_.commit_to, .entries = {},
                     .want_answers = !group.in_flight.empty()};
    group.core.copy_tail(job.from, job.to, kApplyCopyBytes, job.entries);
    jobs_.push_back(std::move(job));
  }
  collect_roles(group);
  collect_snapshots(group);
}

void Engine::collect_storage(Group& group) {
  if (out_.persist_seq == 0) return;
  if (out_.truncate_from) {
    const raft::Index last = group.first + group.sizes.size();
    for (raft::Index next = *out_.truncate_from; next < last; next = next + 1) {
      group.log_bytes -= group.sizes.back() + kEntryOverhead;
      group.sizes.pop_back();
    }
  }
  for (const raft::Entry& entry : out_.append) {
    group.sizes.push_back(static_cast<std::uint32_t>(entry.bytes()));
    group.log_bytes += entry.bytes() + kEntryOverhead;
  }
  writes_.push_back({.shard = group.shard, .seq = out_.persist_seq, .hard_state = out_.hard_state,
                     .truncate_from = out_.truncate_from, .append = std::move(out_.append)});
}

void Engine::collect_roles(Group& group) {
  static metrics::Counter& change_total = metrics::counter("kr_raft_leader_changes_total", "Times a group of this node saw another leader");
  if (out_.became_leader && *out_.became_leader) group.stamped = now_;
  if (out_.leader_changed) {
    change_total.add();
    group.heard = now_;
    log::debug("raft.leader", "shard={} term={} leader={}", group.shard.value(), raft::raw(out_.leader_changed->term),
               out_.leader_changed->leader ? raft::raw(*out_.leader_changed->leader) : 0);
    pump(group.shard);
  }
  if (out_.became_leader || raft::raw(out_.commit_from) != 0) {
    const bool serving = group.core.view().serving;
    if (serving != group.serving) {
      group.serving = serving;
      if (group.shard == kSystemShard) log::info("raft.serving", "shard=0 leader={} term={}", serving, raft::raw(group.core.view().term));
      if (on_leadership_) on_leadership_(group.shard, serving);
      pump(group.shard);
    }
  }
  if (out_.conflict) {
    log::error("raft.diverged",
               "shard={} index={} our_term={} their_term={} This replica's state differs from its leader's; it stops. Move the "
               "metadata folder aside and let the node join again",
               group.shard.value(), raft::raw(out_.conflict->index), raft::raw(out_.conflict->ours), raft::raw(out_.conflict->theirs));
    group.stopped = true;
  }
}

void Engine::collect_snapshots(Group& group) {
  for (const raft::Output::Fetch& wanted : out_.fetch) fetch(group, wanted);
  // These step the group again: not before this step's output has been taken.
  for (const raft::ReplicaId peer : out_.need_snapshot)
    post([this, &group, peer] { offer_snapshot(group, peer); });
  if (out_.install) install(group, std::move(*out_.install));
}

void Engine::route(const raft::Message& message) {
  const auto peer = peer_of(raft::header(message).to);
  if (!peer || *peer == self_ || !transport_->up(*peer)) return;
  PeerOut& out = peer_out_[*peer];
  if (std::holds_alternative<raft::BeatReq>(message) || std::holds_alternative<raft::BeatResp>(message)) {
    out.beats.push_back(message);
    return;
  }
  encode_message(message, out.messages);
  if (out.messages.size() < kFrameFull) return;
  append_frame(FrameKind::kMessages, out.messages, out.message_frames);
  out.messages.clear();
}

void Engine::persisted(const std::vector<std::pair<ShardId, raft::Seq>>& done) {
  if (stopped_) return;
  for (const auto& [shard, seq] : done) {
    Group* group = group_of(shard);
    if (!group) continue;
    while (!group->gated.empty() && group->gated.front().after <= seq) {
      route(group->gated.front().m);
      group->gated.pop_front();
    }
    step(*group, raft::in::Persisted{seq});
  }
}

void Engine::applied(std::vector<Applier::Done>& all) {
  if (stopped_) return;
  for (Applier::Done& done : all) {
    Group* group = group_of(done.shard);
    if (!group) continue;
    auto next = done.answers.begin();
    while (!group->in_flight.empty() && group->in_flight.front().index <= done.upto) {
      const Group::InFlight mine = group->in_flight.front();
      group->in_flight.pop_front();
      const auto ticket = proposal_tickets_.find(mine.ticket);
      if (ticket == proposal_tickets_.end()) continue;
      while (next != done.answers.end() && next->first < mine.index) ++next;
      Reply reply{.id = ticket->second.id, .outcome = Reply::Outcome::kAborted};
      if (next != done.answers.end() && next->first == mine.index) {
        reply.outcome = Reply::Outcome::kDone;
        reply.verdict = next->second.verdict;
        reply.result = std::move(next->second.result);
      }
      answer(ticket->second, std::move(reply));
      proposal_tickets_.erase(ticket);
    }
    group->applied = std::max(group->applied, done.upto);
    release_reads(*group);
    step(*group, raft::in::Applied{done.upto});
    if (!group->caught_up) {
      const auto view = group->core.view();
      group->caught_up = view.leader && group->applied >= view.commit;
    }
  }
}

void Engine::release_reads(Group& group) {
  while (!group.waiting_reads.empty() && group.waiting_reads.begin()->first <= group.applied) {
    answers_.add(std::move(group.waiting_reads.begin()->second), std::string());
    group.waiting_reads.erase(group.waiting_reads.begin());
  }
}

// ---- the log's beginning, and those who are behind it ----

raft::Index Engine::compaction_target(const Group& group) const {
  const Limits& limits = options_.limits;
  const raft::Index last = group.first + group.sizes.size();  // one behind
  // From the back: how many entries the limits keep.
  std::uint64_t kept = 0, bytes = 0;
  for (auto size = group.sizes.rbegin(); size != group.sizes.rend() && kept < limits.log_keep_entries; ++size) {
    bytes += *size + kEntryOverhead;
    if (bytes > limits.log_keep_bytes) break;
    ++kept;
  }
  raft::Index target = std::min(last - kept - 1, group.applied);
  const bool wait_for_all = group.log_bytes < limits.log_max_bytes;
  for (const raft::Core::Peer& peer : group.core.peers()) {
    const bool answers = now_ - peer.last_contact < 4 * options_.timings.election_max;
    if (peer.state == raft::Core::Peer::State::kSnapshot) continue;  // its pin counts
    if (answers || wait_for_all) target = std::min(target, peer.match);
  }
  for (const Group::Pin& pin : group.pins) target = std::min(target, pin.index);
  return target;
}

void Engine::compact(Group& group) {
  std::erase_if(group.pins, [&](const Group::Pin& pin) {
    bool wanted = now_ < pin.until;
    for (const raft::Core::Peer& peer : group.core.peers())
      if (peer.id == pin.peer && peer.state != raft::Core::Peer::State::kSnapshot) wanted = false;
    if (!group.core.view().is_leader) wanted = false;
    if (!wanted) snapshots_->withdraw(pin.snap_id);
    return !wanted;
  });
  const Limits& limits = options_.limits;
  // A quarter of slack, so that a range is dropped now and then and not with each entry.
  if (group.compacting || (group.sizes.size() <= limits.log_keep_entries + limits.log_keep_entries / 4 &&
                           group.log_bytes <= limits.log_keep_bytes + limits.log_keep_bytes / 4))
    return;
  const raft::Index target = compaction_target(group);
  const auto term = group.core.term_at(target);
  if (target < group.first || !term) return;
  const raft::Index first = target + 1;
  group.compacting = true;
  const raft::SnapMeta meta{.index = target, .term = *term, .conf = group.core.conf_at(target), .snap_id = 0};
  writer_->compact({.shard = group.shard, .first = first, .meta = meta}, [this, &group, first] {
    post([this, &group, first] {
      group.compacting = false;
      if (stopped_ || first <= group.first) return;
      while (group.first < first && !group.sizes.empty()) {
        group.log_bytes -= group.sizes.front() + kEntryOverhead;
        group.sizes.pop_front();
        group.first = group.first + 1;
      }
      step(group, raft::in::Compacted{first});
    });
  });
}

void Engine::fetch(Group& group, const raft::Output::Fetch& wanted) {
  const auto read = [this, &group, wanted] {
    auto entries = read_entries(store_, group.shard, wanted.lo, wanted.hi - 1, wanted.max_bytes);
    if (!entries) {
      log::warn("raft.fetch", "shard={} index={} error=\"{}\"", group.shard.value(), raft::raw(wanted.lo), entries.error().to_string());
      entries.emplace();
    }
    post([this, &group, peer = wanted.peer, found = std::move(*entries)]() mutable {
      if (!stopped_) step(group, raft::in::Fetched{.for_peer = peer, .entries = std::move(found)});
    });
  };
  if (readers_->post(read)) return;
  post([this, &group, peer = wanted.peer] {
    if (!stopped_) step(group, raft::in::Fetched{.for_peer = peer, .entries = {}});
  });
}

void Engine::offer_snapshot(Group& group, raft::ReplicaId peer) {
  if (stopped_) return;
  raft::in::SnapReady ready{.for_peer = peer, .meta = {}, .ok = false};
  auto view = store_.snapshot();
  const auto applied = load_applied(*view, group.shard);
  if (applied && applied->index >= group.first - 1 && applied->index <= group.core.view().commit) {
    ready.ok = true;
    ready.meta = {.index = applied->index, .term = applied->term, .conf = group.core.conf_at(applied->index),
                  .snap_id = random_seed() | 1};
    log::info("raft.snapshot_offer", "shard={} index={} peer={}", group.shard.value(), raft::raw(applied->index), raft::raw(peer));
    std::erase_if(group.pins, [&](const Group::Pin& pin) {
      if (pin.peer != peer) return false;
      snapshots_->withdraw(pin.snap_id);
      return true;
    });
    snapshots_->offer(ready.meta.snap_id, group.shard, std::move(view));
    group.pins.push_back({.snap_id = ready.meta.snap_id, .peer = peer, .index = applied->index, .until = now_ + options_.timings.snapshot});
  }
  step(group, std::move(ready));
}

void Engine::install(Group& group, raft::Output::Install wanted) {
  const ShardId shard = group.shard;
  const raft::SnapMeta meta = wanted.meta;
  const auto peer = peer_of(wanted.from);
  if (!peer || *peer == self_) {
    post([this, shard, meta] { installed(shard, meta, false); });
    return;
  }
  log::info("raft.snapshot_install", "shard={} index={} from={}", shard.value(), raft::raw(meta.index), options_.members[*peer].label);
  // The chain keeps the order: rows arrive beside the store, what was to be applied before is applied, what was to be written
  // before is durable, then the one atomic step, then sessions and observers read the new state.
  snapshots_->fetch({.shard = shard, .meta = meta, .from = options_.members[*peer], .hello = hello(*peer, Hello::Purpose::kSnapshot)},
                    [this, shard, meta](Result<std::unique_ptr<kv::ShardImport>> received) {
    if (!received) {
      post([this, shard, meta] { installed(shard, meta, false); });
      return;
    }
    applier_->run([this, shard, meta, import = std::move(*received)]() mutable {
      writer_->run([this, shard, meta, ready = std::move(import)] {
        const auto committed = ready->commit(install_rows(shard, meta));
        if (!committed) {
          log::warn("raft.snapshot_failed", "shard={} error=\"{}\"", shard.value(), committed.error().to_string());
          post([this, shard, meta] { installed(shard, meta, false); });
          return;
        }
        applier_->restore(shard, [this, shard, meta] { post([this, shard, meta] { installed(shard, meta, true); }); });
      });
    });
  });
}

void Engine::installed(ShardId shard, const raft::SnapMeta& meta, bool ok) {
  Group* group = group_of(shard);
  if (!group || stopped_) return;
  if (ok) {
    group->first = meta.index + 1;
    group->sizes.clear();
    group->log_bytes = 0;
    group->applied = std::max(group->applied, meta.index);
    release_reads(*group);
  }
  step(*group, raft::in::SnapInstalled{.meta = meta, .ok = ok});
}

// ---- peers ----

void Engine::peer_up(std::size_t peer) {
  now_ = clock_.monotonic();
  PeerOut& out = peer_out_[peer];
  out.coder.forget();
  up_since_[peer] = now_;
  log::info("raft.peer_up", "peer={}", options_.members[peer].label);
  pledge_to_founder();
  send_table(peer);
  for (const ShardId shard : active_) pump(shard);
  schedule_turn();
}

void Engine::peer_down(std::size_t peer) {
  if (stopped_) return;
  now_ = clock_.monotonic();
  log::info("raft.peer_down", "peer={}", options_.members[peer].label);
  lose([peer](const Try& tried) { return tried.target == peer; });
  for (const auto& group : groups_) {
    if (!group) continue;
    const auto leader = group->core.view().leader;
    if (leader && peer_of(*leader) == peer) step(*group, raft::in::PeerDown{*leader});
  }
  schedule_turn();
}

Result<> Engine::frame(std::size_t peer, FrameKind kind, std::string_view payload) {
  if (stopped_) return {};
  now_ = clock_.monotonic();
  schedule_turn();
  switch (kind) {
    case FrameKind::kMessages: {
      KR_TRY(auto messages, decode_messages(payload));
      return receive(peer, std::move(messages));
    }
    case FrameKind::kBeats: {
      KR_TRY(auto beats, peer_out_[peer].decoder.decode(payload));
      return receive(peer, std::move(beats));
    }
    case FrameKind::kRequests: {
      KR_TRY(auto requests, decode_requests(payload));
      for (Request& request : requests) {
        const std::uint64_t id = request.id;
        serve({.peer = peer, .id = id}, std::move(request));
      }
      return {};
    }
    case FrameKind::kReplies: {
      KR_TRY(auto replies, decode_replies(payload));
      for (Reply& reply : replies) on_reply(std::move(reply));
      return {};
    }
    case FrameKind::kPledge:
      return on_pledge(peer, payload);
    case FrameKind::kMemberTable:
      return on_table(peer, payload);
    default:
      return fail(Code::kProtocol, "frame: kind {} does not belong here", static_cast<int>(kind));
  }
}

Result<> Engine::receive(std::size_t peer, std::vector<raft::Message> messages) {
  if (!table_) return {};
  for (raft::Message& message : messages) {
    const raft::Hdr& h = raft::header(message);
    if (peer_of(h.from) != peer) return fail(Code::kProtocol, "a message in another replica's name");
    if (h.to != self_replica_ || raft::raw(h.group) >= groups_.size()) continue;
    Group* group = group_of(group::shard_of(h.group));
    if (!group) continue;
    if (std::holds_alternative<raft::BeatReq>(message) || std::holds_alternative<raft::AppendReq>(message)) group->heard = now_;
    step(*group, raft::in::Receive{std::move(message)});
  }
  return {};
}

void Engine::transfer(ShardId shard, const std::string& label) {
  Group* group = group_of(shard);
  if (!group || !group->core.view().is_leader) return;
  std::optional<raft::ReplicaId> best;
  raft::Index match{};
  for (const raft::Core::Peer& peer : group->core.peers()) {
    const auto member = peer_of(peer.id);
    if (!peer.voter || !member || !transport_->up(*member)) continue;
    if (!label.empty() && options_.members[*member].label != label) continue;
    if (best && peer.match <= match) continue;
    best = peer.id;
    match = peer.match;
  }
  if (!best) return;
  step(*group, raft::in::Transfer{*best});
  schedule_turn();
}

// ---- status ----

ShardStatus Engine::status(ShardId shard) const {
  ShardStatus status{.shard = shard, .leader = {}, .voters = voter_labels(shard)};
  const Group* group = group_of(shard);
  if (!group) {
    const std::size_t hint = shard.value() < clients_.size() ? clients_[shard.value()].hint : kNobody;
    if (hint != kNobody) status.leader = options_.members[hint].label;
    return status;
  }
  const auto view = group->core.view();
  status.local = true;
  status.is_leader = view.is_leader;
  status.serving = view.serving;
  if (view.leader)
    if (const auto* row = table_->find(*view.leader)) status.leader = row->label;
  status.term = raft::raw(view.term);
  status.first = raft::raw(view.first);
  status.last = raft::raw(view.last);
  status.commit = raft::raw(view.commit);
  status.applied = raft::raw(group->applied);
  status.log_bytes = group->log_bytes;
  status.now = applier_->now(shard);
  status.leader_heard = view.is_leader ? Duration::zero() : clock_.monotonic() - group->heard;
  return status;
}

std::vector<PeerStatus> Engine::peer_status() const {
  std::vector<PeerStatus> all;
  for (std::size_t peer = 0; peer < options_.members.size(); ++peer) {
    if (peer == self_) continue;
    const MonotonicTime heard = transport_->heard(peer);
    all.push_back({.label = options_.members[peer].label,
                   .up = transport_->up_both(peer),
                   .heard = heard == MonotonicTime::min() ? Duration::max() : clock_.monotonic() - heard,
                   .refused = transport_->refused(peer)});
  }
  return all;
}

std::vector<std::string> Engine::voter_labels(ShardId shard) const {
  std::vector<std::string> labels;
  if (!table_) return labels;
  for (const raft::ReplicaId replica : voters_[shard.value()]) labels.push_back(table_->find(replica)->label);
  return labels;
}

std::string Engine::refusal() const {
  for (std::size_t peer = 0; peer < options_.members.size(); ++peer)
    if (peer != self_ && !transport_->refused(peer).empty()) return transport_->refused(peer);
  return {};
}

std::string Engine::not_ready() const {
  if (!table_) {
    std::string missing;
    for (std::size_t peer = 0; peer < options_.members.size(); ++peer)
      if (peer != self_ && !transport_->up_both(peer)) missing += (missing.empty() ? "" : ", ") + options_.members[peer].label;
    if (std::string why = refusal(); !why.empty()) return why;
    return missing.empty() ? "the cluster is forming" : "the cluster forms once these nodes have been reached: " + missing;
  }
  for (const auto& group : groups_) {
    if (!group) continue;
    if (group->stopped) return fmt::format("shard {} has stopped: its state differs from its leader's", group->shard.value());
    const auto view = group->core.view();
    if (!view.leader) {
      std::string why = refusal();
      return why.empty() ? fmt::format("shard {} has no leader", group->shard.value()) : why;
    }
    if (!group->caught_up && group->applied < view.commit)
      return fmt::format("shard {} has applied {} of {}", group->shard.value(), raft::raw(group->applied), raft::raw(view.commit));
    if (view.is_leader && !view.serving) return fmt::format("shard {} has a new leader", group->shard.value());
  }
  return {};
}

}  // namespace kraken::group
