// Who may talk to this node. What a peer is was agreed on in group 0: label and incarnation of each member. Who says otherwise
// has forgotten its votes, or is somebody else, and is refused and told why. A node that the ring does not know yet, but the
// hashstate does, is a guest: it may say what it wishes for, and wait to be taken in.

#include <algorithm>

#include "consensus/group/engine.h"
#include "src/base/log.h"

namespace kraken::group {

Hello Engine::hello(std::size_t peer, Hello::Purpose purpose) const {
  return {.purpose = purpose,
          .token = options_.cluster_token,
          .from = options_.label,
          .to = members_[peer].label,
          .shards = options_.shards,
          .members = members_hash_,
          .cluster_id = system_ ? system_->cluster_id : Incarnation{},
          .self = {.incarnation = identity_.incarnation, .boot_epoch = identity_.boot_epoch, .run = identity_.run},
          .earlier = identity_.earlier,
          .recovery_epoch = recovery_epoch_,
          .replace = options_.replace,
          .ring = shown_ring()};
}

/// Of one that comes from before an offline recovery, to the one that came through it.
std::string Engine::bygone(const std::string& label, std::uint64_t recovery_epoch) const {
  if (recovery_epoch >= recovery_epoch_) return {};
  return fmt::format("{} was lost when the others gave it up and went on without it (recovery epoch {}, now it is {}): what it has may "
                     "contradict what was written since. On {}: `kraken repair --set-aside --data <metadata.path>`, then start it with --replace",
                     label, recovery_epoch, recovery_epoch_, label);
}

std::string Engine::objection(const std::string& label, const Incarnation& cluster_id, const PeerMemory& self,
                              std::span<const std::uint32_t> earlier) {
  if (label == options_.label)
    return fmt::format("two nodes have the label {}; give each node of the hashstate its own", label);
  const auto peer = slot_of(label);
  if (!peer) return fmt::format("the label {} is not in the hashstate of {}", label, options_.label);
  if (system_) {
    if (!cluster_id.empty() && cluster_id != system_->cluster_id)
      return fmt::format("{} belongs to another cluster ({}) than {} ({})", label, cluster_id.hex(), options_.label, system_->cluster_id.hex());
    const RingNode* row = system_->active(label);
    if (row && row->incarnation != self.incarnation) {
      strangers_.insert_or_assign(label, Stranger{.incarnation = self.incarnation, .seen = clock_.monotonic()});
      return fmt::format("the metadata folder of {} (incarnation {}) is not the one that is a member ({}): its disk was "
                         "replaced, or two nodes have this label. What forgot its votes must not vote; bring the old folder back, "
                         "or, if it is gone for good, take the new one in its place: kraken repair replace {}",
                         label, self.incarnation.hex(), row->incarnation.hex(), label);
    }
    const RingNode* former = row ? nullptr : system_->member(label, self.incarnation);
    const bool wished = std::ranges::find(options_.members, label, &Member::label) != options_.members.end();
    if (!row && !wished && !(former && former->state == NodeState::kLeaving))
      return fmt::format("{} is not in the ring, nor in the hashstate of {}; if it was taken out, it is safe to stop", label, options_.label);
  }
  const auto known = known_.find(label);
  if (known == known_.end()) return {};
  if (known->second.incarnation != self.incarnation) {
    // A folder that is no member yet may be exchanged, but not while the other is alive.
    if (transport_->up_both(*peer))
      return fmt::format("two nodes have the label {}: another one, with incarnation {}, is connected", label, known->second.incarnation.hex());
    return {};
  }
  switch (judge_start(known->second, self, earlier)) {
    case Start::kSame:
    case Start::kLater: return {};
    case Start::kOlder:
    case Start::kForked:
      return fmt::format("{} runs with an older copy of its metadata folder (start {}, it was seen at {}): it has forgotten what it "
                         "promised since. Move the folder aside",
                         label, self.boot_epoch, known->second.boot_epoch);
    case Start::kTwin: return fmt::format("two processes run as {} with copies of one metadata folder; stop one of them", label);
    case Start::kUnknown:
      return fmt::format("{} has been started {} times since it was met here: whether its metadata folder is still the same cannot be told. "
                         "On {}: `kraken repair --set-aside --data <metadata.path>`, then start it with --replace",
                         label, self.boot_epoch - known->second.boot_epoch, label);
  }
  return {};
}

/// A node without a cluster never founds one beside another; and whoever is taken in by one that came through a recovery belongs
/// to what came after it.
void Engine::heard_of_cluster(const Incarnation& cluster_id, std::uint64_t recovery_epoch) {
  if (system_ || cluster_id.empty()) return;
  must_join_ = true;
  recovery_seen_ = std::max(recovery_seen_, recovery_epoch);
}

std::string Engine::shown_ring() const {
  std::string ring = system_ ? encode(*system_) : std::string();
  if (ring.size() > kShownRingMax) ring.clear();
  return ring;
}

/// Before the other side is judged by the ring as this node knows it: one that was away while the folders of others were replaced
/// would refuse them all, and no connection would stand on which it could hear of their ring. It is group 0's committed state, as in
/// kSystemState. Whoever shows it must be in it, and of this side of any recovery; and so must this node: one whose folder was
/// replaced goes on knowing the ring that it was in, and says why it is refused.
Result<> Engine::heard_of_ring(const std::string& label, const PeerMemory& self, std::uint64_t recovery_epoch, std::string_view shown) {
  if (!system_ || shown.empty() || recovery_epoch != recovery_epoch_) return {};
  KR_TRY(SystemState state, decode_system_state(shown));
  const auto in = [&state](const std::string& who, const Incarnation& incarnation) {
    const RingNode* row = state.member(who, incarnation);
    return row && row->state != NodeState::kDead;
  };
  if (in(label, self.incarnation) && in(options_.label, identity_.incarnation)) system_changed(std::move(state));
  return {};
}

net::Task<Welcome> Engine::greet(Hello from) {
  Welcome welcome{.label = options_.label,
                  .cluster_id = system_ ? system_->cluster_id : Incarnation{},
                  .self = {.incarnation = identity_.incarnation, .boot_epoch = identity_.boot_epoch, .run = identity_.run},
                  .earlier = identity_.earlier,
                  .recovery_epoch = recovery_epoch_};
  if (from.token != options_.cluster_token) {
    welcome.reason = "its cluster token is another one";
  } else if (from.to != options_.label) {
    welcome.reason = fmt::format("it looks for {}, but this is {}; look at the hashstate's addresses", from.to, options_.label);
  } else if (from.shards != options_.shards) {
    welcome.reason = fmt::format("it has {} shards, {} has {}; the number is fixed once a cluster has formed", from.shards, options_.label, options_.shards);
  } else if (!system_ && from.cluster_id.empty() && from.members != members_hash_) {
    welcome.reason = fmt::format("its hashstate differs from that of {}; give all nodes the same", options_.label);
  } else if (!from.cluster_id.empty() && !bygone(from.from, from.recovery_epoch).empty()) {
    welcome.reason = bygone(from.from, from.recovery_epoch);
  } else if (const auto heard = heard_of_ring(from.from, from.self, from.recovery_epoch, from.ring); !heard) {
    welcome.reason = fmt::format("the ring it shows cannot be read: {}", heard.error().to_string());
  } else {
    welcome.reason = objection(from.from, from.cluster_id, from.self, from.earlier);
    if (!welcome.reason.empty() && from.replace && strangers_.contains(from.from)) replace_wanted_.insert(from.from);
  }
  if (!welcome.reason.empty()) {
    // Whoever is refused knocks again every second.
    if (std::exchange(refused_[from.from.substr(0, 255)], welcome.reason) != welcome.reason)
      log::warn("raft.refuse", "from={} reason=\"{}\"", from.from, welcome.reason);
    if (refused_.size() > kNodesMax) refused_.clear();
    if (from.token == options_.cluster_token) welcome.ring = shown_ring();
    co_return welcome;
  }
  // The state may come over this connection before any of our own has been welcomed.
  heard_of_cluster(from.cluster_id, from.recovery_epoch);
  KR_CO_CHECK(co_await remember(from.from, from.self));
  if (const auto slot = slot_of(from.from); slot && from.purpose == Hello::Purpose::kRaft) inbound_[*slot] = from.self.incarnation;
  welcome.accepted = true;
  co_return welcome;
}

net::Task<void> Engine::welcomed(std::size_t peer, Welcome welcome) {
  const Member member = transport_->address(peer);
  // Whoever refuses us may still tell that there is a cluster.
  heard_of_cluster(welcome.cluster_id, 0);
  KR_CO_CHECK(heard_of_ring(welcome.label, welcome.self, welcome.recovery_epoch, welcome.ring));
  if (!welcome.accepted) co_return fail(Code::kDenied, "{} refuses this node: {}", member.label, welcome.reason);
  if (welcome.label != member.label)
    co_return fail(Code::kDenied, "{}:{} answers as {}, the hashstate has {} there", member.host, member.port, welcome.label, member.label);
  if (std::string why = objection(welcome.label, welcome.cluster_id, welcome.self, welcome.earlier); !why.empty())
    co_return fail(Code::kDenied, "{}", why);
  if (std::string why = bygone(welcome.label, welcome.recovery_epoch); !why.empty() && !welcome.cluster_id.empty())
    co_return fail(Code::kDenied, "{}", why);
  heard_of_cluster(welcome.cluster_id, welcome.recovery_epoch);
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

}  // namespace kraken::group
