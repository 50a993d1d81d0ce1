// Breadth-first search over all courses of three replicas, up to limits: the real core, messages as a set.
//
// A message that was sent stays in the set, so it may arrive at any time, any number of times, or never. It leaves the set once it
// cannot change its receiver any more (Replica::past): requests below the receiver's durable term, answers to who no longer asks.
//
// Replicas, messages and sets of messages are kept once each and named by numbers; what an action does to a replica is computed
// once. A state is five numbers and its history. States that differ by a renaming of replicas count as one: a state is known by the
// smallest of the six hashes (64 bits: among ten million states two are confused with a probability of 3 in a million).
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tests/model/check.h"

namespace kraken::model {

struct Result {
  uint64_t states = 0, transitions = 0;
  size_t depth = 0;
  bool exhausted = false;          // nothing is left within the limits
  std::string violation;           // empty: none
  std::vector<std::string> trace;  // of the violation
};

class Search {
 public:
  Search(const Limits& limits, uint64_t states_max);
  /// `progress` is called after each depth: depth, states so far.
  Result run(const std::function<void(size_t, uint64_t)>& progress);

  size_t replica_values() const { return replicas_.size(); }
  size_t message_values() const { return messages_.size(); }

 private:
  using Id = uint32_t;
  static constexpr size_t kRenamings = 6;
  enum : Id { kCampaign, kBeat, kPropose, kPersist, kCrash, kDeliver };  // kDeliver + message

  struct State {
    std::array<Id, kReplicas> replica;
    Id messages;
    Id history;
    Id parent;
    Id action;  // what led here, and who did it
    uint8_t actor;
  };
  struct KnownReplica {
    std::unique_ptr<Replica> value;
    std::array<uint64_t, kRenamings> hash;
  };
  struct KnownMessage {
    raft::Message value;
    size_t to;
    std::array<uint64_t, kRenamings> hash;
  };
  struct KnownSet {
    std::vector<Id> ids;  // ascending
    std::array<uint64_t, kRenamings> hash{};
  };
  struct Step {
    Id replica;
    std::vector<Id> sent;
  };

  Id intern(std::unique_ptr<Replica> r);
  Id intern(const raft::Message& m);
  Id intern(KnownSet set);
  Id intern(const History& h);
  const Step* take(Id replica, Id action);
  Id set_after(Id set, const State& from, size_t actor, const Step& step);
  uint64_t hash(const State& s) const;
  void expand(Id at, Result& result);
  bool act(Id at, size_t actor, Id action, Result& result);
  std::string describe(size_t actor, Id action) const;
  std::vector<std::string> trace(Id at) const;

  Limits limits_;
  uint64_t states_max_;
  std::vector<KnownReplica> replicas_;
  std::vector<KnownMessage> messages_;
  std::vector<KnownSet> sets_;
  std::vector<History> histories_;
  std::unordered_map<std::string, Id> replica_ids_, message_ids_, history_ids_;
  std::unordered_map<std::string, Id> set_ids_;
  std::unordered_map<uint64_t, Step> steps_;
  std::vector<State> states_;
  std::unordered_set<uint64_t> seen_;
};

}  // namespace kraken::model
