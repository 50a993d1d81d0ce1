// The ring as this node has heard of it, and what follows: whom it talks to and where, where shards belong, what it reports of
// itself, and, on the leader of group 0, when another ring is adopted. Everything here may lag behind without harm.

#include <algorithm>

#include "consensus/group/engine.h"
#include "consensus/group/replica.h"
#include "src/base/codec.h"
#include "src/base/log.h"

namespace kraken::group {
namespace {

constexpr Duration kReportLife = std::chrono::seconds(4);   // reports come once a second
constexpr Duration kFedLately = std::chrono::seconds(10);   // a leader's beats come many times a second
constexpr Duration kKnockLife = std::chrono::seconds(30);   // a stranger knocks about once a second
constexpr Duration kHandOverPause = std::chrono::seconds(5);  // an attempt that failed is not repeated at once: proposals wait meanwhile
constexpr std::size_t kSlotsMax = 4 * kNodesMax;

}  // namespace

std::optional<std::size_t> Engine::slot_of(std::string_view label) const {
  const auto found = std::ranges::find(members_, label, &Member::label);
  if (found == members_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - members_.begin());
}

std::size_t Engine::add_slot(Member member) {
  members_.push_back(member);
  linked_.emplace_back();
  inbound_.emplace_back();
  up_since_.emplace_back();
  reports_.emplace_back();
  peer_out_.emplace_back();
  return transport_->add(std::move(member));
}

/// Slots, addresses and targets from the state. The hashstate's address of a label is tried as well as the ring's: either may
/// be the newer one.
void Engine::bind_members() {
  slot_by_member_.clear();
  const RingNode* own = system_->member(options_.label, identity_.incarnation);
  self_member_ = own ? own->member : 0;
  for (const RingNode& row : system_->nodes) {
    if (row.state == NodeState::kDead || (!row.active() && system_->active(row.label))) continue;
    auto slot = slot_of(row.label);
    if (!slot) {
      if (members_.size() >= kSlotsMax) continue;
      slot = add_slot({.label = row.label, .host = row.host, .port = row.port, .weight = row.weight});
    }
    slot_by_member_.emplace(row.member, *slot);
    if (*slot == self_) continue;
    std::vector<Member> addresses{{.label = row.label, .host = row.host, .port = row.port, .weight = row.weight}};
    const auto wished = std::ranges::find(options_.members, row.label, &Member::label);
    if (wished != options_.members.end() && (wished->host != row.host || wished->port != row.port)) addresses.push_back(*wished);
    transport_->set_addresses(*slot, std::move(addresses));
  }
  targets_.clear();
  for (std::uint16_t shard = 0; shard <= options_.shards; ++shard) targets_.push_back(place(*system_, ShardId{shard}, options_.order));
  publish_ring();
}

void Engine::publish_ring() {
  auto ring = std::make_shared<const AdoptedRing>(system_->adopted());
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

/// From group 0's rows here, or from a peer: the newest counts.
void Engine::system_changed(SystemState state) {
  if (stopped_ || !system_ || state.cluster_id != system_->cluster_id || state.revision <= system_->revision) return;
  const bool ring_changed = state.epoch != system_->epoch;
  const bool settled = !system_->settled() && state.settled();
  system_ = std::move(state);
  if (!ring_changed && !settled) return;
  now_ = clock_.monotonic();
  bind_members();
  log::info("raft.ring", "epoch={} nodes={} settled={}", system_->epoch, system_->ring().size(), system_->settled());
  kv::Batch batch;
  batch.put(kv::Family::kRaft, system_copy_key(), encode(*system_));
  writer_->put(std::move(batch), {});
  for (std::size_t peer = 0; peer < members_.size(); ++peer)
    if (peer != self_) send_state(peer);
  cut_strangers();
  next_moves_ = now_;
  for (const ShardId shard : active_) pump(shard);
  schedule_turn();
}

/// Connections that were made before the ring said who is behind a label.
void Engine::cut_strangers() {
  for (std::size_t peer = 0; peer < members_.size(); ++peer) {
    const RingNode* row = peer == self_ ? nullptr : system_->active(members_[peer].label);
    if (!row) continue;
    if (linked_[peer] && *linked_[peer] != row->incarnation) transport_->drop_outbound(peer);
    if (inbound_[peer] && *inbound_[peer] != row->incarnation) transport_->drop_inbound(peer);
  }
}

std::string Engine::label_of(std::uint32_t member) const {
  const RingNode* row = system_ ? system_->member(member) : nullptr;
  if (!row) return fmt::format("member {}", member);
  return row->state == NodeState::kDead ? row->label + " (gone)" : row->label;
}

/// How a request is told where to go instead; only the member number is read.
raft::ReplicaId Engine::hint_of(std::size_t peer) const {
  for (const auto& [number, slot] : slot_by_member_)
    if (slot == peer) return raft::replica_id(number, 1);
  return raft::ReplicaId{};
}

// ---- reports ----

bool Engine::live(std::size_t peer) const {
  return peer == self_ || (transport_->up(peer) && reports_[peer].at != MonotonicTime::min() && now_ - reports_[peer].at < kReportLife);
}

Report Engine::own_report() const {
  Report report;
  for (const Member& member : options_.members)
    report.wish.push_back({.label = member.label, .host = member.host, .port = member.port, .weight = member.weight});
  for (std::size_t peer = 0; peer < members_.size(); ++peer)
    if (peer != self_ && transport_->up_both(peer)) report.hears.push_back(members_[peer].label);
  for (const auto& group : groups_) {
    if (!group) continue;
    ++report.replicas;
    // One that nobody feeds must not keep others out: its leader may have gone before it was a member for good, and nobody else knows of it.
    if (!group->caught_up && raft::raw(group->applied) == 0 && now_ - group->led < kFedLately) ++report.snapshots;
  }
  return report;
}

void Engine::send_reports() {
  const std::string payload = encode(own_report());
  for (std::size_t peer = 0; peer < members_.size(); ++peer)
    if (peer != self_) send_report(peer, payload);
}

void Engine::send_report(std::size_t peer, const std::string& payload) {
  if (!transport_->up(peer) || payload.size() > kFrameBytesMax) return;
  std::string frames;
  append_frame(FrameKind::kReport, payload, frames);
  transport_->send(peer, std::move(frames), true);
  transport_->flush(peer);
}

Result<> Engine::on_report(std::size_t peer, std::string_view payload) {
  KR_TRY(Report said, decode_report(payload));
  Reported& report = reports_[peer];
  const std::uint64_t wish = hash_of(said.wish);
  if (report.at == MonotonicTime::min() || now_ - report.at > kReportLife || report.wish != wish) report.since = now_;
  report.wish = wish;
  report.at = now_;
  report.said = std::move(said);
  return {};
}

// ---- another ring ----

/// Once a second; acts on the leader of group 0 alone.
void Engine::look_at_adoption() {
  Group* system = group_of(kSystemShard);
  if (!system_ || !system || !system->serving || !system->core.view().is_leader) {
    adoption_waits_for_.clear();
    return;
  }
  AdoptionView view{.state = *system_, .leader = options_.label, .reports = {}, .system_voters = {},
                    .stable_for = options_.timings.adopt_after, .force = now_ < adopt_force_until_};
  for (const raft::ReplicaId id : system->core.conf().voters) view.system_voters.push_back(raft::member_of(id));
  view.reports.push_back({.label = options_.label, .incarnation = identity_.incarnation, .wish = own_report().wish, .since = now_ - started_});
  for (std::size_t peer = 0; peer < members_.size(); ++peer) {
    if (peer == self_ || !live(peer) || !inbound_[peer]) continue;
    view.reports.push_back({.label = members_[peer].label, .incarnation = *inbound_[peer], .wish = reports_[peer].said.wish,
                            .since = now_ - reports_[peer].since});
  }
  Adoption decided = decide_adoption(view, options_.order);
  adoption_waits_for_ = std::move(decided.waits_for);
  if (!adoption_waits_for_.empty() && adoption_waits_for_ != adoption_sentence_)
    log::info("raft.adoption", "epoch={} waits_for=\"{}\"", system_->epoch, adoption_waits_for_);
  adoption_sentence_ = adoption_waits_for_;
  if (!decided.hand_over_to.empty() && now_ >= system->next_return) {
    log::info("raft.adoption", "epoch={} leads_instead={}", system_->epoch, decided.hand_over_to);
    system->next_return = now_ + kHandOverPause;
    transfer(kSystemShard, decided.hand_over_to);
    return;
  }
  if (!decided.command || adopting_) return;
  adopting_ = true;
  adopt_force_until_ = {};
  log::info("raft.adopt", "epoch={} nodes={}", system_->epoch + 1, decided.command->nodes.size());
  propose_system(*decided.command, [this](Result<SystemOutcome> outcome) {
    adopting_ = false;
    if (!outcome) {
      log::warn("raft.adopt", "error=\"{}\"", outcome.error().to_string());
    } else if (*outcome != SystemOutcome::kDone) {
      log::warn("raft.adopt", "outcome=\"{}\"", to_string(*outcome));
    }
  });
}

Result<Replace> Engine::replacement(const std::string& label) const {
  if (!system_) return fail(Code::kUnavailable, "this node is not in a cluster yet");
  const RingNode* row = system_->active(label);
  if (!row) return fail(Code::kNotFound, "no node of the ring is called {}", label);
  const MonotonicTime now = clock_.monotonic();
  const auto slot = slot_of(label);
  if (slot == self_ || (slot && transport_->up_both(*slot) && linked_[*slot] == row->incarnation))
    return fail(Code::kConflict, "{} is up with the folder that is in the ring; stop it first, if it is to be replaced", label);
  for (std::size_t peer = 0; peer < members_.size(); ++peer)
    if (peer != self_ && live(peer) && std::ranges::find(reports_[peer].said.hears, label) != reports_[peer].said.hears.end())
      return fail(Code::kConflict, "{} is still heard by {}; stop it first, if it is to be replaced", label, members_[peer].label);
  const auto stranger = strangers_.find(label);
  if (stranger == strangers_.end() || stranger->second.incarnation == row->incarnation || now - stranger->second.seen > kKnockLife)
    return fail(Code::kNotFound, "nobody with another folder knocks as {}; start the new node first, with an empty metadata.path", label);
  return Replace{.label = label, .old_incarnation = row->incarnation, .new_incarnation = stranger->second.incarnation};
}

/// For those that were started with --replace; about once a second while they knock.
void Engine::take_replacements() {
  if (replace_wanted_.empty() || now_ < next_replace_) return;
  next_replace_ = now_ + std::chrono::seconds(2);
  for (const std::string& label : std::exchange(replace_wanted_, {})) {
    auto command = replacement(label);
    if (!command) {
      log::info("raft.replace", "label={} not_yet=\"{}\"", label, command.error().detail);
      continue;
    }
    log::info("raft.replace", "label={} old={} new={}", label, command->old_incarnation.hex(), command->new_incarnation.hex());
    propose_system(*command, {});
  }
}

void Engine::propose_system(const SystemCommand& command, std::function<void(Result<SystemOutcome>)> done) {
  auto pending = std::make_shared<Pending>();
  pending->deadline = now_ + std::chrono::seconds(20);
  pending->finish = [done = std::move(done)](Result<std::string> result) {
    if (!done) return;
    if (!result) return done(std::unexpected(result.error()));
    Reader in(*result);
    const std::uint8_t outcome = in.u8();
    if (!in.ok() || outcome > static_cast<std::uint8_t>(SystemOutcome::kIncarnation)) return done(fail(Code::kInternal, "system command: malformed result"));
    done(static_cast<SystemOutcome>(outcome));
  };
  ClientShard& client = clients_[kSystemShard.value()];
  Proposal& proposal = client.waiting.emplace_back();
  proposal.pending = std::move(pending);
  proposal.command = encode(command);
  active_.insert(kSystemShard);
  pump(kSystemShard);
  schedule_turn();
}

MembershipStatus Engine::membership() const {
  MembershipStatus status{.cluster = {}, .shards = options_.shards, .waits_for = adoption_waits_for_, .standing = {}, .nodes = {}};
  for (const auto& group : groups_)
    if (group) ++status.replicas;
  if (!system_) {
    status.standing = not_ready();
    return status;
  }
  status.cluster = system_->cluster_id.hex();
  status.epoch = system_->epoch;
  status.settled = system_->settled();
  status.satisfied = static_cast<std::size_t>(std::ranges::count(system_->satisfied, true));
  status.nodes = system_->nodes;
  const RingNode* own = system_->member(self_member_);
  if (own && own->active()) {
    status.standing = "member";
  } else if (own && own->state == NodeState::kLeaving) {
    status.standing = fmt::format("leaving the ring: {} replicas are still here, do not stop this node yet", status.replicas);
  } else if (status.replicas > 0) {
    status.standing = fmt::format("not in the ring; {} replicas are still here", status.replicas);
  } else {
    status.standing = "not in the ring: 0 replicas here, safe to stop";
  }
  return status;
}

}  // namespace kraken::group
