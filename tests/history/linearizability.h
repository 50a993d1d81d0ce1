#pragma once
// Is a recorded concurrent history linearizable (Herlihy and Wing 1990)? The search of Wing and Gong with Lowe's memory of
// configurations ("Testing for linearizability", 2017): which operations have taken effect, and the state they left.
//
//   struct Model {
//     using State = ...;                       // ==, copyable, small
//     using Op = ...;                          // arguments and, if it returned, its result
//     State init() const;
//     bool step(State&, const Op&, bool pending) const;   // false: cannot take effect here; the state is then thrown away
//     std::size_t hash(const State&) const;
//     bool observes(const Op&) const;          // optional: wherever this returned op may stand, it changes nothing
//   };
//   Report report = check(model, history, Budget{});
//
// Intervals are closed: one operation precedes another only if it returned strictly before the other was invoked. An
// operation that never returned (kNever) may take effect at any time after its invocation, or not at all.
// What keeps the search small, beside the memory:
//   - an operation that only observes (a read, a lost compare-and-swap) is taken as soon as it can be, and never taken
//     back: whatever order explains the rest explains it with this one in front;
//   - of the others, the one that returned first is tried first;
//   - a pending operation that would leave the state as it is is never tried.
// Repeatable: the same history gives the same steps; only Budget::time looks at a clock. Threads: a plain function.

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace kraken::history {

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

template <class Op>
struct Event {
  std::int64_t invoke = 0;
  std::int64_t ret = kNever;
  int client = 0;  // for reports only
  Op op{};
};

template <class Model>
concept LinearizabilityModel =
    std::equality_comparable<typename Model::State> &&
    requires(const Model& model, typename Model::State& state, const typename Model::Op& op) {
      { model.init() } -> std::same_as<typename Model::State>;
      { model.step(state, op, true) } -> std::same_as<bool>;
      { model.hash(state) } -> std::convertible_to<std::size_t>;
    };

enum class Verdict : std::uint8_t { kOk, kIllegal, kUnknown };

struct Budget {
  std::uint64_t configurations_max = 5'000'000;  // remembered; a bound on memory too
  std::chrono::milliseconds time{0};             // 0: no bound
};

template <class State>
struct Report {
  Verdict verdict = Verdict::kOk;
  std::uint64_t configurations = 0;
  std::vector<std::size_t> longest;  // positions in the history, in the order of the longest explanation found
  State reached{};                   // the state behind `longest`
  std::vector<std::size_t> stuck;    // if not kOk: what might have come next behind `longest`, and could not
};

namespace detail {

template <LinearizabilityModel Model>
class Search {
 public:
  using State = typename Model::State;
  using History = std::vector<Event<typename Model::Op>>;

  Search(const Model& model, const History& history, Budget budget) : model_(model), history_(history), budget_(budget) {
    for (std::size_t i = 0; i < history.size(); ++i) (history[i].ret == kNever ? pending_ : returned_).push_back(i);
    const auto by_invoke = [&](std::size_t i) { return std::pair(history[i].invoke, i); };
    std::ranges::sort(returned_, {}, by_invoke);
    std::ranges::sort(pending_, {}, by_invoke);
  }

  Report<State> run();

 private:
  // What has taken effect: returned_[0, front), the positions in `ahead` of returned_, those in `taken` of pending_.
  struct Configuration {
    State state;
    std::size_t front = 0;
    std::vector<std::size_t> ahead{}, taken{};  // sorted
    friend bool operator==(const Configuration&, const Configuration&) = default;
  };
  struct Hash {
    const Model* model;
    std::size_t operator()(const Configuration& at) const {
      std::uint64_t h = model->hash(at.state) * 0x9e3779b97f4a7c15ull + at.front;
      for (const std::size_t i : at.ahead) h = (h ^ i) * 0xff51afd7ed558ccdull, h ^= h >> 29;
      h ^= 0x5bd1e995;
      for (const std::size_t i : at.taken) h = (h ^ i) * 0xc4ceb9fe1a85ec53ull, h ^= h >> 31;
      return static_cast<std::size_t>(h);
    }
  };
  struct Choice {
    bool pending;
    std::size_t position;  // in pending_ or returned_
  };
  struct Frame {
    Configuration at;
    std::vector<Choice> choices;  // the best last
    std::size_t order_size;
  };

  static bool holds(const std::vector<std::size_t>& sorted, std::size_t value) {
    return std::ranges::binary_search(sorted, value);
  }
  static void insert(std::vector<std::size_t>& sorted, std::size_t value) {
    sorted.insert(std::ranges::lower_bound(sorted, value), value);
  }
  const Event<typename Model::Op>& event(Choice choice) const {
    return history_[choice.pending ? pending_[choice.position] : returned_[choice.position]];
  }

  bool observes(const typename Model::Op& op) const {
    if constexpr (requires { { model_.observes(op) } -> std::same_as<bool>; })
      return model_.observes(op);
    else
      return false;
  }

  void candidates(const Configuration& at, std::vector<Choice>& out) const;
  void apply(Configuration& at, Choice choice, State state);
  void enter(Configuration at);
  void note_longest(const Configuration& at);
  bool over_budget();

  const Model& model_;
  const History& history_;
  const Budget budget_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::vector<std::size_t> returned_, pending_;  // positions in the history, by invocation
  std::unordered_set<Configuration, Hash> seen_{64, Hash{&model_}};
  std::vector<Frame> stack_;
  std::vector<std::size_t> order_;
  Report<State> report_;
  std::uint64_t steps_ = 0;
  std::size_t best_ = 0;  // returned operations explained by report_.longest
};

// Those that were invoked before, or when, the first of the rest returned.
template <LinearizabilityModel Model>
void Search<Model>::candidates(const Configuration& at, std::vector<Choice>& out) const {
  out.clear();
  std::int64_t first_return = kNever;
  for (std::size_t i = at.front; i < returned_.size(); ++i) {
    const auto& event = history_[returned_[i]];
    if (event.invoke > first_return) break;
    if (i != at.front && holds(at.ahead, i)) continue;
    first_return = std::min(first_return, event.ret);
    out.push_back({false, i});
  }
  std::erase_if(out, [&](Choice choice) { return event(choice).invoke > first_return; });
  for (std::size_t i = 0; i < pending_.size() && history_[pending_[i]].invoke <= first_return; ++i) {
    if (!holds(at.taken, i)) out.push_back({true, i});
  }
}

template <LinearizabilityModel Model>
void Search<Model>::apply(Configuration& at, Choice choice, State state) {
  at.state = std::move(state);
  if (choice.pending) {
    insert(at.taken, choice.position);
  } else if (choice.position != at.front) {
    insert(at.ahead, choice.position);
  } else {
    ++at.front;
    std::size_t joined = 0;
    while (joined < at.ahead.size() && at.ahead[joined] == at.front) ++joined, ++at.front;
    at.ahead.erase(at.ahead.begin(), at.ahead.begin() + static_cast<std::ptrdiff_t>(joined));
  }
  order_.push_back(choice.pending ? pending_[choice.position] : returned_[choice.position]);
}

// Takes what only observes, then makes a frame with what is left to choose, unless it has been here before.
template <LinearizabilityModel Model>
void Search<Model>::enter(Configuration at) {
  const std::size_t order_size = stack_.empty() ? 0 : order_.size() - 1;  // of the frame's parent
  std::vector<Choice> choices;
  for (bool again = true; again;) {
    again = false;
    candidates(at, choices);
    for (const Choice choice : choices) {
      if (choice.pending || !observes(event(choice).op)) continue;
      State after = at.state;
      if (!model_.step(after, event(choice).op, false) || !(after == at.state)) continue;
      apply(at, choice, std::move(after));
      again = true;
      break;
    }
  }
  note_longest(at);
  if (!seen_.insert(at).second) {
    order_.resize(order_size);
    return;
  }
  std::ranges::sort(choices, std::ranges::greater{}, [&](Choice c) { return std::pair(event(c).ret, c.position); });
  stack_.push_back({std::move(at), std::move(choices), order_size});
}

template <LinearizabilityModel Model>
void Search<Model>::note_longest(const Configuration& at) {
  const std::size_t explained = at.front + at.ahead.size();
  if (explained < best_ || (explained == best_ && !report_.longest.empty())) return;
  best_ = explained;
  report_.longest = order_;
  report_.reached = at.state;
  std::vector<Choice> next;
  candidates(at, next);
  report_.stuck.clear();
  for (const Choice choice : next) {
    if (!choice.pending) report_.stuck.push_back(returned_[choice.position]);
  }
}

template <LinearizabilityModel Model>
bool Search<Model>::over_budget() {
  if (seen_.size() > budget_.configurations_max) return true;
  return budget_.time.count() != 0 && (++steps_ & 255) == 0 &&
         std::chrono::steady_clock::now() - began_ > budget_.time;
}

template <LinearizabilityModel Model>
Report<typename Model::State> Search<Model>::run() {
  enter(Configuration{.state = model_.init()});
  while (true) {
    report_.configurations = seen_.size();
    if (stack_.empty()) {
      report_.verdict = Verdict::kIllegal;
      return std::move(report_);
    }
    Frame& frame = stack_.back();
    if (frame.at.front == returned_.size()) {
      report_.verdict = Verdict::kOk;
      report_.stuck.clear();
      return std::move(report_);
    }
    if (over_budget()) {
      report_.verdict = Verdict::kUnknown;
      return std::move(report_);
    }
    if (frame.choices.empty()) {
      order_.resize(frame.order_size);
      stack_.pop_back();
      continue;
    }
    const Choice choice = frame.choices.back();
    frame.choices.pop_back();
    State after = frame.at.state;
    if (!model_.step(after, event(choice).op, choice.pending)) continue;
    if (choice.pending && after == frame.at.state) continue;
    Configuration next = frame.at;
    apply(next, choice, std::move(after));
    enter(std::move(next));
  }
}

}  // namespace detail

template <LinearizabilityModel Model>
Report<typename Model::State> check(const Model& model, const std::vector<Event<typename Model::Op>>& history,
                                    Budget budget = {}) {
  return detail::Search<Model>(model, history, budget).run();
}

}  // namespace kraken::history
