// Three nodes and their clients in this process, on RocksDB: what the group layer costs without HTTP and metadata on top.
//   group_load [shards] [clients] [seconds]
// Prints proposals and linearizable reads per second, syncs per proposal, and the CPU time of a second of idling.

#include <sys/resource.h>

#include <atomic>

#include "src/net/scope.h"
#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

struct Count {
  std::atomic<bool> done{false};
  std::atomic<long> ok{0}, failed{0};
};

net::Task<void> put_all(Cluster* cluster, std::size_t at, std::uint16_t shards, int me, Count* count) {
  for (int i = 0; !count->done; ++i) {
    const ShardId shard{static_cast<std::uint16_t>(1 + static_cast<std::uint32_t>(me * 7919 + i) % shards)};
    auto result = co_await cluster->node(at).propose(shard, fmt::format("put key{}-{} {:064}", me, i % 100, i), 10s);
    ++(result ? count->ok : count->failed);
  }
  co_return Result<>{};
}

net::Task<void> get_all(Cluster* cluster, std::size_t at, std::uint16_t shards, int me, Count* count) {
  for (int i = 0; !count->done; ++i) {
    const ShardId shard{static_cast<std::uint16_t>(1 + static_cast<std::uint32_t>(me * 7919 + i) % shards)};
    auto result = co_await cluster->node(at).query(shard, fmt::format("get key{}-{}", me, i % 100), Read::kLinearizable, 10s);
    ++(result ? count->ok : count->failed);
  }
  co_return Result<>{};
}

template <class Client>
void run(Cluster& cluster, std::string_view name, std::uint16_t shards, int clients, int seconds, Client client) {
  Count count;
  net::Scope scope(cluster.clients().at(0).executor());
  const std::uint64_t syncs = cluster.store(0).statistics().syncs;
  const double cpu = cpu_seconds();
  for (int i = 0; i < clients; ++i) scope.spawn("client", client(&cluster, static_cast<std::size_t>(i) % 3, shards, i, &count));
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  const long ok = count.ok;
  const double used = cpu_seconds() - cpu;
  count.done = true;
  scope.stop_and_wait(20s);
  fmt::print("{:8} {:9.0f}/s   failed {}   cpu {:.1f} us each   syncs of node0 {:.0f}/s\n", name, static_cast<double>(ok) / seconds,
             count.failed.load(), used / static_cast<double>(ok) * 1e6,
             static_cast<double>(cluster.store(0).statistics().syncs - syncs) / seconds);
}

}  // namespace
}  // namespace kraken::group::test

int main(int argc, char** argv) {
  using namespace kraken::group::test;
  const auto argument = [&](int i, int otherwise) { return argc > i ? std::stoi(argv[i]) : otherwise; };
  const auto shards = static_cast<std::uint16_t>(argument(1, 128));
  const int clients = argument(2, 64);
  const int seconds = argument(3, 5);
  Cluster cluster({.shards = shards, .kind = Kind::kRocks});
  cluster.start_all();
  std::this_thread::sleep_for(std::chrono::seconds(6));
  const double cpu = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::seconds(3));
  fmt::print("idle: {:.2f} % of a core per node\n", (cpu_seconds() - cpu) / 3 / 3 * 100);
  run(cluster, "propose", shards, clients, seconds, put_all);
  run(cluster, "read", shards, clients, seconds, get_all);
  run(cluster, "propose1", 1, clients, seconds, put_all);
  run(cluster, "read1", 1, clients, seconds, get_all);
  return 0;
}
