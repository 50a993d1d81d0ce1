#include "tests/model/search.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "consensus/raft/assert.h"
#include "tests/scenario/print.h"

namespace kraken::model {

using namespace raft;

namespace {

constexpr std::array<std::array<uint64_t, kReplicas + 1>, 6> kRename{{{0, 1, 2, 3}, {0, 1, 3, 2}, {0, 2, 1, 3}, {0, 2, 3, 1}, {0, 3, 1, 2}, {0, 3, 2, 1}}};

uint64_t mix(uint64_t h) {
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccd;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53;
  return h ^ h >> 33;
}

uint64_t hash_of(const std::string& s) {
  uint64_t h = 0x9e3779b97f4a7c15 ^ s.size();
  size_t i = 0;
  for (; i + 8 <= s.size(); i += 8) {
    uint64_t w = 0;
    std::memcpy(&w, s.data() + i, 8);
    h = mix(h ^ w) + 0x9e3779b97f4a7c15;
  }
  uint64_t w = 0;
  std::memcpy(&w, s.data() + i, s.size() - i);
  return mix(h ^ w);
}

template <typename T>
std::array<uint64_t, 6> hashes(const T& value, std::string& plain) {
  std::array<uint64_t, 6> out{};
  for (size_t p = 0; p < kRename.size(); p++) {
    std::string text;
    const auto rename = [&](ReplicaId id) { return ReplicaId{kRename[p].at(raw(id))}; };
    if constexpr (std::is_same_v<T, Replica>)
      value.fingerprint(rename, text);
    else
      fingerprint(value, rename, text);
    out[p] = hash_of(text);
    if (p == 0) plain = std::move(text);
  }
  return out;
}

}  // namespace

Search::Search(const Limits& limits, uint64_t states_max) : limits_(limits), states_max_(states_max) {}

Search::Id Search::intern(std::unique_ptr<Replica> r) {
  std::string plain;
  const auto h = hashes(*r, plain);
  const auto [it, fresh] = replica_ids_.emplace(std::move(plain), static_cast<Id>(replicas_.size()));
  if (fresh) replicas_.push_back({std::move(r), h});
  return it->second;
}

Search::Id Search::intern(const Message& m) {
  std::string plain;
  const auto h = hashes(m, plain);
  const auto [it, fresh] = message_ids_.emplace(std::move(plain), static_cast<Id>(messages_.size()));
  if (fresh) messages_.push_back({m, raw(header(m).to) - 1, h});
  return it->second;
}

Search::Id Search::intern(KnownSet set) {
  std::string key(reinterpret_cast<const char*>(set.ids.data()), set.ids.size() * sizeof(Id));
  const auto [it, fresh] = set_ids_.emplace(std::move(key), static_cast<Id>(sets_.size()));
  if (!fresh) return it->second;
  for (Id id : set.ids)
    for (size_t p = 0; p < kRenamings; p++) set.hash[p] += messages_[id].hash[p];
  sets_.push_back(std::move(set));
  return it->second;
}

Search::Id Search::intern(const History& h) {
  std::string key(reinterpret_cast<const char*>(&h), sizeof h);
  const auto [it, fresh] = history_ids_.emplace(std::move(key), static_cast<Id>(histories_.size()));
  if (fresh) histories_.push_back(h);
  return it->second;
}

const Search::Step* Search::take(Id replica, Id action) {
  const uint64_t key = uint64_t{replica} << 32 | action;
  const auto known = steps_.find(key);
  if (known != steps_.end()) return known->second.replica == ~Id{0} ? nullptr : &known->second;
  auto next = std::make_unique<Replica>(*replicas_[replica].value);
  std::vector<Message> sent;
  bool done = false;
  switch (action) {
    case kCampaign: done = next->campaign(limits_, sent); break;
    case kBeat: done = next->beat(limits_, sent); break;
    case kPropose: done = next->propose(limits_, sent); break;
    case kPersist: done = next->persist(sent); break;
    case kCrash: done = next->crash(); break;
    default: done = next->deliver(messages_[action - kDeliver].value, limits_, sent);
  }
  Step step{~Id{0}, {}};
  if (done && next->log().size() <= limits_.entries) {
    for (const Message& m : sent) step.sent.push_back(intern(m));
    step.replica = intern(std::move(next));
  }
  const auto it = steps_.emplace(key, std::move(step)).first;
  return it->second.replica == ~Id{0} ? nullptr : &it->second;
}

Search::Id Search::set_after(Id set, const State& from, size_t actor, const Step& step) {
  KnownSet next;
  next.ids = sets_[set].ids;
  for (Id id : step.sent) next.ids.insert(std::lower_bound(next.ids.begin(), next.ids.end(), id), id);
  next.ids.erase(std::unique(next.ids.begin(), next.ids.end()), next.ids.end());
  std::erase_if(next.ids, [&](Id id) {
    const size_t to = messages_[id].to;
    const Replica& r = *replicas_[to == actor ? step.replica : from.replica[to]].value;
    return r.past(messages_[id].value);
  });
  return intern(std::move(next));
}

uint64_t Search::hash(const State& s) const {
  const History& h = histories_[s.history];
  uint64_t best = ~uint64_t{0};
  for (size_t p = 0; p < kRenamings; p++) {
    // Replicas are told apart by their own id, which is in the fingerprint: a sum will do.
    uint64_t sum = sets_[s.messages].hash[p] * 3;
    for (Id r : s.replica) sum += mix(replicas_[r].hash[p]);
    for (size_t term = 1; term <= kTermsMax; term++) {
      sum += mix(kRename[p][h.leader[term]] + 16 * term + 1);
      for (size_t i = 0; i < kReplicas; i++) {
        const unsigned vote = (h.votes[term] >> (2 * i)) & 3u;
        if (vote != 0) sum += mix(0x10000 + 256 * term + 16 * kRename[p][i + 1] + kRename[p][vote]);
      }
    }
    for (size_t index = 1; index <= kEntriesMax; index++) sum += mix(0x20000 + 256 * index + 16 * h.committed[index] + h.in[index]);
    sum += mix(0x30000 + h.crashes + 256u * h.beats + 65536u * h.proposals);
    best = std::min(best, mix(sum));
  }
  return best;
}

bool Search::act(Id at, size_t actor, Id action, Result& result) {
  const State from = states_[at];
  const Step* step = nullptr;
  try {
    step = take(from.replica[actor], action);
  } catch (const AssertionFailed& e) {
    result.violation = e.what();
  }
  if (!result.violation.empty()) {
    result.trace = trace(at);
    result.trace.push_back(describe(actor, action));
    return false;
  }
  if (step == nullptr) return true;
  result.transitions++;
  State to = from;
  to.replica[actor] = step->replica;
  if (to.replica[actor] == from.replica[actor] && std::all_of(step->sent.begin(), step->sent.end(), [&](Id id) {
        const auto& ids = sets_[from.messages].ids;
        return std::binary_search(ids.begin(), ids.end(), id);
      }))
    return true;
  History history = histories_[from.history];
  if (action == kCrash) history.crashes++;
  if (action == kBeat) history.beats++;
  if (action == kPropose) history.proposals++;
  std::array<const Replica*, kReplicas> all{};
  for (size_t i = 0; i < kReplicas; i++) all[i] = replicas_[to.replica[i]].value.get();
  std::vector<Message> sent;
  for (Id id : step->sent) sent.push_back(messages_[id].value);
  const std::string problem = check(all, actor, *replicas_[from.replica[actor]].value, sent, history);
  to.messages = set_after(from.messages, from, actor, *step);
  to.history = intern(history);
  to.parent = at;
  to.action = action;
  to.actor = static_cast<uint8_t>(actor);
  if (!problem.empty()) {
    result.violation = problem;
    result.trace = trace(at);
    result.trace.push_back(describe(actor, action));
    return false;
  }
  if (!seen_.insert(hash(to)).second) return true;
  states_.push_back(to);
  return states_.size() < states_max_;
}

void Search::expand(Id at, Result& result) {
  const History h = histories_[states_[at].history];
  const auto spent = [&](Id action) {
    return (action == kCrash && h.crashes >= limits_.crashes) || (action == kBeat && h.beats >= limits_.beats) || (action == kPropose && h.proposals >= limits_.proposals);
  };
  for (size_t actor = 0; actor < kReplicas; actor++) {
    for (Id action : {kCampaign, kBeat, kPropose, kPersist, kCrash})
      if (!spent(action) && !act(at, actor, action, result)) return;
  }
  const std::vector<Id> in_flight = sets_[states_[at].messages].ids;
  for (Id id : in_flight)
    if (!act(at, messages_[id].to, kDeliver + id, result)) return;
}

Result Search::run(const std::function<void(size_t, uint64_t)>& progress) {
  Result result;
  State start{};
  for (size_t i = 0; i < kReplicas; i++) start.replica[i] = intern(std::make_unique<Replica>(ReplicaId{i + 1}, Disk{}));
  start.messages = intern(KnownSet{});
  start.history = intern(History{});
  start.parent = ~Id{0};
  states_.push_back(start);
  seen_.insert(hash(start));
  size_t begin = 0;
  while (begin < states_.size() && result.violation.empty() && states_.size() < states_max_) {
    const size_t end = states_.size();
    for (size_t at = begin; at < end && result.violation.empty() && states_.size() < states_max_; at++) expand(static_cast<Id>(at), result);
    begin = end;
    if (states_.size() > end) result.depth++;
    progress(result.depth, states_.size());
  }
  result.states = states_.size();
  result.exhausted = result.violation.empty() && states_.size() < states_max_;
  return result;
}

std::string Search::describe(size_t actor, Id action) const {
  static constexpr const char* kNames[] = {"stands for election", "beats", "proposes", "syncs its disk", "crashes and restarts"};
  if (action < kDeliver) return fmt::format("{} {}", actor + 1, kNames[action]);
  const Message& m = messages_[action - kDeliver].value;
  return fmt::format("{} <- {} {}", actor + 1, raw(header(m).from), scenario::text(m));
}

std::vector<std::string> Search::trace(Id at) const {
  std::vector<std::string> out;
  for (; states_[at].parent != ~Id{0}; at = states_[at].parent) out.push_back(describe(states_[at].actor, states_[at].action));
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace kraken::model
