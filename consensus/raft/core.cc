#include "consensus/raft/core.h"

#include <algorithm>

#include "consensus/raft/impl.h"

namespace kraken::raft {
namespace {

// Terms and indexes of others are believed below this only, so that ours can be counted up without a thought.
constexpr uint64_t kTermLimit = uint64_t{1} << 62;

}  // namespace

void Output::clear() {
  persist_seq = 0;
  hard_state.reset();
  truncate_from.reset();
  append.clear();
  send_now.clear();
  send_after.clear();
  commit_from = commit_to = Index{};
  accepted.clear();
  reads.clear();
  failed.clear();
  fetch.clear();
  need_snapshot.clear();
  install.reset();
  conf_changed.reset();
  became_leader.reset();
  leader_changed.reset();
  conflict.reset();
}

Core::Core(GroupId group, const Boot& boot, const Options& options, const LogView& log, uint64_t rng_seed)
    : impl_(std::make_unique<Impl>(group, boot, options, log, rng_seed)) {}
Core::~Core() = default;
Core::Core(Core&&) noexcept = default;
Core& Core::operator=(Core&&) noexcept = default;

void Core::step(const Input& input, Time now, Output& out) { impl_->step(Input(input), now, out); }
void Core::step(Input&& input, Time now, Output& out) { impl_->step(std::move(input), now, out); }
Time Core::deadline() const { return impl_->deadline(); }
Core::View Core::view() const { return impl_->view(); }
ReplicaId Core::self() const { return impl_->self_; }
std::optional<ReplicaId> Core::leader() const { return impl_->leader_; }
const ConfState& Core::conf() const { return impl_->conf(); }
const ConfState& Core::conf_at(Index index) const {
  KR_RAFT_ASSERT(index >= impl_->log_.snap_index() && index <= impl_->commit_);
  return impl_->log_.conf_at(index);
}
std::optional<Term> Core::term_at(Index index) const { return impl_->log_.term_at(index); }
Index Core::copy_tail(Index lo, Index hi, size_t max_bytes, std::vector<Entry>& out) const { return impl_->log_.copy_tail(lo, hi, max_bytes, out); }

std::vector<Core::Peer> Core::peers() const {
  std::vector<Peer> result;
  for (const auto& [id, pr] : impl_->peers_) {
    result.push_back({id, pr.match, pr.next, pr.state, pr.last_contact, is_voter(impl_->conf(), id)});
  }
  return result;
}

Core::Impl::Impl(GroupId group, const Boot& boot, const Options& options, const LogView& view, uint64_t rng_seed)
    : group_(group), self_(boot.self), opt_(options), now_(boot.boot_time), hs_(boot.hs), log_(boot, view), writer_(log_.last()),
      commit_(boot.applied), emitted_(boot.applied), applied_(boot.applied), adopted_(log_.conf().conf), rng_(rng_seed) {
  KR_RAFT_ASSERT(raw(self_) != 0);
  KR_RAFT_ASSERT(boot.first == boot.snap_index + 1 && boot.last + 1 >= boot.first && view.first() == boot.first);
  KR_RAFT_ASSERT(boot.applied >= boot.snap_index && boot.applied <= log_.last());
  KR_RAFT_ASSERT(hs_.term >= log_.last_term());
  KR_RAFT_ASSERT(opt_.election_max > opt_.election_min && opt_.heartbeat > Time{0} && opt_.election_min > opt_.heartbeat);
  reset_election_timer();
}

uint64_t Core::Impl::random(uint64_t below) {
  // splitmix64
  rng_ += 0x9e3779b97f4a7c15;
  uint64_t z = rng_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return below == 0 ? 0 : (z ^ (z >> 31)) % below;
}

void Core::Impl::step(Input&& input, Time now, Output& out) {
  out.clear();
  now_ = std::max(now_, now);
  out_ = &out;
  struct Visitor {
    Impl& c;
    void operator()(in::Receive& i) const { c.receive(std::move(i.m)); }
    void operator()(in::Timer&) const { c.timer(); }
    void operator()(in::Propose& i) const {
      std::vector<in::Propose> one;
      one.push_back(std::move(i));
      c.propose(one);
    }
    void operator()(in::ProposeBatch& i) const { c.propose(i.proposals); }
    void operator()(in::ChangeConf& i) const { c.change_conf(i); }
    void operator()(in::ReadIndex& i) const { c.read_index(i.ticket); }
    void operator()(in::Transfer& i) const { c.transfer(i.to); }
    void operator()(in::Persisted& i) const { c.persisted(i.upto); }
    void operator()(in::Applied& i) const { c.applied(i.upto); }
    void operator()(in::Fetched& i) const { c.fetched(i); }
    void operator()(in::SnapReady& i) const { c.snap_ready(i); }
    void operator()(in::SnapInstalled& i) const { c.snap_installed(i); }
    void operator()(in::Compacted& i) const { c.compacted(i.first); }
    void operator()(in::PeerDown& i) const { c.peer_down(i.peer); }
    void operator()(in::StorageSick& i) const { c.storage_sick(i.sick); }
  };
  std::visit(Visitor{*this}, input);
  settle();
  out_ = nullptr;
}

void Core::Impl::receive(Message&& m) {
  const Hdr& h = header(m);
  if (h.group != group_ || h.to != self_ || h.from == self_ || raw(h.from) == 0) return;
  if (raw(h.term) >= kTermLimit) return;  // no election has ever counted that far: a broken or hostile peer
  std::visit([this](auto& x) { handle(x); }, m);
}

void Core::Impl::settle() {
  if (leading()) advance_commit();
  if (leading()) {  // else its own commit removed it
    for (auto& [id, pr] : peers_) try_send(id, pr);
    start_read_round();
    confirm_reads();
    tell_commit();
  }
  writer_.submit(log_, hs_, *out_);
  conf_may_have_changed();
  if (leader_ != announced_.leader || (leader_ && hs_.term != announced_.term)) {
    announced_ = {hs_.term, leader_};
    out_->leader_changed = announced_;
  }
  flush_gated();
  emit_committed();
  KR_RAFT_ASSERT(log_.snap_index() <= commit_ && emitted_ <= commit_ && commit_ <= log_.last() && writer_.stable() <= log_.last());
  KR_RAFT_ASSERT(hs_.term >= log_.last_term());
}

void Core::Impl::flush_gated() {
  for (Message& m : replies_) {
    if (writer_.hard_state_durable() || mutant(Mutant::kVoteBeforeSync))
      send(std::move(m));
    else
      out_->send_after.push_back({writer_.last_seq(), std::move(m)});
  }
  replies_.clear();
  for (Message& m : gated_) {
    const auto* ack = std::get_if<AppendResp>(&m);
    const bool durable = writer_.all_durable() || (ack != nullptr && ack->match <= writer_.stable() && writer_.hard_state_durable());
    if (durable || (ack != nullptr && mutant(Mutant::kAckBeforeSync)))
      send(std::move(m));
    else
      out_->send_after.push_back({writer_.last_seq(), std::move(m)});
  }
  gated_.clear();
}

void Core::Impl::emit_committed() {
  // Only what is durable here is applied (consensus rule: no state ahead of the log).
  const Index upto = std::min(commit_, writer_.stable());
  if (upto <= emitted_ || installing_) return;
  out_->commit_from = emitted_ + 1;
  out_->commit_to = upto;
  emitted_ = upto;
  while (!in_flight_.empty() && in_flight_.front().index <= emitted_) in_flight_.pop_front();
}

void Core::Impl::persisted(Seq upto) {
  writer_.durable(upto);
  // A candidate's own vote counts from here on, as anyone else's does: when it is durable.
  if (role_ == Role::kCandidate && writer_.hard_state_durable() && votes_.emplace(self_, true).second) count_votes();
}

void Core::Impl::applied(Index upto) {
  applied_ = std::max(applied_, std::min(upto, emitted_));
  Index idle = std::min(applied_, writer_.stable());
  for (const auto& [id, pr] : peers_) idle = std::min(idle, pr.match);
  log_.trim_tail(idle, opt_.keep_tail_bytes);
  log_.trim_tail(std::min(commit_, writer_.stable()), opt_.max_tail_bytes);
}

Time Core::Impl::deadline() const {
  if (!leading()) return election_deadline_;
  return transferee_ ? std::min(next_beat_, transfer_deadline_) : next_beat_;
}

Core::View Core::Impl::view() const {
  View v;
  v.term = hs_.term;
  v.vote = hs_.vote;
  v.leader = leader_;
  v.role = role_;
  v.is_leader = leading();
  v.serving = leading() && own_term_committed();
  v.first = log_.first();
  v.last = log_.last();
  v.stable = writer_.stable();
  v.commit = commit_;
  v.applied = applied_;
  v.last_term = log_.last_term();
  v.conf_index = log_.conf().index;
  v.uncommitted_bytes = uncommitted_bytes_;
  v.tail_bytes = log_.tail_bytes();
  return v;
}

}  // namespace kraken::raft
