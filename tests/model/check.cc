#include "tests/model/check.h"

#include <algorithm>

#include <fmt/format.h>

namespace kraken::model {

using namespace raft;

namespace {

uint64_t term_at(const std::vector<Entry>& log, uint64_t index) { return index == 0 ? 0 : index <= log.size() ? raw(log[index - 1].term) : 0; }
bool same(const Entry& a, const Entry& b) { return a.term == b.term && a.kind == b.kind && (a.data ? *a.data : "") == (b.data ? *b.data : ""); }

std::string check_leader(const Replica& now, const Replica& before, size_t i, History& h) {
  const Core::View v = now.view();
  if (!v.is_leader) return {};
  uint8_t& leader = h.leader[raw(v.term)];
  if (leader != 0 && leader != i + 1) return fmt::format("election safety: {} and {} lead term {}", leader, i + 1, raw(v.term));
  leader = static_cast<uint8_t>(i + 1);
  const Core::View b = before.view();
  if (b.is_leader && b.term == v.term) {
    // Append-only, and it commits entries of its own term only (with all before them).
    if (now.log().size() < before.log().size()) return "leader append-only: its log became shorter";
    if (v.commit > b.commit && term_at(now.log(), raw(v.commit)) != raw(v.term))
      return fmt::format("commit rule: the leader of term {} commits up to an entry of term {}", raw(v.term), term_at(now.log(), raw(v.commit)));
    return {};
  }
  for (uint64_t index = 1; index <= kEntriesMax; index++)
    if (h.committed[index] != 0 && h.in[index] < raw(v.term) && term_at(now.log(), index) != h.committed[index])
      return fmt::format("leader completeness: {} leads term {} without the entry {} of term {}", i + 1, raw(v.term), index, h.committed[index]);
  return {};
}

std::string check_commit(const std::array<const Replica*, kReplicas>& all, size_t i, const Replica& before, History& h) {
  const Core::View v = all[i]->view();
  for (uint64_t index = 1; index <= raw(v.commit); index++) {
    const uint64_t term = term_at(all[i]->log(), index);
    if (h.committed[index] != 0 && h.committed[index] != term)
      return fmt::format("state machine safety: {} commits {}/{}, committed was {}/{}", i + 1, index, term, index, h.committed[index]);
    if (h.committed[index] != 0) continue;
    h.committed[index] = static_cast<uint8_t>(term);
    h.in[index] = static_cast<uint8_t>(raw(v.term));
  }
  if (!v.is_leader || v.commit <= before.view().commit) return {};
  // Whatever a leader counts must be on the disks of a majority, now or in the past; what is overwritten later was not committed.
  size_t durable = 0;
  for (const Replica* r : all) durable += term_at(r->disk().log, raw(v.commit)) == term_at(all[i]->log(), raw(v.commit));
  if (durable <= kReplicas / 2) return fmt::format("durability: {} commits {}, which is on {} disks", i + 1, raw(v.commit), durable);
  return {};
}

std::string check_log(const std::array<const Replica*, kReplicas>& all, size_t i) {
  const std::vector<Entry>& mine = all[i]->log();
  for (size_t j = 0; j < kReplicas; j++) {
    const std::vector<Entry>& theirs = all[j]->log();
    bool equal = false;  // from the highest index where the terms agree, all below must be equal
    for (size_t index = std::min(mine.size(), theirs.size()); index > 0; index--) {
      equal = equal || mine[index - 1].term == theirs[index - 1].term;
      if (equal && !same(mine[index - 1], theirs[index - 1])) return fmt::format("log matching: {} and {} differ at {} and agree later", i + 1, j + 1, index);
    }
  }
  for (const Entry& e : mine)
    if (e.kind == Kind::kData && raw(e.term) != static_cast<uint64_t>((*e.data)[0] - '0')) return fmt::format("log matching: entry {} has changed its term", raw(e.index));
  return {};
}

std::string check_promises(const Replica& now, size_t i, const std::vector<Message>& sent) {
  for (const Message& m : sent) {
    if (const auto* vote = std::get_if<VoteResp>(&m); vote != nullptr && vote->granted) {
      if (now.disk().hs.term == vote->h.term && now.disk().hs.vote != vote->h.to) return fmt::format("nothing undurable said: {}'s vote is not on its disk", i + 1);
      if (now.disk().hs.term < vote->h.term) return fmt::format("nothing undurable said: {}'s vote is not on its disk", i + 1);
    }
    if (const auto* ask = std::get_if<VoteReq>(&m); ask != nullptr && now.disk().hs.term < ask->h.term) return fmt::format("nothing undurable said: {}'s candidacy is not on its disk", i + 1);
    // An answer of an earlier term, given before its entries were replaced, is as good as one that was long on its way.
    if (const auto* ack = std::get_if<AppendResp>(&m); ack != nullptr && ack->ok && ack->h.term >= now.disk().hs.term && raw(ack->match) > now.disk().log.size())
      return fmt::format("nothing undurable said: {} acknowledges {}, its disk ends at {}", i + 1, raw(ack->match), now.disk().log.size());
  }
  return {};
}

std::string check_votes(const Replica& now, const Replica& before, size_t i, History& h) {
  const HardState& hs = now.disk().hs;
  if (hs.term < before.disk().hs.term) return fmt::format("monotonicity: {}'s durable term goes back", i + 1);
  if (!hs.vote || raw(hs.term) > kTermsMax) return {};
  const auto vote = static_cast<unsigned>(raw(*hs.vote));
  uint8_t& votes = h.votes[raw(hs.term)];
  const unsigned old = (votes >> (2 * i)) & 3u;
  if (old != 0 && old != vote) return fmt::format("one vote: {} votes for {} and {} in term {}", i + 1, old, vote, raw(hs.term));
  votes = static_cast<uint8_t>(votes | vote << (2 * i));
  return {};
}

}  // namespace

std::string check(const std::array<const Replica*, kReplicas>& all, size_t i, const Replica& before, const std::vector<Message>& sent, History& history) {
  const Replica& now = *all[i];
  for (std::string problem : {check_votes(now, before, i, history), check_promises(now, i, sent), check_leader(now, before, i, history), check_log(all, i), check_commit(all, i, before, history)})
    if (!problem.empty()) return problem;
  return {};
}

}  // namespace kraken::model
