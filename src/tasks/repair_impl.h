#pragma once
// What stands behind Repair; private to src/tasks. repair.cc: when a shard is walked, and the walk. repair_act.cc: what is done
// about one record.

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "src/base/metrics.h"
#include "src/blobs/plan.h"
#include "src/blobs/service.h"
#include "src/net/event.h"
#include "src/net/scope.h"
#include "src/tasks/repair.h"

namespace kraken::tasks {

struct Repair::Impl : std::enable_shared_from_this<Impl> {
  using ShardId = metadata::ShardId;

  /// A record that a walk found wanting.
  struct Todo {
    Digest digest;
    std::uint64_t copies = 0, bytes = 0, let_go = 0;
  };
  /// What one walk of a shard found.
  struct Walk {
    std::uint64_t epoch = 0;
    std::uint64_t request = 0;                  // the last one before it began
    std::uint64_t open = 0;                     // records that are not satisfied
    std::map<std::string, std::uint64_t> open_of;  // by label that owns or holds them
    std::set<std::string> waits_for;
    std::uint64_t without_copy = 0;
    std::uint64_t copies = 0, bytes = 0, let_go = 0;
  };
  /// A shard that this node leads. On the loop alone; work that outlives the leadership keeps it.
  struct Led {
    MonotonicTime next_at{};
    Duration backoff{};
    bool again = false;     // wanted while it was walked or worked on
    bool walking = false;
    bool failed = false;    // some work of the last walk did not end well
    std::size_t running = 0;
    std::deque<Todo> queue;
    std::optional<Walk> last;
    std::optional<std::uint64_t> reported;  // epoch
    std::uint64_t copies_left = 0, bytes_left = 0, let_go_left = 0;
    bool busy() const { return walking || running > 0 || !queue.empty(); }
  };
  using Each = std::function<bool(const Digest&, const metadata::BlobRow&, const std::vector<std::string>& owners, const blobs::Plan&)>;

  Impl(RepairOptions options_, metadata::Client& metadata_, blobs::Service& blobs_, net::Loop& loop_, Satisfied satisfied_);

  // repair.cc
  net::Task<void> run();
  net::Task<void> probe();
  net::Task<void> probe_one(std::string label, std::shared_ptr<net::Latch> asked);
  /// The only way in which `stores` learns of a store; none: the node is silent. Asks for the walks that follow from it.
  void heard(const std::string& label, std::optional<StoreId> id);
  net::Task<void> walk(ShardId shard, std::shared_ptr<Led> led);
  /// Plans every record of the shard; `each` may end it by false.
  net::Task<void> records(ShardId shard, std::shared_ptr<const ring::Ring> ring, Each each);
  /// True: every record of the shard is as the ring wants it.
  bool walked(ShardId shard, Led& led, Walk walk, bool whole);
  void want(Led& led, Duration in);
  void want_all(Duration in);
  void worked(Led& led);
  blobs::LiveStores live() const;
  void publish();

  // repair_act.cc
  void dispatch();
  net::Task<void> act(std::shared_ptr<Led> led, Todo todo);
  net::Task<void> act_now(Digest digest);
  net::Task<void> copy(std::string label, Digest digest, std::uint64_t bytes);
  net::Task<void> let_go(std::string label, Digest digest, std::uint64_t epoch);
  net::Task<void> forget(Digest digest, metadata::Holder holder, std::size_t owners);
  net::Task<StoreId> store_of(std::string label);
  void note(RepairEvent event);
  net::Task<RepairProgress> progress(std::uint64_t request, std::uint64_t after, std::string label, std::size_t limit);
  net::Task<std::vector<RepairStep>> preview(std::string label, std::size_t limit);

  static MonotonicTime now() { return system_clock().monotonic(); }

  const RepairOptions options;
  metadata::Client& metadata;
  blobs::Service& blobs;
  net::Loop& loop;
  const Satisfied satisfied;
  net::Event event;
  std::atomic<std::uint64_t> requests;

  // On the loop alone:
  std::map<ShardId, std::shared_ptr<Led>> led;
  std::map<std::string, std::optional<StoreId>> stores;  // label -> what it last answered with; none: it does not answer
  std::map<std::string, StoreId> last_stores;            // the same, kept while it does not answer
  std::set<std::string> strangers;                       // labels out of the ring that records name
  std::size_t running = 0;
  MonotonicTime probe_at{};                              // when the nodes are asked again
  MonotonicTime copy_at{};                               // when the next copy may begin, by bytes_per_second
  std::deque<std::pair<MonotonicTime, std::uint64_t>> recent;  // bytes copied in the last half minute
  std::uint64_t events_next;
  std::deque<RepairEvent> events;
  std::uint64_t copies_done = 0, bytes_done = 0, let_go_done = 0;

  mutable std::mutex mutex;
  RepairStatus published;
  net::Scope scope;  // last
};

}  // namespace kraken::tasks
