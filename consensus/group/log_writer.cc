#include "consensus/group/log_writer.h"

#include <pthread.h>

#include <map>

#include "src/base/fatal.h"
#include "src/base/metrics.h"

namespace kraken::group {

LogWriter::LogWriter(kv::Store& store, const Clock& clock, Persisted persisted)
    : store_(store), clock_(clock), persisted_(std::move(persisted)), thread_([this] { work(); }) {}

LogWriter::~LogWriter() { stop(); }

void LogWriter::submit(std::vector<Write> writes) {
  std::vector<Item> items;
  items.reserve(writes.size());
  for (Write& write : writes) items.emplace_back().write = std::move(write);
  queue_.push(std::move(items));
}

void LogWriter::compact(Compaction compaction, std::function<void()> done) {
  Item item;
  item.compaction = std::move(compaction);
  item.after = std::move(done);
  queue_.push(std::move(item));
}

void LogWriter::put(kv::Batch batch, std::function<void()> done) {
  Item item;
  item.batch = std::move(batch);
  if (done) item.after = std::move(done);
  queue_.push(std::move(item));
}

void LogWriter::run(std::move_only_function<void()> job) {
  Item item;
  item.after = std::move(job);
  item.alone = true;
  queue_.push(std::move(item));
}

Duration LogWriter::outstanding() const {
  const std::int64_t began = began_.load(std::memory_order_relaxed);
  return began == 0 ? Duration::zero() : clock_.monotonic() - Duration(began);
}

void LogWriter::stop(bool drop) {
  queue_.close(drop);
  if (thread_.joinable()) thread_.join();
}

void LogWriter::work() {
  pthread_setname_np(pthread_self(), "raft/log");
  for (std::vector<Item> items = queue_.take(); !items.empty(); items = queue_.take()) {
    // A job divides what stands before it from what comes after.
    std::vector<Item> batch;
    for (Item& item : items) {
      if (!item.alone) {
        batch.push_back(std::move(item));
        continue;
      }
      write(batch);
      batch.clear();
      began_.store(clock_.monotonic().count(), std::memory_order_relaxed);
      item.after();
      began_.store(0, std::memory_order_relaxed);
    }
    write(batch);
  }
}

void LogWriter::write(std::vector<Item>& items) {
  static metrics::Histogram& sync_seconds = metrics::histogram(
      "kr_raft_log_sync_seconds", "Time of one write and sync of the log of all groups",
      {.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5});
  static metrics::Counter& sync_total = metrics::counter("kr_raft_log_syncs_total", "Syncs of the log");
  static metrics::Counter& byte_total = metrics::counter("kr_raft_log_bytes_total", "Bytes written to the log");
  if (items.empty()) return;
  kv::Batch batch;
  std::map<ShardId, raft::Seq> seqs;
  for (Item& item : items) {
    if (item.write) {
      add_write(item.write->shard, item.write->hard_state, item.write->truncate_from, item.write->append, batch);
      if (item.write->seq != 0) seqs[item.write->shard] = item.write->seq;
    }
    if (item.compaction) add_compaction(item.compaction->shard, item.compaction->first, item.compaction->meta, batch);
    batch.append(std::move(item.batch));
  }
  const MonotonicTime began = clock_.monotonic();
  began_.store(began.count(), std::memory_order_relaxed);
  // RocksDB's store ends the process itself and names the file; any other's error must not leave the groups without an answer.
  const Result<> written = store_.write(batch, kv::Durability::kSynced);
  began_.store(0, std::memory_order_relaxed);
  if (!written)
    end_process("raft.log_failed", fmt::format("error=\"{}\" The outcome of this write of the log is not known, so the process ends; a start reads what the disk has",
                                               written.error().to_string()));
  syncs_.fetch_add(1, std::memory_order_relaxed);
  sync_seconds.observe(std::chrono::duration<double>(clock_.monotonic() - began).count());
  sync_total.add();
  byte_total.add(static_cast<double>(batch.bytes()));
  if (!seqs.empty()) persisted_({seqs.begin(), seqs.end()});
  for (Item& item : items)
    if (item.after) item.after();
}

}  // namespace kraken::group
