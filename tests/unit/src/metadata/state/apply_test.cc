// What each command does where it is accepted (lifecycle §2, right column).

#include <gtest/gtest.h>

#include "tests/unit/src/metadata/state/world.h"

namespace kraken::metadata::state::test {
namespace {

const Digest kBlob = digest(1);
const Digest kManifest = digest(2);
const Digest kOther = digest(3);

void image(World& world) {
  world.push_blob(kBlob, {1, 2});
  world.push_blob(kManifest, {1, 2});
  world.push_manifest(kManifest, {kBlob});
}

void settle(World& world, const Digest& of, const PushId& id) {
  world.now += kMarkTime;
  ASSERT_TRUE(world.apply(Expire{of, id}).done());
}

std::set<Digest> stores_holding(const World& world, const Digest& of) {
  std::set<Digest> out;
  for (const Holder& h : world.blob(of)->holders) out.insert(Digest::of(h.store.raw()));
  return out;
}

TEST(Arrive, MakesAnArrivingRecordWithAMark) {
  World world;
  const PushId id = world.push();
  const Outcome outcome = world.apply(Arrive{kBlob, id});
  ASSERT_TRUE(outcome.done());
  EXPECT_EQ(outcome.blob->state, BlobState::kArriving);
  EXPECT_EQ(outcome.blob->generation, outcome.index);
  const auto answer = world.ask(GetBlob{kBlob, true});
  EXPECT_FALSE(answer.row->readable());
  EXPECT_EQ(answer.marks, (std::vector<NamedMark>{{id, {world.now + kMarkTime}}}));
  EXPECT_FALSE(answer.metainfo);
}

TEST(Arrive, OfALiveBlobTakesAMarkAndTellsTheHolders) {
  World world;
  world.push_blob(kBlob, {1, 2});
  const Outcome outcome = world.apply(Arrive{kBlob, world.push()});
  EXPECT_EQ(outcome.blob->state, BlobState::kLive);
  EXPECT_EQ(outcome.blob->holders.size(), 2u);
  EXPECT_EQ(world.ask(GetBlob{kBlob, false}).marks.size(), 2u);
}

TEST(Arrive, RevivesACondemnedBlob) {
  World world;
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  world.apply(Condemn{kBlob});
  ASSERT_EQ(world.blob(kBlob)->state, BlobState::kCondemned);
  const Outcome outcome = world.apply(Arrive{kBlob, world.push()});
  EXPECT_EQ(outcome.blob->state, BlobState::kLive);
  EXPECT_FALSE(outcome.blob->condemned_at);
}

TEST(Commit, IsOneEntryWithRecordHoldersMetainfoMarkAndTasks) {
  World world;
  const PushId id = world.push();
  const std::uint64_t generation = world.arrive(kBlob, id);
  world.now += 1h;
  const Outcome outcome =
      world.apply(Commit{kBlob, id, generation, {holder(2), holder(1)}, metainfo(kBlob), 3, "library/app", kMarkTime});
  ASSERT_TRUE(outcome.done());
  const auto answer = world.ask(GetBlob{kBlob, true});
  EXPECT_EQ(answer.row->state, BlobState::kLive);
  EXPECT_EQ(answer.row->size, 8u);
  EXPECT_EQ(answer.row->holders, (std::vector<Holder>{holder(1), holder(2)}));
  EXPECT_EQ(answer.row->generation, generation);
  EXPECT_EQ(answer.metainfo->metainfo(kBlob), metainfo(kBlob));
  EXPECT_EQ(answer.metainfo->infohash, metainfo(kBlob).infohash());
  EXPECT_EQ(answer.marks, (std::vector<NamedMark>{{id, {world.now + kMarkTime}}}));
  const auto tasks = world.tasks();
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0].row.kind, TaskKind::kWriteBackBlob);
  EXPECT_EQ(tasks[0].row.target, "library/app");
  EXPECT_EQ(tasks[1].row.kind, TaskKind::kCopy);
  EXPECT_EQ(tasks[1].row.digest, kBlob);
  EXPECT_EQ(tasks[1].key.due, world.now);
}

TEST(Commit, AddsNoCopyTaskWhereEveryOwnerHolds) {
  World world;
  world.push_blob(kBlob, {1, 2});
  EXPECT_TRUE(world.tasks().empty());
}

TEST(Commit, TheFirstMetainfoStandsAlsoAcrossADelete) {
  World world;
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  world.apply(DeleteBlob{kBlob});
  ASSERT_FALSE(world.blob(kBlob));
  const PushId id = world.push();
  const Outcome outcome =
      world.apply(Commit{kBlob, id, world.arrive(kBlob, id), {holder(1)}, metainfo(kBlob, 8), 1, {}, kMarkTime});
  EXPECT_TRUE(outcome.done());
  EXPECT_TRUE(outcome.metainfo_differs);
  EXPECT_EQ(world.ask(GetMetainfo{kBlob}).row->piece_length, 4u);
}

TEST(Commit, OfASecondPushAddsItsHolders) {
  World world;
  world.push_blob(kBlob, {1, 2});
  world.push_blob(kBlob, {2, 3});
  EXPECT_EQ(stores_holding(world, kBlob).size(), 3u);
  EXPECT_EQ(world.broken(), "");
}

TEST(Commit, MakesASuspectCopyGoodAgain) {
  World world;
  world.push_blob(kBlob, {1, 2});
  world.apply(Suspect{kBlob, store(1)});
  ASSERT_TRUE(world.blob(kBlob)->holder(store(1))->suspect);
  world.push_blob(kBlob, {1, 2});
  EXPECT_FALSE(world.blob(kBlob)->holder(store(1))->suspect);
}

TEST(Expire, TakesTheRowOfABlobThatNeverCame) {
  World world;
  const PushId first = world.push();
  const PushId second = world.push();
  world.arrive(kBlob, first);
  world.arrive(kBlob, second);
  settle(world, kBlob, first);
  EXPECT_TRUE(world.blob(kBlob));
  EXPECT_TRUE(world.apply(Expire{kBlob, second}).done());
  EXPECT_FALSE(world.blob(kBlob));
}

TEST(AddRef, RevivesACondemnedBlobAndAddsOneVerifyTask) {
  World world;
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  world.apply(Condemn{kBlob});
  const PushId id = world.push();
  EXPECT_TRUE(world.add_ref(kBlob, kManifest, id).done());
  EXPECT_EQ(world.blob(kBlob)->state, BlobState::kLive);
  EXPECT_TRUE(world.add_ref(kBlob, kManifest, id).done());
  const auto tasks = world.tasks();
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].row.kind, TaskKind::kVerifyRef);
  EXPECT_EQ(tasks[0].row.push, id);
  EXPECT_EQ(tasks[0].key.due, world.now + kPushIdLimit);
}

TEST(RemoveRef, TakesExactlyThatRowAndItsTaskAnyNumberOfTimes) {
  World world;
  world.push_blob(kBlob, {1, 2});
  const PushId first = world.push();
  const PushId second = world.push();
  world.add_ref(kBlob, kManifest, first);
  world.add_ref(kBlob, kManifest, second);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(world.apply(RemoveRef{kBlob, {repository(), kManifest, first}}).done());
  ASSERT_EQ(world.tasks().size(), 1u);
  EXPECT_EQ(world.tasks()[0].row.push, second);
  EXPECT_TRUE(world.ask(GetBlob{kBlob, false}).referenced);
  EXPECT_TRUE(world.apply(RemoveRef{kBlob, {repository(), kManifest, second}}).done());
  EXPECT_FALSE(world.ask(GetBlob{kBlob, false}).referenced);
  EXPECT_TRUE(world.tasks().empty());
}

TEST(Verified, EndsTheTaskAndKeepsTheReference) {
  World world;
  world.push_blob(kBlob, {1, 2});
  const PushId id = world.push();
  world.add_ref(kBlob, kManifest, id);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(world.apply(Verified{kBlob, {repository(), kManifest, id}}).done());
  EXPECT_TRUE(world.tasks().empty());
  EXPECT_TRUE(world.ask(GetBlob{kBlob, false}).referenced);
}

TEST(Delete, TakesTheRowAfterAFullSecondGraceAndLeavesTheMetainfo) {
  World world;
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  EXPECT_TRUE(world.apply(Condemn{kBlob}).done());
  EXPECT_TRUE(world.blob(kBlob)->readable());
  world.now += kGrace;
  EXPECT_TRUE(world.apply(Delete{kBlob}).done());
  EXPECT_FALSE(world.blob(kBlob));
  EXPECT_TRUE(world.ask(GetMetainfo{kBlob}).row);
}

TEST(Renew, MakesACondemnedBlobLiveAgain) {
  World world;
  settle(world, kBlob, world.push_blob(kBlob, {1, 2}));
  world.apply(Condemn{kBlob});
  EXPECT_TRUE(world.apply(Renew{kBlob}).done());
  EXPECT_EQ(world.blob(kBlob)->state, BlobState::kLive);
}

TEST(Enter, AddsAHolderAndKeepsTheGeneration) {
  World world;
  world.push_blob(kBlob, {1, 2});
  const std::uint64_t generation = world.blob(kBlob)->generation;
  const Outcome outcome = world.apply(Enter{kBlob, holder(3), generation});
  ASSERT_TRUE(outcome.done());
  EXPECT_EQ(outcome.blob->holders.size(), 3u);
  EXPECT_EQ(outcome.blob->generation, generation);
}

TEST(Leave, OfASurplusHolderRenewsTheGeneration) {
  World world;
  world.push_blob(kBlob, {1, 2, 3});
  const std::uint64_t generation = world.blob(kBlob)->generation;
  const Outcome outcome = world.apply(Leave{kBlob, store(3), generation, {store(1), store(2)}});
  ASSERT_TRUE(outcome.done());
  EXPECT_EQ(outcome.blob->holders.size(), 2u);
  EXPECT_EQ(outcome.blob->generation, outcome.index);
}

TEST(Leave, OfAStoreThatIsNoHolderRenewsTheGenerationToo) {
  World world;
  world.push_blob(kBlob, {1, 2});
  const Outcome outcome = world.apply(Leave{kBlob, store(3), world.blob(kBlob)->generation, {}});
  ASSERT_TRUE(outcome.done());
  EXPECT_EQ(outcome.blob->generation, outcome.index);
}

TEST(Leave, OfTheLastHolderWhereABackendHasTheBlob) {
  World world;
  world.push_blob(kBlob, {1});
  EXPECT_TRUE(world.apply(Backed{kBlob, "s3"}).done());
  const Outcome outcome = world.apply(Leave{kBlob, store(1), world.blob(kBlob)->generation, {}});
  ASSERT_TRUE(outcome.done());
  EXPECT_TRUE(outcome.blob->holders.empty());
}

TEST(Lost, RemovesTheHolderAndAddsACopyTask) {
  World world;
  world.push_blob(kBlob, {1, 2});
  const Outcome outcome = world.apply(Lost{kBlob, store(1), 2});
  ASSERT_TRUE(outcome.done());
  EXPECT_EQ(outcome.blob->generation, outcome.index);
  EXPECT_EQ(world.tasks(TaskKind::kCopy).size(), 1u);
}

TEST(PutManifest, IsOneEntryWithRowTagsAndTasks) {
  World world;
  PutManifest put = world.put_command(kManifest, {kBlob}, world.push(), {tag("v1"), tag("latest")});
  put.tasks = {true, {"remote:15004"}};
  const Outcome outcome = world.apply(put);
  ASSERT_TRUE(outcome.done());
  EXPECT_EQ(outcome.tag->digest, kManifest);
  EXPECT_EQ(outcome.tag->revision, outcome.index);
  for (const char* const name : {"v1", "latest"})
    EXPECT_EQ(world.ask(GetTag{repository(), tag(name)}).row, outcome.tag);
  const auto row = world.ask(GetManifest{repository(), kManifest}).row;
  EXPECT_EQ(row->references, std::vector<Digest>{kBlob});
  EXPECT_EQ(row->push, put.push);
  EXPECT_EQ(world.tasks(TaskKind::kWriteBackTag).size(), 2u);
  ASSERT_EQ(world.tasks(TaskKind::kReplicateTag).size(), 2u);
  EXPECT_EQ(world.tasks(TaskKind::kReplicateTag)[0].row.target, "remote:15004");
}

TEST(PutManifest, ThatReplacesARowRemovesTheOldPushsReferences) {
  World world;
  image(world);
  const PushId old = world.ask(GetManifest{repository(), kManifest}).row->push;
  world.push_manifest(kManifest, {kBlob});
  const auto tasks = world.tasks(TaskKind::kRemoveRefs);
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].row.push, old);
  EXPECT_EQ(tasks[0].row.digests, (std::vector<Digest>{kBlob, kManifest}));
  EXPECT_EQ(world.broken(), "");
}

TEST(PutManifest, OfTheSamePushTwiceRemovesNothing) {
  World world;
  const PutManifest put = world.put_command(kManifest, {}, world.push());
  EXPECT_TRUE(world.apply(put).done());
  EXPECT_TRUE(world.apply(put).done());
  EXPECT_TRUE(world.tasks().empty());
}

TEST(PutManifest, OfAnyBlobLeavesAManifestsReferences) {
  World world;
  image(world);
  const auto before = world.ask(GetManifest{repository(), kManifest}).row;
  PutManifest put = world.put_command(kManifest, {}, world.push(), {tag("v2")});
  put.media_type.clear();
  EXPECT_TRUE(world.apply(put).done());
  EXPECT_EQ(world.ask(GetManifest{repository(), kManifest}).row, before);
  EXPECT_EQ(world.ask(GetTag{repository(), tag("v2")}).row->digest, kManifest);
}

TEST(PutManifest, TheLoserOfACompareAndSwapGetsTheWinner) {
  World world;
  image(world);
  PutManifest put = world.put_command(kOther, {}, world.push());
  put.expect = Expectation::absent();
  const Outcome outcome = world.apply(put);
  EXPECT_EQ(outcome.refusal, Refusal::kRevision);
  EXPECT_EQ(outcome.tag->digest, kManifest);
  put.expect = Expectation::at(outcome.tag->revision);
  EXPECT_TRUE(world.apply(put).done());
  put.expect = Expectation::at(kOther);
  EXPECT_TRUE(world.apply(put).done());
}

TEST(Retag, MovesATagWithinTheRepository) {
  World world;
  image(world);
  world.push_blob(kOther, {1, 2});
  world.push_manifest(kOther, {});
  const Outcome outcome = world.apply(Retag{repository(), {tag()}, kManifest, {}, {}, false});
  ASSERT_TRUE(outcome.done());
  EXPECT_EQ(world.ask(GetTag{repository(), tag()}).row->digest, kManifest);
  EXPECT_EQ(world.broken(), "");
  // The manifest that lost its tag is untagged now, the other one is not.
  EXPECT_TRUE(world.apply(DeleteManifest{repository(), kOther, true, false}).done());
  EXPECT_EQ(world.apply(DeleteManifest{repository(), kManifest, true, false}).refusal, Refusal::kTagged);
}

TEST(Retag, ToWhereTheTagStandsWritesTheTagsRowAlone) {
  World world;
  image(world);
  const std::uint64_t before = world.ask(GetTag{repository(), tag()}).row->revision;
  ASSERT_TRUE(world.apply(Retag{repository(), {tag()}, kManifest, {}, {}, false}).done());
  EXPECT_EQ(world.operations, 1u);
  EXPECT_GT(world.ask(GetTag{repository(), tag()}).row->revision, before);
  EXPECT_EQ(world.broken(), "");
}

TEST(DeleteManifest, TakesItsTagsAndAddsTheRemovalOfItsReferences) {
  World world;
  image(world);
  world.apply(Retag{repository(), {tag("latest")}, kManifest, {}, {}, false});
  const Outcome outcome = world.apply(DeleteManifest{repository(), kManifest, false, false});
  ASSERT_TRUE(outcome.done());
  EXPECT_EQ(outcome.removed, 2u);
  EXPECT_FALSE(world.ask(GetTag{repository(), tag()}).row);
  EXPECT_FALSE(world.ask(GetManifest{repository(), kManifest}).row);
  ASSERT_EQ(world.tasks(TaskKind::kRemoveRefs).size(), 1u);
  EXPECT_EQ(world.tasks(TaskKind::kRemoveRefs)[0].row.digests, (std::vector<Digest>{kBlob, kManifest}));
  EXPECT_EQ(world.broken(), "");
}

TEST(Tombstone, HidesATagUntilItIsClearedAndAPutReplacesIt) {
  World world;
  image(world);
  const Outcome deleted = world.apply(DeleteTag{repository(), tag(), {}, true});
  ASSERT_TRUE(deleted.done());
  EXPECT_TRUE(world.ask(GetTag{repository(), tag()}).row->tombstone);
  EXPECT_TRUE(world.ask(ListTags{repository(), "", 10}).tags.empty());
  EXPECT_EQ(world.tasks(TaskKind::kDeleteBackendTag).size(), 1u);
  // A tombstone counts as no tag.
  PutManifest put = world.put_command(kManifest, {kBlob}, world.push());
  put.expect = Expectation::absent();
  EXPECT_TRUE(world.apply(put).done());
  EXPECT_EQ(world.apply(ClearTombstone{repository(), tag(), {}, deleted.index}).refusal, Refusal::kNoTombstone);
  const Outcome again = world.apply(DeleteTag{repository(), tag(), {}, true});
  EXPECT_TRUE(world.apply(ClearTombstone{repository(), tag(), {}, again.index}).done());
  EXPECT_FALSE(world.ask(GetTag{repository(), tag()}).row);
  EXPECT_EQ(world.tasks(TaskKind::kRemoveRefs).size(), 1u) << "of the push that was replaced";
}

TEST(Tombstone, OfAManifestKeepsItFromBeingTaggedAndIsCleared) {
  World world;
  image(world);
  const Outcome deleted = world.apply(DeleteManifest{repository(), kManifest, false, true});
  ASSERT_TRUE(deleted.done());
  EXPECT_TRUE(world.ask(GetManifest{repository(), kManifest}).row->tombstone);
  EXPECT_TRUE(world.apply(ClearTombstone{repository(), {}, kManifest, deleted.index}).done());
  EXPECT_FALSE(world.ask(GetManifest{repository(), kManifest}).row);
}

TEST(Tasks, AClaimEndsWithItsTimeAndARetryIsPutOff) {
  World world;
  TaskRow row;
  row.kind = TaskKind::kCopy;
  row.digest = kBlob;
  world.apply(AddTask{row, 0s});
  auto task = world.ask(ListTasks{}).tasks.at(0);
  Outcome claimed = world.apply(ClaimTask{task.key, task.row.revision, "origin1", 10s});
  ASSERT_TRUE(claimed.done());
  const auto waiting = world.ask(ListTasks{});
  EXPECT_TRUE(waiting.tasks.empty());
  EXPECT_EQ(waiting.next_due, world.now + 10s);
  world.now += 10s;
  claimed = world.apply(ClaimTask{task.key, claimed.task->revision, "origin2", 10s});
  ASSERT_TRUE(claimed.done());
  EXPECT_EQ(claimed.task->claim->claimant, "origin2");
  const Outcome later = world.apply(PostponeTask{task.key, claimed.task->revision, 1min, "no space left"});
  ASSERT_TRUE(later.done());
  EXPECT_EQ(later.task_key->id(), task.key.id());
  task = world.tasks().at(0);
  EXPECT_EQ(task.key.due, world.now + 1min);
  EXPECT_EQ(task.row.failures, 1u);
  EXPECT_EQ(task.row.error, "no space left");
  EXPECT_FALSE(task.row.claim);
  EXPECT_TRUE(world.apply(FinishTask{task.key, task.row.revision}).done());
  EXPECT_TRUE(world.tasks().empty());
}

TEST(Tasks, AVerifyTaskThatWasPutOffStillGoesWithItsReference) {
  World world;
  world.push_blob(kBlob, {1, 2});
  const PushId id = world.push();
  world.add_ref(kBlob, kManifest, id);
  const Task task = world.tasks().at(0);
  EXPECT_TRUE(world.apply(PostponeTask{task.key, task.row.revision, 3h, ""}).done());
  EXPECT_EQ(world.tasks().at(0).row.failures, 0u);
  EXPECT_TRUE(world.apply(RemoveRef{kBlob, {repository(), kManifest, id}}).done());
  EXPECT_TRUE(world.tasks().empty());
}

PeerRecord peer(int infohash, int number, Duration lasts) {
  InfoHash::Raw hash{};
  hash[0] = static_cast<std::uint8_t>(infohash);
  PeerId::Raw id{};
  id[0] = static_cast<std::uint8_t>(number);
  return {InfoHash(hash), PeerId(id), "10.0.0." + std::to_string(number), 16001, number % 2 == 0, lasts};
}

TEST(Peers, ExpireAndAreSweptAwayByLaterBatches) {
  World world;
  PeerBatch batch;
  for (int i = 0; i < 100; ++i) batch.records.push_back(peer(1, i, 1min));
  EXPECT_TRUE(world.apply(batch).done());
  EXPECT_EQ(world.ask(ListPeers{}).peers.size(), 100u);
  world.now += 1min;
  EXPECT_TRUE(world.ask(ListPeers{}).peers.empty());
  EXPECT_GE(world.rows.rows(kv::Family::kPeer).size(), 100u);
  for (int i = 0; i < 8; ++i) world.apply(PeerBatch{{peer(2, 1, 1min)}});
  EXPECT_LE(world.rows.rows(kv::Family::kPeer).size(), 2u);
  EXPECT_EQ(world.ask(ListPeers{}).peers.size(), 1u);
}

TEST(Peers, ARecordThatLastsNoTimeIsRemoved) {
  World world;
  world.apply(PeerBatch{{peer(1, 1, 1min), peer(1, 2, 1min)}});
  world.apply(PeerBatch{{peer(1, 1, 0s)}});
  const auto left = world.ask(ListPeers{peer(1, 1, 0s).infohash, {}, {}, 10}).peers;
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].row.ip, "10.0.0.2");
  EXPECT_TRUE(left[0].row.complete);
}

class Heard : public Observer {
 public:
  void peers_changed(ShardId, std::span<const NamedPeer> changed, Duration now) override {
    for (const NamedPeer& peer : changed) peers.push_back(peer.row.expires - now);
  }
  void tasks_added(ShardId) override { ++tasks; }
  void restored(ShardId, const kv::View&) override { ++restores; }
  std::vector<Duration> peers;
  int tasks = 0;
  int restores = 0;
};

TEST(Observer, HearsOfPeersAndDueTasksOnceTheyAreVisible) {
  Heard heard;
  World world({}, &heard);
  world.apply(PeerBatch{{peer(1, 1, 1min), peer(1, 2, 2min)}});
  EXPECT_EQ(heard.peers, (std::vector<Duration>{1min, 2min}));
  EXPECT_EQ(heard.tasks, 0);
  world.push_blob(kBlob, {1});
  EXPECT_EQ(heard.tasks, 1) << "a copy task";
  world.add_ref(kBlob, kManifest, world.push());
  EXPECT_EQ(heard.tasks, 1) << "a verify task is not due yet";
  world.machine.restored(world.shard, world.rows);
  EXPECT_EQ(heard.restores, 1);
}

TEST(Apply, EndsTheProcessWhereARowCannotBeRead) {
  World world;
  kv::Batch batch;
  batch.put(kv::Family::kBlob, keys::blob(world.shard, kBlob), "\xff");
  world.rows.write(batch);
  EXPECT_EXIT(world.apply(Condemn{kBlob}), testing::ExitedWithCode(70), "row_unreadable");
}

TEST(Apply, GivesTheSameRowsForTheSameEntries) {
  World one;
  World two;
  for (World* const world : {&one, &two}) {
    image(*world);
    world->apply(DeleteManifest{repository(), kManifest, false, false});
  }
  for (std::size_t i = 0; i < kv::kFamilies; ++i)
    EXPECT_EQ(one.rows.rows(kv::family_at(i)), two.rows.rows(kv::family_at(i)));
}

}  // namespace
}  // namespace kraken::metadata::state::test
