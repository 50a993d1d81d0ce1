#include "src/net/scope.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include <exception>
#include <map>
#include <mutex>
#include <vector>

#include "src/base/assert.h"
#include "src/base/log.h"
#include "src/net/event.h"

namespace kraken::net {

namespace asio = boost::asio;

namespace {

constexpr Duration kCancelAgain = std::chrono::milliseconds(50);
constexpr int kRoundsUntilWarning = 100;  // of kCancelAgain: 5 s

struct Running {
  std::string name;
  // Its slot is touched on the scope's executor only; shared, because a signal may go off while its task ends.
  std::shared_ptr<asio::cancellation_signal> signal = std::make_shared<asio::cancellation_signal>();
};

MonotonicTime now() { return system_clock().monotonic(); }

}  // namespace

struct Scope::State : std::enable_shared_from_this<State> {
  explicit State(Executor on) : executor(std::move(on)) {}

  void launch(std::uint64_t id, Task<void> task) {
    std::shared_ptr<asio::cancellation_signal> signal;
    {
      std::scoped_lock lock(mutex);
      signal = running.at(id).signal;
    }
    auto result = std::make_shared<std::optional<Result<>>>();
    auto done = [self = shared_from_this(), id, result](std::exception_ptr exception) {
      self->ended(id, exception, std::move(*result));
    };
    asio::co_spawn(executor, detail::quiet(std::move(task), *result),
                   asio::bind_cancellation_slot(signal->slot(), std::move(done)));
  }

  void ended(std::uint64_t id, std::exception_ptr exception, std::optional<Result<>> result) noexcept {
    std::string name;
    {
      std::scoped_lock lock(mutex);
      auto it = running.find(id);
      name = std::move(it->second.name);
    }
    try {
      auto outcome = detail::outcome(exception, std::move(result));
      if (!outcome) report(name, outcome.error());
    } catch (const std::exception& error) {
      log::error("net.task_threw", "task={} error={}", name, error.what());
      std::terminate();
    }
    {
      std::scoped_lock lock(mutex);
      running.erase(id);
    }
    changed.notify();
  }

  static void report(const std::string& name, const Error& error) {
    if (error.code == Code::kCancelled || error.code == Code::kClosed)
      log::debug("net.task_ended", "task={} error={}", name, error.to_string());
    else
      log::warn("net.task_failed", "task={} error={}", name, error.to_string());
  }

  void cancel_all() {
    std::vector<std::shared_ptr<asio::cancellation_signal>> signals;
    {
      std::scoped_lock lock(mutex);
      for (auto& [id, task] : running) signals.push_back(task.signal);
    }
    for (auto& signal : signals) signal->emit(asio::cancellation_type::all);
  }

  std::string names() {
    std::scoped_lock lock(mutex);
    std::string out;
    for (auto& [id, task] : running) out += (out.empty() ? "" : ",") + task.name;
    return out;
  }

  std::size_t size() {
    std::scoped_lock lock(mutex);
    return running.size();
  }

  Executor executor;
  std::mutex mutex;
  bool stopping = false;
  std::uint64_t last_id = 0;
  std::map<std::uint64_t, Running> running;
  Event changed;
};

Scope::Scope(Executor executor) : state_(std::make_shared<State>(std::move(executor))) {}
Scope::~Scope() = default;

const Executor& Scope::executor() const { return state_->executor; }
std::size_t Scope::size() const { return state_->size(); }

void Scope::spawn(std::string name, Task<void> task) {
  std::uint64_t id = 0;
  {
    std::scoped_lock lock(state_->mutex);
    if (state_->stopping) return;
    id = ++state_->last_id;
    state_->running.emplace(id, Running{std::move(name)});
  }
  asio::post(state_->executor,
             [state = state_, id, task = std::move(task)]() mutable { state->launch(id, std::move(task)); });
}

Task<void> Scope::stop(Duration drain) {
  auto state = state_;
  {
    std::scoped_lock lock(state->mutex);
    state->stopping = true;
  }
  const auto deadline = now() + drain;
  for (;;) {
    const auto seen = state->changed.version();
    if (state->size() == 0) co_return Result<>{};
    const auto left = deadline - now();
    if (left <= Duration::zero()) break;
    auto waited = co_await state->changed.wait(seen, left);
    if (!waited && waited.error().code == Code::kCancelled) break;
  }
  for (int round = 1;; ++round) {
    const auto seen = state->changed.version();
    if (state->size() == 0) co_return Result<>{};
    asio::post(state->executor, [state] { state->cancel_all(); });
    (void)co_await state->changed.wait(seen, kCancelAgain);
    if (round % kRoundsUntilWarning == 0) log::warn("net.scope_waits", "tasks={}", state->names());
  }
}

void Scope::stop_and_wait(Duration drain) {
  {
    // A scope that has stopped may outlive its loop: what is done already must not need it.
    const std::scoped_lock lock(state_->mutex);
    if (state_->stopping && state_->running.empty()) return;
  }
  (void)block_on(state_->executor, stop(drain));
}

}  // namespace kraken::net
