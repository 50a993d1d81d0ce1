#include "tests/sim/whole/mutants.h"

namespace kraken::sim::whole {

const std::vector<NamedMutant>& all_mutants() {
  static const std::vector<NamedMutant> all = [] {
    std::vector<NamedMutant> list;
    const auto add = [&](std::string_view layer, std::initializer_list<std::string_view> names) {
      uint8_t number = 1;
      for (std::string_view name : names) list.push_back({layer, name, number++});
      return number;
    };
    const auto raft = add("raft", {"vote_before_sync", "ack_before_sync", "leader_counts_unsynced", "commit_to_last_index", "beat_commit_unclamped",
                                   "commit_old_term", "read_before_noop", "read_without_quorum", "read_seq_reuse", "clear_vote", "vote_twice",
                                   "vote_ignores_log", "pre_vote_ignores_log", "truncate_always", "keep_after_conflict", "conf_at_apply",
                                   "majority_of_new_only"});
    list.push_back({"raft", "joint_left_early", static_cast<uint8_t>(raft::Mutant::kJointLeftEarly)});
    const auto group = add("group", {"session_executes_twice", "session_unknown_executes", "session_older_boot", "session_forgets_low",
                                     "session_not_stored", "applied_not_in_batch", "time_not_stored", "entry_unbound", "entry_unchecked",
                                     "frame_unchecked", "truncate_one", "vote_not_stored", "fork_accepted", "install_keeps_log", "two_moves_at_once",
                                     "promoted_too_early", "replica_id_reused", "adopted_by_one", "adopted_unsettled"});
    const auto state = add("state", {"cas_ignores_revision", "cas_ignores_absence", "refused_writes", "delete_keeps_tag", "claim_ignores_claim",
                                     "task_ignores_revision", "metainfo_overwritten", "not_deterministic"});
    const auto driver = add("driver", {"snapshot_misses_family", "snapshot_uncommitted_conf", "install_in_two_steps", "compact_above_applied",
                                       "stale_boot_accepted", "wiped_keeps_id", "tombstone_ignored", "destroyed_uncommitted", "read_before_applied",
                                       "gated_early", "persisted_early", "sync_error_ignored", "retry_new_stamp", "hard_state_apart",
                                       "read_at_follower", "gone_uncommitted", "satisfied_early", "compact_above_stored"});
    static_assert(static_cast<int>(raft::Mutant::kCount) == 18 && static_cast<int>(group::Mutant::kCount) == 20 &&
                  static_cast<int>(metadata::state::Mutant::kCount) == 9 && static_cast<int>(DriverMutant::kCount) == 19);
    static_cast<void>(raft + group + state + driver);
    return list;
  }();
  return all;
}

void activate(const NamedMutant* m) {
  raft::active_mutant = raft::Mutant::kNone;
  group::active_mutant = group::Mutant::kNone;
  metadata::state::active_mutant = metadata::state::Mutant::kNone;
  active_driver_mutant = DriverMutant::kNone;
  if (m == nullptr) return;
  if (m->layer == "raft") raft::active_mutant = static_cast<raft::Mutant>(m->number);
  if (m->layer == "group") group::active_mutant = static_cast<group::Mutant>(m->number);
  // Bugs that the core would stop by itself, so that it must have one, too.
  if (group::active_mutant == group::Mutant::kTwoMovesAtOnce) raft::active_mutant = raft::Mutant::kChangesOverlap;
  if (group::active_mutant == group::Mutant::kReplicaIdReused) raft::active_mutant = raft::Mutant::kIdsUnchecked;
  if (m->layer == "state") metadata::state::active_mutant = static_cast<metadata::state::Mutant>(m->number);
  if (m->layer == "driver") active_driver_mutant = static_cast<DriverMutant>(m->number);
}

const NamedMutant* find_mutant(std::string_view name) {
  for (const NamedMutant& m : all_mutants())
    if (m.name == name) return &m;
  return nullptr;
}

}  // namespace kraken::sim::whole
