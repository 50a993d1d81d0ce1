#include "consensus/group/node.h"

#include <algorithm>
#include <bit>
#include <set>

#include "consensus/group/engine.h"
#include "src/base/assert.h"
#include "src/base/codec.h"
#include "src/base/log.h"
#include "src/base/rng.h"
#include "src/net/listen.h"

namespace kraken::group {
namespace {

Result<> check(const NodeOptions& options) {
  std::set<std::string> labels;
  for (const Member& member : options.members) {
    if (member.label.empty() || member.label.size() > 255) return fail(Code::kInvalidArgument, "a node without a label, or with one of more than 255 bytes");
    if (!labels.insert(member.label).second)
      return fail(Code::kInvalidArgument, "two nodes have the label {}; give each its own", member.label);
    if (!(member.weight > 0)) return fail(Code::kInvalidArgument, "the weight of {} must be above 0", member.label);
  }
  if (!labels.contains(options.label))
    return fail(Code::kInvalidArgument, "the label {} is not one of the members", options.label);
  if (!std::has_single_bit(options.shards) || options.shards > kv::kShardsMax)
    return fail(Code::kInvalidArgument, "raft.shards is {}: it must be a power of two up to {}", options.shards, kv::kShardsMax);
  const Timings& timings = options.timings;
  if (timings.beat <= Duration::zero() || timings.election_min < 2 * timings.beat || timings.election_max <= timings.election_min)
    return fail(Code::kInvalidArgument, "raft timings: beat > 0, election_min >= 2 beats and election_max > election_min are needed");
  return {};
}

Result<Identity> identify(const NodeOptions& options, const LoadedIdentity& loaded) {
  if (!loaded.identity) {
    if (loaded.system) return fail(Code::kCorrupt, "the metadata folder belongs to a cluster but has no identity");
    return Identity{.label = options.label, .shards = options.shards, .incarnation = Incarnation::random()};
  }
  Identity identity = *loaded.identity;
  if (identity.label != options.label)
    return fail(Code::kConflict,
                "the metadata folder belongs to the node {}, this one is {}: set node.label back, or metadata.path to this "
                "node's own folder",
                identity.label, options.label);
  if (identity.shards != options.shards)
    return fail(Code::kConflict, "the metadata folder has {} shards, raft.shards is {}: the number is fixed once a cluster has formed",
                identity.shards, options.shards);
  if (loaded.system && loaded.system->shards != options.shards)
    return fail(Code::kCorrupt, "the metadata folder's cluster has {} shards, its identity {}", loaded.system->shards, options.shards);
  return identity;
}

}  // namespace

ShardId shard_of(std::uint16_t prefix, std::uint16_t shards) {
  KR_ASSERT(std::has_single_bit(shards));
  const int bits = std::countr_zero(shards);
  return ShardId{static_cast<std::uint16_t>((prefix >> (16 - bits)) + 1)};
}

struct Node::Impl {
  Impl(NodeOptions options, StateMachine& machine, kv::Store& store, Identity identity, LoadedIdentity loaded)
      : engine(std::move(options), machine, store, std::move(identity), std::move(loaded)) {}
  Engine engine;
  std::uint16_t port = 0;
};

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Node::~Node() { stop(); }

Result<std::unique_ptr<Node>> Node::open(NodeOptions options, StateMachine& machine, kv::Store& store) {
  KR_CHECK(check(options));
  KR_TRY(LoadedIdentity loaded, load_identity(store));
  KR_TRY(Identity identity, identify(options, loaded));
  begin_start(identity, random_seed());
  KR_TRY(net::Acceptor acceptor, net::listen(options.listen_host, options.listen_port));
  const std::uint16_t port = acceptor.port();
  kv::Batch batch;
  batch.put(kv::Family::kRaft, identity_key(), encode(identity));
  KR_CHECK(store.write(batch, kv::Durability::kSynced));
  log::info("raft.start", "label={} incarnation={} boot={} shards={} formed={}", identity.label, identity.incarnation.hex(),
            identity.boot_epoch, identity.shards, loaded.system.has_value());
  auto impl = std::make_unique<Impl>(std::move(options), machine, store, std::move(identity), std::move(loaded));
  impl->port = port;
  KR_CHECK(impl->engine.load());
  impl->engine.start(std::move(acceptor));
  return std::unique_ptr<Node>(new Node(std::move(impl)));
}

net::Task<std::string> Node::propose(ShardId shard, std::string command, Duration deadline) {
  Engine& engine = impl_->engine;
  if (shard.value() > shards()) co_return fail(Code::kInvalidArgument, "shard {} of {}", shard.value(), shards());
  if (command.size() > engine.options().limits.command_bytes)
    co_return fail(Code::kTooLarge, "a command of {} bytes, at most {} are allowed", command.size(), engine.options().limits.command_bytes);
  auto start = [&engine, shard, &command](PendingPtr pending) { engine.propose(shard, std::move(command), std::move(pending)); };
  auto result = co_await wait(engine.clock().monotonic() + deadline, start);
  if (!result && result.error().code == Code::kCancelled)
    co_return fail(Code::kOutcomeUnknown, "shard {}: {}", shard.value(), result.error().detail);
  co_return result;
}

net::Task<std::string> Node::query(ShardId shard, std::string query, Read read, Duration deadline) {
  Engine& engine = impl_->engine;
  if (shard.value() > shards()) co_return fail(Code::kInvalidArgument, "shard {} of {}", shard.value(), shards());
  const MonotonicTime until = engine.clock().monotonic() + deadline;
  if (const std::uint32_t life = engine.local(shard); life != 0) {
    Result<std::string> ready;
    if (read == Read::kLinearizable) {
      auto start = [&engine, shard](PendingPtr pending) { engine.read(shard, std::move(pending)); };
      ready = co_await wait(until, start);
    }
    if (ready) {
      std::string answer = engine.machine().query(shard, query, *engine.applier().view(), engine.applier().now(shard));
      // What was read is good if the replica was here before and after; else the shard has moved away.
      if (engine.local(shard) == life) co_return answer;
    } else if (ready.error().code != Code::kNotLeader) {
      co_return ready;
    }
  }
  auto start = [&engine, shard, &query, read](PendingPtr pending) { engine.query(shard, query, read, std::move(pending)); };
  auto result = co_await wait(until, start);
  co_return result;
}

net::Task<StaleAnswer> Node::query_stale(ShardId shard, std::string query, Duration deadline) {
  Engine& engine = impl_->engine;
  if (shard.value() > shards()) co_return fail(Code::kInvalidArgument, "shard {} of {}", shard.value(), shards());
  auto start = [&engine, shard, &query](PendingPtr pending) { engine.query_stale(shard, std::move(query), std::move(pending)); };
  KR_CO_TRY(const std::string bytes, co_await wait(engine.clock().monotonic() + deadline, start));
  Reader in(bytes);
  StaleAnswer answer{.result = {}, .index = in.u64(), .age = Duration(in.i64())};
  answer.result = in.rest();
  if (!in.ok()) co_return fail(Code::kProtocol, "shard {}: a stale answer cut short", shard.value());
  co_return answer;
}

std::uint16_t Node::shards() const { return impl_->engine.options().shards; }

ShardStatus Node::status(ShardId shard) const {
  ShardStatus status{.shard = shard, .leader = {}, .voters = {}};
  if (shard.value() > shards()) return status;
  impl_->engine.on_loop([&] { status = impl_->engine.status(shard); });
  return status;
}

std::vector<ShardStatus> Node::status() const {
  std::vector<ShardStatus> all;
  impl_->engine.on_loop([&] {
    for (std::uint16_t shard = 0; shard <= shards(); ++shard) all.push_back(impl_->engine.status(ShardId{shard}));
  });
  return all;
}

std::vector<PeerStatus> Node::peers() const {
  std::vector<PeerStatus> all;
  impl_->engine.on_loop([&] { all = impl_->engine.peer_status(); });
  return all;
}

std::vector<std::string> Node::voters(ShardId shard) const {
  std::vector<std::string> labels;
  if (shard.value() <= shards()) impl_->engine.on_loop([&] { labels = impl_->engine.voter_labels(shard); });
  return labels;
}

bool Node::local(ShardId shard) const { return shard.value() <= shards() && impl_->engine.is_local(shard); }

std::string Node::not_ready() const {
  std::string why = "this node is stopping";
  impl_->engine.on_loop([&] { why = impl_->engine.not_ready(); });
  return why;
}

void Node::on_leadership(std::function<void(ShardId, bool)> callback) {
  impl_->engine.on_loop([&] { impl_->engine.set_leadership_callback(std::move(callback)); });
}

std::shared_ptr<const AdoptedRing> Node::ring() const { return impl_->engine.ring(); }

void Node::on_ring(std::function<void(std::shared_ptr<const AdoptedRing>)> callback) {
  impl_->engine.on_loop([&] { impl_->engine.set_ring_callback(std::move(callback)); });
}

net::Task<void> Node::report_satisfied(ShardId shard, std::uint64_t epoch) {
  if (shard.value() == 0 || shard.value() > shards()) co_return fail(Code::kInvalidArgument, "shard {} of {}", shard.value(), shards());
  if (!impl_->engine.post([this, shard, epoch] { impl_->engine.report_satisfied(shard, epoch); }))
    co_return fail(Code::kCancelled, "this node is stopping");
  co_return Result<>{};
}

MembershipStatus Node::membership() const {
  MembershipStatus status;
  impl_->engine.on_loop([&] { status = impl_->engine.membership(); });
  return status;
}

void Node::force_adoption() {
  impl_->engine.on_loop([&] { impl_->engine.force_adoption(); });
}

net::Task<void> Node::replace(std::string label) {
  Engine& engine = impl_->engine;
  std::optional<Result<Replace>> command;
  if (!engine.on_loop([&] { command = engine.replacement(label); })) co_return fail(Code::kCancelled, "this node is stopping");
  if (!*command) co_return std::unexpected(command->error());
  KR_CO_TRY(const std::string result, co_await propose(kSystemShard, encode(SystemCommand(**command)), std::chrono::seconds(20)));
  const auto outcome = static_cast<SystemOutcome>(result.empty() ? 1 : result[0]);
  if (outcome != SystemOutcome::kDone) co_return fail(Code::kConflict, "{} was not replaced: {}", label, to_string(outcome));
  co_return Result<>{};
}

void Node::transfer(ShardId shard, std::string label) {
  if (shard.value() <= shards()) impl_->engine.on_loop([&] { impl_->engine.transfer(shard, label); });
}

bool Node::release(ShardId shard) {
  bool released = false;
  if (shard.value() <= shards()) impl_->engine.on_loop([&] { released = impl_->engine.release(shard); });
  return released;
}

void Node::drain() { impl_->engine.drain(); }

std::uint16_t Node::port() const { return impl_->port; }

void Node::stop() {
  if (impl_) impl_->engine.stop(true, false);
}

void Node::kill() { impl_->engine.stop(false, true); }

}  // namespace kraken::group
