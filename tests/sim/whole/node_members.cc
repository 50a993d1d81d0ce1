// The ring as a node has heard of it, what it reports of itself, and, on the leader of group 0, when another ring is adopted: after
// consensus/group/members.cc, handshakes.cc and formation.cc. Decisions are production's (adoption, system_state).
#include <algorithm>

#include <fmt/format.h>

#include "consensus/group/adoption.h"
#include "src/base/codec.h"
#include "tests/sim/whole/mutants.h"
#include "tests/sim/whole/node.h"

namespace kraken::sim::whole {

using raft::raw;
using group::NodeState;
using group::RingNode;

namespace {

constexpr Time kReportEach = ms(100), kReportLife = ms(800), kFedLately = ms(1'000);
constexpr Time kStateEach = ms(500), kHandOverPause = ms(500);
constexpr Time kHears = ms(450);          // a node says something every 200 ms
constexpr Time kKnockLife = ms(1'000);
constexpr Time kReplaceEach = ms(300);
constexpr Time kSystemPatience = ms(2'500);

}  // namespace

std::optional<size_t> Node::peer_of(ReplicaId replica) const {
  const auto found = node_by_member_.find(raft::member_of(replica));
  if (found == node_by_member_.end()) return std::nullopt;
  return found->second;
}

bool Node::hears(size_t peer) const { return peer == number_ || (heard_[peer] != Time{} && now_ - heard_[peer] < kHears); }
bool Node::live(size_t peer) const { return peer == number_ || (hears(peer) && reports_[peer].at != Time{} && now_ - reports_[peer].at < kReportLife); }

void Node::bind_members() {
  node_by_member_.clear();
  const std::string label = label_of(number_);
  const RingNode* own = system_->member(label, identity_.incarnation);
  self_member_ = own ? own->member : 0;
  for (const RingNode& row : system_->nodes) {
    if (row.state == NodeState::kDead || (!row.active() && system_->active(row.label))) continue;
    node_by_member_.emplace(row.member, node_of(row.label));
  }
  targets_.clear();
  for (size_t i = 0; i < world_.groups(); i++) targets_.push_back(group::place(*system_, ShardId{static_cast<uint16_t>(i)}, hrw));
}

void Node::take_system(std::optional<SystemState> state) {
  system_ = std::move(state);
  shown_ = system_ ? std::make_shared<const SystemState>(*system_) : nullptr;
}

/// From group 0's rows here, or from a peer: the newest counts.
void Node::system_changed(SystemState state) {
  if (!system_ || state.cluster_id != system_->cluster_id || state.revision <= system_->revision) return;
  const bool ring_changed = state.epoch != system_->epoch;
  const bool settled = !system_->settled() && state.settled();
  take_system(std::move(state));
  if (!ring_changed && !settled) return;
  bind_members();
  if (world_.verbose)
    fmt::print("{:>9} us node {} hears of the ring of epoch {}{}\n", world_.events.now().count() / 1000, number_, system_->epoch, system_->settled() ? ", settled" : "");
  LogItem item;
  item.extra.put(kv::Family::kRaft, group::system_copy_key(), group::encode(*system_));
  log_queue_.push_back(std::move(item));
  next_state_ = next_moves_ = Time{};
}

/// A peer says what the ring is.
void Node::take_state(SystemState state) {
  if (system_) return system_changed(std::move(state));
  const RingNode* own = state.member(label_of(number_), identity_.incarnation);
  if (joining_ || !own || own->state == NodeState::kDead) return;  // not taken in yet
  joining_ = true;
  LogItem item;
  item.extra.put(kv::Family::kRaft, group::system_copy_key(), group::encode(state));
  item.after = [this, state = std::move(state)] {
    joining_ = false;
    if (system_) return;
    take_system(state);
    if (world_.verbose) fmt::print("{:>9} us node {} is member {}\n", world_.events.now().count() / 1000, number_, state.member(label_of(number_), identity_.incarnation)->member);
    bind_members();
  };
  log_queue_.push_back(std::move(item));
}

/// handshakes.cc, heard_of_ring(): true if that was news.
bool Node::heard_of_ring(const Packet& packet) {
  if (!system_ || !packet.ring) return false;
  const uint64_t before = system_->revision;
  const auto in = [&](size_t node, const Incarnation& incarnation) {
    const RingNode* row = packet.ring->member(label_of(node), incarnation);
    return row && row->state != NodeState::kDead;
  };
  if (in(packet.from, world_.selves[packet.incarnation_tag].memory.incarnation) && in(number_, identity_.incarnation)) system_changed(*packet.ring);
  return system_->revision != before;
}

/// handshakes.cc, objection(): what of a peer is known from the ring. Its starts: accept().
bool Node::objects(size_t peer, const group::PeerMemory& self) {
  if (!system_) return false;
  const std::string label = label_of(peer);
  if (const RingNode* row = system_->active(label)) {
    if (row->incarnation == self.incarnation) return false;
    strangers_[peer] = {.incarnation = self.incarnation, .seen = now_};
    const Node& there = *world_.nodes[peer];
    if (there.replace_ && there.incarnation() == self.incarnation) replace_wanted_.insert(peer);
    return true;
  }
  const RingNode* former = system_->member(label, self.incarnation);
  const bool wished = std::ranges::find(hashstate_, label, &WishNode::label) != hashstate_.end();
  return !wished && !(former && former->state == NodeState::kLeaving);
}

// ---- reports ----

group::Report Node::own_report() const {
  group::Report report;
  report.wish = hashstate_;
  for (size_t peer = 0; peer < world_.nodes.size(); peer++)
    if (peer != number_ && hears(peer)) report.hears.push_back(label_of(peer));
  for (const auto& g : groups_) {
    if (!g) continue;
    report.replicas++;
    if (!g->caught_up && raw(g->applied) == 0 && now_ - g->led < kFedLately) report.snapshots++;
  }
  return report;
}

void Node::take_report(size_t peer, group::Report said) {
  Reported& report = reports_[peer];
  const uint64_t wish = group::hash_of(said.wish);
  if (report.at == Time{} || now_ - report.at > kReportLife || report.wish != wish) report.since = now_;
  report.wish = wish;
  report.at = now_;
  report.said = std::move(said);
}

void Node::membership_turn() {
  move_replicas();
  take_replacements();
  if (now_ < next_report_) return;
  next_report_ = now_ + kReportEach;
  const std::string report = group::encode(own_report());
  const bool tell = system_ && now_ >= next_state_;
  if (tell) next_state_ = now_ + kStateEach;
  for (size_t peer = 0; peer < out_to_.size(); peer++) {
    if (peer == number_) continue;
    group::append_frame(group::FrameKind::kReport, report, out_to_[peer].frames);
    if (tell) group::append_frame(group::FrameKind::kSystemState, group::encode(*system_), out_to_[peer].frames);
  }
  look_at_adoption();
}

// ---- another ring ----

void Node::look_at_adoption() {
  Group* system = group(kSystemShard);
  if (!system_ || !system || adopting_) return;
  const auto v = system->core.view();
  if (!v.serving || !v.is_leader) return;
  group::AdoptionView view{.state = *system_, .leader = label_of(number_), .reports = {}, .system_voters = {}, .stable_for = world_.options.adopt_after, .force = world_.force_adoption};
  for (const ReplicaId id : system->core.conf().voters) view.system_voters.push_back(raft::member_of(id));
  view.reports.push_back({.label = label_of(number_), .incarnation = identity_.incarnation, .wish = hashstate_, .since = now_ - started_});
  for (size_t peer = 0; peer < world_.nodes.size(); peer++) {
    const auto known = known_.find(peer);
    if (peer == number_ || !live(peer) || known == known_.end()) continue;
    view.reports.push_back({.label = label_of(peer), .incarnation = known->second.incarnation, .wish = reports_[peer].said.wish, .since = now_ - reports_[peer].since});
  }
  group::Adoption decided = group::decide_adoption(view, hrw);
  if (world_.verbose && decided.waits_for != adoption_waits_for_ && !decided.waits_for.empty())
    fmt::print("{:>9} us node {} leads group 0: {}\n", world_.events.now().count() / 1000, number_, decided.waits_for);
  adoption_waits_for_ = std::move(decided.waits_for);
  if (!decided.hand_over_to.empty() && now_ >= next_hand_over_) {
    next_hand_over_ = now_ + kHandOverPause;
    for (const Core::Peer& peer : system->core.peers()) {
      const RingNode* row = system_->member(raft::member_of(peer.id));
      if (!row || row->label != decided.hand_over_to || !peer.voter) continue;
      step(*system, raft::in::Transfer{peer.id});
      return;
    }
  }
  if (!decided.command) return;
  adopting_ = true;
  if (world_.verbose) fmt::print("{:>9} us node {} proposes a ring of {} nodes\n", world_.events.now().count() / 1000, number_, decided.command->nodes.size());
  if (decided.command->nodes.size() < 3) world_.small_ring_proposed = true;
  propose_system(*decided.command, [this] { adopting_ = false; });
}

/// Node::replace of production: may the folder that knocks under the label of another one take its place?
std::optional<group::Replace> Node::replacement(size_t peer) const {
  const std::string label = label_of(peer);
  const RingNode* row = system_ ? system_->active(label) : nullptr;
  if (!row || peer == number_) return std::nullopt;
  const auto known = known_.find(peer);
  if (hears(peer) && known != known_.end() && known->second.incarnation == row->incarnation) return std::nullopt;
  for (size_t other = 0; other < world_.nodes.size(); other++)
    if (other != number_ && live(other) && std::ranges::find(reports_[other].said.hears, label) != reports_[other].said.hears.end()) return std::nullopt;
  const auto stranger = strangers_.find(peer);
  if (stranger == strangers_.end() || stranger->second.incarnation == row->incarnation || now_ - stranger->second.seen > kKnockLife) return std::nullopt;
  return group::Replace{.label = label, .old_incarnation = row->incarnation, .new_incarnation = stranger->second.incarnation};
}

void Node::take_replacements() {
  if (replace_wanted_.empty() || now_ < next_replace_) return;
  next_replace_ = now_ + kReplaceEach;
  for (const size_t peer : std::exchange(replace_wanted_, {}))
    if (const auto command = replacement(peer)) propose_system(*command, {});
}

void Node::propose_system(const group::SystemCommand& command, std::function<void()> done) {
  const uint64_t boot = boot_;
  auto pending = std::make_shared<Pending>(Pending{.deadline = now_ + kSystemPatience, .op = 0, .finish = {}});
  pending->finish = [this, boot, done = std::move(done)](const Result<std::string>& result) {
    if (world_.verbose)
      fmt::print("{:>9} us node {}: system command: {}\n", world_.events.now().count() / 1000, number_,
                 result ? group::to_string(static_cast<group::SystemOutcome>(Reader(*result).u8())) : std::string_view(result.error().detail));
    if (boot == boot_ && done) done();
  };
  open_.push_back(pending);
  clients_[kSystemShard.value()].waiting.push_back({.pending = std::move(pending), .command = group::encode(command)});
}

}  // namespace kraken::sim::whole
