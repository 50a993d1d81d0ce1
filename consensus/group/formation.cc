// Who may talk to this node, and how a cluster comes to be.
//
// A cluster forms once, when every member has been reached. The founder is the first in HRW order for the system shard. Each
// other member durably binds itself to the founder's incarnation (a pledge) and says so; when the founder has heard from all, it
// writes the member table, with everybody's incarnation, and hands it out. So two data folders with one label can never both
// be members: the founder's table names one of them; and with two founders neither has every pledge (consensus §1.6).
// After that, the table decides who is who; what says otherwise is refused and told why.

#include <algorithm>

#include "consensus/group/engine.h"
#include "src/base/assert.h"
#include "src/base/log.h"
#include "src/base/rng.h"

namespace kraken::group {
namespace {

constexpr std::string_view kSystemKey = "shard/sys";

std::string placement_key(ShardId shard) {
  return shard == kSystemShard ? std::string(kSystemKey) : fmt::format("shard/{}", shard.value() - 1);
}

std::vector<std::string> order(const NodeOptions& options, std::span<const Member> members, std::string_view key) {
  if (options.order) return options.order(members, key);
  std::vector<std::string> labels;
  for (const Member& member : members) labels.push_back(member.label);
  std::ranges::sort(labels);
  return labels;
}

}  // namespace

// ---- handshakes ----

Hello Engine::hello(std::size_t peer, Hello::Purpose purpose) const {
  return {.purpose = purpose,
          .token = options_.cluster_token,
          .from = options_.label,
          .to = options_.members[peer].label,
          .shards = options_.shards,
          .members = members_hash_,
          .cluster_id = table_ ? table_->cluster_id : Incarnation{},
          .self = {.incarnation = identity_.incarnation, .boot_epoch = identity_.boot_epoch, .run = run_},
          .recovery_epoch = recovery_epoch_};
}

/// Of one that comes from before an offline recovery, to the one that came through it.
std::string Engine::bygone(const std::string& label, std::uint64_t recovery_epoch) const {
  if (recovery_epoch >= recovery_epoch_) return {};
  return fmt::format("{} was lost when the others gave it up and went on without it (recovery epoch {}, now it is {}): what it has may "
                     "contradict what was written since. On {}: `kraken repair --set-aside --data <metadata.path>`, then start it again",
                     label, recovery_epoch, recovery_epoch_, label);
}

std::string Engine::objection(const std::string& label, const Incarnation& cluster_id, const PeerMemory& self) const {
  if (label == options_.label)
    return fmt::format("two nodes have the label {}; give each node of the hashstate its own", label);
  const auto member = std::ranges::find(options_.members, label, &Member::label);
  if (member == options_.members.end()) return fmt::format("the label {} is not in the hashstate of {}", label, options_.label);
  if (table_) {
    const MemberTable::Row* row = table_->find(label);
    if (!row) return fmt::format("{} is not one of the nodes that this cluster was formed from", label);
    if (!cluster_id.empty() && cluster_id != table_->cluster_id)
      return fmt::format("{} belongs to another cluster ({}) than {} ({})", label, cluster_id.hex(), options_.label, table_->cluster_id.hex());
    if (row->incarnation != self.incarnation)
      return fmt::format("the metadata folder of {} (incarnation {}) is not the one that is a member ({}): its disk was "
                         "replaced, or two nodes have this label. What forgot its votes must not vote; bring the old folder back",
                         label, self.incarnation.hex(), row->incarnation.hex());
  }
  const auto known = known_.find(label);
  if (known == known_.end()) return {};
  if (known->second.incarnation != self.incarnation) {
    const auto peer = static_cast<std::size_t>(member - options_.members.begin());
    // Until the cluster has formed a folder may be replaced, but not while the other is alive.
    if (transport_->up_both(peer))
      return fmt::format("two nodes have the label {}: another one, with incarnation {}, is connected", label, known->second.incarnation.hex());
    return {};
  }
  if (known->second.boot_epoch > self.boot_epoch)
    return fmt::format("{} runs with an older copy of its metadata folder (start {}, it was seen at {}): it has forgotten what it "
                       "promised since. Move the folder aside",
                       label, self.boot_epoch, known->second.boot_epoch);
  if (known->second.boot_epoch == self.boot_epoch && known->second.run != self.run)
    return fmt::format("two processes run as {} with copies of one metadata folder; stop one of them", label);
  return {};
}

net::Task<Welcome> Engine::greet(Hello from) {
  Welcome welcome{.label = options_.label,
                  .cluster_id = table_ ? table_->cluster_id : Incarnation{},
                  .self = {.incarnation = identity_.incarnation, .boot_epoch = identity_.boot_epoch, .run = run_},
                  .recovery_epoch = recovery_epoch_};
  if (from.token != options_.cluster_token) {
    welcome.reason = "its cluster token is another one";
  } else if (from.to != options_.label) {
    welcome.reason = fmt::format("it looks for {}, but this is {}; look at the hashstate's addresses", from.to, options_.label);
  } else if (from.shards != options_.shards) {
    welcome.reason = fmt::format("it has {} shards, {} has {}; the number is fixed once a cluster has formed", from.shards, options_.label, options_.shards);
  } else if (!table_ && from.cluster_id.empty() && from.members != members_hash_) {
    welcome.reason = fmt::format("its hashstate differs from that of {}; give all nodes the same", options_.label);
  } else if (!from.cluster_id.empty() && !bygone(from.from, from.recovery_epoch).empty()) {
    welcome.reason = bygone(from.from, from.recovery_epoch);
  } else {
    welcome.reason = objection(from.from, from.cluster_id, from.self);
  }
  if (!welcome.reason.empty()) {
    log::warn("raft.refuse", "from={} reason=\"{}\"", from.from, welcome.reason);
    co_return welcome;
  }
  KR_CO_CHECK(co_await remember(from.from, from.self));
  const auto member = std::ranges::find(options_.members, from.from, &Member::label);
  if (from.purpose == Hello::Purpose::kRaft)
    inbound_[static_cast<std::size_t>(member - options_.members.begin())] = from.self.incarnation;
  welcome.accepted = true;
  co_return welcome;
}

net::Task<void> Engine::welcomed(std::size_t peer, Welcome welcome) {
  const Member& member = options_.members[peer];
  if (!welcome.accepted) co_return fail(Code::kDenied, "{} refuses this node: {}", member.label, welcome.reason);
  if (welcome.label != member.label)
    co_return fail(Code::kDenied, "{}:{} answers as {}, the hashstate has {} there", member.host, member.port, welcome.label, member.label);
  if (std::string why = objection(welcome.label, welcome.cluster_id, welcome.self); !why.empty())
    co_return fail(Code::kDenied, "{}", why);
  if (std::string why = bygone(welcome.label, welcome.recovery_epoch); !why.empty() && !welcome.cluster_id.empty())
    co_return fail(Code::kDenied, "{}", why);
  KR_CO_CHECK(co_await remember(welcome.label, welcome.self));
  linked_[peer] = welcome.self.incarnation;
  co_return Result<>{};
}

/// Durable before anything is exchanged: after our own crash an older copy of the peer must still be recognised.
net::Task<void> Engine::remember(std::string label, PeerMemory self) {
  const auto known = known_.find(label);
  if (known != known_.end() && known->second.incarnation == self.incarnation && known->second.boot_epoch == self.boot_epoch &&
      known->second.run == self.run)
    co_return Result<>{};
  kv::Batch batch;
  batch.put(kv::Family::kRaft, peer_key(label), encode(self));
  known_.insert_or_assign(std::move(label), self);
  KR_CO_CHECK(co_await durable(std::move(batch)));
  co_return Result<>{};
}

net::Task<void> Engine::durable(kv::Batch batch) {
  auto shared = std::make_shared<kv::Batch>(std::move(batch));
  auto start = [this, shared](PendingPtr pending) {
    writer_->put(std::move(*shared), [this, pending] { post([this, pending] { answers_.add(pending, std::string()); }); });
  };
  auto done = co_await wait(MonotonicTime::max(), start);
  if (!done) co_return std::unexpected(done.error());
  co_return Result<>{};
}

// ---- forming ----

std::size_t Engine::founder() const {
  const std::string label = order(options_, options_.members, kSystemKey).front();
  const auto found = std::ranges::find(options_.members, label, &Member::label);
  KR_ASSERT(found != options_.members.end());
  return static_cast<std::size_t>(found - options_.members.begin());
}

void Engine::pledge_to_founder() {
  const std::size_t to = founder();
  if (table_ || to == self_ || !transport_->up(to) || pledging_) return;
  const Incarnation incarnation = *linked_[to];
  if (pledge_ && *pledge_ != incarnation) {
    log::error("raft.formation",
               "This node bound itself to another metadata folder of {} ({}). If that is gone for good and no node of the "
               "cluster has data yet, empty the metadata folders of all nodes and start again",
               options_.members[to].label, pledge_->hex());
    return;
  }
  const auto say = [this, to, incarnation] {
    if (!transport_->up(to)) return;
    std::string frames;
    append_frame(FrameKind::kPledge, incarnation.view(), frames);
    transport_->send(to, std::move(frames), false);
    transport_->flush(to);
  };
  if (pledge_) return say();
  pledging_ = true;
  kv::Batch batch;
  batch.put(kv::Family::kRaft, pledge_key(), std::string(incarnation.view()));
  writer_->put(std::move(batch), [this, incarnation, say] {
    post([this, incarnation, say] {
      pledging_ = false;
      pledge_ = incarnation;
      say();
    });
  });
}

Result<> Engine::on_pledge(std::size_t peer, std::string_view payload) {
  if (payload.size() != 16) return fail(Code::kProtocol, "pledge: {} bytes", payload.size());
  if (table_) {
    send_table(peer);
    return {};
  }
  if (Incarnation::from(payload) != identity_.incarnation || founder() != self_ || !inbound_[peer])
    return fail(Code::kProtocol, "a pledge that is meant for another node");
  pledged_.insert_or_assign(options_.members[peer].label, *inbound_[peer]);
  try_form();
  return {};
}

void Engine::try_form() {
  if (table_ || forming_ || founder() != self_) return;
  MemberTable table{.cluster_id = Incarnation::random(), .founder = identity_.incarnation, .shards = options_.shards, .rows = {}};
  for (const Member& member : options_.members) {
    MemberTable::Row row{.label = member.label, .weight = member.weight, .incarnation = identity_.incarnation};
    if (member.label != options_.label) {
      const auto pledged = pledged_.find(member.label);
      if (pledged == pledged_.end()) return;
      row.incarnation = pledged->second;
    }
    table.rows.push_back(std::move(row));
  }
  std::ranges::sort(table.rows, {}, &MemberTable::Row::label);
  for (std::size_t i = 0; i < table.rows.size(); ++i) table.rows[i].replica = raft::ReplicaId{i + 1};
  forming_ = true;
  writer_->put(first_rows(table), [this, table] {
    post([this, table] { adopt(table); });
  });
}

void Engine::send_table(std::size_t peer) {
  if (!table_ || !transport_->up(peer)) return;
  std::string frames;
  append_frame(FrameKind::kMemberTable, encode(*table_), frames);
  transport_->send(peer, std::move(frames), false);
  transport_->flush(peer);
}

Result<> Engine::on_table(std::size_t, std::string_view payload) {
  KR_TRY(MemberTable table, decode_table(payload));
  if (table_) {
    if (table.cluster_id != table_->cluster_id) return fail(Code::kProtocol, "the member table of another cluster");
    return {};
  }
  if (forming_) return {};
  const MemberTable::Row* own = table.find(options_.label);
  if (!own || own->incarnation != identity_.incarnation || table.shards != options_.shards)
    return fail(Code::kProtocol, "a member table that this node is not in");
  if (table.founder != identity_.incarnation && pledge_ != table.founder)
    return fail(Code::kProtocol, "the member table of a founder that this node did not bind itself to");
  forming_ = true;
  writer_->put(first_rows(table), [this, table] {
    post([this, table] { adopt(table); });
  });
  return {};
}

/// The table, and of each shard this node is a member of, where its log begins.
kv::Batch Engine::first_rows(const MemberTable& table) const {
  kv::Batch batch;
  batch.put(kv::Family::kRaft, table_key(), encode(table));
  const raft::ReplicaId self = table.find(options_.label)->replica;
  for (std::uint16_t i = 0; i <= options_.shards; ++i) {
    const ShardId shard{i};
    raft::SnapMeta meta;
    meta.conf.voters = place(table, shard);
    if (std::ranges::find(meta.conf.voters, self) == meta.conf.voters.end()) continue;
    batch.put(kv::Family::kRaft, snap_meta_key(shard), encode_snap_meta(shard, meta));
  }
  return batch;
}

void Engine::adopt(MemberTable table) {
  if (stopped_) return;
  table_ = std::move(table);
  forming_ = false;
  log::info("raft.formed", "cluster={} members={} shards={}", table_->cluster_id.hex(), table_->rows.size(), table_->shards);
  bind_members();
  for (std::size_t peer = 0; peer < options_.members.size(); ++peer) {
    if (peer == self_) continue;
    const MemberTable::Row* row = table_->find(options_.members[peer].label);
    if (!row || (linked_[peer] && *linked_[peer] != row->incarnation)) transport_->drop_outbound(peer);
    if (!row || (inbound_[peer] && *inbound_[peer] != row->incarnation)) transport_->drop_inbound(peer);
    send_table(peer);
  }
  if (const auto loaded = load_groups(); !loaded) {
    // Written a moment ago; a store that does not give it back cannot be trusted with more.
    log::error("raft.formation", "error=\"{}\"", loaded.error().to_string());
    return;
  }
  start_groups();
}

void Engine::bind_members() {
  peer_by_replica_.clear();
  for (std::size_t peer = 0; peer < options_.members.size(); ++peer) {
    const MemberTable::Row* row = table_->find(options_.members[peer].label);
    if (row) peer_by_replica_.emplace(row->replica, peer);
    else log::warn("raft.members", "label={} is in the hashstate but not in the cluster; the ring does not change yet", options_.members[peer].label);
  }
  for (const MemberTable::Row& row : table_->rows)
    if (!peer_by_replica_.contains(row.replica))
      log::warn("raft.members", "label={} is in the cluster but not in the hashstate; it cannot be reached", row.label);
  self_replica_ = table_->find(options_.label)->replica;
  publish_ring();
  voters_.clear();
  for (std::uint16_t shard = 0; shard <= options_.shards; ++shard) voters_.push_back(place(*table_, ShardId{shard}));
}

void Engine::publish_ring() {
  auto ring = std::make_shared<AdoptedRing>();
  ring->epoch = 1;
  ring->settled = true;
  for (const MemberTable::Row& row : table_->rows) {
    RingNode& node = ring->nodes.emplace_back();
    node.label = row.label;
    node.weight = row.weight;
    node.incarnation = row.incarnation;
    node.member = static_cast<std::uint32_t>(raft::raw(row.replica));
    if (const auto member = std::ranges::find(options_.members, row.label, &Member::label); member != options_.members.end()) {
      node.host = member->host;
      node.port = member->port;
    }
  }
  {
    const std::scoped_lock lock(ring_mutex_);
    ring_ = ring;
  }
  if (on_ring_) on_ring_(std::move(ring));
}

std::shared_ptr<const AdoptedRing> Engine::ring() const {
  const std::scoped_lock lock(ring_mutex_);
  return ring_;
}

std::vector<raft::ReplicaId> Engine::place(const MemberTable& table, ShardId shard) const {
  std::vector<Member> members;
  for (const MemberTable::Row& row : table.rows) members.push_back({.label = row.label, .host = {}, .weight = row.weight});
  std::vector<raft::ReplicaId> voters;
  for (const std::string& label : order(options_, members, placement_key(shard))) {
    if (voters.size() == std::max<std::size_t>(options_.replicas, 1)) break;
    voters.push_back(table.find(label)->replica);
  }
  return voters;
}

Result<> Engine::load_groups() {
  const auto view = store_.snapshot();
  for (std::uint16_t i = 0; i <= options_.shards; ++i) {
    const auto& voters = voters_[i];
    if (std::ranges::find(voters, self_replica_) == voters.end()) continue;
    KR_TRY(LoadedLog log, load_log(*view, ShardId{i}));
    loaded_.emplace(ShardId{i}, std::move(log));
  }
  return {};
}

void Engine::start_groups() {
  now_ = clock_.monotonic();
  for (auto& [shard, log] : loaded_) {
    const auto& voters = voters_[shard.value()];
    log.boot.self = self_replica_;
    log.boot.boot_time = now_;
    raft::Options options;
    options.heartbeat = options_.timings.beat;
    options.election_min = options_.timings.election_min;
    options.election_max = options_.timings.election_max;
    options.election_rank = static_cast<std::uint32_t>(std::ranges::find(voters, self_replica_) - voters.begin());
    options.max_uncommitted_bytes = options_.limits.uncommitted_bytes;
    auto group = std::make_unique<Group>(
        shard, raft::Core(group::group_of(shard), log.boot, options, LoadedTerms(log), random_seed()));
    group->deadline = group->core.deadline();
    group->applied = log.applied.index;
    group->first = log.boot.first;
    group->sizes.assign(log.bytes.begin(), log.bytes.end());
    for (const std::uint32_t bytes : log.bytes) group->log_bytes += bytes + 64;
    applier_->restore(shard, {});
    group->fenced = log.fence;
    group->fenced_at = log.applied.index;
    groups_[shard.value()] = std::move(group);
    local_[shard.value()].store(true, std::memory_order_release);
    if (!groups_[shard.value()]->fenced.empty()) {
      log::error("raft.fenced", "shard={} This replica still does not serve the shard: {}", shard.value(), groups_[shard.value()]->fenced);
      close_fence(*groups_[shard.value()]);
    }
  }
  loaded_.clear();
  for (const ShardId shard : active_) pump(shard);
  schedule_turn();
}

}  // namespace kraken::group
