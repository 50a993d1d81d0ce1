#pragma once
// A node's store: all families, one write-ahead log. Implemented by rocksdb/ and by memory/, which forgets what was not
// synced; one suite of tests runs on both.
//
// What survives a crash is a prefix of the batches in the order in which write() was called; every batch up to the last
// kSynced one that returned is in it. So one synced write makes all buffered writes before it durable too.
// Threads: any; writes of several threads are ordered by the store.

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "storage/kv/batch.h"
#include "storage/kv/family.h"
#include "storage/kv/view.h"

namespace kraken::kv {

enum class Durability : std::uint8_t {
  kBuffered,  // visible on return, durable with the next synced write
  kSynced,    // durable on return
};

/// Replaces everything that the store holds of one shard, in all families but kRaft, by what is added, together with
/// changes to kRaft, in one atomic and durable step. Until commit() nothing is visible; destroyed without it, nothing
/// happened. One owner; off the loops.
class ShardImport {
 public:
  virtual ~ShardImport() = default;
  /// Families in ascending order, keys ascending within one and of this shard, none in kRaft; anything else is
  /// kInvalidArgument (the bytes come from a peer).
  virtual Result<> add(Family family, std::string_view key, std::string_view value) = 0;
  /// `raft` may hold puts and erased ranges in Family::kRaft of this shard alone; its puts survive its erased ranges.
  /// An error after which the store's state is not known ends the process instead.
  virtual Result<> commit(const Batch& raft) = 0;
};

class Store : public View {
 public:
  /// Atomic. After an error nothing may be assumed about the batch, and the store takes no more writes.
  virtual Result<> write(const Batch& batch, Durability durability) = 0;
  /// The state of this moment. Cheap; but what it holds cannot be compacted away, so not for long.
  virtual std::unique_ptr<View> snapshot() const = 0;
  virtual Result<std::unique_ptr<ShardImport>> begin_import(ShardId shard) = 0;
  /// Writes memtables out. For a clean stop and for tests.
  virtual Result<> flush() = 0;

  struct Statistics {
    std::uint64_t syncs = 0;        // of the write-ahead log
    std::uint64_t batches = 0;
    std::uint64_t bytes_written = 0;  // keys and values
  };
  virtual Statistics statistics() const = 0;
};

/// Every key and value of the shard under `view`, all families but kRaft, in the order in which ShardImport wants them;
/// stops early when `each` returns false.
Result<> export_shard(const View& view, ShardId shard,
                      const std::function<bool(Family, std::string_view key, std::string_view value)>& each);

}  // namespace kraken::kv
