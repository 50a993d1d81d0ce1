// A copy of a core, and the bytes by which a search over many courses recognises one that it has seen (tests/model).

#include <algorithm>

#include "consensus/raft/impl.h"

namespace kraken::raft {
namespace {

/// Values up to 8 bytes, each behind its length: nothing runs together.
struct Sink {
  const std::function<ReplicaId(ReplicaId)>& rename;
  std::string& out;

  void put(uint64_t v) {
    char bytes[9];
    int n = 0;
    for (; v != 0; v >>= 8) bytes[++n] = static_cast<char>(v & 0xff);
    bytes[0] = static_cast<char>(n);
    out.append(bytes, static_cast<size_t>(n) + 1);
  }
  void id(ReplicaId v) { put(raw(v) == 0 ? 0 : raw(rename(v))); }
  void id(const std::optional<ReplicaId>& v) { id(v.value_or(ReplicaId{})); }
  void text(std::string_view s) {
    put(s.size());
    out += s;
  }
  void ids(const std::vector<ReplicaId>& list) {
    std::vector<uint64_t> renamed;
    for (ReplicaId v : list) renamed.push_back(raw(rename(v)));
    std::sort(renamed.begin(), renamed.end());
    put(renamed.size());
    for (uint64_t v : renamed) put(v);
  }
  void conf(const ConfState& c) {
    for (const auto* list : {&c.voters, &c.outgoing, &c.learners, &c.learners_next}) ids(*list);
    put(c.placement_epoch);
  }
};

}  // namespace

Core::Core(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Core Core::clone() const { return Core(std::make_unique<Impl>(*impl_)); }
void Core::fingerprint(const std::function<ReplicaId(ReplicaId)>& rename, std::string& out) const { impl_->fingerprint(rename, out); }

void Core::Impl::fingerprint(const std::function<ReplicaId(ReplicaId)>& rename, std::string& out) const {
  Sink s{rename, out};
  const auto put = [&](uint64_t v) { s.put(v); };
  s.id(self_);
  put(raw(hs_.term));
  s.id(hs_.vote);
  put(static_cast<uint64_t>(role_));
  s.id(leader_);
  put(sick_);
  for (Index i : {commit_, emitted_, applied_, verified_}) put(raw(i));

  for (Index i : {log_.snap_index(), log_.last(), log_.tail_first()}) put(raw(i));
  for (Index i = log_.snap_index(); i <= log_.last(); i = i + 1) put(raw(*log_.term_at(i)));
  for (Index i = log_.tail_first(); i <= log_.last(); i = i + 1) {
    const Entry& e = log_.entry(i);
    put(static_cast<uint64_t>(e.kind));
    if (e.kind == Kind::kConfig)
      s.conf(*decode_conf(*e.data));
    else
      s.text(e.data ? std::string_view(*e.data) : std::string_view());
  }
  put(raw(log_.conf().index));
  s.conf(log_.conf().conf);
  s.conf(log_.conf_at(commit_));
  writer_.describe(put);

  put(installing_ ? raw(installing_->index) + 1 : 0);
  if (installing_) {
    put(installing_->snap_id);
    s.id(install_from_);
  }
  std::vector<std::pair<uint64_t, bool>> votes;
  for (const auto& [id, granted] : votes_) votes.emplace_back(raw(rename(id)), granted);
  std::sort(votes.begin(), votes.end());
  put(votes.size());
  for (const auto& [id, granted] : votes) put(id * 2 + (granted ? 1 : 0));
  put(transfer_campaign_);
  put(in_flight_.size());
  for (const Output::Accepted& a : in_flight_) {
    put(a.ticket);
    put(raw(a.index));
  }
  if (!leading()) return;

  const auto age = [&](Time t) { return static_cast<uint64_t>(std::min((now_ - t).count(), opt_.election_min.count()) / opt_.heartbeat.count()); };
  put(raw(term_start_));
  put(uncommitted_bytes_);
  put(check_conf_);
  s.id(transferee_);
  put(transferee_ ? age(transfer_deadline_ - opt_.election_min) : 0);
  put(waiting_reads_.size());
  put(raw(read_at_));
  std::vector<std::pair<uint64_t, const Progress*>> peers;
  for (const auto& [id, pr] : peers_) peers.emplace_back(raw(rename(id)), &pr);
  std::sort(peers.begin(), peers.end());
  for (const auto& [id, pr] : peers) {
    for (uint64_t v : {id, raw(pr->match), raw(pr->next), static_cast<uint64_t>(pr->state), uint64_t{pr->probe_sent}, uint64_t{pr->fetching}, uint64_t{pr->moved},
                       raw(pr->commit_sent), age(std::max(pr->last_contact, leading_since_)), pr->snapshot ? raw(pr->snapshot->index) + 1 : 0, uint64_t{pr->inflight.size()}})
      put(v);
    for (const Progress::Inflight& f : pr->inflight) put(raw(f.last));
  }
}

}  // namespace kraken::raft
