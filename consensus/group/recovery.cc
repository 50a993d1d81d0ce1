#include "consensus/group/recovery.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "consensus/group/replica.h"

namespace kraken::group {
namespace {

constexpr std::uint64_t kTermStep = 1000;  // above any term that a lost node may have reached meanwhile, and easy to see in a log

struct Folder {
  Identity identity;
  SystemState system;
  std::uint64_t epoch = 0;
};

Result<std::vector<Folder>> read_folders(const std::vector<Survivor>& survivors) {
  std::vector<Folder> folders;
  for (const Survivor& survivor : survivors) {
    KR_TRY(LoadedIdentity loaded, load_identity(*survivor.store));
    if (!loaded.identity || !loaded.system)
      return fail(Code::kInvalidArgument, "{}: this node never was in a cluster; leave it out", survivor.folder);
    for (std::size_t i = 0; i < folders.size(); ++i) {
      if (folders[i].identity.label == loaded.identity->label)
        return fail(Code::kConflict, "{} and {} are both of {}; give the newer one alone", survivors[i].folder, survivor.folder, loaded.identity->label);
      if (folders[i].system.cluster_id != loaded.system->cluster_id)
        return fail(Code::kConflict, "{} belongs to another cluster than {}", survivor.folder, survivors[i].folder);
    }
    folders.push_back({.identity = *loaded.identity, .system = *loaded.system, .epoch = loaded.recovery_epoch});
  }
  if (folders.empty()) return fail(Code::kInvalidArgument, "no folder was given");
  return folders;
}

/// Of the replicas as this configuration counts: in each of its halves.
bool majority(const raft::ConfState& conf, const std::function<bool(raft::ReplicaId)>& has) {
  const auto half = [&](const std::vector<raft::ReplicaId>& voters) {
    return voters.empty() || static_cast<std::size_t>(std::ranges::count_if(voters, has)) > voters.size() / 2;
  };
  return half(conf.voters) && half(conf.outgoing);
}

Result<std::optional<ShardCopy>> read_copy(const kv::View& view, std::size_t survivor, ShardId shard) {
  KR_TRY(const auto self, load_replica(view, shard));
  KR_TRY(const auto meta, view.get(kv::Family::kRaft, snap_meta_key(shard)));
  if (!self || !meta) return std::nullopt;
  KR_TRY(const LoadedLog log, load_log(view, shard));
  ShardCopy copy{.survivor = survivor, .replica = *self, .last_term = log.terms.empty() ? log.boot.snap_term : log.terms.back(),
                 .last = log.boot.last, .applied = log.applied.index, .term = log.boot.hs.term,
                 .conf = log.boot.confs.empty() ? log.boot.conf : log.boot.confs.back().conf};
  return copy;
}

std::string label_of(const SystemState& system, raft::ReplicaId replica) {
  const RingNode* row = system.member(raft::member_of(replica));
  return row ? row->label : fmt::format("replica {}", raw(replica));
}

ShardPlan plan_shard(ShardId shard, std::vector<ShardCopy> copies, const std::vector<Folder>& folders) {
  ShardPlan plan{.shard = shard, .kind = ShardPlan::Kind::kGone, .copies = std::move(copies), .voters = {}, .missing = {}};
  if (plan.copies.empty()) return plan;
  std::ranges::sort(plan.copies, std::greater(), [](const ShardCopy& copy) {
    return std::tuple(raw(copy.last_term), raw(copy.last), raw(copy.applied));
  });
  const ShardCopy& best = plan.copies.front();
  const auto here = [&](raft::ReplicaId replica) { return std::ranges::find(plan.copies, replica, &ShardCopy::replica) != plan.copies.end(); };
  std::set<raft::ReplicaId> voters(best.conf.voters.begin(), best.conf.voters.end());
  voters.insert(best.conf.outgoing.begin(), best.conf.outgoing.end());
  for (const raft::ReplicaId replica : voters) {
    plan.voters.push_back(label_of(folders[best.survivor].system, replica));
    if (!here(replica)) plan.missing.push_back(plan.voters.back());
  }
  plan.kind = majority(best.conf, here) ? ShardPlan::Kind::kKeeps : ShardPlan::Kind::kRecovers;
  return plan;
}

}  // namespace

bool RecoveryPlan::needed() const {
  return std::ranges::any_of(shards, [](const ShardPlan& shard) { return shard.may_lose(); });
}

Result<RecoveryPlan> plan_recovery(const std::vector<Survivor>& survivors) {
  KR_TRY(const std::vector<Folder> folders, read_folders(survivors));
  RecoveryPlan plan{.labels = {}, .cluster_id = folders.front().system.cluster_id, .epoch = 0, .shards = {}};
  for (const Folder& folder : folders) {
    plan.labels.push_back(folder.identity.label);
    plan.epoch = std::max(plan.epoch, folder.epoch + 1);
  }
  for (std::uint16_t i = 0; i <= folders.front().system.shards; ++i) {
    const ShardId shard{i};
    std::vector<ShardCopy> copies;
    for (std::size_t at = 0; at < survivors.size(); ++at) {
      const RingNode* row = folders[at].system.member(folders[at].identity.label, folders[at].identity.incarnation);
      if (row == nullptr || row->state == NodeState::kDead)
        return fail(Code::kConflict, "{}: the cluster knows another folder of {}; leave it out", survivors[at].folder, folders[at].identity.label);
      auto copy = read_copy(*survivors[at].store, at, shard);
      if (!copy) return std::unexpected(std::move(copy).error().within(survivors[at].folder));
      if (*copy) copies.push_back(std::move(**copy));
    }
    plan.shards.push_back(plan_shard(shard, std::move(copies), folders));
  }
  return plan;
}

Result<> check_majority_lost(const RecoveryPlan& plan, const std::set<std::string>& running) {
  for (const ShardPlan& shard : plan.shards) {
    if (shard.kind != ShardPlan::Kind::kRecovers) continue;
    const auto answering = static_cast<std::size_t>(std::ranges::count_if(shard.missing, [&](const std::string& label) { return running.contains(label); }));
    const std::size_t there = shard.voters.size() - shard.missing.size() + answering;
    if (answering > 0 && there > shard.voters.size() / 2)
      return fail(Code::kConflict,
                  "of the {} replicas of shard {} on {}, {} are there: {} answer, the others were given. That is a majority, so nothing is "
                  "lost: start the stopped nodes instead",
                  shard.voters.size(), shard.shard.value(), fmt::join(shard.voters, ", "), there, answering);
  }
  return {};
}

Result<> carry_out(const RecoveryPlan& plan, const std::vector<Survivor>& survivors) {
  std::vector<kv::Batch> batches(survivors.size());
  for (const ShardPlan& shard : plan.shards) {
    if (shard.kind != ShardPlan::Kind::kRecovers) continue;
    const ShardCopy& best = shard.copies.front();
    raft::ConfState conf;
    raft::Term term{};
    for (const ShardCopy& copy : shard.copies) {
      conf.voters.push_back(copy.replica);
      term = std::max(term, copy.term);
      conf.placement_epoch = std::max(conf.placement_epoch, copy.conf.placement_epoch);
      conf.next_replica = std::max(conf.next_replica, copy.conf.next_replica);
    }
    std::ranges::sort(conf.voters);
    // The lost ones may have given ids that none of these logs knows.
    if (conf.next_replica != 0) conf.next_replica += kTermStep;
    term = term + kTermStep;
    // Only the longest log goes on under the new configuration; it wins the others' votes, and they are corrected by it.
    const raft::Entry entry{.term = term, .index = best.last + 1, .kind = raft::Kind::kConfig, .data = raft::encode_conf(conf)};
    kv::Batch& batch = batches[best.survivor];
    batch.put(kv::Family::kRaft, hard_state_key(shard.shard), encode_hard_state(shard.shard, {.term = term, .vote = std::nullopt}));
    batch.put(kv::Family::kRaft, entry_key(shard.shard, entry.index), encode_entry(shard.shard, entry));
  }
  for (std::size_t at = 0; at < survivors.size(); ++at) {
    batches[at].put(kv::Family::kRaft, recovery_key(), encode_recovery_epoch(plan.epoch));
    KR_CHECK(survivors[at].store->write(batches[at], kv::Durability::kSynced));
  }
  return {};
}

std::string describe(const RecoveryPlan& plan) {
  std::size_t keeps = 0, gone = 0, recovers = 0;
  std::string text;
  for (const ShardPlan& shard : plan.shards) {
    switch (shard.kind) {
      case ShardPlan::Kind::kKeeps:
        ++keeps;
        continue;
      case ShardPlan::Kind::kGone:
        ++gone;
        text += fmt::format("shard {:>4}  none of these folders has it: ALL of it is lost\n", shard.shard.value());
        continue;
      case ShardPlan::Kind::kRecovers:
        break;
    }
    ++recovers;
    text += fmt::format("shard {:>4}  goes on from {}", shard.shard.value(), plan.labels[shard.copies.front().survivor]);
    for (const ShardCopy& copy : shard.copies)
      text += fmt::format("; {}: last {} of term {}, applied {}", plan.labels[copy.survivor], raw(copy.last), raw(copy.last_term), raw(copy.applied));
    text += fmt::format("; missing {}: what they acknowledged behind {} is lost\n", fmt::join(shard.missing, ", "), raw(shard.copies.front().last));
  }
  text += fmt::format("{} shards go on from the longest log that is left and may lose their latest writes, {} are lost, {} have a majority here and are left as they are\n",
                      recovers, gone, keeps);
  return text;
}

}  // namespace kraken::group
