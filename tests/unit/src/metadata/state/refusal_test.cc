// Each precondition of lifecycle §2 refused once, by name, and what a refusal must leave alone: everything.

#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/src/metadata/state/world.h"

namespace kraken::metadata::state::test {
namespace {

const Digest kBlob = digest(1);
const Digest kManifest = digest(2);

struct Row {
  const char* name;
  Refusal refusal;
  std::function<Command(World&)> prepare;  // brings the world there, and gives the command that is refused
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

// A live blob on stores 1 and 2 whose mark has been expired.
std::uint64_t settled(World& world, const Digest& of = kBlob) {
  const PushId id = world.push_blob(of, {1, 2});
  world.now += kMarkTime;
  world.apply(Expire{of, id});
  return world.blob(of)->generation;
}

std::uint64_t condemned(World& world) {
  const std::uint64_t generation = settled(world);
  world.apply(Condemn{kBlob});
  return generation;
}

void image(World& world) {
  world.push_blob(kBlob, {1, 2});
  world.push_blob(kManifest, {1, 2});
  world.push_manifest(kManifest, {kBlob});
}

Retag retag(const Digest& manifest = kManifest) { return {repository(), {tag()}, manifest, {}, {}, false}; }

Task a_task(World& world) {
  TaskRow row;
  row.kind = TaskKind::kCopy;
  row.digest = kBlob;
  world.apply(AddTask{row, 0s});
  return world.tasks().front();
}

const std::vector<Row> kRows{
    {"CommitWithoutItsMark", Refusal::kNoMark,
     [](World& w) -> Command {
       const std::uint64_t generation = settled(w);
       return Commit{kBlob, w.push(), generation, {holder(1)}, metainfo(kBlob), 2, {}, kMarkTime};
     }},
    {"CommitAfterItsMarkExpired", Refusal::kNoMark,
     [](World& w) -> Command {
       const PushId id = w.push();
       const std::uint64_t generation = w.arrive(kBlob, id);
       w.now += kMarkTime;
       w.apply(Expire{kBlob, id});
       return Commit{kBlob, id, generation, {holder(1)}, metainfo(kBlob), 2, {}, kMarkTime};
     }},
    {"CommitWithAnOldGeneration", Refusal::kWrongGeneration,
     [](World& w) -> Command {
       const std::uint64_t generation = settled(w);
       const PushId id = w.push();
       w.arrive(kBlob, id);
       w.apply(Leave{kBlob, store(3), generation, {}});
       return Commit{kBlob, id, generation, {holder(3)}, metainfo(kBlob), 2, {}, kMarkTime};
     }},
    {"CommitOfTooManyPieces", Refusal::kTooLarge,
     [](World& w) -> Command {
       const PushId id = w.push();
       Commit commit{kBlob, id, w.arrive(kBlob, id), {holder(1)}, metainfo(kBlob), 2, {}, kMarkTime};
       commit.metainfo.piece_length = 1;
       commit.metainfo.length = kPiecesMax + 1;
       commit.metainfo.piece_sums.resize(kPiecesMax + 1);
       return commit;
     }},
    {"CommitWithMetainfoOfAnotherBlob", Refusal::kMalformed,
     [](World& w) -> Command {
       const PushId id = w.push();
       return Commit{kBlob, id, w.arrive(kBlob, id), {holder(1)}, metainfo(kManifest), 2, {}, kMarkTime};
     }},
    {"CommitWithoutHolders", Refusal::kMalformed,
     [](World& w) -> Command {
       const PushId id = w.push();
       return Commit{kBlob, id, w.arrive(kBlob, id), {}, metainfo(kBlob), 2, {}, kMarkTime};
     }},
    {"RenewWithoutARecord", Refusal::kNoRecord, [](World&) -> Command { return Renew{kBlob}; }},
    {"RenewOfALiveBlob", Refusal::kWrongState,
     [](World& w) -> Command {
       settled(w);
       return Renew{kBlob};
     }},
    {"ExpireBeforeTheDeadline", Refusal::kMarkNotDue,
     [](World& w) -> Command {
       const PushId id = w.push_blob(kBlob, {1, 2});
       w.now += kMarkTime - 1ns;
       return Expire{kBlob, id};
     }},
    {"ExpireWithoutAMark", Refusal::kNoMark,
     [](World& w) -> Command {
       settled(w);
       return Expire{kBlob, w.push()};
     }},
    {"AddRefWithoutARecord", Refusal::kNoRecord,
     [](World& w) -> Command { return AddRef{kBlob, {repository(), kManifest, w.push()}}; }},
    {"AddRefWhileArriving", Refusal::kWrongState,
     [](World& w) -> Command {
       w.arrive(kBlob, w.push());
       return AddRef{kBlob, {repository(), kManifest, w.push()}};
     }},
    {"CondemnWithoutARecord", Refusal::kNoRecord, [](World&) -> Command { return Condemn{kBlob}; }},
    {"CondemnWhileArriving", Refusal::kWrongState,
     [](World& w) -> Command {
       w.arrive(kBlob, w.push());
       return Condemn{kBlob};
     }},
    {"CondemnTwice", Refusal::kWrongState,
     [](World& w) -> Command {
       condemned(w);
       return Condemn{kBlob};
     }},
    {"CondemnWithAReference", Refusal::kReferenced,
     [](World& w) -> Command {
       settled(w);
       w.add_ref(kBlob, kManifest, w.push());
       return Condemn{kBlob};
     }},
    {"CondemnWithAMarkThatIsPastItsDeadline", Refusal::kMarked,
     [](World& w) -> Command {
       w.push_blob(kBlob, {1, 2});
       w.now += 2 * kMarkTime;
       return Condemn{kBlob};
     }},
    {"DeleteWithoutARecord", Refusal::kNoRecord, [](World&) -> Command { return Delete{kBlob}; }},
    {"DeleteOfALiveBlob", Refusal::kWrongState,
     [](World& w) -> Command {
       settled(w);
       return Delete{kBlob};
     }},
    {"DeleteBeforeTheSecondGraceIsOver", Refusal::kGraceNotOver,
     [](World& w) -> Command {
       condemned(w);
       w.now += kGrace - 1ns;
       return Delete{kBlob};
     }},
    {"DeleteBlobWithoutARecord", Refusal::kNoRecord, [](World&) -> Command { return DeleteBlob{kBlob}; }},
    {"DeleteBlobWithAReference", Refusal::kReferenced,
     [](World& w) -> Command {
       settled(w);
       w.add_ref(kBlob, kManifest, w.push());
       return DeleteBlob{kBlob};
     }},
    {"DeleteBlobWithAMark", Refusal::kMarked,
     [](World& w) -> Command {
       w.push_blob(kBlob, {1, 2});
       return DeleteBlob{kBlob};
     }},
    {"EnterWithoutARecord", Refusal::kNoRecord, [](World&) -> Command { return Enter{kBlob, holder(3), 1}; }},
    {"EnterWhileArriving", Refusal::kWrongState,
     [](World& w) -> Command {
       const std::uint64_t generation = w.arrive(kBlob, w.push());
       return Enter{kBlob, holder(3), generation};
     }},
    {"EnterWithAnOldGeneration", Refusal::kWrongGeneration,
     [](World& w) -> Command {
       const std::uint64_t generation = settled(w);
       w.apply(Leave{kBlob, store(3), generation, {}});
       return Enter{kBlob, holder(3), generation};
     }},
    {"LeaveWithoutARecord", Refusal::kNoRecord, [](World&) -> Command { return Leave{kBlob, store(3), 1, {}}; }},
    {"LeaveWhileArriving", Refusal::kWrongState,
     [](World& w) -> Command {
       const std::uint64_t generation = w.arrive(kBlob, w.push());
       return Leave{kBlob, store(3), generation, {}};
     }},
    {"LeaveWithAnOldGeneration", Refusal::kWrongGeneration,
     [](World& w) -> Command {
       const std::uint64_t generation = settled(w);
       w.apply(Leave{kBlob, store(3), generation, {}});
       return Leave{kBlob, store(3), generation, {}};
     }},
    {"LeaveOfAnOwner", Refusal::kLastHolder,
     [](World& w) -> Command {
       const std::uint64_t generation = settled(w);
       return Leave{kBlob, store(1), generation, {store(1), store(2)}};
     }},
    {"LeaveWhileAnOwnerLacksIt", Refusal::kLastHolder,
     [](World& w) -> Command {
       const std::uint64_t generation = settled(w);
       return Leave{kBlob, store(1), generation, {store(2), store(3)}};
     }},
    {"LeaveWithoutKnowingTheOwners", Refusal::kLastHolder,
     [](World& w) -> Command {
       const std::uint64_t generation = settled(w);
       return Leave{kBlob, store(1), generation, {}};
     }},
    {"LeaveWhereAnOwnersCopyIsSuspect", Refusal::kLastHolder,
     [](World& w) -> Command {
       const std::uint64_t generation = settled(w);
       w.apply(Suspect{kBlob, store(2)});
       return Leave{kBlob, store(1), generation, {store(2)}};
     }},
    {"LostWithoutARecord", Refusal::kNoRecord, [](World&) -> Command { return Lost{kBlob, store(1), 2}; }},
    {"LostOfAStoreThatIsNoHolder", Refusal::kNotAHolder,
     [](World& w) -> Command {
       settled(w);
       return Lost{kBlob, store(3), 2};
     }},
    {"LostOfTheLastHolder", Refusal::kLastHolder,
     [](World& w) -> Command {
       settled(w);
       w.apply(Lost{kBlob, store(1), 2});
       return Lost{kBlob, store(2), 2};
     }},
    {"SuspectWithoutARecord", Refusal::kNoRecord, [](World&) -> Command { return Suspect{kBlob, store(1)}; }},
    {"SuspectOfAStoreThatIsNoHolder", Refusal::kNotAHolder,
     [](World& w) -> Command {
       settled(w);
       return Suspect{kBlob, store(3)};
     }},
    {"BackedWithoutARecord", Refusal::kNoRecord, [](World&) -> Command { return Backed{kBlob, "s3"}; }},
    {"BackedWhileCondemned", Refusal::kWrongState,
     [](World& w) -> Command {
       condemned(w);
       return Backed{kBlob, "s3"};
     }},
    {"BackedByNobody", Refusal::kMalformed,
     [](World& w) -> Command {
       settled(w);
       return Backed{kBlob, ""};
     }},
    {"PutManifestAnHourAfterItsPushBegan", Refusal::kPushTooOld,
     [](World& w) -> Command {
       const PushId id = w.push();
       w.now += kPushIdLimit;
       return w.put_command(kManifest, {kBlob}, id);
     }},
    {"PutManifestWithAPushIdOfTheFuture", Refusal::kPushTooOld,
     [](World& w) -> Command { return w.put_command(kManifest, {kBlob}, {w.now + 1ns, 1}); }},
    {"PutManifestOnATagThatShouldNotExist", Refusal::kRevision,
     [](World& w) -> Command {
       image(w);
       PutManifest put = w.put_command(kManifest, {kBlob}, w.push());
       put.expect = Expectation::absent();
       return put;
     }},
    {"PutManifestOnAnotherRevision", Refusal::kRevision,
     [](World& w) -> Command {
       image(w);
       PutManifest put = w.put_command(kManifest, {kBlob}, w.push());
       put.expect = Expectation::at(1);
       return put;
     }},
    {"PutManifestOnATagThatIsNotThere", Refusal::kRevision,
     [](World& w) -> Command {
       PutManifest put = w.put_command(kManifest, {kBlob}, w.push());
       put.expect = Expectation::at(1);
       return put;
     }},
    {"PutManifestWithoutARepository", Refusal::kMalformed,
     [](World& w) -> Command {
       PutManifest put = w.put_command(kManifest, {kBlob}, w.push());
       put.repository = Repository();
       return put;
     }},
    {"RetagOfAManifestThatIsNotThere", Refusal::kNoManifest, [](World&) -> Command { return retag(); }},
    {"RetagOfAManifestThatWasDeleted", Refusal::kNoManifest,
     [](World& w) -> Command {
       image(w);
       w.apply(DeleteManifest{repository(), kManifest, false, true});
       return retag();
     }},
    {"RetagOfABlobThatWasNotPushedAsAManifest", Refusal::kNoManifest,
     [](World& w) -> Command {
       PutManifest put = w.put_command(kManifest, {}, w.push());
       put.media_type.clear();
       w.apply(put);
       return retag();
     }},
    {"RetagOnAnotherRevision", Refusal::kRevision,
     [](World& w) -> Command {
       image(w);
       Retag command = retag();
       command.expect = Expectation::at(digest(9));
       return command;
     }},
    {"RetagWithoutATag", Refusal::kMalformed,
     [](World& w) -> Command {
       image(w);
       Retag command = retag();
       command.tags.clear();
       return command;
     }},
    {"DeleteManifestThatIsNotThere", Refusal::kNoManifest,
     [](World&) -> Command { return DeleteManifest{repository(), kManifest, false, false}; }},
    {"RetentionOfAManifestThatATagNames", Refusal::kTagged,
     [](World& w) -> Command {
       image(w);
       return DeleteManifest{repository(), kManifest, true, false};
     }},
    {"DeleteTagThatIsNotThere", Refusal::kNoTag,
     [](World&) -> Command { return DeleteTag{repository(), tag(), {}, false}; }},
    {"DeleteTagTwiceWhereATombstoneStands", Refusal::kNoTag,
     [](World& w) -> Command {
       image(w);
       w.apply(DeleteTag{repository(), tag(), {}, true});
       return DeleteTag{repository(), tag(), {}, true};
     }},
    {"DeleteTagOnAnotherRevision", Refusal::kRevision,
     [](World& w) -> Command {
       image(w);
       return DeleteTag{repository(), tag(), Expectation::at(1), false};
     }},
    {"ClearTombstoneOfALiveTag", Refusal::kNoTombstone,
     [](World& w) -> Command {
       image(w);
       return ClearTombstone{repository(), tag(), {}, w.index};
     }},
    {"ClearTombstoneOfALaterDelete", Refusal::kNoTombstone,
     [](World& w) -> Command {
       image(w);
       w.apply(DeleteTag{repository(), tag(), {}, true});
       return ClearTombstone{repository(), tag(), {}, w.index - 1};
     }},
    {"ClearTombstoneOfNothing", Refusal::kMalformed,
     [](World&) -> Command { return ClearTombstone{repository(), {}, {}, 1}; }},
    {"PeerBatchOfTooManyBytes", Refusal::kMalformed,
     [](World&) -> Command { return PeerBatch{std::vector<PeerRecord>(2000, PeerRecord{})}; }},
    {"ClaimOfATaskThatIsNotThere", Refusal::kNoTask, [](World&) -> Command { return ClaimTask{{}, 1, "origin1", 1s}; }},
    {"ClaimOnAnotherRevision", Refusal::kTaskRevision,
     [](World& w) -> Command {
       const Task task = a_task(w);
       return ClaimTask{task.key, task.row.revision + 1, "origin1", 1s};
     }},
    {"ClaimOfATaskThatAnotherHasClaimed", Refusal::kTaskClaimed,
     [](World& w) -> Command {
       const Task task = a_task(w);
       const Outcome claimed = w.apply(ClaimTask{task.key, task.row.revision, "origin1", 1s});
       return ClaimTask{task.key, claimed.task->revision, "origin2", 1s};
     }},
    {"FinishOnAnotherRevision", Refusal::kTaskRevision,
     [](World& w) -> Command {
       const Task task = a_task(w);
       w.apply(ClaimTask{task.key, task.row.revision, "origin1", 1s});
       return FinishTask{task.key, task.row.revision};
     }},
    {"FinishTwice", Refusal::kNoTask,
     [](World& w) -> Command {
       const Task task = a_task(w);
       w.apply(FinishTask{task.key, task.row.revision});
       return FinishTask{task.key, task.row.revision};
     }},
    {"PostponeOnAnotherRevision", Refusal::kTaskRevision,
     [](World& w) -> Command {
       const Task task = a_task(w);
       return PostponeTask{task.key, task.row.revision + 1, 1s, ""};
     }},
    {"AddVerifyTaskWithoutItsReference", Refusal::kMalformed,
     [](World&) -> Command {
       TaskRow row;
       row.kind = TaskKind::kVerifyRef;
       return AddTask{row, 0s};
     }},
};

class Refused : public testing::TestWithParam<Row> {};

TEST_P(Refused, ByNameAndWithoutAnyEffect) {
  World world;
  const Command command = GetParam().prepare(world);
  const auto rows = [&world] {
    std::vector<std::pair<std::string, std::string>> all;
    for (std::size_t i = 0; i < kv::kFamilies; ++i) {
      for (const auto& row : world.rows.rows(kv::family_at(i))) all.push_back(row);
    }
    return all;
  };
  const auto before = rows();
  const Outcome outcome = world.apply(command);
  EXPECT_EQ(name(outcome.refusal), name(GetParam().refusal)) << outcome.detail;
  EXPECT_EQ(rows(), before);
}

INSTANTIATE_TEST_SUITE_P(Lifecycle, Refused, testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Refusal, EachHasItsOwnNameAndASentence) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(Refusal::kNoTombstone); ++i) {
    const Refusal refusal = static_cast<Refusal>(i);
    EXPECT_TRUE(names.insert(name(refusal)).second) << i;
    EXPECT_GT(explain(refusal).size(), 10u);
  }
}

TEST(Refusal, EachOneThatApplyCanGiveIsInTheTable) {
  std::set<Refusal> seen;
  for (const Row& row : kRows) seen.insert(row.refusal);
  for (int i = 1; i <= static_cast<int>(Refusal::kNoTombstone); ++i) {
    if (static_cast<Refusal>(i) == Refusal::kWrongShard) continue;  // below: it takes two shards
    EXPECT_TRUE(seen.contains(static_cast<Refusal>(i))) << name(static_cast<Refusal>(i));
  }
}

TEST(Refusal, ACommandOfAnotherShardIsRefused) {
  Machine machine(Shards::make(2).value());
  const MapView rows;
  kv::Overlay overlay(rows);
  int refused = 0;
  for (const std::uint16_t shard : {std::uint16_t{1}, std::uint16_t{2}}) {
    const std::string bytes = machine.apply({ShardId(shard), 1, 1s}, encode(Command(Arrive{kBlob, {}})), overlay);
    refused += decode_outcome(bytes)->refusal == Refusal::kWrongShard ? 1 : 0;
  }
  EXPECT_EQ(refused, 1);
}

TEST(Refusal, BytesThatAreNoCommandAreRefused) {
  World world;
  for (const std::string& bytes : {std::string(), std::string("\x01"), std::string("\x02\x01"), std::string("\x01\xff"),
                                   std::string("\x01\x01 too short")}) {
    EXPECT_EQ(world.apply_bytes(bytes).refusal, Refusal::kMalformed);
  }
}

}  // namespace
}  // namespace kraken::metadata::state::test
