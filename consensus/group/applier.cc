#include "consensus/group/applier.h"

#include <pthread.h>

#include <map>

#include "src/base/fatal.h"
#include "src/base/metrics.h"

namespace kraken::group {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 20;
// A turn that has grown to this is written before it goes on, so that memory stays bounded when a log is replayed.
constexpr std::size_t kTurnBytes = std::size_t{4} << 20;

std::string shard_words(ShardId shard) { return fmt::format("shard={}", shard.value()); }

}  // namespace

struct Applier::Turn {
  Turn(const kv::View& base, StateMachine& machine, Sessions& sessions) : rows(base, machine, sessions) {}
  ApplyTurn rows;
  std::map<ShardId, Done> done;
  std::map<ShardId, std::vector<StateDigest>> digests;  // after each entry
  std::size_t entries = 0;
  Answers answers;  // delivered once the turn is visible
};

Applier::Applier(kv::Store& store, StateMachine& machine, std::uint16_t shards, Applied applied)
    : store_(store), machine_(machine), applied_(std::move(applied)), states_(std::size_t{shards} + 1), rows_(store),
      digests_(std::size_t{shards} + 1), thread_([this] { loop(); }) {}

Applier::~Applier() { stop(); }

void Applier::submit(std::vector<Job> jobs) {
  std::vector<Item> items;
  items.reserve(jobs.size());
  for (Job& job : jobs) items.push_back({.job = std::move(job), .work = {}});
  queue_.push(std::move(items));
}

void Applier::run(std::move_only_function<void()> work) { queue_.push({.job = std::nullopt, .work = std::move(work)}); }

void Applier::restore(ShardId shard, std::move_only_function<void()> done) {
  run([this, shard, done = std::move(done)]() mutable {
    auto state = load_applied(store_, shard);
    if (!state) die(shard_words(shard), state.error());
    if (const auto loaded = sessions_.load(shard, store_); !loaded) die(shard_words(shard), loaded.error());
    State& published = states_[shard.value()];
    {
      const std::scoped_lock lock(view_mutex_);
      view_.reset();
      published.term = state->term;
      published.now.store(state->now.count(), std::memory_order_release);
      published.index.store(raw(state->index), std::memory_order_release);
      published.stored.store(raw(state->index), std::memory_order_release);
    }
    {
      const std::scoped_lock lock(digests_mutex_);
      digests_[shard.value()] = {.last = state->index, .kept = {state->digest}};
    }
    machine_.restored(shard, store_);
    if (done) done();
  });
}

std::shared_ptr<const kv::View> Applier::view() const {
  const std::scoped_lock lock(view_mutex_);
  if (!view_) {
    flush_locked();
    view_ = store_.snapshot();
  }
  return view_;
}

void Applier::flush() const {
  const std::scoped_lock lock(view_mutex_);
  flush_locked();
}

/// Rows are there before the index that says so, thus what is published now will be in the store. (It may be there already: a scan
/// or an erased range gives the store what waits, too.)
void Applier::flush_locked() const {
  static metrics::Counter& flush_total = metrics::counter("kr_raft_applied_flushes_total", "Times that the store was given what was applied");
  if (rows_.bytes() > 0) flush_total.add();
  std::vector<std::uint64_t> indexes;
  indexes.reserve(states_.size());
  for (const State& state : states_) indexes.push_back(state.index.load(std::memory_order_acquire));
  if (const auto flushed = rows_.flush(); !flushed) die("of what was applied", flushed.error());
  for (std::size_t i = 0; i < indexes.size(); ++i) states_[i].stored.store(indexes[i], std::memory_order_release);
}

std::pair<raft::Index, StateDigest> Applier::digest(ShardId shard) const {
  const std::scoped_lock lock(digests_mutex_);
  const Digests& digests = digests_[shard.value()];
  return {digests.last, digests.kept.empty() ? StateDigest{} : digests.kept.back()};
}

std::optional<StateDigest> Applier::digest_at(ShardId shard, raft::Index index) const {
  const std::scoped_lock lock(digests_mutex_);
  const Digests& digests = digests_[shard.value()];
  const std::uint64_t back = index > digests.last ? kDigestsKept : raft::distance(index, digests.last);
  if (back >= digests.kept.size()) return std::nullopt;
  return digests.kept[digests.kept.size() - 1 - back];
}

/// Before the turn becomes visible: who sees an index applied finds its digest.
void Applier::keep_digests(const Turn& turn) {
  const std::scoped_lock lock(digests_mutex_);
  for (const auto& [shard, added] : turn.digests) {
    Digests& digests = digests_[shard.value()];
    digests.last = digests.last + added.size();
    digests.kept.insert(digests.kept.end(), added.begin(), added.end());
    if (digests.kept.size() > kDigestsKept)
      digests.kept.erase(digests.kept.begin(), digests.kept.end() - static_cast<std::ptrdiff_t>(kDigestsKept));
  }
}

void Applier::stop(bool drop) {
  queue_.close(drop);
  if (thread_.joinable()) thread_.join();
}

void Applier::loop() {
  pthread_setname_np(pthread_self(), "raft/apply");
  for (std::vector<Item> items = next_items(); !items.empty(); items = next_items()) {
    Turn turn(rows_, machine_, sessions_);
    for (Item& item : items) {
      if (queue_.dropped()) return;
      if (item.job) {
        apply(*item.job, turn);
        if (turn.rows.bytes() >= kTurnBytes) finish(turn);
        continue;
      }
      finish(turn);
      flush();
      item.work();
      // It may have changed the store by other ways: rows that are imported or destroyed.
      if (const auto cleared = rows_.clear(); !cleared) die("of what was applied", cleared.error());
    }
    finish(turn);
  }
  if (!queue_.dropped()) flush();
}

/// What comes next; while nothing does, the store gets what waits.
std::vector<Applier::Item> Applier::next_items() {
  if (rows_.bytes() == 0) return queue_.take();
  const Duration patience = waiting_since_ + kWaitsAtMost - system_clock().monotonic();
  if (auto items = queue_.take_for(patience)) return std::move(*items);
  flush();
  return queue_.take();
}

void Applier::apply(Job& job, Turn& turn) {
  const State& published = states_[job.shard.value()];
  for (raft::Index next = job.from; next <= job.to && !queue_.dropped();) {
    if (job.entries.empty() || job.entries.front().index != next) {
      auto read = read_entries(store_, job.shard, next, job.to, kReadBytes);
      if (!read) die(shard_words(job.shard), read.error());
      job.entries = std::move(*read);
    }
    turn.rows.begin(job.shard, {.index = raft::Index{published.index.load(std::memory_order_relaxed)},
                                .term = published.term,
                                .now = Duration(published.now.load(std::memory_order_relaxed)),
                                .digest = digest(job.shard).second});
    Done& done = turn.done[job.shard];
    done.shard = job.shard;
    auto waiting = job.waiting.begin();
    for (const raft::Entry& entry : job.entries) {
      if (entry.index > job.to) break;
      auto answer = turn.rows.apply(job.shard, entry);
      if (!answer) die(shard_words(job.shard), answer.error());
      ++turn.entries;
      turn.digests[job.shard].push_back(turn.rows.at(job.shard).digest);
      next = entry.index + 1;
      if (!job.want_answers || !*answer) continue;
      while (waiting != job.waiting.end() && waiting->first < entry.index) ++waiting;
      // Another verdict than this the loop alone can make sense of: the proposal may have to be sent again.
      if (waiting != job.waiting.end() && waiting->first == entry.index && (*answer)->verdict == Verdict::kApplied)
        turn.answers.add(std::move(waiting->second), std::exchange((*answer)->result, {}));
      done.answers.emplace_back(entry.index, std::move(**answer));
    }
    job.entries.clear();
    done.upto = turn.rows.at(job.shard).index;
    if (turn.rows.bytes() >= kTurnBytes) finish(turn);
  }
}

void Applier::finish(Turn& turn) {
  static metrics::Counter& entry_total = metrics::counter("kr_raft_applied_entries_total", "Log entries applied");
  if (turn.rows.empty() || queue_.dropped()) return;
  const std::map<ShardId, AppliedState> progress = turn.rows.progress();
  const MonotonicTime now = system_clock().monotonic();
  if (rows_.bytes() == 0) waiting_since_ = now;
  if (const auto written = rows_.write(turn.rows.take_batch()); !written) die(shard_words(progress.begin()->first), written.error());
  const bool full = rows_.bytes() >= kWaitingBytes || now - waiting_since_ >= kWaitsAtMost;
  {
    const std::scoped_lock lock(view_mutex_);
    view_.reset();
  }
  keep_digests(turn);
  for (const auto& [shard, at] : progress) {
    State& published = states_[shard.value()];
    published.term = at.term;
    published.now.store(at.now.count(), std::memory_order_release);
    published.index.store(raw(at.index), std::memory_order_release);
    machine_.applied(shard, raw(at.index));
  }
  if (!turn.answers.empty()) turn.answers.deliver();
  if (full) flush();
  entry_total.add(static_cast<double>(turn.entries));
  std::vector<Done> all;
  all.reserve(turn.done.size());
  for (auto& [shard, done] : turn.done) all.push_back(std::move(done));
  turn.done.clear();
  turn.digests.clear();
  turn.entries = 0;
  applied_(std::move(all));
}

void Applier::die(const std::string& what, const Error& error) {
  end_process("raft.apply_failed", fmt::format("{} error=\"{}\" The process ends, since it cannot go on without this", what, error.to_string()));
}

}  // namespace kraken::group
