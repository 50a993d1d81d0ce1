#include "tests/sim/node.h"

#include <algorithm>

#include <fmt/format.h>

#include "tests/sim/describe.h"

namespace kraken::sim {

using namespace raft;

namespace {

Image first_image(const ConfState& conf) {
  Image im;
  im.snap.conf = conf;
  return im;
}

}  // namespace

Node::Node(World& world, size_t number, const ConfState& initial) : world_(world), number_(number), disk_(first_image(initial)) {}

void Node::start() {
  const Image& im = disk_.image();
  Boot boot;
  boot.self = id();
  boot.hs = im.hs;
  boot.conf = im.snap.conf;
  for (const Entry& e : im.log)
    if (e.kind == Kind::kConfig) boot.confs.push_back({e.index, *decode_conf(*e.data)});
  boot.snap_index = im.snap.index;
  boot.snap_term = im.snap.term;
  boot.first = im.first();
  boot.last = im.last();
  boot.applied = std::max(im.state.applied, im.snap.index);
  boot.boot_time = world_.events.now();
  boot_++;
  raft::Options options = world_.options.raft;
  options.election_rank = static_cast<uint32_t>(number_);
  core_ = std::make_unique<Core>(GroupId{7}, boot, options, BootLog(im), world_.random.next());
  state_ = im.state;
  apply_to_ = boot.applied;
  frozen_until_ = disk_stalled_until_ = Time{};
  syncing_ = applying_ = sick_told_ = false;
  pinned_until_ = Time{};
  timer_at_ = Time::max();
  world_.invariants.booted(number_, im, *core_);
  arm_timer();
}

void Node::crash() {
  if (!up()) return;
  core_.reset();
  boot_++;
  backlog_.clear();
  inbox_.clear();
  gated_.clear();
  writes_.clear();
  accepted_.clear();
  reads_.clear();
  waiting_.clear();
  installing_.reset();
  disk_.crash(world_.random);
  world_.invariants.synced(number_, disk_.durable());
}

void Node::crash_here() {
  crash_point_ = CrashPoint::kNone;
  crash();
  if (const auto then = std::move(crashed_)) then();
}

void Node::freeze(Time until) {
  if (!up()) return;
  frozen_until_ = std::max(frozen_until_, until);
  const uint64_t boot = boot_;
  world_.events.at(frozen_until_, [this, boot] {
    if (boot != boot_ || frozen()) return;
    std::deque<std::function<void()>> work;
    work.swap(backlog_);
    for (auto& f : work)
      if (boot == boot_) f();
    if (boot == boot_) arm_timer();
  });
}

void Node::later(Time delay, std::function<void()> f) {
  const uint64_t boot = boot_;
  world_.events.after(delay, [this, boot, f = std::move(f)]() mutable {
    if (boot != boot_) return;
    if (frozen()) {
      backlog_.push_back(std::move(f));
    } else {
      f();
    }
  });
}

void Node::deliver(Input input) {
  if (!up()) return;
  if (frozen()) {
    if (backlog_.size() < 2'000) backlog_.push_back([this, input = std::move(input)]() mutable { step(std::move(input)); });
    return;
  }
  step(std::move(input));
}

void Node::step(Input input) {
  if (!up()) return;
  inbox_.push_back(std::move(input));
  if (stepping_) return;
  stepping_ = true;
  while (!inbox_.empty()) {
    const Input next = std::move(inbox_.front());
    inbox_.pop_front();
    world_.steps++;
    core_->step(next, world_.events.now(), out_);
    const Core::View v = core_->view();
    world_.trace = mix(world_.trace, mix(static_cast<uint64_t>(world_.events.now().count()), next.index() * 16 + number_));
    world_.trace = mix(world_.trace, mix(raw(v.term) << 32 | raw(v.last), raw(v.commit) << 8 | static_cast<uint64_t>(v.role)));
    world_.invariants.stepped(number_, next, out_, *core_, world_.disks);
    perform(out_);
  }
  stepping_ = false;
  arm_timer();
}

void Node::arm_timer() {
  const Time due = core_->deadline();
  if (due == Time::max() || due >= timer_at_) return;  // an earlier alarm will look again
  timer_at_ = due;
  const uint64_t boot = boot_;
  world_.events.at(due, [this, boot, due] {
    if (boot != boot_ || timer_at_ != due) return;
    timer_at_ = Time::max();
    if (frozen()) return;  // a process that wakes up reads its inbox before its timers
    if (core_->deadline() <= world_.events.now())
      step(in::Timer{});
    else
      arm_timer();
  });
}

void Node::send(const Message& m) {
  world_.invariants.sent(number_, m, disk_.durable());
  if (world_.verbose) fmt::print("{:>9} us   {}\n", world_.events.now().count() / 1000, describe(m));
  world_.network->send(number_, raw(header(m).to) - 1, m);
}

void Node::perform(Output& out) {
  if (world_.verbose) {
    const auto v = core_->view();
    if (out.became_leader || out.conf_changed || out.install || out.truncate_from)
      fmt::print("{:>9} us node {} term {} role {} log [{}, {}] commit {}{}{}{}{}\n", world_.events.now().count() / 1000, number_ + 1, raw(v.term),
                 static_cast<int>(v.role), raw(v.first), raw(v.last), raw(v.commit), out.became_leader ? (*out.became_leader ? " leads" : " stops leading") : "",
                 out.conf_changed ? " conf" : "", out.install ? " installs" : "", out.truncate_from ? " truncates" : "");
  }
  if (out.persist_seq != 0) {
    disk_.write({DiskOp::Write{out.persist_seq, out.hard_state, out.truncate_from, out.append}});
    if (crash_point_ == CrashPoint::kAfterWrite) {
      crash_point_ = CrashPoint::kNone;
      const uint64_t boot = boot_;
      world_.events.after(Time{}, [this, boot] {
        if (boot == boot_) crash_here();
      });
    }
  }
  for (const Message& m : out.send_now) send(m);
  for (auto& g : out.send_after) gated_.push_back(std::move(g));
  if (raw(out.commit_from) != 0) {
    require(out.commit_from == apply_to_ + 1, "5 state machine safety", "commit ranges are not contiguous");
    apply_to_ = out.commit_to;
    start_apply();
  }
  answer_clients(out);
  for (const auto& f : out.fetch) fetch(f);
  for (ReplicaId peer : out.need_snapshot) make_snapshot(peer);
  if (out.install) install(*out.install);
  start_sync();
}

void Node::answer_clients(Output& out) {
  for (const auto& a : out.accepted) {
    const auto it = writes_.find(a.ticket);
    if (it == writes_.end()) continue;
    it->second.index = a.index;
    it->second.term = a.term;
    accepted_[a.index] = a.ticket;
  }
  for (const auto& f : out.failed) {
    if (const auto w = writes_.extract(f.ticket); !w.empty()) {
      accepted_.erase(w.mapped().index);
      w.mapped().done(f.why, Index{});
    } else if (const auto r = reads_.extract(f.ticket); !r.empty()) {
      if (r.mapped().done) r.mapped().done(nullptr, f.why, f.leader);
      if (r.mapped().index_done) r.mapped().index_done(std::nullopt);
    }
  }
  for (const auto& ok : out.reads) {
    const auto r = reads_.extract(ok.ticket);
    if (r.empty()) continue;
    if (r.mapped().index_done) {
      r.mapped().index_done(ok.at);
    } else {
      when_applied(ok.at, [done = std::move(r.mapped().done)](const State& s) { done(&s, Reject{}, std::nullopt); });
    }
  }
}

void Node::start_sync() {
  if (syncing_ || !disk_.dirty()) return;
  syncing_ = true;
  Time takes = world_.options.sync_min + world_.delay(world_.options.sync_max - world_.options.sync_min);
  if (world_.random.chance(world_.options.sync_stall)) takes += world_.delay(ms(1'500));
  if (disk_stalled_until_ > world_.events.now()) takes += disk_stalled_until_ - world_.events.now();
  if (takes > ms(300)) {
    later(ms(300), [this] {
      if (!syncing_) return;
      sick_told_ = true;
      step(in::StorageSick{true});
    });
  }
  later(takes, [this, count = disk_.pending()] { sync_done(count); });
}

void Node::sync_done(size_t count) {
  syncing_ = false;
  const Disk::Synced synced = disk_.sync(count);
  world_.invariants.synced(number_, disk_.durable());
  if (crash_point_ == CrashPoint::kAfterSync) return crash_here();
  if (sick_told_) {
    sick_told_ = false;
    step(in::StorageSick{false});
  }
  for (const SnapMeta& meta : synced.installed) {
    state_ = disk_.durable().state;
    apply_to_ = meta.index;
    installing_.reset();
    world_.invariants.installed(number_, meta);
    step(in::SnapInstalled{meta, true});
    serve_reads();
  }
  if (synced.upto != 0) {
    while (!gated_.empty() && gated_.front().after <= synced.upto) {
      send(gated_.front().m);
      gated_.pop_front();
    }
    step(in::Persisted{synced.upto});
  }
  start_sync();
}

void Node::start_apply() {
  if (applying_ || installing_ || state_.applied >= apply_to_) return;
  applying_ = true;
  later(world_.delay(world_.options.apply_max), [this] { apply_some(); });
}

void Node::apply_some() {
  applying_ = false;
  if (installing_) return;
  const Image& im = disk_.image();
  std::vector<Entry> entries;
  const Index got = core_->copy_tail(state_.applied + 1, apply_to_, SIZE_MAX, entries);
  if (got == state_.applied + 1) {
    for (Index i = state_.applied + 1; i <= apply_to_; i = i + 1) entries.push_back(im.log.at(distance(im.first(), i)));
  }
  const uint64_t boot = boot_;
  for (const Entry& e : entries) {
    require(e.index == state_.applied + 1, "5 state machine safety", "entries to apply are not in order");
    state_.apply(e);
    world_.invariants.applied(number_, e, state_);
    if (const auto it = accepted_.find(e.index); it != accepted_.end()) {
      if (auto w = writes_.extract(it->second); !w.empty()) {
        require(w.mapped().term == e.term, "15 durability", "a proposal's place was taken and the core did not say so");
        w.mapped().done(std::nullopt, e.index);
      }
      accepted_.erase(it);
    }
    if (boot != boot_) return;
  }
  disk_.write({DiskOp::Apply{state_}});
  step(in::Applied{state_.applied});
  serve_reads();
  maybe_compact();
  start_apply();
}

void Node::when_applied(Index at, std::function<void(const State&)> then) {
  waiting_.emplace_back(at, std::move(then));
  serve_reads();
}

void Node::serve_reads() {
  for (size_t i = 0; i < waiting_.size();) {
    if (waiting_[i].first > state_.applied) {
      i++;
      continue;
    }
    const auto then = std::move(waiting_[i].second);
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    then(state_);
  }
}

void Node::fetch(const Output::Fetch& f) {
  later(world_.delay(ms(3)), [this, f] {
    const Image& im = disk_.image();
    in::Fetched answer{f.peer, {}};
    size_t bytes = 0;
    if (!world_.random.chance(0.02) && f.lo >= im.first()) {
      for (Index i = f.lo; i < f.hi && i <= im.last(); i = i + 1) {
        const Entry& e = im.log[distance(im.first(), i)];
        if (bytes != 0 && bytes + e.bytes() > f.max_bytes) break;
        bytes += e.bytes() + 1;
        answer.entries.push_back(e);
      }
    }
    step(std::move(answer));
  });
}

void Node::make_snapshot(ReplicaId peer) {
  later(world_.delay(ms(50)), [this, peer] {
    in::SnapReady ready{peer, {}, false};
    // Applied here, and no further than the core knows to be committed.
    if (!world_.random.chance(0.1) && !installing_) {
      ready.ok = true;
      ready.meta = {state_.applied, *core_->term_at(state_.applied), core_->conf_at(state_.applied), world_.next_snap_id++};
      world_.snapshots[ready.meta.snap_id] = state_;
      pin_ = state_.applied;
      pinned_until_ = world_.events.now() + ms(1'500);
    }
    step(std::move(ready));
  });
}

void Node::install(const Output::Install& in) {
  installing_ = in.meta;
  later(world_.delay(ms(60)), [this, meta = in.meta] {
    if (world_.random.chance(0.1)) {
      installing_.reset();
      step(in::SnapInstalled{meta, false});
      start_apply();
      return;
    }
    disk_.write({DiskOp::Install{meta, world_.snapshots.at(meta.snap_id)}});
    start_sync();
  });
}

void Node::maybe_compact() {
  const RunOptions& o = world_.options;
  if (o.compact_every == 0 || installing_) return;
  Index upto = state_.applied;
  if (world_.events.now() < pinned_until_) upto = std::min(upto, pin_);
  const Index base = disk_.image().snap.index;
  if (raw(upto) < raw(base) + o.compact_every + o.compact_keep) return;
  upto = upto - o.compact_keep;
  disk_.write({DiskOp::Compact{{upto, *core_->term_at(upto), core_->conf_at(upto), 0}}});
  step(in::Compacted{upto + 1});
}

void Node::write(Command c, WriteDone done) {
  if (!up()) return;
  if (frozen()) {
    backlog_.push_back([this, c, done = std::move(done)] { write(c, done); });
    return;
  }
  const Seq ticket = next_ticket_++;
  writes_[ticket] = {std::move(done), {}, {}};
  step(in::Propose{ticket, encode(c)});
}

void Node::read(ReadDone done) {
  if (!up()) return;
  if (frozen()) {
    backlog_.push_back([this, done = std::move(done)] { read(done); });
    return;
  }
  const Seq ticket = next_ticket_++;
  reads_[ticket] = {std::move(done), {}};
  step(in::ReadIndex{ticket});
}

void Node::read_index(IndexDone done) {
  if (!up()) return;
  if (frozen()) {
    backlog_.push_back([this, done = std::move(done)] { read_index(done); });
    return;
  }
  const Seq ticket = next_ticket_++;
  reads_[ticket] = {{}, std::move(done)};
  step(in::ReadIndex{ticket});
}

}  // namespace kraken::sim
