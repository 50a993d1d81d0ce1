#pragma once
// Blobs follow the ring (design §6 "Ring change"): in the shards that this node leads it walks the records, gives an owner that
// lacks a blob its copy, and tells a surplus holder to let go once every owner has it. What a record needs is blobs::plan.
//
// A shard is walked when this node begins to lead it, when a ring is adopted, when a node answers with another blob store than
// before or answers again, when somebody asks (request), and every `interval` unasked. The records are what is durable: no task is
// written for what a walk finds, since another leader's walk finds the same. Work is bounded: `records_per_second`, `copies_max`,
// `bytes_per_second`.
//
// Threads: one loop; every method from any thread. Lifetime: stop() before the references go.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/metadata/client.h"
#include "src/net/loop.h"

namespace kraken::blobs {
class Service;
}

namespace kraken::tasks {

struct RepairOptions {
  std::uint32_t copies_max = 4;                       // records worked on at a time
  std::uint64_t bytes_per_second = 0;                 // of copies begun by this node; 0: no limit
  std::uint32_t records_per_second = 20'000;          // walked
  Duration interval = std::chrono::minutes(10);       // a led shard is walked at least this often
  Duration settle = std::chrono::seconds(2);          // from the reason for a walk to the walk
  Duration probe_interval = std::chrono::seconds(5);  // how often the nodes are asked for their blob stores
  Duration backoff_min = std::chrono::seconds(1);     // after a walk that left work undone, doubled with each
  Duration backoff_max = std::chrono::minutes(1);
  std::uint32_t page = 500;                           // records read at once
  std::uint32_t queue_max = 8192;                     // records of one shard that wait for work; the rest at the next walk
  std::uint32_t events_max = 20'000;
  Duration events_kept = std::chrono::hours(1);
};

/// One copy made, or let go of.
struct RepairEvent {
  std::uint64_t number = 0;         // rising, also across restarts
  std::string origin;               // whose copy
  Digest digest;
  bool deleted = false;             // else repaired
  std::string error;                // empty: OK
  std::vector<std::string> labels;  // of the record's owners and holders
  MonotonicTime at{};
};

struct RepairStatus {
  std::uint64_t epoch = 0;
  std::size_t shards_led = 0;
  std::size_t shards_satisfied = 0;  // of them: the last walk, of this epoch, found nothing to do
  std::uint64_t copies_left = 0, bytes_left = 0, let_go_left = 0;
  std::uint64_t copies_done = 0, bytes_done = 0, let_go_done = 0;  // since the process began
  std::uint64_t without_copy = 0;    // records that nobody has a good copy of
  double bytes_per_second = 0;       // of the last half minute
  std::vector<std::string> waits_for;  // whom unsatisfied records need to hear
  std::vector<std::string> silent;     // nodes that did not answer the last probe
};

/// How far a request has come on this node.
struct RepairProgress {
  RepairStatus status;
  std::vector<metadata::ShardId> led;
  std::vector<metadata::ShardId> pending;  // of these: not found satisfied by a walk that began after the request
  std::vector<RepairEvent> events;
  std::uint64_t next = 0;                  // ask for events after this one
};

/// What a walk would do; nothing is done.
struct RepairStep {
  Digest digest;
  std::string origin;
  enum class Kind : std::uint8_t { kCopy, kLetGo, kForget } kind = Kind::kCopy;
  std::uint64_t bytes = 0;
};

class Repair {
 public:
  /// Told once for each shard that this node leads and each epoch, and again after an error: every record of the shard is as the
  /// ring of that epoch wants it.
  using Satisfied = std::function<net::Task<void>(metadata::ShardId shard, std::uint64_t epoch)>;

  Repair(RepairOptions options, metadata::Client& metadata, blobs::Service& blobs, net::Loop& loop, Satisfied satisfied);
  ~Repair();
  Repair(const Repair&) = delete;
  Repair& operator=(const Repair&) = delete;

  void start();
  /// What runs is cancelled and joined. Not on the loop. Repeating it is harmless.
  void stop();
  /// This node began to serve as the shard's leader, or ceased to.
  void leadership(metadata::ShardId shard, bool leads);
  /// Every led shard is walked soon.
  void ring_changed();
  /// Every led shard is walked now; the number is for `progress`.
  std::uint64_t request();
  RepairStatus status() const;
  /// `label`: only of records in which it is owner or holder; empty: all. Events after number `after`, at most `limit`.
  net::Task<RepairProgress> progress(std::uint64_t request, std::uint64_t after, std::string label, std::size_t limit);
  /// Walks the led shards and says what there is to do, at most `limit` steps.
  net::Task<std::vector<RepairStep>> preview(std::string label, std::size_t limit);

  struct Impl;  // src/tasks/repair_impl.h, private to this folder

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace kraken::tasks
