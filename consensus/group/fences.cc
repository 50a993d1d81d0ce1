// Who must not serve, or lead: a node whose disk stalls or is full, one that is being stopped, a replica whose rows differ from
// the others'. What keeps such a replica from leading is the core's StorageSick: it stops beating, hands its leadership on, does
// not stand and takes no TimeoutNow, but goes on voting and taking entries.

#include <unistd.h>

#include <algorithm>

#include "consensus/group/engine.h"
#include "src/base/codec.h"
#include "src/base/fatal.h"
#include "src/base/log.h"
#include "src/base/metrics.h"

namespace kraken::group {
namespace {

constexpr std::size_t kDigestBytes = 2 + 8 + 16;

}  // namespace

// ---- the disk ----

/// Before any beat of a turn leaves, so that beats end with the first turn in which the writer has been busy for too long; an
/// idle writer lets everything through at once.
void Engine::watch_disk() {
  const Duration outstanding = writer_->outstanding();
  if (outstanding > options_.timings.disk_dead)
    end_process("raft.disk_dead",
                fmt::format("seconds={} A write of the log under {} does not come back; the process ends. Look at the disk (dmesg, smartctl)",
                            std::chrono::duration_cast<std::chrono::seconds>(outstanding).count(), options_.folder.string()));
  const bool sick = outstanding > options_.timings.disk_stall;
  if (sick == sick_) return;
  sick_ = sick;
  log::warn("raft.disk_stall", "stalled={} milliseconds={}", sick,
            std::chrono::duration_cast<std::chrono::milliseconds>(outstanding).count());
  tell_aside();
  for (const auto& group : groups_)
    if (group) set_sick(*group);
}

void Engine::set_sick(Group& group) {
  step(group, raft::in::StorageSick{sick_ || draining_ || group.odd});
}

// ---- nodes that want no leadership ----

bool Engine::aside() const { return sick_ || draining_ || disk_.full; }

void Engine::tell_aside() {
  if (told_aside_ == aside()) return;
  told_aside_ = aside();
  for (std::size_t peer = 0; peer < members_.size(); ++peer)
    if (peer != self_) send_aside(peer);
}

void Engine::send_aside(std::size_t peer) {
  if (!transport_->up(peer)) return;
  std::string frame;
  append_frame(FrameKind::kAside, told_aside_ ? std::string_view("\1", 1) : std::string_view("\0", 1), frame);
  transport_->send(peer, std::move(frame), false);
  transport_->flush(peer);
}

Result<> Engine::on_aside(std::size_t peer, std::string_view payload) {
  if (payload.size() != 1 || static_cast<unsigned char>(payload[0]) > 1) return fail(Code::kProtocol, "aside: malformed");
  if (payload[0] == '\1') {
    aside_.insert(peer);
  } else {
    aside_.erase(peer);
  }
  return {};
}

void Engine::drain() {
  std::size_t led = 1;
  for (int i = 0; led > 0 && i < 100; ++i) {
    const bool running = on_loop([&] {
      now_ = clock_.monotonic();
      draining_ = true;
      tell_aside();
      led = 0;
      bool anyone = false;
      for (std::size_t peer = 0; peer < members_.size(); ++peer) anyone |= peer != self_ && transport_->up(peer) && !aside_.contains(peer);
      // Alone, or with nobody up, there is nobody to give it to.
      for (const auto& group : groups_) {
        if (!anyone || !group || !group->core.view().is_leader) continue;
        ++led;
        if (i % 25 == 0) transfer(group->shard, "");
      }
      schedule_turn();
    });
    if (!running) return;
    if (led > 0) ::usleep(10'000);
  }
  on_loop([this] {
    now_ = clock_.monotonic();
    for (const auto& group : groups_)
      if (group) set_sick(*group);
    schedule_turn();
  });
}

// ---- replicas that differ ----

std::vector<raft::ReplicaId> Engine::replicas_of(const Group& group) const {
  const raft::ConfState& conf = group.core.conf();
  std::vector<raft::ReplicaId> all = conf.voters;
  all.insert(all.end(), conf.outgoing.begin(), conf.outgoing.end());
  all.insert(all.end(), conf.learners.begin(), conf.learners.end());
  all.insert(all.end(), conf.learners_next.begin(), conf.learners_next.end());
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

void Engine::say_digests() {
  std::vector<Writer> payloads(members_.size());
  for (const auto& group : groups_) {
    if (!group) continue;
    const auto [index, digest] = applier_->digest(group->shard);
    if (!digest.known()) continue;
    for (const raft::ReplicaId replica : replicas_of(*group)) {
      const auto peer = peer_of(replica);
      if (!peer || *peer == self_ || !transport_->up(*peer)) continue;
      payloads[*peer].u16(group->shard.value()).u64(raft::raw(index)).u64(digest.high).u64(digest.low);
    }
    judge(*group);  // time passes for those that wait for a third
    // One that was released, or has turned out to be of the majority, shall get to serve.
    if (!group->fenced.empty() && group->core.view().is_leader) transfer(group->shard, "");
  }
  for (std::size_t peer = 0; peer < payloads.size(); ++peer) {
    if (payloads[peer].size() == 0) continue;
    std::string frame;
    append_frame(FrameKind::kDigests, payloads[peer].str(), frame);
    transport_->send(peer, std::move(frame), true);
    transport_->flush(peer);
  }
}

Result<> Engine::on_digests(std::size_t peer, std::string_view payload) {
  if (payload.size() % kDigestBytes != 0) return fail(Code::kProtocol, "digests: {} bytes", payload.size());
  if (!system_) return {};
  for (Reader in(payload); !in.empty();) {
    const ShardId shard{in.u16()};
    const Told told{.index = raft::Index{in.u64()}, .digest = {.high = in.u64(), .low = in.u64()}};
    Group* group = group_of(shard);
    if (!group || !told.digest.known()) continue;
    for (const raft::ReplicaId replica : replicas_of(*group)) {
      if (peer_of(replica) != peer) continue;
      group->told.insert_or_assign(replica, told);
      break;
    }
    compare_told(*group);
  }
  return {};
}

/// What others said of indexes that are applied here by now.
void Engine::compare_told(Group& group) {
  static metrics::Counter& compared_total =
      metrics::counter("kr_raft_digests_compared_total", "State digests of other replicas compared with this node's at the same index");
  bool news = false;
  std::erase_if(group.told, [&](const auto& one) {
    const auto& [replica, told] = one;
    if (told.index > applier_->applied(group.shard)) return false;
    const auto ours = applier_->digest_at(group.shard, told.index);
    if (!ours || !ours->known()) return true;  // long ago: the next one will do
    compared_total.add();
    group.votes.compared(replica, told.index, *ours, told.digest, now_);
    news = true;
    return true;
  });
  if (news) judge(group);
}

void Engine::judge(Group& group) {
  const std::vector<raft::ReplicaId>& voters = group.core.conf().voters;
  const auto differences = group.votes.differences(voters);
  if (!group.fenced.empty()) {
    if (voters.size() > 1 && group.votes.agreeing(voters, group.core.self(), group.fenced_at) > voters.size() / 2)
      return lift_fence(group, "a majority is as this replica");
    if (!group.odd && differences.size() > voters.size() / 2) {
      group.odd = true;
      set_sick(group);
    }
    return;
  }
  if (differences.size() == group.differences) {
    if (differences.empty() || group.released) return;
  } else {
    group.differences = differences.size();
    for (const DigestVotes::Difference& one : differences) report(group, one);
    count_differences();
  }
  if (group.released) return;
  switch (group.votes.verdict(voters, group.core.self(), now_, 2 * options_.timings.digests + options_.timings.election_max)) {
    case DigestVotes::Verdict::kFine:
    case DigestVotes::Verdict::kUndecided:
      return;
    case DigestVotes::Verdict::kOdd:
    case DigestVotes::Verdict::kNoMajority:
      return fence(group, differences);
  }
}

void Engine::report(const Group& group, const DigestVotes::Difference& one) const {
  log::error("raft.digest_mismatch",
             "shard={} index={} {}={} {}={} Two replicas of this shard hold different rows after the same entries: a fault of memory, "
             "disk or program. Who differs from the majority stops serving the shard and says what to do",
             group.shard.value(), raft::raw(one.index), options_.label, one.ours.hex(), label_of(one.peer), one.theirs.hex());
}

void Engine::fence(Group& group, const std::vector<DigestVotes::Difference>& differences) {
  const std::size_t voters = group.core.conf().voters.size();
  group.odd = differences.size() > voters / 2;
  const DigestVotes::Difference& one = differences.front();
  const std::string help =
      group.odd ? fmt::format("The others are right: stop this node, move its metadata folder aside (kraken repair does both) and start it again")
               : fmt::format("No majority is known to agree, so no replica serves the shard. Where one is to be trusted, POST /raft/release?shard={} at "
                             "its node's admin port, then repair the nodes of the others",
                             group.shard.value());
  group.fenced = fmt::format("its rows differ from those of {} of {} replicas since index {} ({} here, {} on {}). {}", differences.size(), voters,
                             raft::raw(one.index), one.ours.hex(), one.theirs.hex(), label_of(one.peer), help);
  group.fenced_at = one.index;
  log::error("raft.fenced", "shard={} index={} ours={} theirs={} from={} This replica no longer serves the shard: {}", group.shard.value(),
             raft::raw(one.index), one.ours.hex(), one.theirs.hex(), label_of(one.peer), group.fenced);
  kv::Batch batch;
  batch.put(kv::Family::kRaft, fence_key(group.shard), encode_fence(group.shard, group.fenced));
  writer_->put(std::move(batch), {});
  close_fence(group);
}

/// Nothing is answered from the rows of a fenced replica. One that a majority is against does not lead either; the others may,
/// since their log is good and who lags must catch up for the majority to be known.
void Engine::close_fence(Group& group) {
  set_local(group.shard, false);
  const Error why{Code::kUnavailable, fmt::format("shard {}: this replica has just been fenced", group.shard.value())};
  for (auto& [index, read] : group.waiting_reads) answers_.add(std::move(read), std::unexpected(why));
  group.waiting_reads.clear();
  ClientShard& client = clients_[group.shard.value()];
  for (PendingPtr& read : client.reads) answers_.add(std::move(read), std::unexpected(why));
  client.reads.clear();
  count_differences();
  set_sick(group);
  pump(group.shard);
  schedule_turn();
}

void Engine::lift_fence(Group& group, std::string_view why) {
  if (group.fenced.empty()) return;
  log::warn("raft.fence_lifted", "shard={} This replica serves the shard again: {}", group.shard.value(), why);
  group.fenced.clear();
  group.odd = false;
  kv::Batch batch;
  batch.erase(kv::Family::kRaft, fence_key(group.shard));
  writer_->put(std::move(batch), {});
  set_local(group.shard, true);
  count_differences();
  set_sick(group);
  schedule_turn();
}

bool Engine::release(ShardId shard) {
  Group* group = group_of(shard);
  if (!group || group->fenced.empty()) return false;
  now_ = clock_.monotonic();
  group->released = true;
  lift_fence(*group, "released by hand");
  return true;
}

void Engine::count_differences() const {
  static metrics::Gauge& mismatches = metrics::gauge("kr_raft_digest_mismatch", "Shards of which another replica's rows differ from this node's");
  static metrics::Gauge& fenced = metrics::gauge("kr_raft_fenced", "Shards that this node does not serve because its rows differ");
  double differ = 0, closed = 0;
  for (const auto& group : groups_) {
    if (!group) continue;
    if (group->differences > 0) ++differ;
    if (!group->fenced.empty()) ++closed;
  }
  mismatches.set(differ);
  fenced.set(closed);
}

}  // namespace kraken::group
