// Groups of a node: steps, the log, the applier, snapshots, compaction.
#include <algorithm>

#include <fmt/format.h>

#include "consensus/raft/quorum.h"
#include "storage/kv/keys.h"
#include "tests/sim/describe.h"
#include "tests/sim/whole/history.h"
#include "tests/sim/whole/mutants.h"
#include "tests/sim/whole/node.h"

namespace kraken::sim::whole {

using namespace raft;
using raft::raw;

Node::Group* Node::same(ShardId shard, ReplicaId self) const {
  Group* g = group(shard);
  return g != nullptr && g->core.self() == self ? g : nullptr;
}

void Node::open_group(ShardId shard, ReplicaId self, std::optional<group::LoadedLog> made_now) {
  auto log = made_now ? Result<group::LoadedLog>(std::move(*made_now)) : group::load_log(*store_, shard);
  if (!log) {
    // Refusing is right after damage; else the node has broken its own disk.
    if (!damaged_) violated("node does not start", fmt::format("node {}: {}", number_, log.error().detail));
    if (world_.verbose) fmt::print("{:>9} us node {} refuses to start: {}\n", world_.events.now().count() / 1000, number_, log.error().detail);
    crash();
    status_ = Status::kRefusesToStart;
    return;
  }
  std::vector<Entry> entries;
  if (log->boot.last >= log->boot.first) {
    auto read = group::read_entries(*store_, shard, log->boot.first, log->boot.last, SIZE_MAX);
    require(read.has_value() && read->size() == log->terms.size(), "node does not start", "a log that was checked cannot be read");
    entries = std::move(*read);
  }
  Boot boot = log->boot;
  boot.self = self;
  boot.boot_time = now_;
  raft::Options options = world_.options.raft;
  if (!targets_.empty()) {
    const auto& wanted = targets_[shard.value()].voters;
    options.election_rank = static_cast<uint32_t>(std::ranges::find(wanted, member_of(self)) - wanted.begin());
  }
  auto made = std::make_unique<Group>(shard, Core(group::group_of(shard), boot, options, group::LoadedTerms(*log), world_.random.next()));
  Group& g = *made;
  g.deadline = g.core.deadline();
  g.state = log->applied;
  g.applied = g.stored = log->applied.index;
  g.local = raw(g.applied) != 0;
  g.led = now_;
  groups_[shard.value()] = std::move(made);
  const auto sessions = sessions_.load(shard, *store_);
  if (!sessions) violated("node does not start", sessions.error().detail);
  machine_->restored(shard, *store_);
  world_.oracle->booted(number_, shard, self, entries, {.index = log->boot.snap_index, .term = log->boot.snap_term, .conf = log->boot.conf, .snap_id = 0}, g.core);
  world_.oracle->rows(number_, shard, g.state.index, *store_, "after a start");
  if (world_.verbose)
    fmt::print("{:>9} us node {} shard {} starts as {}: term {} log [{}, {}] applied {}\n", world_.events.now().count() / 1000, number_, shard.value(), raw(self),
               raw(boot.hs.term), raw(boot.first), raw(boot.last), raw(boot.applied));
}

void Node::step(Group& g, Input next) {
  if (doomed_ || g.stopped || !up()) return;
  world_.steps++;
  g.core.step(next, now_, out_);
  const Core::View v = g.core.view();
  world_.trace = mix(world_.trace, mix(static_cast<uint64_t>(world_.events.now().count()), next.index() << 16 | number_ << 8 | g.shard.value()));
  world_.trace = mix(world_.trace, mix(raw(v.term) << 32 | raw(v.last), raw(v.commit) << 8 | static_cast<uint64_t>(v.role)));
  if (world_.verbose && (out_.became_leader || out_.conf_changed || out_.install || out_.truncate_from))
    fmt::print("{:>9} us node {} shard {} term {} role {} log [{}, {}] commit {}{}{}{}{}\n", world_.events.now().count() / 1000, number_, g.shard.value(), raw(v.term),
               static_cast<int>(v.role), raw(v.first), raw(v.last), raw(v.commit), out_.became_leader ? (*out_.became_leader ? " leads" : " stops leading") : "",
               out_.conf_changed ? " conf" : "", out_.install ? " installs" : "", out_.truncate_from ? " truncates" : "");
  world_.oracle->stepped(number_, g.shard, next, out_, g.core);
  collect(g);
  g.deadline = g.core.deadline();
}

void Node::collect(Group& g) {
  if (out_.persist_seq != 0) {
    LogItem item;
    item.shard = g.shard;
    item.seq = out_.persist_seq;
    item.hard_state = out_.hard_state;
    item.truncate_from = out_.truncate_from;
    item.append = std::move(out_.append);
    log_queue_.push_back(std::move(item));
  }
  for (const Message& m : out_.send_now) route(g.shard, m);
  for (auto& gated : out_.send_after) {
    if (mutant(DriverMutant::kGatedEarly)) {
      route(g.shard, gated.m);
    } else {
      g.gated.push_back(std::move(gated));
    }
  }
  collect_clients(g);
  if (raw(out_.commit_from) != 0) {
    Job job{.shard = g.shard, .self = g.core.self(), .from = out_.commit_from, .to = out_.commit_to, .entries = {}};
    g.core.copy_tail(job.from, job.to, SIZE_MAX, job.entries);
    apply_queue_.push_back(std::move(job));
  }
  if (out_.became_leader && *out_.became_leader) g.stamped = now_;
  if (out_.leader_changed) g.led = now_;
  for (const auto& f : out_.fetch) fetch(g, f);
  for (const ReplicaId peer : out_.need_snapshot)
    later(world_.delay(ms(20)), [this, shard = g.shard, self = g.core.self(), peer] { input([this, shard, self, peer] { if (same(shard, self)) offer_snapshot(shard, peer); }); });
  if (out_.install) install(g, *out_.install);
}

// ---- the log ----

void Node::start_sync() {
  if (syncing_ || log_queue_.empty() || doomed_) return;
  syncing_ = true;
  syncing_items_.swap(log_queue_);
  kv::Batch batch;
  bool term_and_entries = false;
  for (LogItem& item : syncing_items_) {
    term_and_entries = term_and_entries || (item.hard_state && !item.append.empty());
    if (item.seq != 0) {
      if (mutant(DriverMutant::kHardStateApart) && item.hard_state && !item.append.empty()) {
        // Entries first: then a crash between the two leaves entries of a term that the hard state does not know.
        kv::Batch apart;
        group::add_write(item.shard, std::nullopt, item.truncate_from, item.append, apart);
        require(store_->write(apart, kv::Durability::kBuffered).has_value(), "simulator", "write");
        group::add_write(item.shard, item.hard_state, std::nullopt, {}, batch);
      } else {
        group::add_write(item.shard, item.hard_state, item.truncate_from, item.append, batch);
      }
    }
    if (item.compaction) group::add_compaction(item.shard, item.compaction->first, item.compaction->second, batch);
    batch.append(item.extra);
  }
  require(store_->write(batch, kv::Durability::kBuffered).has_value(), "simulator", "write");
  sync_position_ = store_->written();
  if (mutant(DriverMutant::kPersistedEarly)) {
    std::map<ShardId, Seq> seqs;
    for (const LogItem& item : syncing_items_)
      if (item.seq != 0) seqs[item.shard] = item.seq;
    input([this, seqs] { persisted(seqs); });
  }
  if (reached(Point::kAfterWrite)) return;
  if (term_and_entries && reached(Point::kAfterTermWrite)) return;
  const Options& o = world_.options;
  Time takes = o.sync_min + world_.delay(o.sync_max - o.sync_min);
  if (world_.random.chance(o.sync_stall)) takes += world_.delay(ms(1'000));
  if (stalled_until_ > world_.events.now()) takes += stalled_until_ - world_.events.now();
  if (takes > o.disk_stall)
    later(o.disk_stall, [this] {
      if (!syncing_ || sick_) return;
      sick_ = true;
      input([this] {
        for (const auto& g : groups_)
          if (g) step(*g, in::StorageSick{true});
      });
    });
  later(takes, [this] { sync_done(); });
}

void Node::sync_done() {
  const bool failed = std::exchange(sync_fails_, false);
  if (failed && !mutant(DriverMutant::kSyncErrorIgnored)) return doom();  // nobody knows what of it is there
  syncing_ = false;
  std::vector<LogItem> items;
  items.swap(syncing_items_);
  std::map<ShardId, Seq> seqs;
  if (!failed) {
    store_->sync_to(sync_position_);
    for (const LogItem& item : items) {
      if (item.destroys) world_.oracle->destroyed(number_, item.shard, *item.destroys);
      Group* g = group(item.shard);
      if (g == nullptr) continue;
      DurableLog& disk = world_.oracle->disk(number_, item.shard);
      if (item.seq != 0) disk.write(item.hard_state, item.truncate_from, item.append);
      if (item.compaction) disk.compact(item.compaction->second.index, item.compaction->second.term);
      world_.oracle->durable(number_, item.shard);
    }
    while (!applied_at_.empty() && applied_at_.front().position <= sync_position_) {
      world_.oracle->applied_durable(number_, applied_at_.front().shard, applied_at_.front().index);
      applied_at_.pop_front();
    }
  } else {
    crashed_ = {};
  }
  for (const LogItem& item : items)
    if (item.seq != 0) seqs[item.shard] = item.seq;
  if (reached(Point::kAfterSync)) return;
  std::vector<std::function<void()>> after;
  for (LogItem& item : items)
    if (item.after) after.push_back(std::move(item.after));
  input([this, seqs = std::move(seqs), after = std::move(after)] {
    if (std::exchange(sick_, false))
      for (const auto& g : groups_)
        if (g) step(*g, in::StorageSick{false});
    persisted(seqs);
    for (const auto& f : after) f();
  });
  start_sync();
  try_install();
}

void Node::persisted(const std::map<ShardId, Seq>& done) {
  for (const auto& [shard, seq] : done) {
    Group* g = group(shard);
    if (g == nullptr) continue;
    while (!g->gated.empty() && g->gated.front().after <= seq) {
      route(shard, g->gated.front().m);
      g->gated.pop_front();
    }
    step(*g, in::Persisted{seq});
  }
}

// ---- the applier ----

/// The store gets what was applied.
void Node::flush_rows() {
  require(rows_->flush().has_value(), "simulator", "write");
  for (const auto& g : groups_) {
    if (!g || g->stored == g->state.index) continue;
    g->stored = g->state.index;
    applied_at_.push_back({store_->written(), g->shard, g->stored});
  }
}

/// Before and after the store changes by other ways.
void Node::clear_rows() {
  flush_rows();
  require(rows_->clear().has_value(), "simulator", "write");
}

void Node::start_apply() {
  if (applying_ || apply_queue_.empty() || doomed_) return;
  applying_ = true;
  Time max = world_.options.apply_max;
  if (apply_slow_until_ > world_.events.now()) max += ms(300);
  later(world_.delay(max), [this] { apply_some(); });
}

void Node::apply_some() {
  if (reached(Point::kBeforeApply)) return;
  applying_ = false;
  std::deque<Job> jobs;
  jobs.swap(apply_queue_);
  std::map<ShardId, Done> done;
  group::ApplyTurn turn(*rows_, *machine_, sessions_);
  const auto finish = [&] {
    if (turn.empty()) return;
    const auto progress = turn.progress();
    if (rows_->bytes() == 0) behind_since_ = world_.events.now();
    require(rows_->write(turn.take_batch()).has_value(), "simulator", "write");
    for (const auto& [shard, at] : progress) group(shard)->state = at;
    if (!world_.behind || world_.behind_random.chance(0.2)) flush_rows();
    for (const auto& [shard, at] : progress) {
      machine_->applied(shard, raw(at.index));
      if (raw(at.index) % kCompareEvery != 0) continue;
      flush_rows();
      world_.oracle->rows(number_, shard, at.index, *store_, "applied");
    }
  };
  for (Job& job : jobs) {
    Group* g = group(job.shard);
    if (g == nullptr || g->core.self() != job.self || g->stopped) continue;
    if (job.entries.empty() || job.entries.back().index < job.to) {
      const Index from = job.entries.empty() ? job.from : job.entries.back().index + 1;
      auto read = group::read_entries(*store_, job.shard, from, job.to, SIZE_MAX);
      world_.read_at_disk++;
      if (!read) {
        if (!damaged_) violated("5 state machine safety", read.error().detail);
        return doom();
      }
      job.entries.insert(job.entries.end(), read->begin(), read->end());
    }
    Done& d = done[job.shard];
    d.shard = job.shard;
    d.self = job.self;
    for (const Entry& e : job.entries) {
      turn.begin(job.shard, g->state);
      auto answer = turn.apply(job.shard, e);
      if (!answer) violated("5 state machine safety", fmt::format("node {} shard {}: {}", number_, job.shard.value(), answer.error().detail));
      world_.oracle->applied(number_, job.shard, e, *answer, turn.at(job.shard).digest);
      if (*answer) d.answers.emplace_back(e.index, std::move(**answer));
      d.upto = e.index;
      if (raw(e.index) % kCompareEvery == 0) finish();
    }
  }
  finish();
  if (reached(Point::kAfterApply)) return;
  std::vector<Done> all;
  for (auto& [shard, d] : done) all.push_back(std::move(d));
  input([this, all = std::move(all)]() mutable { applied(all); });
  start_apply();
  try_install();
}

void Node::applied(std::vector<Done>& all) {
  for (Done& d : all) {
    Group* g = same(d.shard, d.self);
    if (g == nullptr || d.upto <= g->applied) continue;
    auto next = d.answers.begin();
    while (!g->in_flight.empty() && g->in_flight.front().index <= d.upto) {
      const Group::InFlight mine = g->in_flight.front();
      g->in_flight.pop_front();
      const auto ticket = proposal_tickets_.find(mine.ticket);
      if (ticket == proposal_tickets_.end()) continue;
      while (next != d.answers.end() && next->first < mine.index) ++next;
      group::Reply reply{.id = 0, .outcome = group::Reply::Outcome::kAborted};
      if (next != d.answers.end() && next->first == mine.index) {
        reply.outcome = group::Reply::Outcome::kDone;
        reply.verdict = next->second.verdict;
        reply.result = next->second.result;
      }
      answer(ticket->second.peer, ticket->second.id, std::move(reply));
      proposal_tickets_.erase(ticket);
    }
    g->applied = d.upto;
    release_reads(*g);
    step(*g, in::Applied{d.upto});
    if (g->caught_up) continue;
    const Core::View v = g->core.view();
    g->caught_up = v.leader && g->applied >= v.commit;
    g->local = g->local || g->caught_up;
  }
}

void Node::release_reads(Group& g) {
  while (!g.waiting.empty() && g.waiting.begin()->first <= g.applied) {
    const Question q = std::move(g.waiting.begin()->second);
    g.waiting.erase(g.waiting.begin());
    run_query(g.shard, q);
  }
}

void Node::fetch(Group& g, const Output::Fetch& f) {
  later(world_.delay(ms(3)), [this, shard = g.shard, self = g.core.self(), f] {
    in::Fetched found{f.peer, {}};
    auto entries = group::read_entries(*store_, shard, f.lo, f.hi - 1, f.max_bytes);
    world_.read_at_disk++;
    if (entries && !world_.random.chance(0.02)) found.entries = std::move(*entries);
    input([this, shard, self, found = std::move(found)]() mutable {
      if (Group* at = same(shard, self)) step(*at, std::move(found));
    });
  });
}

// ---- snapshots ----

void Node::offer_snapshot(ShardId shard, ReplicaId peer) {
  Group* g = group(shard);
  if (g == nullptr) return;
  in::SnapReady ready{peer, {}, false};
  flush_rows();
  const auto at = group::load_applied(*store_, shard);
  const Core::View v = g->core.view();
  if (at && raw(at->index) != 0 && at->index + 1 >= v.first && at->index <= v.commit && !g->installing && !world_.random.chance(0.05)) {
    ready.ok = true;
    ready.meta = {at->index, at->term, mutant(DriverMutant::kSnapshotUncommittedConf) ? g->core.conf() : g->core.conf_at(at->index), world_.random.next() | 1};
    world_.oracle->rows(number_, shard, at->index, *store_, "offers a snapshot");
    Group::Offer offer{.meta = ready.meta, .rows = {}, .peer = peer, .until = now_ + ms(1'500)};
    const auto each = [&](kv::Family family, std::string_view key, std::string_view value) {
      if (!(mutant(DriverMutant::kSnapshotMissesFamily) && family == kv::Family::kTask)) offer.rows.emplace_back(family, key, value);
      return true;
    };
    require(kv::export_shard(*store_, shard, each).has_value(), "simulator", "export");
    std::erase_if(g->offers, [&](const auto& one) { return one.second.peer == peer; });
    g->offers.emplace(ready.meta.snap_id, std::move(offer));
    world_.snapshots++;
  }
  step(*g, std::move(ready));
}

void Node::install(Group& g, const Output::Install& wanted) {
  g.installing = wanted.meta;
  const size_t peer = peer_of(wanted.from).value_or(number_);
  const uint64_t boot = world_.nodes[peer]->boot_;
  later(ms(1) + world_.delay(ms(world_.random.chance(0.2) ? 800 : 60)), [this, shard = g.shard, self = g.core.self(), meta = wanted.meta, peer, boot] { transferred(shard, self, meta, peer, boot); });
}

void Node::transferred(ShardId shard, ReplicaId self, const SnapMeta& meta, size_t from, uint64_t from_boot) {
  Group* g = same(shard, self);
  if (g == nullptr || !g->installing) return;
  const Node& source = *world_.nodes[from];
  const bool connected = from != number_ && source.up() && source.boot_ == from_boot && !world_.links->cut(from, number_) && !world_.links->cut(number_, from);
  const Group* there = connected ? source.group(shard) : nullptr;
  const auto offer = there == nullptr ? decltype(there->offers.find(0)){} : there->offers.find(meta.snap_id);
  if (there == nullptr || offer == there->offers.end() || world_.random.chance(0.05)) {
    input([this, shard, self, meta] { installed(shard, self, meta, false); });
    return;
  }
  g->arrived = offer->second;
  try_install();
}

/// The one atomic step: once what was to be applied is applied and what was to be written is durable.
void Node::try_install() {
  for (const auto& g : groups_) {
    if (!g || !g->arrived || doomed_) continue;
    if (syncing_ || !log_queue_.empty() || applying_ || !apply_queue_.empty()) continue;
    if (reached(Point::kBeforeInstall)) return;
    const Group::Offer offer = std::move(*g->arrived);
    g->arrived.reset();
    clear_rows();
    auto import = store_->begin_import(g->shard);
    require(import.has_value(), "simulator", "import");
    for (const auto& [family, key, value] : offer.rows) require((*import)->add(family, key, value).has_value(), "simulator", "import");
    if (mutant(DriverMutant::kInstallInTwoSteps)) {
      require((*import)->commit({}).has_value(), "simulator", "import");
      if (world_.random.chance(0.3)) return doom();
      require(store_->write(group::install_rows(g->shard, offer.meta), kv::Durability::kSynced).has_value(), "simulator", "write");
    } else {
      require((*import)->commit(group::install_rows(g->shard, offer.meta)).has_value(), "simulator", "import");
    }
    world_.oracle->disk(number_, g->shard).install(offer.meta);
    world_.oracle->rows(number_, g->shard, offer.meta.index, *store_, "installed a snapshot");
    if (reached(Point::kAfterInstall)) return;
    const auto sessions = sessions_.load(g->shard, *store_);
    const auto at = group::load_applied(*store_, g->shard);
    if (!sessions || !at) violated("12 snapshots", "what was installed cannot be read");
    g->state = *at;
    g->stored = at->index;
    machine_->restored(g->shard, *store_);
    input([this, shard = g->shard, self = g->core.self(), meta = offer.meta] { installed(shard, self, meta, true); });
  }
}

void Node::installed(ShardId shard, ReplicaId self, const SnapMeta& meta, bool ok) {
  Group* g = same(shard, self);
  if (g == nullptr) return;
  g->installing.reset();
  if (ok) {
    world_.oracle->installed(number_, shard, meta);
    g->applied = std::max(g->applied, meta.index);
    g->local = true;
  }
  step(*g, in::SnapInstalled{meta, ok});
  if (ok) release_reads(*g);
}

// ---- the log's beginning ----

void Node::compact(Group& g) {
  std::erase_if(g.offers, [&](const auto& one) {
    if (now_ >= one.second.until || !g.core.view().is_leader) return true;
    for (const Core::Peer& peer : g.core.peers())
      if (peer.id == one.second.peer && peer.state != Core::Peer::State::kSnapshot) return true;
    return false;
  });
  const Options& o = world_.options;
  const Core::View v = g.core.view();
  if (o.compact_every == 0 || g.compacting || g.installing || g.stopped) return;
  if (raw(v.last) + 1 < raw(v.first) + o.compact_every + o.compact_keep) return;
  Index target = mutant(DriverMutant::kCompactAboveApplied) ? v.commit : mutant(DriverMutant::kCompactAboveStored) ? g.applied : std::min(g.applied, g.stored);
  target = std::min(target, v.last - o.compact_keep);
  for (const auto& [id, offer] : g.offers) target = std::min(target, offer.meta.index);
  const auto term = g.core.term_at(target);
  if (target < v.first || !term) return;
  g.compacting = true;
  LogItem item;
  item.shard = g.shard;
  item.compaction = {target + 1, {target, *term, g.core.conf_at(target), 0}};
  item.after = [this, shard = g.shard, self = g.core.self(), first = target + 1] {
    Group* at = same(shard, self);
    if (at == nullptr) return;
    at->compacting = false;
    if (first > at->core.view().first) step(*at, in::Compacted{first});
  };
  log_queue_.push_back(std::move(item));
}

}  // namespace kraken::sim::whole
