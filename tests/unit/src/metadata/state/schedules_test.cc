// The traces of lifecycle §4 as fixed schedules on the state machine with toy stores. Each is run twice: with all rules
// it ends well, and with its rule switched off the invariants must notice (lifecycle §8.4, §8.5). A step of an actor is
// a function call, a command "under way" is a Command that is applied later.

#include <gtest/gtest.h>

#include <functional>

#include "src/metadata/state/sweep.h"
#include "tests/unit/src/metadata/state/world.h"

namespace kraken::metadata::state::test {
namespace {

const Digest kBlob = digest(1);
const Digest kManifest = digest(2);

/// Rules that the actors keep, not apply.
struct Manners {
  bool rename_after_arrive = true;
  bool scrub_waits_under_arriving = true;
  bool unnamed_goes_through_leave = true;
  bool leave_before_unlink = true;
  bool lock_from_read_to_unlink = true;
  bool head_renews = true;
  bool verify_waits_for_the_limit = true;
  bool proposals_apply_once = true;
};

/// The digest's lock of each store, and the holder's three procedures (lifecycle §3).
class Stores {
 public:
  Stores(World& world, const Manners& manners) : world_(world), manners_(manners) {}

  void crash(int at) {
    std::erase_if(locks_, [&](const auto& lock) { return lock.first == at; });
  }
  bool lock(int at, const Digest& of) { return locks_.insert({at, of}).second; }
  void unlock(int at, const Digest& of) { locks_.erase({at, of}); }

  /// The scrub looks at a file that no record names: what it decided, to be done later by `finish_scrub`.
  enum class Decision { kNothing, kUnlink, kLeave };
  Decision scrub(int at, const Digest& of) {
    if (!world_.has_file(at, of) || !lock(at, of)) return Decision::kNothing;
    Decision decision = Decision::kNothing;
    const auto row = world_.blob(of);
    if (!row)
      decision = Decision::kUnlink;
    else if (row->state == BlobState::kArriving)
      decision = manners_.scrub_waits_under_arriving ? Decision::kNothing : Decision::kUnlink;
    else if (row->holder(store(at)) == nullptr)
      decision = manners_.unnamed_goes_through_leave ? Decision::kLeave : Decision::kUnlink;
    if (decision == Decision::kNothing || !manners_.lock_from_read_to_unlink) unlock(at, of);
    return decision;
  }
  void finish_scrub(int at, const Digest& of, Decision decision) {
    if (decision == Decision::kUnlink) world_.unlink(at, of);
    if (decision == Decision::kLeave) {
      const auto row = world_.blob(of);
      const Command leave = Leave{of, store(at), row ? row->generation : 0, {store(1), store(2)}};
      if (world_.apply(leave).done()) world_.unlink(at, of);
    }
    unlock(at, of);
  }
  void scrub_at_once(int at, const Digest& of) { finish_scrub(at, of, scrub(at, of)); }
  /// Whether it could: not while another holds the digest's lock.
  bool place(int at, const Digest& of) {
    if (locks_.contains({at, of})) return false;
    world_.place(at, of);
    return true;
  }

 private:
  World& world_;
  const Manners& manners_;
  std::set<std::pair<int, Digest>> locks_;
};

Command commit_of(const PushId& push, std::uint64_t generation, const std::vector<int>& stores) {
  std::vector<Holder> holders;
  for (const int i : stores) holders.push_back(holder(i));
  return Commit{kBlob, push, generation, holders, metainfo(kBlob), 2, {}, kMarkTime};
}

void settle(World& world, const Digest& of, const PushId& push) {
  world.now += kMarkTime;
  world.apply(Expire{of, push});
}

// Everything that holds the blob goes, and a full grace passes.
void delete_settled(World& world) {
  world.apply(Condemn{kBlob});
  world.now += kGrace;
  world.apply(Delete{kBlob});
}

using Schedule = std::function<std::string(const Rules&, const Manners&)>;

std::string rename_before_arrive(const Rules& rules, const Manners& manners) {
  World world(rules);
  Stores stores(world, manners);
  if (!manners.rename_after_arrive) stores.place(1, kBlob);
  const auto scrub = stores.scrub(1, kBlob);
  const PushId push = world.push();
  const std::uint64_t generation = world.arrive(kBlob, push);
  if (manners.rename_after_arrive) stores.place(1, kBlob);
  stores.place(2, kBlob);
  world.apply(commit_of(push, generation, {1, 2}));
  if (scrub != Stores::Decision::kNothing) stores.finish_scrub(1, kBlob, scrub);
  return world.broken();
}

std::string scrub_while_arriving(const Rules& rules, const Manners& manners) {
  World world(rules);
  Stores stores(world, manners);
  const PushId push = world.push();
  const std::uint64_t generation = world.arrive(kBlob, push);
  stores.place(1, kBlob);
  stores.place(2, kBlob);
  const auto scrub = stores.scrub(1, kBlob);
  world.apply(commit_of(push, generation, {1, 2}));
  if (scrub != Stores::Decision::kNothing) stores.finish_scrub(1, kBlob, scrub);
  return world.broken();
}

std::string late_commit_after_its_mark(const Rules& rules, const Manners& manners) {
  World world(rules);
  Stores stores(world, manners);
  const PushId push = world.push();
  const std::uint64_t generation = world.arrive(kBlob, push);
  stores.place(1, kBlob);
  stores.place(2, kBlob);
  settle(world, kBlob, push);
  stores.scrub_at_once(1, kBlob);
  world.apply(commit_of(push, generation, {1, 2}));
  return world.broken();
}

std::string late_commit_after_leave(const Rules& rules, const Manners& manners) {
  World world(rules);
  Stores stores(world, manners);
  world.push_blob(kBlob, {1, 2});
  const PushId second = world.push();
  const std::uint64_t generation = world.arrive(kBlob, second);
  stores.place(3, kBlob);
  const Command under_way = commit_of(second, generation, {1, 3});
  stores.scrub_at_once(3, kBlob);
  world.apply(under_way);
  return world.broken();
}

std::string late_enter_after_crash_and_leave(const Rules& rules, const Manners& manners) {
  World world(rules);
  Stores stores(world, manners);
  world.push_blob(kBlob, {1, 2});
  stores.lock(3, kBlob);
  const Command under_way = Enter{kBlob, holder(3), world.blob(kBlob)->generation};
  world.place(3, kBlob);
  stores.crash(3);
  stores.scrub_at_once(3, kBlob);
  world.apply(under_way);
  return world.broken();
}

std::string late_enter_across_delete_and_new_push(const Rules& rules, const Manners& manners) {
  World world(rules);
  Stores stores(world, manners);
  const PushId first = world.push_blob(kBlob, {1, 2});
  stores.lock(3, kBlob);
  const Command under_way = Enter{kBlob, holder(3), world.blob(kBlob)->generation};
  world.place(3, kBlob);
  stores.crash(3);
  settle(world, kBlob, first);
  delete_settled(world);
  for (const int i : {1, 2, 3}) stores.scrub_at_once(i, kBlob);
  world.push_blob(kBlob, {1, 2});
  world.apply(under_way);
  return world.broken();
}

std::string scrub_of_an_unnamed_file(const Rules& rules, const Manners& manners) {
  return late_enter_after_crash_and_leave(rules, manners);
}

std::string read_without_lock(const Rules& rules, const Manners& manners) {
  World world(rules);
  Stores stores(world, manners);
  world.place(1, kBlob);  // an orphan
  const auto scrub = stores.scrub(1, kBlob);
  const PushId push = world.push();
  const std::uint64_t generation = world.arrive(kBlob, push);
  // Who cannot place because the scrub has the lock waits for it.
  bool finished = false;
  if (!stores.place(1, kBlob)) {
    stores.finish_scrub(1, kBlob, scrub);
    finished = true;
    stores.place(1, kBlob);
  }
  stores.place(2, kBlob);
  world.apply(commit_of(push, generation, {1, 2}));
  if (!finished) stores.finish_scrub(1, kBlob, scrub);
  return world.broken();
}

std::string unlink_before_leave(const Rules& rules, const Manners& manners) {
  World world(rules);
  world.push_blob(kBlob, {1, 2, 3});
  const Command leave = Leave{kBlob, store(3), world.blob(kBlob)->generation, {store(1), store(2)}};
  if (!manners.leave_before_unlink) {
    world.unlink(3, kBlob);
    return world.broken();  // what a reader meets between the two
  }
  if (world.apply(leave).done()) world.unlink(3, kBlob);
  return world.broken();
}

std::string last_holder_leaves(const Rules& rules, const Manners&) {
  World world(rules);
  world.push_blob(kBlob, {1, 2});
  world.promise(kBlob, world.now + kMarkTime);
  for (const int i : {1, 2}) {
    if (world.apply(Leave{kBlob, store(i), world.blob(kBlob)->generation, {store(1), store(2)}}).done())
      world.unlink(i, kBlob);
  }
  return world.broken();
}

std::string head_at_half_a_grace(const Rules& rules, const Manners& manners) {
  World world(rules);
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  world.apply(Condemn{kBlob});
  world.now += kGrace / 2;
  if (manners.head_renews && world.blob(kBlob)->state == BlobState::kCondemned) world.apply(Renew{kBlob});
  world.promise(kBlob, world.now + kGrace);
  world.now += kGrace / 2;
  world.apply(Delete{kBlob});
  return world.broken();
}

std::string delete_at_once_after_a_head(const Rules& rules, const Manners&) {
  World world(rules);
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  world.promise(kBlob, world.now + kGrace);  // live: nothing is written
  world.apply(Condemn{kBlob});
  world.apply(Delete{kBlob});
  return world.broken();
}

std::string condemned_during_an_upload(const Rules& rules, const Manners&) {
  World world(rules);
  world.push_blob(kBlob, {1, 2});
  world.promise(kBlob, world.now + 2 * kMarkTime);  // a deadline longer than the grace
  world.apply(Condemn{kBlob});
  world.now += kGrace;
  world.apply(Delete{kBlob});
  return world.broken();
}

std::string condemned_before_a_put(const Rules& rules, const Manners&) {
  World world(rules);
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  settle(world, kManifest, world.push_blob(kManifest, {1, 2}));
  const PushId push = world.push();
  world.add_ref(kBlob, kManifest, push);
  world.add_ref(kManifest, kManifest, push);
  world.apply(Condemn{kBlob});
  world.apply(world.put_command(kManifest, {kBlob}, push));
  return world.broken();
}

std::string reference_to_a_condemned_blob(const Rules& rules, const Manners&) {
  World world(rules);
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  world.promise(kBlob, world.now + kGrace);  // a HEAD
  world.apply(Condemn{kBlob});
  return world.add_ref(kBlob, kManifest, world.push()).done() ? ""
                                                              : "I7: a reference was refused within a grace of a HEAD";
}

std::string upload_of_a_condemned_blob(const Rules& rules, const Manners&) {
  World world(rules);
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  world.apply(Condemn{kBlob});
  const PushId push = world.push();
  const Outcome arrived = world.apply(Arrive{kBlob, push});
  return world.apply(commit_of(push, arrived.blob->generation, {1, 2})).done() ? "" : "L2: a fresh push is refused";
}

std::string reference_to_nothing(const Rules& rules, const Manners&) {
  World world(rules);
  world.push_blob(kManifest, {1, 2});
  const PushId push = world.push();
  const bool both = world.add_ref(kBlob, kManifest, push).done() && world.add_ref(kManifest, kManifest, push).done();
  if (both) world.apply(world.put_command(kManifest, {kBlob}, push));
  return world.broken();
}

// The sweeper's steps on the reference of one push to kBlob: what its read decided, then the command.
std::optional<Command> sweep_read(const World& world, const Manners& manners, const PushId& push) {
  const auto answer = world.ask(GetManifest{repository(), kManifest});
  Sweep decision = sweep(push, answer.row, answer.now);
  if (decision == Sweep::kLater && !manners.verify_waits_for_the_limit) decision = Sweep::kRemove;
  const RefName ref{repository(), kManifest, push};
  if (decision == Sweep::kKeep) return Verified{kBlob, ref};
  if (decision == Sweep::kRemove) return RemoveRef{kBlob, ref};
  return std::nullopt;
}

std::string put_after_the_sweep(const Rules& rules, const Manners& manners) {
  World world(rules);
  world.push_blob(kBlob, {1, 2});
  world.push_blob(kManifest, {1, 2});
  const PushId push = world.push();
  world.add_ref(kBlob, kManifest, push);
  world.add_ref(kManifest, kManifest, push);
  const Command under_way = world.put_command(kManifest, {kBlob}, push);
  world.now += kPushIdLimit;
  if (const auto command = sweep_read(world, manners, push)) world.apply(*command);
  world.apply(under_way);
  return world.broken();
}

std::string sweep_before_the_limit(const Rules& rules, const Manners& manners) {
  World world(rules);
  world.push_blob(kBlob, {1, 2});
  world.push_blob(kManifest, {1, 2});
  const PushId push = world.push();
  world.add_ref(kBlob, kManifest, push);
  world.add_ref(kManifest, kManifest, push);
  const auto swept = sweep_read(world, manners, push);
  world.apply(world.put_command(kManifest, {kBlob}, push));
  if (swept) world.apply(*swept);
  return world.broken();
}

std::string sweep_of_a_push_that_died(const Rules& rules, const Manners& manners) {
  World world(rules);
  world.push_blob(kBlob, {1, 2});
  world.push_blob(kManifest, {1, 2});
  world.push_manifest(kManifest, {kBlob});
  const PushId dead = world.push();
  world.add_ref(kBlob, kManifest, dead);
  world.now += kPushIdLimit;
  if (const auto command = sweep_read(world, manners, dead)) world.apply(*command);
  return world.broken();
}

// Runs the tasks that remove references.
void remove_references(World& world) {
  for (const Task& task : world.tasks(TaskKind::kRemoveRefs)) {
    for (const Digest& of : task.row.digests)
      world.apply(RemoveRef{of, {task.row.repository, task.row.manifest, task.row.push}});
    world.apply(FinishTask{task.key, task.row.revision});
  }
}

std::string duplicate_put_after_delete(const Rules& rules, const Manners& manners) {
  World world(rules);
  world.push_blob(kBlob, {1, 2});
  world.push_blob(kManifest, {1, 2});
  const PushId push = world.push_manifest(kManifest, {kBlob});
  const Command duplicate = world.put_command(kManifest, {kBlob}, push);
  world.apply(DeleteManifest{repository(), kManifest, false, false});
  remove_references(world);
  if (!manners.proposals_apply_once) world.apply(duplicate);  // else the session knows the stamp
  return world.broken();
}

std::string retag_after_delete(const Rules& rules, const Manners&) {
  World world(rules);
  world.push_blob(kBlob, {1, 2});
  world.push_blob(kManifest, {1, 2});
  world.push_manifest(kManifest, {kBlob});
  const bool there = world.ask(GetManifest{repository(), kManifest}).row.has_value();
  world.apply(DeleteManifest{repository(), kManifest, false, false});
  if (there) world.apply(Retag{repository(), {tag("again")}, kManifest, {}, {}, false});
  return world.broken();
}

std::string references_of_a_deleted_manifest(const Rules& rules, const Manners& manners) {
  World world(rules);
  world.push_blob(kBlob, {1, 2});
  world.push_blob(kManifest, {1, 2});
  const PushId push = world.push_manifest(kManifest, {kBlob});
  world.now += kPushIdLimit;
  if (const auto command = sweep_read(world, manners, push)) world.apply(*command);
  world.apply(DeleteManifest{repository(), kManifest, false, false});
  remove_references(world);
  return world.ask(GetBlob{kBlob, false}).referenced ? "L1: a reference without a manifest stays for good" : "";
}

struct Row {
  const char* name;
  Schedule schedule;
  std::vector<bool Rules::*> rules;  // switched off together: each alone may be covered by another
  std::vector<bool Manners::*> manners;
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

const std::vector<Row> kRows{
    {"RenameBeforeArrive", rename_before_arrive, {}, {&Manners::rename_after_arrive}},
    {"ScrubWhileArriving", scrub_while_arriving, {}, {&Manners::scrub_waits_under_arriving}},
    {"LateCommitAfterItsMark", late_commit_after_its_mark, {&Rules::commit_needs_mark}, {}},
    {"LateCommitAfterLeave", late_commit_after_leave, {&Rules::commit_needs_generation}, {}},
    {"LateCommitAfterLeaveThatKeptTheGeneration", late_commit_after_leave, {&Rules::leave_renews_generation}, {}},
    {"LateEnterAfterCrashAndLeave", late_enter_after_crash_and_leave, {&Rules::enter_needs_generation}, {}},
    {"LateEnterAfterLeaveThatKeptTheGeneration",
     late_enter_after_crash_and_leave,
     {&Rules::leave_renews_generation},
     {}},
    {"LateEnterAcrossDeleteAndNewPush", late_enter_across_delete_and_new_push, {&Rules::generation_never_repeats}, {}},
    {"ScrubOfAnUnnamedFile", scrub_of_an_unnamed_file, {}, {&Manners::unnamed_goes_through_leave}},
    {"ReadWithoutLock", read_without_lock, {}, {&Manners::lock_from_read_to_unlink}},
    {"UnlinkBeforeLeave", unlink_before_leave, {}, {&Manners::leave_before_unlink}},
    {"LastHolderLeaves", last_holder_leaves, {&Rules::leave_keeps_last_holder}, {}},
    {"HeadAtHalfAGrace", head_at_half_a_grace, {}, {&Manners::head_renews}},
    {"RenewThatDoesNothing", head_at_half_a_grace, {&Rules::renew_revives}, {}},
    {"DeleteAtOnceAfterAHead", delete_at_once_after_a_head, {&Rules::second_grace}, {}},
    {"CondemnedDuringAnUpload", condemned_during_an_upload, {&Rules::marks_hold_off_condemn}, {}},
    {"CondemnedBeforeAPut", condemned_before_a_put, {&Rules::refs_hold_off_condemn}, {}},
    {"ReferenceToACondemnedBlob", reference_to_a_condemned_blob, {&Rules::add_ref_revives}, {}},
    {"UploadOfACondemnedBlob", upload_of_a_condemned_blob, {&Rules::arrive_revives}, {}},
    {"ReferenceToNothing", reference_to_nothing, {&Rules::add_ref_needs_record}, {}},
    {"PutAfterTheSweep", put_after_the_sweep, {&Rules::put_refuses_old_push}, {}},
    {"SweepBeforeTheLimit", sweep_before_the_limit, {}, {&Manners::verify_waits_for_the_limit}},
    {"SweepOfAPushThatDied", sweep_of_a_push_that_died, {&Rules::remove_ref_names_push}, {}},
    {"DuplicatePutAfterDelete", duplicate_put_after_delete, {}, {&Manners::proposals_apply_once}},
    {"RetagAfterDelete", retag_after_delete, {&Rules::retag_needs_row}, {}},
    {"ReferencesOfADeletedManifest", references_of_a_deleted_manifest, {&Rules::delete_adds_remove_tasks}, {}},
};

class Trace : public testing::TestWithParam<Row> {};

TEST_P(Trace, EndsWellWithAllRules) { EXPECT_EQ(GetParam().schedule({}, {}), ""); }

TEST_P(Trace, IsNoticedWithItsRuleSwitchedOff) {
  Rules rules;
  Manners manners;
  for (bool Rules::* const rule : GetParam().rules) rules.*rule = false;
  for (bool Manners::* const rule : GetParam().manners) manners.*rule = false;
  const std::string broken = GetParam().schedule(rules, manners);
  EXPECT_NE(broken, "");
  RecordProperty("broken", broken);
}

INSTANTIATE_TEST_SUITE_P(Lifecycle, Trace, testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace kraken::metadata::state::test
