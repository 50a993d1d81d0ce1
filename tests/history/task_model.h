#pragma once
// A set of tasks. Each is added once, held by at most one claimant at a time, and gone for good once completed.

#include <cstdint>
#include <map>

#include "tests/history/linearizability.h"

namespace kraken::history {

struct TaskOp {
  enum class Kind : std::uint8_t {
    kAdd,
    kClaim,
    kRelease,   // by its claimant; or recorded by the harness when a claim is known to have run out
    kComplete,  // by its claimant
    kLook,      // is it there, and who holds it?
  };
  enum class Result : std::uint8_t {
    kDone,
    kTaken,  // somebody else holds it: `holder`, 0 if that was not told
    kGone,   // no such task: not added yet, or completed
  };
  Kind kind = Kind::kClaim;
  std::uint64_t task = 0;
  std::uint64_t claimant = 0;  // who asks; not 0
  Result result = Result::kDone;
  std::uint64_t holder = 0;  // kTaken, and kLook that was kDone: who holds it, 0: nobody (kLook) or not told (kTaken)
};

class TaskModel {
 public:
  using Op = TaskOp;
  struct State {
    std::map<std::uint64_t, std::uint64_t> open;  // task -> who holds it, 0: nobody
    friend bool operator==(const State&, const State&) = default;
  };

  State init() const { return {}; }

  bool step(State& state, const Op& op, bool pending) const {
    const auto found = state.open.find(op.task);
    const bool there = found != state.open.end();
    if (!pending && op.result == Op::Result::kGone) return !there && op.kind != Op::Kind::kAdd;
    if (op.kind == Op::Kind::kAdd) return state.open.try_emplace(op.task, 0).second;
    if (!there) return false;
    std::uint64_t& holder = found->second;
    if (op.kind == Op::Kind::kLook) return pending || op.holder == holder;
    const bool others = holder != op.claimant && !(op.kind == Op::Kind::kClaim && holder == 0);
    if (!pending && op.result == Op::Result::kTaken) return others && (op.holder == 0 || op.holder == holder);
    if (others) return false;
    if (op.kind == Op::Kind::kComplete)
      state.open.erase(found);
    else
      holder = op.kind == Op::Kind::kClaim ? op.claimant : 0;
    return true;
  }

  bool observes(const Op& op) const { return op.kind == Op::Kind::kLook || op.result != Op::Result::kDone; }

  std::size_t hash(const State& state) const {
    std::uint64_t h = state.open.size();
    for (const auto& [task, holder] : state.open) h = (h ^ (task << 20) ^ holder) * 0xff51afd7ed558ccdull, h ^= h >> 32;
    return static_cast<std::size_t>(h);
  }
};

}  // namespace kraken::history
