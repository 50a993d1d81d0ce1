#include "tests/model/replica.h"

#include <algorithm>

namespace kraken::model {

using namespace raft;

namespace {

// All times are multiples of the heartbeat, and there is no jitter: then a leader's ages are small whole numbers.
constexpr Time kHeartbeat = std::chrono::milliseconds(100);

Options options() {
  Options o;
  o.heartbeat = kHeartbeat;
  o.election_min = 2 * kHeartbeat;
  o.election_max = o.election_min + Time{1};
  o.max_append_bytes = 1;  // one entry a message: more courses
  return o;
}

struct Terms : LogView {
  explicit Terms(const std::vector<Entry>& l) : log(l) {}
  std::optional<Term> term_at(Index i) const override { return log.at(raw(i) - 1).term; }
  Index first() const override { return Index{1}; }
  const std::vector<Entry>& log;
};

Core boot(ReplicaId id, const Disk& disk) {
  Boot b;
  b.self = id;
  b.hs = disk.hs;
  for (uint64_t i = 1; i <= kReplicas; i++) b.conf.voters.push_back(ReplicaId{i});
  b.last = Index{disk.log.size()};
  b.boot_time = 10 * kHeartbeat;
  return Core(GroupId{1}, b, options(), Terms(disk.log), 1);
}

void cut(std::vector<Entry>& log, Index from) {
  if (raw(from) <= log.size()) log.resize(raw(from) - 1);
}

bool pre(const Message& m) {
  const auto* request = std::get_if<VoteReq>(&m);
  const auto* answer = std::get_if<VoteResp>(&m);
  return (request != nullptr && request->pre) || (answer != nullptr && answer->pre);
}

/// Numbers of reads mean nothing here.
Message plain(Message m) {
  std::visit(
      [](auto& x) {
        if constexpr (requires { x.read_seq; }) x.read_seq = 0;
      },
      m);
  return m;
}

void put(std::string& out, uint64_t v) {
  for (int i = 0; i < 3; i++) out.push_back(static_cast<char>(v >> (8 * i)));
}

void put(std::string& out, const Entry& e) {
  put(out, raw(e.term));
  put(out, static_cast<uint64_t>(e.kind));
  out += e.data ? *e.data : "";
}

void put(std::string& out, const std::vector<Entry>& entries) {
  put(out, entries.size());
  for (const Entry& e : entries) put(out, e);
}

}  // namespace

Replica::Replica(ReplicaId id, const Disk& disk) : id_(id), disk_(disk), log_(disk.log), now_(10 * kHeartbeat), core_(boot(id, disk)) {}

Replica::Replica(const Replica& o)
    : id_(o.id_), disk_(o.disk_), writes_(o.writes_), held_(o.held_), log_(o.log_), now_(o.now_), durable_(o.durable_), core_(o.core_.clone()) {}

void Replica::step(Input input, std::vector<Message>& sent) {
  Output out;
  core_.step(std::move(input), now_, out);
  if (out.persist_seq != 0) {
    if (out.truncate_from) cut(log_, *out.truncate_from);
    log_.insert(log_.end(), out.append.begin(), out.append.end());
    writes_.push_back({out.persist_seq, out.hard_state, out.truncate_from, out.append});
  }
  for (Message& m : out.send_now)
    if (!pre(m)) sent.push_back(plain(std::move(m)));
  for (auto& g : out.send_after)
    if (!pre(g.m)) held_.push_back({g.after, plain(std::move(g.m))});
  const std::vector<Output::Fetch> fetches = std::move(out.fetch);
  if (raw(out.commit_from) != 0) step(in::Applied{out.commit_to}, sent);
  for (const Output::Fetch& f : fetches) step(in::Fetched{f.peer, {log_.begin() + static_cast<std::ptrdiff_t>(raw(f.lo) - 1), log_.begin() + static_cast<std::ptrdiff_t>(raw(f.hi) - 1)}}, sent);
}

bool Replica::campaign(const Limits& limits, std::vector<Message>& sent) {
  const Core::View v = view();
  if (v.is_leader || raw(v.term) >= limits.terms || raw(v.last) >= limits.entries) return false;
  now_ = std::max(now_, core_.deadline());
  step(in::Timer{}, sent);
  const ReplicaId other{raw(id_) == 1 ? 2u : 1u};
  step(in::Receive{VoteResp{{GroupId{1}, other, id_, v.term + 1}, true, true}}, sent);
  return done(limits, sent);
}

bool Replica::beat(const Limits& limits, std::vector<Message>& sent) {
  if (!view().is_leader) return false;
  now_ = std::max(now_, core_.deadline());
  step(in::Timer{}, sent);
  return done(limits, sent);
}

bool Replica::done(const Limits& limits, std::vector<Message>& sent) {
  while (limits.instant_disk && !writes_.empty()) persist(sent);
  return true;
}

bool Replica::past(const Message& m) const {
  const Core::View v = view();
  const Term term = header(m).term;
  if (term < disk_.hs.term) return true;
  if (term > v.term) return false;
  if (std::holds_alternative<VoteResp>(m)) return term < v.term || v.role != Core::Role::kCandidate;
  if (std::holds_alternative<AppendResp>(m) || std::holds_alternative<BeatResp>(m)) return term < v.term || !v.is_leader;
  return false;
}

bool Replica::propose(const Limits& limits, std::vector<Message>& sent) {
  const Core::View v = view();
  if (!v.is_leader || raw(v.last) >= limits.entries) return false;
  // The payload says who made it, so that an entry that changed its term is found out.
  step(in::Propose{raw(v.last), std::make_shared<const std::string>(1, static_cast<char>('0' + raw(v.term)))}, sent);
  return done(limits, sent);
}

bool Replica::persist(std::vector<Message>& sent) {
  if (writes_.empty()) return false;
  for (; !writes_.empty(); writes_.pop_front()) {
    const Write& w = writes_.front();
    if (w.hs) disk_.hs = *w.hs;
    if (w.truncate_from) cut(disk_.log, *w.truncate_from);
    disk_.log.insert(disk_.log.end(), w.append.begin(), w.append.end());
    durable_ = w.seq;
  }
  for (; !held_.empty() && held_.front().after <= durable_; held_.pop_front()) sent.push_back(held_.front().m);
  step(in::Persisted{durable_}, sent);
  return true;
}

bool Replica::crash() {
  writes_.clear();
  held_.clear();
  log_ = disk_.log;
  durable_ = 0;
  now_ = 10 * kHeartbeat;
  core_ = boot(id_, disk_);
  return true;
}

bool Replica::deliver(const Message& m, const Limits& limits, std::vector<Message>& sent) {
  if (std::holds_alternative<VoteReq>(m) && !view().is_leader) now_ += 2 * kHeartbeat;  // it hears no leader any more
  step(in::Receive{m}, sent);
  return done(limits, sent);
}

void Replica::fingerprint(const std::function<ReplicaId(ReplicaId)>& rename, std::string& out) const {
  core_.fingerprint(rename, out);
  put(out, raw(disk_.hs.term));
  put(out, disk_.hs.vote ? raw(rename(*disk_.hs.vote)) : 0);
  put(out, disk_.log);
  put(out, log_);
  put(out, writes_.size());
  for (const Write& w : writes_) {
    put(out, w.hs ? raw(w.hs->term) + 1 : 0);
    put(out, w.hs && w.hs->vote ? raw(rename(*w.hs->vote)) : 0);
    put(out, w.truncate_from ? raw(*w.truncate_from) : 0);
    put(out, w.append);
  }
  put(out, held_.size());
  for (const auto& g : held_) {
    put(out, g.after - durable_);
    model::fingerprint(g.m, rename, out);
  }
}

void fingerprint(const Message& m, const std::function<ReplicaId(ReplicaId)>& rename, std::string& out) {
  const Hdr& h = header(m);
  out.push_back(static_cast<char>(m.index()));
  for (uint64_t v : {raw(rename(h.from)), raw(rename(h.to)), raw(h.term)}) put(out, v);
  struct Fields {
    std::string& out;
    void operator()(const VoteReq& x) const {
      put(out, raw(x.last_index));
      put(out, raw(x.last_term));
      put(out, uint64_t{x.transfer});
    }
    void operator()(const VoteResp& x) const { put(out, uint64_t{x.granted}); }
    void operator()(const AppendReq& x) const {
      put(out, raw(x.prev_index));
      put(out, raw(x.prev_term));
      put(out, raw(x.commit));
      put(out, x.entries);
    }
    void operator()(const AppendResp& x) const {
      put(out, uint64_t{x.ok});
      put(out, raw(x.match));
      put(out, raw(x.hint_index));
      put(out, raw(x.hint_term));
    }
    void operator()(const BeatReq& x) const { put(out, raw(x.commit)); }
    void operator()(const BeatResp& x) const { put(out, raw(x.match)); }
    void operator()(const SnapReq& x) const { put(out, raw(x.meta.index)); }
    void operator()(const SnapResp& x) const { put(out, uint64_t{x.ok}); }
    void operator()(const TimeoutNow&) const {}
  };
  std::visit(Fields{out}, m);
}

}  // namespace kraken::model
