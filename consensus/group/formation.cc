// How a cluster comes to be.
//
// It forms once, when every node of the hashstate has been reached. The founder is the first in HRW order for the system group.
// Each other node durably binds itself to the founder's incarnation (a pledge) and says so; when the founder has heard from
// all, it writes the first state of group 0, with everybody's incarnation, and hands it out. So two data folders with one label
// can never both be members: the founder's state names one of them; and with two founders neither has every pledge
// (consensus §1.6). A node that has heard of a cluster never founds one: it waits to be taken in.
//
// What the founder hands out is the whole of group 0's state at epoch 1; from it every node derives the same first
// configuration of each shard. Each log begins behind kGenesisIndex, as if it had been compacted.

#include <algorithm>

#include "consensus/group/engine.h"
#include "consensus/group/replica.h"
#include "src/base/assert.h"
#include "src/base/log.h"
#include "src/base/rng.h"

namespace kraken::group {

std::size_t Engine::founder() const {
  std::vector<std::string> labels;
  if (options_.order) {
    labels = options_.order(options_.members, "shard/sys");
  } else {
    for (const Member& member : options_.members) labels.push_back(member.label);
    std::ranges::sort(labels);
  }
  const auto slot = slot_of(labels.front());
  KR_ASSERT(slot.has_value());
  return *slot;
}

void Engine::pledge_to_founder() {
  const std::size_t to = founder();
  if (system_ || must_join_ || to == self_ || !transport_->up(to) || pledging_) return;
  const Incarnation incarnation = *linked_[to];
  if (pledge_ && *pledge_ != incarnation) {
    log::error("raft.formation",
               "This node bound itself to another metadata folder of {} ({}). If that is gone for good and no node of the "
               "cluster has data yet, empty the metadata folders of all nodes and start again",
               members_[to].label, pledge_->hex());
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
  if (system_) {
    send_state(peer);
    return {};
  }
  if (Incarnation::from(payload) != identity_.incarnation || founder() != self_ || !inbound_[peer])
    return fail(Code::kProtocol, "a pledge that is meant for another node");
  pledged_.insert_or_assign(members_[peer].label, *inbound_[peer]);
  try_form();
  return {};
}

void Engine::try_form() {
  if (system_ || forming_ || must_join_ || founder() != self_) return;
  std::vector<AdoptRing::Node> nodes;
  for (const Member& member : options_.members) {
    AdoptRing::Node& node = nodes.emplace_back();
    node.node = {.label = member.label, .host = member.host, .port = member.port, .weight = member.weight};
    node.incarnation = identity_.incarnation;
    if (member.label == options_.label) continue;
    const auto pledged = pledged_.find(member.label);
    if (pledged == pledged_.end()) return;
    node.incarnation = pledged->second;
  }
  const auto replicas = static_cast<std::uint16_t>(std::max<std::size_t>(options_.replicas, 1));
  SystemState state = found_cluster(Incarnation::random(), identity_.incarnation, options_.shards, replicas, std::move(nodes));
  forming_ = true;
  writer_->put(first_rows(state), [this, state] {
    post([this, state] { become_member(state); });
  });
}

void Engine::send_state(std::size_t peer) {
  if (!system_ || !transport_->up(peer)) return;
  std::string frames;
  append_frame(FrameKind::kSystemState, encode(*system_), frames);
  transport_->send(peer, std::move(frames), false);
  transport_->flush(peer);
}

Result<> Engine::on_state(std::size_t, std::string_view payload) {
  KR_TRY(SystemState state, decode_system_state(payload));
  if (system_) {
    if (state.cluster_id != system_->cluster_id) return fail(Code::kProtocol, "the state of another cluster");
    system_changed(std::move(state));
    return {};
  }
  must_join_ = true;
  const RingNode* own = state.member(options_.label, identity_.incarnation);
  if (forming_ || !own || own->state == NodeState::kDead) return {};  // not taken in yet
  if (state.shards != options_.shards) return fail(Code::kProtocol, "a cluster of {} shards", state.shards);
  if (state.epoch == 1 && state.founder != identity_.incarnation && pledge_ != state.founder)
    return fail(Code::kProtocol, "the first state of a founder that this node did not bind itself to");
  forming_ = true;
  writer_->put(first_rows(state), [this, state] {
    post([this, state] { become_member(state); });
  });
  return {};
}

/// The state, and, if the cluster has just formed, of each shard this node is a member of, where its log begins. Who comes
/// later begins without replicas.
kv::Batch Engine::first_rows(const SystemState& state) const {
  kv::Batch batch;
  batch.put(kv::Family::kRaft, system_copy_key(), encode(state));
  if (recovery_seen_ > recovery_epoch_) batch.put(kv::Family::kRaft, recovery_key(), encode_recovery_epoch(recovery_seen_));
  if (state.epoch != 1) return batch;
  batch.append(first_replicas(state, state.member(options_.label, identity_.incarnation)->member, options_.order));
  return batch;
}

void Engine::become_member(SystemState state) {
  if (stopped_) return;
  system_ = std::move(state);
  recovery_epoch_ = std::max(recovery_epoch_, recovery_seen_);
  forming_ = false;
  const bool founded = system_->epoch == 1;
  log::info(founded ? "raft.formed" : "raft.joined", "cluster={} epoch={} members={} shards={}", system_->cluster_id.hex(), system_->epoch,
            system_->ring().size(), system_->shards);
  bind_members();
  cut_strangers();
  for (std::size_t peer = 0; peer < members_.size(); ++peer)
    if (peer != self_) send_state(peer);
  if (const auto loaded = load_groups(); !loaded) {
    // Written a moment ago; a store that does not give it back cannot be trusted with more.
    log::error("raft.formation", "error=\"{}\"", loaded.error().to_string());
    return;
  }
  start_groups();
}

Result<> Engine::load_groups() {
  const auto view = store_.snapshot();
  for (std::uint16_t i = 0; i <= options_.shards; ++i) {
    KR_TRY(tombstones_[i], load_tombstone(*view, ShardId{i}));
    KR_TRY(const auto replica, load_replica(*view, ShardId{i}));
    if (!replica) continue;
    KR_TRY(LoadedLog log, load_log(*view, ShardId{i}));
    log.boot.self = *replica;
    loaded_.emplace(ShardId{i}, std::move(log));
  }
  return {};
}

void Engine::start_groups() {
  now_ = clock_.monotonic();
  for (auto& [shard, log] : loaded_) start_group(shard, std::move(log));
  loaded_.clear();
  for (const ShardId shard : active_) pump(shard);
  schedule_turn();
}

Engine::Group& Engine::start_group(ShardId shard, LoadedLog log) {
  log.boot.boot_time = now_;
  const auto& wanted = targets_[shard.value()].voters;
  raft::Options options;
  options.heartbeat = options_.timings.beat;
  options.election_min = options_.timings.election_min;
  options.election_max = options_.timings.election_max;
  options.election_rank = static_cast<std::uint32_t>(std::ranges::find(wanted, raft::member_of(log.boot.self)) - wanted.begin());
  options.max_uncommitted_bytes = options_.limits.uncommitted_bytes;
  auto made = std::make_unique<Group>(shard, raft::Core(group::group_of(shard), log.boot, options, LoadedTerms(log), random_seed()));
  Group& group = *made;
  deadlines_[shard.value()] = group.core.deadline();
  group.applied = log.applied.index;
  group.first = log.boot.first;
  group.sizes.assign(log.bytes.begin(), log.bytes.end());
  for (const std::uint32_t bytes : log.bytes) group.log_bytes += bytes + 64;
  group.led = now_;
  applier_->restore(shard, {});
  group.fenced = log.fence;
  group.fenced_at = log.applied.index;
  groups_[shard.value()] = std::move(made);
  // An empty replica has nothing to read yet: see applied().
  if (raft::raw(log.applied.index) != 0) set_local(shard, true);
  if (!group.fenced.empty()) {
    log::error("raft.fenced", "shard={} This replica still does not serve the shard: {}", shard.value(), group.fenced);
    close_fence(group);
  }
  if (sick_ || draining_) set_sick(group);
  return group;
}

}  // namespace kraken::group
