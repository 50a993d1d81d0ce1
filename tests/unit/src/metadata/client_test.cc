// The client, the one manifest push and the sweeper, on a port that is one state machine in memory.

#include "src/metadata/client.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>

#include "src/base/rng.h"
#include "src/metadata/manifest_push.h"
#include "src/metadata/ref_sweeper.h"
#include "tests/unit/src/metadata/fake_port.h"

namespace kraken::metadata::test {
namespace {

using namespace std::chrono_literals;
using state::TaskKind;

Digest digest(int i) { return Digest::of("blob " + std::to_string(i)); }
Repository repository(std::string_view name = "library/app") { return Repository::parse(name).value(); }
TagName tag(std::string_view name = "v1") { return TagName::parse(name).value(); }
Holder holder(int i) {
  StoreId::Raw raw{};
  raw[0] = static_cast<std::uint8_t>(i);
  return {StoreId(raw), "origin" + std::to_string(i), false};
}

class MetadataClient : public testing::Test {
 protected:
  template <class T>
  Result<T> run(net::Task<T> task) {
    std::optional<Result<T>> out;
    boost::asio::co_spawn(loop_, std::move(task), [&out](std::exception_ptr exception, Result<T> result) {
      ASSERT_FALSE(exception);
      out.emplace(std::move(result));
    });
    loop_.restart();
    loop_.run();
    return out ? *std::move(out) : Result<T>(fail(Code::kInternal, "the task did not end"));
  }

  MetaInfo metainfo(const Digest& of, std::uint64_t piece_length = 4) {
    MetaInfo info;
    info.digest = of;
    info.length = 8;
    info.piece_length = piece_length;
    info.piece_sums.resize(8 / piece_length, 7);
    return info;
  }

  Result<BlobCommitted> push_blob(const Digest& of, std::uint64_t piece_length = 4) {
    const PushId mark = client.new_mark();
    const auto row = run(client.arrive(of, mark));
    if (!row) return std::unexpected(row.error());
    state::Commit commit;
    commit.digest = of;
    commit.push = mark;
    commit.generation = row->generation;
    commit.holders = {holder(1), holder(2)};
    commit.metainfo = metainfo(of, piece_length);
    commit.owners = 2;
    return run(client.commit(std::move(commit)));
  }

  ManifestPush image(std::vector<TagName> tags = {tag()}) {
    ManifestPush push;
    push.repository = repository();
    push.manifest = digest(0);
    push.media_type = "application/vnd.oci.image.manifest.v1+json";
    push.size = 8;
    push.references = {digest(1), digest(2), digest(3)};
    push.tags = std::move(tags);
    return push;
  }
  void push_blobs() {
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(push_blob(digest(i)));
  }
  ManifestPushed push_image(ManifestPush push) { return run(push_manifest(client, std::move(push))).value(); }

  /// Every task of every shard.
  std::vector<std::pair<ShardId, state::Task>> tasks(std::optional<TaskKind> kind, bool runnable = false) {
    std::vector<std::pair<ShardId, state::Task>> all;
    for (std::uint32_t i = 0; i < client.shards().count(); ++i) {
      const ShardId shard = client.shards().at(i);
      const auto answer = run(client.list_tasks(shard, {runnable, kind, {}, 100})).value();
      for (const state::Task& task : answer.tasks) all.emplace_back(shard, task);
    }
    return all;
  }
  std::size_t refs() const { return port.rows().rows(kv::Family::kRef).size(); }

  boost::asio::io_context loop_;
  FakePort port{Shards::make(8).value()};
  std::uint64_t random_ = 0;
  Client client{port, port.shards(), {6s, 10s, [this] { return ++random_; }}};
};

TEST_F(MetadataClient, ABlobThatWasPushedIsFoundWithItsMetainfo) {
  ASSERT_TRUE(push_blob(digest(1)));
  const auto found = run(client.get_blob(digest(1), true)).value();
  EXPECT_TRUE(found.readable());
  EXPECT_EQ(found.row->holders.size(), 2u);
  EXPECT_EQ(found.metainfo, metainfo(digest(1)));
  EXPECT_EQ(run(client.get_metainfo(digest(1))).value(), metainfo(digest(1)));
  EXPECT_FALSE(run(client.get_blob(digest(2))).value().row);
  EXPECT_EQ(run(client.get_metainfo(digest(2))).error().code, Code::kNotFound);
}

TEST_F(MetadataClient, TheLoserOfAMetainfoRaceTakesTheWinners) {
  ASSERT_TRUE(push_blob(digest(1), 4));
  const auto second = push_blob(digest(1), 8);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->metainfo, metainfo(digest(1), 4));
}

TEST_F(MetadataClient, ABlobOfTooManyPiecesIsTooLarge) {
  const PushId mark = client.new_mark();
  state::Commit commit;
  commit.digest = digest(1);
  commit.push = mark;
  commit.generation = run(client.arrive(digest(1), mark)).value().generation;
  commit.holders = {holder(1)};
  commit.metainfo = metainfo(digest(1));
  commit.metainfo.length = kPiecesMax + 1;
  commit.metainfo.piece_length = 1;
  commit.metainfo.piece_sums.resize(kPiecesMax + 1);
  EXPECT_EQ(run(client.commit(std::move(commit))).error().code, Code::kTooLarge);
}

TEST_F(MetadataClient, TouchRenewsACondemnedBlob) {
  ASSERT_TRUE(push_blob(digest(1)));
  const PushId mark{Duration::zero(), random_};
  port.advance(state::kMarkTime);
  ASSERT_TRUE(run(client.propose(state::Expire{digest(1), mark})).value().done());
  ASSERT_TRUE(run(client.propose(state::Condemn{digest(1)})).value().done());
  EXPECT_EQ(run(client.touch(digest(1))).value().state, BlobState::kLive);
  EXPECT_EQ(run(client.get_blob(digest(1))).value().row->state, BlobState::kLive);
  EXPECT_EQ(run(client.touch(digest(2))).error().code, Code::kNotFound);
  ASSERT_TRUE(run(client.arrive(digest(2), client.new_mark())));
  EXPECT_EQ(run(client.touch(digest(2))).error().code, Code::kNotFound) << "it only arrives";
}

TEST_F(MetadataClient, HoldersEnterAndLeave) {
  ASSERT_TRUE(push_blob(digest(1)));
  const std::uint64_t generation = run(client.get_blob(digest(1))).value().row->generation;
  EXPECT_EQ(run(client.enter(digest(1), holder(3), generation)).value().holders.size(), 3u);
  const auto left = run(client.leave(digest(1), holder(3).store, generation, {holder(1).store, holder(2).store}));
  EXPECT_EQ(left->holders.size(), 2u);
  EXPECT_EQ(run(client.enter(digest(1), holder(3), generation)).error().code, Code::kConflict);
  EXPECT_EQ(run(client.enter(digest(9), holder(3), generation)).error().code, Code::kNotFound);
}

TEST_F(MetadataClient, DeleteOfABlobIsRefusedWhileItIsHeld) {
  ASSERT_TRUE(push_blob(digest(1)));
  EXPECT_EQ(run(client.delete_blob(digest(1))).error().code, Code::kConflict);
  port.advance(state::kMarkTime);
  ASSERT_TRUE(run(client.propose(state::Expire{digest(1), {Duration::zero(), random_}})).value().done());
  EXPECT_TRUE(run(client.delete_blob(digest(1))));
  EXPECT_EQ(run(client.delete_blob(digest(1))).error().code, Code::kNotFound);
}

TEST_F(MetadataClient, AManifestPushIsVisibleWithItsTag) {
  push_blobs();
  const ManifestPushed pushed = push_image(image());
  EXPECT_EQ(pushed.what, ManifestPushed::What::kStored);
  EXPECT_EQ(pushed.tag->digest, digest(0));
  EXPECT_EQ(run(client.get_tag(repository(), tag())).value().row, pushed.tag);
  const auto manifest = run(client.get_manifest(repository(), digest(0))).value();
  EXPECT_EQ(manifest.row->references.size(), 3u);
  EXPECT_EQ(refs(), 4u) << "three blobs and the manifest's own";
}

TEST_F(MetadataClient, MissingReferencesAreListedAndNothingIsVisible) {
  ASSERT_TRUE(push_blob(digest(0)));
  ASSERT_TRUE(push_blob(digest(2)));
  ASSERT_TRUE(run(client.arrive(digest(3), client.new_mark())));
  const ManifestPushed pushed = push_image(image());
  EXPECT_EQ(pushed.what, ManifestPushed::What::kMissing);
  EXPECT_EQ(pushed.missing, (std::vector<Digest>{digest(1), digest(3)}));
  EXPECT_FALSE(run(client.get_tag(repository(), tag())).value().row);
}

TEST_F(MetadataClient, NamingAManifestThatIsThereIsOneProposal) {
  push_blobs();
  ASSERT_EQ(push_image(image()).what, ManifestPushed::What::kStored);
  const std::uint64_t before = port.proposals();
  const ManifestPushed pushed = push_image(image({tag("latest")}));
  EXPECT_EQ(pushed.what, ManifestPushed::What::kStored);
  EXPECT_EQ(port.proposals() - before, 1u);
  EXPECT_EQ(refs(), 4u);
}

TEST_F(MetadataClient, APushByDigestAloneThatIsThereProposesNothing) {
  push_blobs();
  ASSERT_EQ(push_image(image()).what, ManifestPushed::What::kStored);
  const std::uint64_t before = port.proposals();
  EXPECT_EQ(push_image(image({})).what, ManifestPushed::What::kStored);
  EXPECT_EQ(port.proposals(), before);
  ManifestPush other = image({});
  other.repository = repository("library/other");
  EXPECT_EQ(push_image(other).what, ManifestPushed::What::kStored);
  EXPECT_TRUE(run(client.get_manifest(other.repository, digest(0))).value().row);
}

TEST_F(MetadataClient, ATagOfAnyBlobBecomesAManifestWhenThatIsPushed) {
  push_blobs();
  ManifestPush any = image();
  any.media_type.clear();
  any.references.clear();
  EXPECT_EQ(push_image(any).what, ManifestPushed::What::kStored);
  EXPECT_TRUE(run(client.get_manifest(repository(), digest(0))).value().row->opaque());
  EXPECT_EQ(refs(), 1u);
  EXPECT_EQ(push_image(image()).what, ManifestPushed::What::kStored);
  EXPECT_FALSE(run(client.get_manifest(repository(), digest(0))).value().row->opaque());
  EXPECT_EQ(refs(), 5u) << "the first one's reference goes with its task";
  ASSERT_EQ(tasks(TaskKind::kRemoveRefs).size(), 1u);
  EXPECT_EQ(run(remove_refs(client, tasks(TaskKind::kRemoveRefs)[0].second)).value(), Swept::kRemoved);
  EXPECT_EQ(refs(), 4u);
  EXPECT_TRUE(tasks(TaskKind::kRemoveRefs).empty());
}

TEST_F(MetadataClient, TheLoserOfACompareAndSwapGetsTheWinner) {
  push_blobs();
  const ManifestPushed first = push_image(image());
  ManifestPush again = image();
  again.expect = Expectation::absent();
  ManifestPushed lost = push_image(again);
  EXPECT_EQ(lost.what, ManifestPushed::What::kConflict);
  EXPECT_EQ(lost.tag, first.tag);
  again.expect = Expectation::at(first.tag->revision);
  EXPECT_EQ(push_image(again).what, ManifestPushed::What::kStored);
  lost = push_image(again);
  EXPECT_EQ(lost.what, ManifestPushed::What::kConflict);
  const auto removed = run(client.delete_tag(repository(), tag(), Expectation::at(first.tag->revision))).value();
  EXPECT_FALSE(removed.done);
  EXPECT_EQ(removed.row, lost.tag);
}

TEST_F(MetadataClient, APushThatTookTooLongBeginsAgainWithANewPushId) {
  push_blobs();
  bool slow = true;
  port.before([&](ShardId, const std::string& bytes) -> Result<> {
    const auto command = state::decode_command(bytes);
    // Just before the first put the hour passes.
    if (std::holds_alternative<state::PutManifest>(*command) && std::exchange(slow, false))
      port.advance(state::kPushIdLimit);
    return {};
  });
  EXPECT_EQ(push_image(image()).what, ManifestPushed::What::kStored);
  EXPECT_EQ(refs(), 8u) << "of two push ids";
  // The sweeper takes the first one's.
  port.advance(state::kPushIdLimit);
  int kept = 0;
  int removed = 0;
  for (const auto& [shard, task] : tasks(TaskKind::kVerifyRef, true)) {
    const Swept swept = run(verify_ref(client, task)).value();
    kept += swept == Swept::kKept ? 1 : 0;
    removed += swept == Swept::kRemoved ? 1 : 0;
  }
  EXPECT_EQ(kept, 4);
  EXPECT_EQ(removed, 4);
  EXPECT_EQ(refs(), 4u);
  EXPECT_TRUE(tasks(TaskKind::kVerifyRef).empty());
}

TEST_F(MetadataClient, AQuietRepositoryDoesNotMakeAPushTooOld) {
  push_blobs();
  ASSERT_EQ(push_image(image()).what, ManifestPushed::What::kStored);
  port.advance(5h);
  ManifestPush next = image({tag("v2")});
  next.manifest = digest(3);
  next.references = {digest(1)};
  const std::uint64_t before = port.proposals();
  EXPECT_EQ(push_image(next).what, ManifestPushed::What::kStored);
  EXPECT_EQ(port.proposals() - before, 4u) << "the look, two references, the put";
}

TEST_F(MetadataClient, AReferenceThatCannotBeAddedMakesThePushUnavailable) {
  push_blobs();
  int references = 0;
  port.before([&](ShardId, const std::string& bytes) -> Result<> {
    const auto command = state::decode_command(bytes);
    if (std::holds_alternative<state::AddRef>(*command) && ++references == 3)
      return fail(Code::kOutcomeUnknown, "no answer");
    return {};
  });
  EXPECT_EQ(run(push_manifest(client, image())).error().code, Code::kUnavailable);
  EXPECT_FALSE(run(client.get_tag(repository(), tag())).value().row);
}

TEST_F(MetadataClient, APutWhoseAnswerIsLostIsAnUnknownOutcome) {
  push_blobs();
  port.before([&](ShardId, const std::string& bytes) -> Result<> {
    const auto command = state::decode_command(bytes);
    if (std::holds_alternative<state::PutManifest>(*command)) port.lose_next_answer();
    return {};
  });
  EXPECT_EQ(run(push_manifest(client, image())).error().code, Code::kOutcomeUnknown);
  EXPECT_TRUE(run(client.get_tag(repository(), tag())).value().row) << "it did happen";
}

TEST_F(MetadataClient, AVerifyTaskWaitsForTheLimit) {
  push_blobs();
  const PushId dead = client.new_push(port.now());
  ASSERT_TRUE(run(client.propose(state::AddRef{digest(1), {repository(), digest(0), dead}})).value().done());
  port.advance(state::kPushIdLimit - 10min);
  ASSERT_EQ(tasks(TaskKind::kVerifyRef).size(), 1u);
  EXPECT_EQ(run(verify_ref(client, tasks(TaskKind::kVerifyRef)[0].second)).value(), Swept::kLater);
  EXPECT_EQ(refs(), 1u);
  const auto waiting = tasks(TaskKind::kVerifyRef);
  ASSERT_EQ(waiting.size(), 1u);
  EXPECT_EQ(waiting[0].second.key.due, port.now() + 10min);
  port.advance(10min);
  EXPECT_EQ(run(verify_ref(client, waiting[0].second)).value(), Swept::kRemoved);
  EXPECT_EQ(refs(), 0u);
}

TEST_F(MetadataClient, ADeletedManifestLosesItsTagsAndItsReferences) {
  push_blobs();
  ASSERT_EQ(push_image(image({tag("v1"), tag("v2")})).what, ManifestPushed::What::kStored);
  EXPECT_EQ(run(client.delete_manifest(repository(), digest(0))).value(), 2u);
  EXPECT_FALSE(run(client.get_tag(repository(), tag("v2"))).value().row);
  EXPECT_EQ(run(client.delete_manifest(repository(), digest(0))).error().code, Code::kNotFound);
  for (const auto& [shard, task] : tasks(TaskKind::kRemoveRefs)) EXPECT_TRUE(run(remove_refs(client, task)));
  EXPECT_EQ(refs(), 0u);
  EXPECT_TRUE(tasks(std::nullopt).empty());
}

TEST_F(MetadataClient, ATombstoneIsNoTagAndMustNotBeReadThrough) {
  push_blobs();
  ASSERT_EQ(push_image(image()).what, ManifestPushed::What::kStored);
  EXPECT_TRUE(run(client.delete_tag(repository(), tag(), {}, true)).value().done);
  const auto found = run(client.get_tag(repository(), tag())).value();
  EXPECT_FALSE(found.row);
  EXPECT_TRUE(found.tombstone);
  EXPECT_EQ(run(client.delete_tag(repository(), tag())).error().code, Code::kNotFound);
}

TEST_F(MetadataClient, RepositoriesOfAllShardsAreOneSortedList) {
  ASSERT_TRUE(push_blob(digest(0)));
  std::vector<std::string> all;
  for (int i = 0; i < 40; ++i) {
    ManifestPush push = image();
    push.repository = repository("app" + std::to_string(i));
    push.references.clear();
    ASSERT_EQ(push_image(push).what, ManifestPushed::What::kStored);
    all.push_back(push.repository.str());
  }
  std::ranges::sort(all);
  std::vector<std::string> seen;
  for (;;) {
    const auto page = run(client.list_repositories(seen.empty() ? "" : seen.back(), 7)).value();
    for (const Repository& name : page.repositories) seen.push_back(name.str());
    EXPECT_LE(page.repositories.size(), 7u);
    if (!page.more) break;
  }
  EXPECT_EQ(seen, all);
  port.set_down(true);
  EXPECT_EQ(run(client.list_repositories("", 7)).error().code, Code::kUnavailable);
}

TEST_F(MetadataClient, TasksAreClaimedPutOffAndEnded) {
  state::TaskRow row;
  row.kind = TaskKind::kCopy;
  row.digest = digest(1);
  const ShardId shard = client.shards().of(digest(1));
  ASSERT_TRUE(run(client.add_task(shard, row)));
  const auto listed = run(client.list_tasks(shard, {})).value();
  ASSERT_EQ(listed.tasks.size(), 1u);
  const auto& task = listed.tasks[0];
  const auto claimed = run(client.claim_task(shard, task.key, task.row.revision, "origin1", 1min));
  ASSERT_TRUE(claimed);
  EXPECT_EQ(run(client.claim_task(shard, task.key, task.row.revision, "origin2", 1min)).error().code, Code::kConflict);
  ASSERT_TRUE(run(client.postpone_task(shard, task.key, claimed->row.revision, 1min, "disk full")));
  EXPECT_TRUE(run(client.list_tasks(shard, {})).value().tasks.empty());
  port.advance(1min);
  const auto again = run(client.list_tasks(shard, {})).value().tasks.at(0);
  EXPECT_EQ(again.row.error, "disk full");
  EXPECT_TRUE(run(client.finish_task(shard, again.key, again.row.revision)));
  EXPECT_EQ(run(client.finish_task(shard, again.key, again.row.revision)).error().code, Code::kNotFound);
}

TEST_F(MetadataClient, PeersAreAnnouncedAndListed) {
  state::PeerBatch batch;
  batch.records.push_back({InfoHash(), PeerId(), "10.0.0.1", 16001, true, 1h});
  const ShardId shard = client.shards().at(3);
  ASSERT_TRUE(run(client.announce(shard, batch)));
  EXPECT_EQ(run(client.list_peers(shard, {})).value().peers.size(), 1u);
  port.advance(1h);
  EXPECT_TRUE(run(client.list_peers(shard, {})).value().peers.empty());
}

TEST_F(MetadataClient, APortThatFailsIsHeardAsIs) {
  port.fail_next(Code::kOverloaded);
  EXPECT_EQ(run(client.arrive(digest(1), client.new_mark())).error().code, Code::kOverloaded);
  port.set_down(true);
  EXPECT_EQ(run(client.get_tag(repository(), tag())).error().code, Code::kUnavailable);
  port.set_down(false);
  EXPECT_EQ(run(client.tick(client.shards().at(0))).value(), port.now());
  EXPECT_EQ(run(client.time(client.shards().at(0))).value(), port.now());
}

// Answers that are no answers.
class Garbage final : public Port {
 public:
  net::Task<std::string> propose(ShardId, std::string, Duration) override { co_return answer; }
  net::Task<std::string> query(ShardId, std::string, Read, Duration) override { co_return answer; }
  net::Task<StaleAnswer> query_stale(ShardId, std::string, Duration) override { co_return StaleAnswer{answer, 0, {}}; }
  std::string answer;
};

TEST_F(MetadataClient, GarbageFromAnotherNodeIsAnError) {
  Garbage garbage;
  Client confused(garbage, Shards());
  for (const std::string& bytes :
       {std::string(), std::string("\x01"), state::encode(state::Answer(state::TimeAnswer{}))}) {
    garbage.answer = bytes;
    EXPECT_EQ(run(confused.get_tag(repository(), tag())).error().code, Code::kCorrupt);
    EXPECT_EQ(run(confused.get_tag_stale(repository(), tag())).error().code, Code::kCorrupt);
    EXPECT_FALSE(run(confused.arrive(digest(1), confused.new_mark())));
  }
}

}  // namespace
}  // namespace kraken::metadata::test
