#pragma once
// One tag: a register whose writes may be conditional on the revision it stands at. A revision is given by the system under
// test, grows with every write and is never used twice.

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tests/history/linearizability.h"

namespace kraken::history {

struct RegisterOp {
  enum class Kind : std::uint8_t { kRead, kWrite, kRemove };
  enum class Result : std::uint8_t {
    kDone,
    kConflict,  // a conditional write that lost: nothing changed
  };
  Kind kind = Kind::kRead;
  std::uint64_t value = 0;                 // written; 0 is "absent" and is never written
  std::optional<std::uint64_t> expect{};    // writes: only if it stands at this revision; 0: only if absent
  // What came back; without meaning while the operation is pending.
  Result result = Result::kDone;
  std::optional<std::uint64_t> seen{};     // reads and conflicts: the value it stood at
  std::uint64_t revision = 0;              // of the value written or seen; 0: was not told
};

class RegisterModel {
 public:
  using Op = RegisterOp;
  struct State {
    std::uint64_t value = 0;
    std::uint64_t revision = 0;  // 0: absent, or written by an operation that was not told its revision
    std::uint64_t floor = 0;     // the largest revision known to have been given so far
    friend bool operator==(const State&, const State&) = default;
  };

  State init() const { return {}; }

  bool step(State& state, const Op& op, bool pending) const {
    if (pending) return op.kind == Op::Kind::kRead || (expected(state, op) && write(state, op, 0));
    if (op.kind == Op::Kind::kRead) return sees(state, op);
    if (op.result == Op::Result::kDone) return expected(state, op) && write(state, op, op.revision);
    return sees(state, op) && op.expect && !expected(state, op);
  }

  bool observes(const Op& op) const { return op.kind == Op::Kind::kRead || op.result == Op::Result::kConflict; }

  std::size_t hash(const State& state) const {
    return static_cast<std::size_t>((state.value * 0x9e3779b97f4a7c15ull ^ state.revision) * 0xff51afd7ed558ccdull ^
                                    state.floor);
  }

 private:
  static bool expected(const State& state, const Op& op) {
    if (!op.expect) return true;
    return *op.expect == 0 ? state.value == 0 : state.value != 0 && state.revision == *op.expect;
  }
  static bool write(State& state, const Op& op, std::uint64_t revision) {
    if (revision != 0 && revision <= state.floor) return false;
    state.value = op.kind == Op::Kind::kRemove ? 0 : op.value;
    state.revision = state.value == 0 ? 0 : revision;
    if (revision != 0) state.floor = revision;
    return true;
  }
  // Somebody who is told a revision that the writer was not tells us, too.
  static bool sees(State& state, const Op& op) {
    if (op.seen && *op.seen != state.value) return false;
    if (op.revision == 0 || state.value == 0) return op.revision == 0;
    if (state.revision != 0) return state.revision == op.revision;
    if (op.revision <= state.floor) return false;
    state.revision = state.floor = op.revision;
    return true;
  }
};

/// Decides pending writes, where it may: a value that only one operation writes and that nobody saw can be left out (what
/// came behind it would have seen it, or overwrote it); one that somebody saw had taken effect before the first who
/// saw it returned. Histories with unique values are left without pending writes, and the search is short.
/// Not sound for conflicts that do not tell the value they met: then nothing is left out.
inline std::vector<Event<RegisterOp>> settle_pending(std::vector<Event<RegisterOp>> history) {
  struct Trace {
    int writers = 0;
    std::int64_t first_seen = kNever;
    std::uint64_t revision = 0;
  };
  std::unordered_map<std::uint64_t, Trace> traces;
  bool blind_conflict = false;
  for (const auto& event : history) {
    if (event.op.kind == RegisterOp::Kind::kWrite) ++traces[event.op.value].writers;
    if (event.ret == kNever) continue;
    if (event.op.result == RegisterOp::Result::kConflict && !event.op.seen) blind_conflict = true;
    if (event.op.seen && *event.op.seen != 0) {
      Trace& trace = traces[*event.op.seen];
      if (event.ret < trace.first_seen) trace.first_seen = event.ret;
      if (event.op.revision != 0) trace.revision = event.op.revision;
    }
  }
  std::erase_if(history, [&](Event<RegisterOp>& event) {
    if (event.ret != kNever) return false;
    if (event.op.kind == RegisterOp::Kind::kRead) return true;
    if (event.op.kind == RegisterOp::Kind::kRemove) return false;
    const Trace& trace = traces[event.op.value];
    if (trace.writers != 1) return false;
    if (trace.first_seen == kNever) return !blind_conflict;
    if (trace.first_seen < event.invoke) return false;  // seen before it was written: left for the search to refuse
    event.ret = trace.first_seen;
    event.op.revision = trace.revision;
    return false;
  });
  return history;
}

}  // namespace kraken::history
