#include "src/tasks/executor.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/blobs/service.h"
#include "src/metadata/ref_sweeper.h"
#include "src/net/event.h"
#include "src/net/scope.h"

namespace kraken::tasks {

using metadata::ShardId;
using metadata::state::Task;
using metadata::state::TaskKind;

namespace {

constexpr std::uint32_t kPage = 100;
constexpr int kPagesMax = 100;  // of one look; what lies behind comes when these have gone

bool runs_here(TaskKind kind) {
  return kind == TaskKind::kCopy || kind == TaskKind::kVerifyRef || kind == TaskKind::kRemoveRefs;
}

metrics::Counter& ended(TaskKind kind, bool well) {
  return metrics::counter("kr_tasks_run_total", "Tasks that were run",
                          {{"kind", std::string(metadata::state::name(kind))}, {"result", well ? "done" : "again"}});
}

}  // namespace

struct Executor::Impl : std::enable_shared_from_this<Impl> {
  /// A shard that this node leads.
  struct Led {
    MonotonicTime look_at{};
    std::optional<MonotonicTime> tick_at;  // when its replicated time, moved, makes the next task due
    bool looking = false;
    bool again = false;  // asked for while looking
  };
  /// A task that did not end. In memory: another leader tries at once.
  struct Deferred {
    MonotonicTime until{};
    std::uint32_t failures = 0;
    std::vector<std::string> waits_for;  // labels: nothing can be done before one of them answers
  };
  struct Probe {
    MonotonicTime at{};
    bool up = true;
  };
  using Id = std::pair<ShardId, std::string>;  // TaskKey::id

  Impl(Options options_, metadata::Client& metadata_, blobs::Service& blobs_, net::Loop& loop_)
      : options(options_), metadata(metadata_), blobs(blobs_), loop(loop_), scope(loop_.executor()) {}

  net::Task<void> run();
  net::Task<void> look(ShardId shard);
  net::Task<void> look_now(ShardId shard);
  net::Task<void> run_task(ShardId shard, Task task);
  net::Task<void> run_kind(ShardId shard, Task task);
  net::Task<void> copy(ShardId shard, Task task);
  net::Task<bool> answers(std::string label);
  net::Task<bool> hopeless(std::vector<std::string> labels);
  void defer(const Id& id, Duration least);
  static MonotonicTime now() { return system_clock().monotonic(); }

  const Options options;
  metadata::Client& metadata;
  blobs::Service& blobs;
  net::Loop& loop;
  net::Event event;
  // On the loop alone:
  std::map<ShardId, Led> led;
  std::set<Id> running;
  std::map<Id, Deferred> deferred;
  std::map<std::string, Probe> probes;
  net::Scope scope;  // last
};

net::Task<void> Executor::Impl::run() {
  auto self = shared_from_this();
  for (;;) {
    const std::uint64_t seen = event.version();
    const MonotonicTime time = now();
    MonotonicTime next = time + options.look_interval;
    for (auto& [shard, state] : led) {
      if (state.looking) continue;
      const MonotonicTime at = state.tick_at ? std::min(state.look_at, *state.tick_at) : state.look_at;
      if (at > time) {
        next = std::min(next, at);
        continue;
      }
      state.looking = true;
      scope.spawn("tasks.look", look(shard));
    }
    auto waited = co_await event.wait(seen, std::max<Duration>(next - time, std::chrono::milliseconds(10)));
    if (!waited && waited.error().code == Code::kCancelled) co_return waited;
  }
}

net::Task<void> Executor::Impl::look(ShardId shard) {
  auto self = shared_from_this();
  auto looked = co_await look_now(shard);
  const auto found = led.find(shard);
  if (found != led.end()) {
    Led& state = found->second;
    state.looking = false;
    state.look_at = now() + (std::exchange(state.again, false) ? Duration::zero() : options.look_interval);
    event.notify();
  }
  if (!looked && looked.error().code != Code::kCancelled) {
    log::debug("tasks.look_failed", "shard={} error={}", shard.value(), looked.error().to_string());
  }
  co_return Result<>();
}

net::Task<void> Executor::Impl::look_now(ShardId shard) {
  if (const auto found = led.find(shard); found != led.end() && found->second.tick_at && *found->second.tick_at <= now()) {
    found->second.tick_at.reset();
    KR_CO_CHECK(co_await metadata.tick(shard));
  }
  metadata::state::ListTasks query{.runnable = true, .kind = std::nullopt, .after = std::nullopt, .limit = kPage};
  for (int page = 0; page < kPagesMax; ++page) {
    KR_CO_TRY(const auto answer, co_await metadata.list_tasks(shard, query));
    for (const Task& task : answer.tasks) {
      if (!runs_here(task.row.kind)) continue;
      const Id id{shard, task.key.id()};
      if (running.contains(id)) continue;
      if (const auto waits = deferred.find(id); waits != deferred.end()) {
        if (waits->second.until > now()) continue;
        if (!waits->second.waits_for.empty()) {
          std::vector<std::string> labels = waits->second.waits_for;
          KR_CO_TRY(const bool still, co_await hopeless(std::move(labels)));
          if (still) continue;
        }
      }
      if (!led.contains(shard)) co_return Result<>();
      if (running.size() >= options.running_max) co_return Result<>();  // whatever ends looks again
      running.insert(id);
      scope.spawn("tasks.run", run_task(shard, task));
    }
    if (!answer.more || answer.tasks.empty()) {
      const auto found = led.find(shard);
      if (answer.next_due && found != led.end()) found->second.tick_at = now() + std::max(*answer.next_due - answer.now, Duration::zero());
      break;
    }
    query.after = answer.tasks.back().key;
  }
  co_return Result<>();
}

net::Task<bool> Executor::Impl::answers(std::string label) {
  if (label == blobs.self()) co_return true;
  if (const auto known = probes.find(label); known != probes.end() && now() - known->second.at < options.probe_interval) {
    co_return known->second.up;
  }
  auto id = co_await blobs.peers().store_id(label);
  if (!id && id.error().code == Code::kCancelled) co_return std::unexpected(std::move(id).error());
  probes[label] = {.at = now(), .up = id.has_value()};
  co_return id.has_value();
}

net::Task<bool> Executor::Impl::hopeless(std::vector<std::string> labels) {
  for (const std::string& label : labels) {
    KR_CO_TRY(const bool up, co_await answers(label));
    if (up) co_return false;
  }
  co_return true;
}

void Executor::Impl::defer(const Id& id, Duration least) {
  Deferred& waits = deferred[id];
  Duration backoff = options.backoff_min;
  for (std::uint32_t i = 0; i < waits.failures && backoff < options.backoff_max; ++i) backoff *= 2;
  ++waits.failures;
  waits.until = now() + std::max(least, std::min(backoff, options.backoff_max));
}

net::Task<void> Executor::Impl::run_task(ShardId shard, Task task) {
  auto self = shared_from_this();
  const Id id{shard, task.key.id()};
  const TaskKind kind = task.row.kind;
  auto done = co_await run_kind(shard, std::move(task));
  running.erase(id);
  ended(kind, done.has_value()).add();
  if (done) {
    deferred.erase(id);
  } else if (done.error().code != Code::kCancelled) {
    // Deferred by the kind, if it knows better; what a new leader does not know it finds out.
    if (const auto waits = deferred.find(id); waits == deferred.end() || waits->second.until <= now()) defer(id, Duration::zero());
    log::debug("tasks.again", "shard={} task={} kind={} error={}", shard.value(), id.second, metadata::state::name(kind),
               done.error().to_string());
  }
  if (const auto found = led.find(shard); found != led.end()) {
    // One more of this shard may run now, or this one again.
    const auto waits = deferred.find(id);
    const MonotonicTime at = waits == deferred.end() ? now() : waits->second.until;
    found->second.look_at = std::min(found->second.look_at, at);
    if (found->second.looking) found->second.again = true;
  }
  event.notify();
  co_return Result<>();
}

net::Task<void> Executor::Impl::run_kind(ShardId shard, Task task) {
  if (task.row.kind == TaskKind::kCopy) {
    auto copied = co_await copy(shard, std::move(task));
    co_return copied;
  }
  Result<metadata::Swept> swept = metadata::Swept::kLater;
  if (task.row.kind == TaskKind::kVerifyRef) {
    swept = co_await metadata::verify_ref(metadata, std::move(task));
  } else {
    swept = co_await metadata::remove_refs(metadata, std::move(task));
  }
  if (!swept) co_return std::unexpected(std::move(swept).error());
  co_return Result<>();
}

net::Task<void> Executor::Impl::copy(ShardId shard, Task task) {
  const Id id{shard, task.key.id()};
  KR_CO_TRY(const auto placement, co_await blobs.placement(task.row.digest));
  std::vector<std::string> silent;
  std::optional<Error> failed;
  for (const std::string& label : placement.missing) {
    KR_CO_TRY(const bool up, co_await answers(label));
    if (!up) {
      silent.push_back(label);
      continue;
    }
    Result<> fetched;
    if (label == blobs.self()) {
      fetched = co_await blobs.ensure_local(task.row.digest);
    } else {
      fetched = co_await blobs.peers().fetch(label, task.row.digest);
    }
    if (fetched) {
      log::info("tasks.copied", "digest={} to={}", task.row.digest.str(), label);
    } else {
      failed = std::move(fetched).error().within(label);
    }
  }
  if (!failed && silent.empty()) {
    auto finished = co_await metadata.finish_task(shard, task.key, task.row.revision);
    if (!finished && finished.error().code == Code::kNotFound) co_return Result<>();
    co_return finished;
  }
  if (failed && failed->code == Code::kPending) {
    deferred[id] = {.until = now() + options.backoff_min, .failures = 0, .waits_for = {}};
    co_return std::unexpected(*std::move(failed));
  }
  if (failed) co_return std::unexpected(*std::move(failed));
  deferred[id] = {.until = now() + options.probe_interval, .failures = 0, .waits_for = silent};
  co_return fail(Code::kUnavailable, "blob {}: {} of its owners do not answer", task.row.digest.str(), silent.size());
}

Executor::Executor(Options options, metadata::Client& metadata, blobs::Service& blobs, net::Loop& loop)
    : impl_(std::make_shared<Impl>(options, metadata, blobs, loop)) {}

Executor::~Executor() { stop(); }

void Executor::start() { impl_->scope.spawn("tasks", impl_->run()); }

void Executor::stop() { impl_->scope.stop_and_wait(); }

void Executor::leadership(ShardId shard, bool leads) {
  impl_->loop.post([impl = impl_, shard, leads] {
    if (leads) {
      impl->led.try_emplace(shard);
    } else {
      impl->led.erase(shard);
      std::erase_if(impl->deferred, [&](const auto& entry) { return entry.first.first == shard; });
    }
    impl->event.notify();
  });
}

void Executor::wake(ShardId shard) {
  impl_->loop.post([impl = impl_, shard] {
    const auto found = impl->led.find(shard);
    if (found == impl->led.end()) return;
    found->second.look_at = MonotonicTime{};
    if (found->second.looking) found->second.again = true;
    impl->event.notify();
  });
}

}  // namespace kraken::tasks
