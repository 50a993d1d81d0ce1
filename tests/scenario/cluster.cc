#include "tests/scenario/cluster.h"

#include <algorithm>

#include <fmt/format.h>

#include "tests/scenario/print.h"

namespace kraken::scenario {

using namespace raft;

namespace {

constexpr GroupId kGroup{7};

struct Terms : LogView {
  explicit Terms(const Image& i) : image(i) {}
  std::optional<Term> term_at(Index i) const override { return image.log.at(distance(image.snap.index, i) - 1).term; }
  Index first() const override { return image.snap.index + 1; }
  const Image& image;
};

}  // namespace

Cluster::Cluster(std::vector<Image> images, const Options& options) : options_(options) {
  for (Image& image : images) {
    Replica r;
    r.id = ReplicaId{replicas_.size() + 1};
    r.disk = std::move(image);
    replicas_.push_back(std::move(r));
  }
  for (Replica& r : replicas_) boot(r);
  trace_.clear();
}

Replica& Cluster::at(uint64_t id, bool must_be_up) {
  if (id == 0 || id > replicas_.size()) throw Failure(fmt::format("there is no replica {}", id));
  Replica& r = replicas_[id - 1];
  if (must_be_up && !r.up()) throw Failure(fmt::format("replica {} is down", id));
  return r;
}

void Cluster::boot(Replica& r) {
  Boot b;
  b.self = r.id;
  b.hs = r.disk.hs;
  b.conf = r.disk.snap.conf;
  for (const Entry& e : r.disk.log)
    if (e.kind == Kind::kConfig) b.confs.push_back({e.index, decode_conf(*e.data).value()});
  b.snap_index = r.disk.snap.index;
  b.snap_term = r.disk.snap.term;
  b.first = b.snap_index + 1;
  b.last = r.disk.last();
  b.applied = r.applied = std::max(r.disk.applied, b.snap_index);
  b.boot_time = r.now;
  r.log = r.disk.log;
  r.core = std::make_unique<Core>(kGroup, b, options_, Terms(r.disk), 1000 + raw(r.id));
  for (const Entry& e : r.disk.log)
    if (e.index <= r.applied) committed_.emplace(e.index, Committed{text(e), r.disk.hs.term});
}

void Cluster::step(Replica& r, Input input) {
  const Core::View before = r.core->view();
  r.core->step(std::move(input), r.now, out_);
  take_writes(r);
  report(r, before);
  check_leader(r);
  check_log(r);
  for (Message& m : out_.send_now) send(std::move(m));
  for (auto& g : out_.send_after) r.held.push_back(std::move(g));
  for (auto& f : out_.fetch) r.fetches.push_back(f);
  r.wants_snapshot.insert(r.wants_snapshot.end(), out_.need_snapshot.begin(), out_.need_snapshot.end());
  if (out_.install) r.install = out_.install;
  apply(r);
}

void Cluster::take_writes(Replica& r) {
  if (out_.persist_seq == 0) return;
  if (out_.truncate_from)
    while (!r.log.empty() && r.log.back().index >= *out_.truncate_from) r.log.pop_back();
  r.log.insert(r.log.end(), out_.append.begin(), out_.append.end());
  r.writes.push_back({out_.persist_seq, out_.hard_state, out_.truncate_from, out_.append});
}

void Cluster::report(Replica& r, const Core::View& before) {
  const Core::View v = r.core->view();
  const uint64_t id = raw(r.id);
  if (v.role != before.role || v.term != before.term || v.leader != before.leader || v.vote != before.vote) {
    say(fmt::format("{} is {} of term {}{}{}", id, text(v.role), raw(v.term), v.vote ? fmt::format(", voted {}", raw(*v.vote)) : "",
                    v.leader && !v.is_leader ? fmt::format(", leader {}", raw(*v.leader)) : ""));
  }
  if (out_.conf_changed) say(fmt::format("{} adopts {}", id, text(*out_.conf_changed)));
  report_output(r);
  if (v.commit != before.commit) say(fmt::format("{} commits to {}", id, raw(v.commit)));
  if (raw(out_.commit_from) != 0) say(fmt::format("{} applies {}-{}", id, raw(out_.commit_from), raw(out_.commit_to)));
  for (const auto& read : out_.reads) say(fmt::format("{} answers read {} at {}", id, read.ticket, raw(read.at)));
  for (const auto& f : out_.failed)
    say(fmt::format("{} fails {}: {}{}", id, f.ticket, to_string(f.why), f.leader ? fmt::format(", leader {}", raw(*f.leader)) : ""));
}

void Cluster::report_output(Replica& r) {
  const uint64_t id = raw(r.id);
  for (const auto& a : out_.accepted) say(fmt::format("{} accepts {} at {}/{}", id, a.ticket, raw(a.index), raw(a.term)));
  if (out_.persist_seq != 0) {
    std::string what;
    if (out_.hard_state) what += fmt::format(" term {} vote {}", raw(out_.hard_state->term), out_.hard_state->vote ? raw(*out_.hard_state->vote) : 0);
    if (out_.truncate_from) what += fmt::format(" cut from {}", raw(*out_.truncate_from));
    if (!out_.append.empty()) what += " " + text(out_.append);
    say(fmt::format("{} writes #{}:{}", id, out_.persist_seq, what));
  }
  for (const Message& m : out_.send_now) {
    const bool lost = !connected(r.id, header(m).to);
    say(fmt::format("{} -> {} {}{}", id, raw(header(m).to), text(m), lost ? " (lost)" : ""));
  }
  for (const auto& g : out_.send_after) say(fmt::format("{} holds for #{}: -> {} {}", id, g.after, raw(header(g.m).to), text(g.m)));
  for (const auto& f : out_.fetch) say(fmt::format("{} fetches {}-{} for {}", id, raw(f.lo), raw(f.hi) - 1, raw(f.peer)));
  for (ReplicaId peer : out_.need_snapshot) say(fmt::format("{} needs a snapshot for {}", id, raw(peer)));
  if (out_.install) say(fmt::format("{} is to install snapshot {} at {}/{}", id, out_.install->meta.snap_id, raw(out_.install->meta.index), raw(out_.install->meta.term)));
  if (out_.conflict) say(fmt::format("{} sees a conflict with {} at {}: term {} here, {} there", id, raw(out_.conflict->from), raw(out_.conflict->index), raw(out_.conflict->ours), raw(out_.conflict->theirs)));
}

void Cluster::apply(Replica& r) {
  if (raw(out_.commit_from) == 0) return;
  if (out_.commit_from != r.applied + 1) throw Failure(fmt::format("replica {} skips from {} to {}", raw(r.id), raw(r.applied), raw(out_.commit_from)));
  for (Index i = out_.commit_from; i <= out_.commit_to; i = i + 1) {
    const std::string entry = text(r.log.at(distance(r.disk.snap.index, i) - 1));
    const auto [it, fresh] = committed_.emplace(i, Committed{entry, r.core->view().term});
    if (it->second.entry != entry) throw Failure(fmt::format("state machine safety: replica {} applies {}, but {} was applied before", raw(r.id), entry, it->second.entry));
  }
  r.applied = out_.commit_to;
  step(r, in::Applied{r.applied});
}

void Cluster::check_leader(const Replica& r) {
  const Core::View v = r.core->view();
  if (!v.is_leader) return;
  const auto [it, fresh] = leaders_.emplace(v.term, r.id);
  if (it->second != r.id) throw Failure(fmt::format("election safety: {} and {} lead term {}", raw(it->second), raw(r.id), raw(v.term)));
  if (!fresh) return;
  for (const auto& [index, c] : committed_) {
    if (index <= r.disk.snap.index || c.in >= v.term) continue;
    const uint64_t place = distance(r.disk.snap.index, index) - 1;
    if (place >= r.log.size() || text(r.log[place]) != c.entry) throw Failure(fmt::format("leader completeness: {} leads term {} without {}", raw(r.id), raw(v.term), c.entry));
  }
}

void Cluster::check_log(const Replica& r) {
  std::string before;
  for (const Entry& e : r.log) {
    const std::string entry = text(e);
    if (!before.empty()) {
      const auto [it, fresh] = histories_.emplace(std::pair(e.index, e.term), before + entry);
      if (it->second != before + entry) throw Failure(fmt::format("log matching: replica {} has {} after {}", raw(r.id), entry, before));
    }
    before = entry;
  }
}

bool Cluster::connected(ReplicaId a, ReplicaId b) const {
  if (sides_.empty()) return true;
  for (const auto& side : sides_)
    if (std::count(side.begin(), side.end(), raw(a)) != 0 && std::count(side.begin(), side.end(), raw(b)) != 0) return true;
  return false;
}

void Cluster::send(Message m) {
  if (connected(header(m).from, header(m).to)) in_flight_.push_back(std::move(m));
}

void Cluster::deliver(const Message& m) {
  const Hdr& h = header(m);
  if (raw(h.to) > replicas_.size() || !at(raw(h.to), false).up()) {
    say(fmt::format("{} is not there for {} from {}", raw(h.to), kind_of(m), raw(h.from)));
    return;
  }
  say(fmt::format("{} <- {} {}", raw(h.to), raw(h.from), text(m)));
  step(at(raw(h.to)), in::Receive{m});
}

void Cluster::pass(Replica& r, Time t) {
  const Time end = r.now + t;
  while (r.core->deadline() <= end) {
    r.now = std::max(r.now, r.core->deadline());
    step(r, in::Timer{});
  }
  r.now = end;
}

void Cluster::timeout(Replica& r) {
  if (r.core->deadline() == Time::max()) throw Failure(fmt::format("replica {} waits for nothing", raw(r.id)));
  r.now = std::max(r.now, r.core->deadline());
  step(r, in::Timer{});
}

void Cluster::persist(Replica& r, size_t count) {
  Seq done = 0;
  for (; count > 0 && !r.writes.empty(); count--) {
    const Replica::Write& w = r.writes.front();
    if (w.hs) r.disk.hs = *w.hs;
    if (w.truncate_from) r.disk.truncate(*w.truncate_from);
    for (const Entry& e : w.append)
      if (e.index > r.disk.last()) r.disk.log.push_back(e);
    done = w.seq;
    r.writes.pop_front();
  }
  if (done == 0) return;
  r.disk.applied = std::max(r.disk.snap.index, std::min(r.applied, r.disk.last()));
  while (!r.held.empty() && r.held.front().after <= done) {
    const Message m = r.held.front().m;
    r.held.pop_front();
    say(fmt::format("{} -> {} {}{}", raw(r.id), raw(header(m).to), text(m), connected(r.id, header(m).to) ? "" : " (lost)"));
    send(m);
  }
  step(r, in::Persisted{done});
}

void Cluster::answer_fetches(Replica& r) {
  for (const Output::Fetch& f : std::exchange(r.fetches, {})) {
    std::vector<Entry> entries;
    for (const Entry& e : r.disk.log)
      if (e.index >= f.lo && e.index < f.hi) entries.push_back(e);
    step(r, in::Fetched{f.peer, std::move(entries)});
  }
}

void Cluster::make_snapshots(Replica& r, bool ok) {
  for (ReplicaId peer : std::exchange(r.wants_snapshot, {})) {
    SnapMeta meta;
    if (ok) meta = {r.applied, r.core->term_at(r.applied).value(), r.core->conf_at(r.applied), next_snapshot_++};
    step(r, in::SnapReady{peer, meta, ok});
  }
}

void Cluster::install(Replica& r, bool ok) {
  if (!r.install) throw Failure(fmt::format("replica {} has nothing to install", raw(r.id)));
  persist(r, r.writes.size());
  const SnapMeta meta = std::exchange(r.install, std::nullopt)->meta;
  if (ok) {
    r.disk.snap = meta;
    r.disk.log.clear();
    r.log.clear();
    r.disk.applied = r.applied = meta.index;
  }
  step(r, in::SnapInstalled{meta, ok});
}

void Cluster::compact(Replica& r, Index upto) {
  if (upto > r.applied || upto <= r.disk.snap.index || upto > r.disk.last()) throw Failure(fmt::format("replica {} cannot compact to {}", raw(r.id), raw(upto)));
  r.disk.snap = {upto, r.core->term_at(upto).value(), r.core->conf_at(upto), 0};
  const auto gone = [&](const Entry& e) { return e.index <= upto; };
  std::erase_if(r.disk.log, gone);
  std::erase_if(r.log, gone);
  r.disk.applied = std::max(r.disk.applied, upto);
  step(r, in::Compacted{upto + 1});
}

void Cluster::crash(Replica& r, size_t durable) {
  for (; durable > 0 && !r.writes.empty(); durable--, r.writes.pop_front()) {
    const Replica::Write& w = r.writes.front();
    if (w.hs) r.disk.hs = *w.hs;
    if (w.truncate_from) r.disk.truncate(*w.truncate_from);
    r.disk.log.insert(r.disk.log.end(), w.append.begin(), w.append.end());
  }
  r.core.reset();
  r.writes.clear();
  r.held.clear();
  r.fetches.clear();
  r.wants_snapshot.clear();
  r.install.reset();
}

void Cluster::restart(Replica& r) {
  if (r.up()) throw Failure(fmt::format("replica {} is up", raw(r.id)));
  boot(r);
  const Core::View v = r.core->view();
  say(fmt::format("{} starts in term {}{}, log {}-{}, applied {}, {}", raw(r.id), raw(v.term), v.vote ? fmt::format(", voted {}", raw(*v.vote)) : "",
                  raw(v.first), raw(v.last), raw(v.applied), text(r.core->conf())));
}

void Cluster::partition(std::vector<std::vector<uint64_t>> sides) {
  sides_ = std::move(sides);
  std::erase_if(in_flight_, [&](const Message& m) { return !connected(header(m).from, header(m).to); });
}

void Cluster::stabilize(const std::vector<uint64_t>& ids) {
  const auto chosen = [&](ReplicaId id) { return std::count(ids.begin(), ids.end(), raw(id)) != 0; };
  for (int turn = 0; turn < 1000; turn++) {
    bool busy = false;
    for (uint64_t id : ids) {
      Replica& r = at(id, false);
      if (!r.up()) continue;
      busy |= !r.writes.empty() || !r.fetches.empty() || !r.wants_snapshot.empty() || r.install.has_value();
      persist(r, r.writes.size());
      answer_fetches(r);
      make_snapshots(r, true);
      if (r.install) install(r, true);
    }
    std::deque<Message> now;
    for (auto it = in_flight_.begin(); it != in_flight_.end();) {
      if (chosen(header(*it).from) && chosen(header(*it).to)) {
        now.push_back(std::move(*it));
        it = in_flight_.erase(it);
      } else {
        ++it;
      }
    }
    for (const Message& m : now) deliver(m);
    if (!busy && now.empty()) return;
  }
  throw Failure("does not come to rest");
}

}  // namespace kraken::scenario
