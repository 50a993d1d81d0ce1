#pragma once
// Random histories of one register, for tests of the checker: legal by construction, since each operation takes effect at
// a moment between its invocation and its return.

#include <cstdint>
#include <optional>
#include <queue>
#include <random>
#include <vector>

#include "tests/history/register_model.h"

namespace kraken::history {

struct GenerateOptions {
  std::size_t operations = 1000;
  int clients = 10;
  std::int64_t step_max = 100;  // between invocation, effect, return and the next invocation
  double writes = 0.4;          // the rest are reads
  double conditional = 0.3;     // of the writes
  double removes = 0.05;        // of the writes
  double lost = 0;              // of all: never return; half of them take effect
  bool revisions = true;        // are clients told revisions?
  std::uint64_t values = 0;     // draw values from so many; 0: each is unique
};

class Generator {
 public:
  Generator(std::uint64_t seed, GenerateOptions options) : options_(options), random_(seed) {}

  std::vector<Event<RegisterOp>> run() {
    for (int i = 0; i < options_.clients; ++i) agenda_.push({pick(1, options_.step_max), i, false, 0});
    while (!agenda_.empty()) {
      const Due due = agenda_.top();
      agenda_.pop();
      if (due.effect)
        take_effect(due);
      else if (history_.size() < options_.operations)
        invoke(due);
    }
    return std::move(history_);
  }

 private:
  struct Due {
    std::int64_t when;
    int client;
    bool effect;
    std::size_t event;
    friend bool operator<(const Due& a, const Due& b) { return a.when > b.when; }
  };

  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(double p) { return static_cast<double>(random_() >> 11) * 0x1p-53 < p; }

  void invoke(const Due& due) {
    Event<RegisterOp> event{.invoke = due.when, .client = due.client};
    if (chance(options_.writes)) {
      event.op.kind = chance(options_.removes) ? RegisterOp::Kind::kRemove : RegisterOp::Kind::kWrite;
      ++written_;
      if (event.op.kind == RegisterOp::Kind::kWrite)
        event.op.value = options_.values != 0 ? 1 + random_() % options_.values : written_;
      if (chance(options_.conditional)) event.op.expect = told_;
    }
    history_.push_back(event);
    agenda_.push({due.when + pick(0, options_.step_max), due.client, true, history_.size() - 1});
  }

  void take_effect(const Due& due) {
    Event<RegisterOp>& event = history_[due.event];
    RegisterOp& op = event.op;
    const bool lost = chance(options_.lost);
    if (!lost || chance(0.5)) {
      const bool holds = !op.expect || (*op.expect == 0 ? value_ == 0 : value_ != 0 && *op.expect == revision_);
      if (op.kind == RegisterOp::Kind::kRead || !holds) {
        op.result = holds ? RegisterOp::Result::kDone : RegisterOp::Result::kConflict;
        op.seen = value_;
      } else {
        value_ = op.kind == RegisterOp::Kind::kRemove ? 0 : op.value;
        revision_ = ++revisions_;
      }
      if (options_.revisions && value_ != 0) op.revision = revision_;
    }
    if (lost) {
      op.result = RegisterOp::Result::kDone;
      op.seen.reset();
      op.revision = 0;
    } else {
      event.ret = due.when + pick(0, options_.step_max);
      if (op.revision != 0) told_ = op.revision;  // all clients know it, from an answer that may not be there yet
    }
    agenda_.push({due.when + 2 * options_.step_max, due.client, false, 0});
  }

  const GenerateOptions options_;
  std::mt19937_64 random_;
  std::priority_queue<Due> agenda_;
  std::vector<Event<RegisterOp>> history_;
  std::uint64_t value_ = 0, revision_ = 0, revisions_ = 0, written_ = 0, told_ = 0;
};

/// Makes one read stale beyond doubt: what it then saw was overwritten by a write that had returned before the read began,
/// and was itself written by one that had returned before that write began. Values must be unique. False: there is none.
inline bool plant_stale_read(std::vector<Event<RegisterOp>>& history, std::uint64_t seed) {
  using Kind = RegisterOp::Kind;
  const auto wrote = [](const Event<RegisterOp>& event) {
    return event.op.kind == Kind::kWrite && event.op.result == RegisterOp::Result::kDone && event.ret != kNever;
  };
  std::vector<std::pair<std::size_t, std::size_t>> choices;  // (read, write it is to see)
  for (std::size_t r = 0; r < history.size(); ++r) {
    if (history[r].op.kind != Kind::kRead || history[r].ret == kNever) continue;
    std::int64_t overwritten = -1;  // the latest invocation of a write that returned before the read
    for (const auto& event : history) {
      if (wrote(event) && event.ret < history[r].invoke) overwritten = std::max(overwritten, event.invoke);
    }
    for (std::size_t w = 0; w < history.size(); ++w) {
      if (wrote(history[w]) && history[w].ret < overwritten) choices.emplace_back(r, w);
    }
  }
  if (choices.empty()) return false;
  // The freshest of what is stale: the hardest to find.
  std::ranges::sort(choices, {}, [&](const auto& c) { return history[c.first].invoke - history[c.second].ret; });
  const auto& [read, write] = choices[seed % std::min<std::size_t>(choices.size(), 50)];
  history[read].op.seen = history[write].op.value;
  history[read].op.revision = history[write].op.revision;
  return true;
}

}  // namespace kraken::history
