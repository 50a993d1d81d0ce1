#pragma once
// A cluster of Nodes in this process, over real sockets on a /24 of 127.64-127.127 that is locked for this test, with a toy state
// machine: a map of strings, and a counter per key of how often it was written, so that a command applied twice shows.

#include <sys/file.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "consensus/group/node.h"
#include "src/base/codec.h"
#include "src/base/file.h"
#include "src/net/loop.h"
#include "storage/kv/keys.h"
#include "storage/kv/memory/memory_store.h"
#include "storage/kv/rocksdb/open.h"

namespace kraken::group::test {

using namespace std::chrono_literals;

/// Commands: "put <key> <value>", "add <key>" (counts), "big <key> <bytes>", "now". Queries: "get <key>", "now", "count".
class Toy final : public StateMachine {
 public:
  std::string apply(const ApplyContext& context, std::string_view command, kv::Overlay& state) override {
    std::string text(command);
    const auto space = text.find(' ');
    const std::string verb = text.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : text.substr(space + 1);
    if (verb == "put") {
      const auto cut = rest.find(' ');
      std::string value = rest.substr(cut + 1);
      if (flip) value[0] = static_cast<char>(value[0] ^ 1);
      state.put(kv::Family::kTag, key(context.shard, rest.substr(0, cut)), value);
      return "ok " + std::to_string(context.index);
    }
    if (verb == "add") {
      const auto before = state.get(kv::Family::kTag, key(context.shard, rest));
      const int next = (before && *before ? std::stoi(**before) : 0) + 1;
      state.put(kv::Family::kTag, key(context.shard, rest), std::to_string(next));
      return std::to_string(next);
    }
    if (verb == "big") {
      const auto cut = rest.find(' ');
      state.put(kv::Family::kBlob, key(context.shard, rest.substr(0, cut)), std::string(std::stoul(rest.substr(cut + 1)), 'x'));
      return "ok";
    }
    if (verb == "now") return std::to_string(context.now.count());
    return "what?";
  }
  std::string query(ShardId shard, std::string_view query, const kv::View& state, Duration now) const override {
    if (query == "now") return std::to_string(now.count());
    if (query == "count") {
      std::size_t rows = 0;
      for (const kv::Family family : {kv::Family::kTag, kv::Family::kBlob})
        EXPECT_TRUE(state.scan(family, key(shard, ""), kv::after_prefix(key(shard, "")), false, [&](std::string_view, std::string_view) {
          ++rows;
          return true;
        }));
      return std::to_string(rows);
    }
    const auto found = state.get(kv::Family::kTag, key(shard, query.substr(4)));
    return found && *found ? **found : "";
  }
  void restored(ShardId, const kv::View&) override { ++restores; }
  std::atomic<int> restores{0};
  std::atomic<bool> flip{false};  // a fault of memory: puts write another value on this node

  static std::string key(ShardId shard, std::string_view name) { return kv::shard_prefix(shard) + "\1" + std::string(name); }
};

/// 127.x.y.0/24 that no other test of this machine uses meanwhile.
class Network {
 public:
  Network() {
    for (int i = 0; i < 64 * 256; ++i) {
      const int at = (i + ::getpid() * 37) % (64 * 256);
      const std::string name = fmt::format("127.{}.{}", 64 + at / 256, at % 256);
      const std::string path = fmt::format("/tmp/kraken-test-net-{}.lock", name);
      UniqueFd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666));
      if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
        lock_ = std::move(fd);
        prefix_ = name;
        return;
      }
    }
    ADD_FAILURE() << "no free /24 of loopback";
  }
  std::string host(std::size_t i) const { return fmt::format("{}.{}", prefix_, i + 1); }

 private:
  UniqueFd lock_;
  std::string prefix_;
};

enum class Kind { kMemory, kRocks };

struct ClusterOptions {
  std::size_t nodes = 3;
  std::uint16_t shards = 4;
  Kind kind = Kind::kMemory;
  Limits limits{};
  Timings timings{};
  /// Puts something between a node and its store.
  std::function<std::unique_ptr<kv::Store>(std::unique_ptr<kv::Store>)> wrap{};
  std::vector<const Clock*> clocks{};  // by node; empty: the system's
};

class Cluster {
 public:
  explicit Cluster(ClusterOptions options = {}) : options_(options), clients_(2, "client") {
    std::string name = (std::filesystem::temp_directory_path() / "kr_group_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
#ifdef KRAKEN_SANITIZED
    options_.timings.beat = 200ms;
    options_.timings.election_min = 2s;
    options_.timings.election_max = 4s;
#endif
    for (std::size_t i = 0; i < options_.nodes; ++i)
      members_.push_back({.label = fmt::format("node{}", i), .host = network_.host(i), .port = 14001});
    everybody_ = members_;
    slots_.reserve(16);  // grows under threads that look into it
    everybody_.reserve(16);
    for (std::size_t i = 0; i < options_.nodes; ++i) slots_.push_back(std::make_unique<Slot>());
  }
  ~Cluster() {
    for (std::size_t i = 0; i < slots_.size(); ++i) stop(i);
    clients_.stop();
    slots_.clear();
    std::error_code ec;
    std::filesystem::remove_all(folder_, ec);
  }

  void start_all() {
    for (std::size_t i = 0; i < slots_.size(); ++i) ASSERT_TRUE(start(i));
    for (std::size_t i = 0; i < slots_.size(); ++i) wait_ready(i);
  }
  NodeOptions node_options(std::size_t i) const {
    NodeOptions options;
    options.label = everybody_[i].label;
    options.members = members_;
    options.shards = options_.shards;
    options.cluster_token = "test";
    options.listen_host = everybody_[i].host;
    options.listen_port = everybody_[i].port;
    options.timings = options_.timings;
    options.limits = options_.limits;
    if (options_.kind == Kind::kRocks) options.folder = folder_ / everybody_[i].label;
    if (!options_.clocks.empty()) options.clock = options_.clocks[i];
    // Spread as HRW does, without depending on it; another weight gives another place.
    options.order = [](std::span<const Member> members, std::string_view key) {
      std::vector<Member> sorted(members.begin(), members.end());
      std::ranges::sort(sorted, {}, [&](const Member& one) {
        return std::hash<std::string>{}(std::string(key) + one.label + (one.weight == 100 ? "" : std::to_string(one.weight)));
      });
      std::vector<std::string> labels;
      for (const Member& member : sorted) labels.push_back(member.label);
      return labels;
    };
    return options;
  }
  Result<> start(std::size_t i) { return start(i, node_options(i)); }
  Result<> start(std::size_t i, NodeOptions options) {
    Slot& slot = *slots_[i];
    if (!slot.store) {
      if (options_.kind == Kind::kMemory) {
        slot.store = std::make_unique<kv::MemoryStore>();
      } else {
        KR_TRY(slot.store, kv::open_rocksdb(folder_ / everybody_[i].label, {}));
      }
      if (options_.wrap) slot.store = options_.wrap(std::move(slot.store));
    }
    slot.machine = std::make_unique<Toy>();
    KR_TRY(slot.node, Node::open(std::move(options), *slot.machine, *slot.store));
    return {};
  }
  void stop(std::size_t i) {
    Slot& slot = *slots_[i];
    if (slot.node) slot.node->stop();
    slot.node.reset();
    if (options_.kind == Kind::kRocks) slot.store.reset();
  }
  /// As kill -9 of a machine: what was not synced is gone (memory stores).
  void kill(std::size_t i) {
    Slot& slot = *slots_[i];
    slot.node->kill();
    slot.node.reset();
    if (options_.kind == Kind::kMemory && !options_.wrap) static_cast<kv::MemoryStore&>(*slot.store).crash();
    if (options_.kind == Kind::kRocks) slot.store.reset();
  }
  void wipe(std::size_t i) { slots_[i]->store.reset(); }
  std::unique_ptr<kv::Store> take_store(std::size_t i) { return std::exchange(slots_[i]->store, nullptr); }
  void put_store(std::size_t i, std::unique_ptr<kv::Store> store) { slots_[i]->store = std::move(store); }
  const std::string& label(std::size_t i) const { return everybody_[i].label; }
  std::string host(std::size_t i) const { return network_.host(i); }
  bool running(std::size_t i) const { return slots_[i]->node != nullptr; }
  std::size_t size() const { return slots_.size(); }

  /// One more line in the hashstate of whoever starts from now on.
  std::size_t add_member() {
    const std::size_t i = slots_.size();
    members_.push_back({.label = fmt::format("node{}", i), .host = network_.host(i), .port = 14001});
    everybody_.push_back(members_.back());
    slots_.push_back(std::make_unique<Slot>());
    return i;
  }
  /// One line less; its node may run on with what it has.
  void drop_member(std::size_t i) { std::erase_if(members_, [&](const Member& one) { return one.label == everybody_[i].label; }); }
  void list_member(std::size_t i) { members_.push_back(everybody_[i]); }
  /// Restarts one node after the other with the hashstate of now, waiting for each.
  void roll(const std::vector<std::size_t>& nodes) {
    for (const std::size_t i : nodes) {
      stop(i);
      ASSERT_TRUE(start(i));
      wait_ready(i);
    }
  }
  /// Every running node has the ring of this epoch, or a later one, and all shards have satisfied it.
  bool settled(std::uint64_t epoch, Duration deadline = 120s) {
    return eventually([&] {
      for (std::size_t i = 0; i < slots_.size(); ++i) {
        if (!running(i)) continue;
        const auto ring = node(i).ring();
        if (ring->epoch < epoch || !ring->settled) return false;
      }
      return true;
    }, deadline);
  }

  // Not slots_[i]: a checked build looks at the size, which add_member() changes while writers run.
  Node& node(std::size_t i) { return *slots_.data()[i]->node; }
  Toy& machine(std::size_t i) { return *slots_[i]->machine; }
  kv::Store& store(std::size_t i) { return *slots_[i]->store; }
  const std::filesystem::path& folder() const { return folder_; }
  std::vector<Member>& members() { return members_; }
  net::Loops& clients() { return clients_; }

  Result<std::string> propose(std::size_t i, ShardId shard, std::string command, Duration deadline = 20s) {
    return net::block_on(clients_.next().executor(), node(i).propose(shard, std::move(command), deadline));
  }
  Result<std::string> query(std::size_t i, ShardId shard, std::string query, Read read = Read::kLinearizable, Duration deadline = 20s) {
    return net::block_on(clients_.next().executor(), node(i).query(shard, std::move(query), read, deadline));
  }

  static bool eventually(const std::function<bool()>& condition, Duration deadline = 60s) {
    const MonotonicTime until = system_clock().monotonic() + deadline;
    while (!condition()) {
      if (system_clock().monotonic() > until) return false;
      std::this_thread::sleep_for(2ms);
    }
    return true;
  }
  void wait_ready(std::size_t i) {
    EXPECT_TRUE(eventually([&] { return node(i).ready(); })) << everybody_[i].label << ": " << node(i).not_ready();
  }
  /// The node that serves as the shard's leader, as soon as there is one.
  std::size_t leader(ShardId shard) {
    std::size_t found = 0;
    EXPECT_TRUE(eventually([&] {
      for (std::size_t i = 0; i < slots_.size(); ++i) {
        if (!slots_[i]->node || !node(i).status(shard).serving) continue;
        found = i;
        return true;
      }
      return false;
    }));
    return found;
  }

 private:
  struct Slot {
    std::unique_ptr<kv::Store> store;
    std::unique_ptr<Toy> machine;
    std::unique_ptr<Node> node;
  };
  ClusterOptions options_;
  Network network_;
  std::filesystem::path folder_;
  std::vector<Member> members_;    // the hashstate of now
  std::vector<Member> everybody_;  // by number, whoever was ever in it
  net::Loops clients_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace kraken::group::test
