#include "src/blobs/service.h"

#include <fstream>

#include "src/net/scope.h"
#include "tests/unit/src/blobs/cluster.h"

namespace kraken::blobs {
namespace {

using test::Cluster;
using test::pattern;

constexpr std::size_t kBig = 3u << 20;  // a dozen pieces, and enough to be sent on while it arrives

TEST(Push, PlacesOnEveryOwnerAndCommitsOnce) {
  Cluster cluster(3);
  const std::string content = pattern(kBig);
  const Digest digest = Digest::of(content);
  const std::uint64_t before = cluster.port().proposals();
  const auto pushed = cluster.push(0, content);
  ASSERT_TRUE(pushed) << pushed.error().to_string();
  EXPECT_FALSE(*pushed);
  EXPECT_EQ(cluster.port().proposals() - before, 2U);  // Arrive and Commit
  const auto found = cluster.record(digest);
  ASSERT_TRUE(found.row);
  EXPECT_EQ(found.row->state, metadata::BlobState::kLive);
  EXPECT_EQ(found.row->holders.size(), 3U);
  EXPECT_EQ(*found.metainfo, make_metainfo(content, 256 * 1024));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(cluster.holds(i, digest));
    EXPECT_EQ(cluster.read(i, digest).value(), content);
    EXPECT_TRUE(Cluster::eventually([&] { return cluster.leftovers(i) == 0; }));
    EXPECT_EQ(cluster.service(i).sessions(), 0U);
  }
}

TEST(Push, BytesOfANamedBlobFlowToTheOwnersWhileTheyArrive) {
  Cluster cluster(3);
  const std::string content = pattern(kBig);
  const Digest digest = Digest::of(content);
  Service& service = cluster.service(0);
  const auto id = cluster.run(service.start_upload({.digest = digest, .bytes = content.size()}));
  ASSERT_TRUE(id);
  ASSERT_TRUE(cluster.run(service.append(*id, 0, kBig / 2, Cluster::body(content.substr(0, kBig / 2)))));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.leftovers(1) == 1 && cluster.leftovers(2) == 1; }));
  ASSERT_TRUE(cluster.run(service.append(*id, kBig / 2, std::nullopt, Cluster::body(content.substr(kBig / 2)))));
  // Nothing may be there before Arrive.
  for (std::size_t i = 0; i < 3; ++i) EXPECT_FALSE(cluster.holds(i, digest));
  const auto pushed = cluster.run(service.commit(*id, digest));
  ASSERT_TRUE(pushed) << pushed.error().to_string();
  EXPECT_EQ(cluster.record(digest).row->holders.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(Cluster::eventually([&] { return cluster.leftovers(i) == 0; }));
}

TEST(Push, ACancelledUploadLeavesNothingOnAnyNode) {
  Cluster cluster(3);
  const std::string content = pattern(kBig);
  Service& service = cluster.service(0);
  const auto id = cluster.run(service.start_upload({.digest = Digest::of(content), .bytes = content.size()}));
  ASSERT_TRUE(id);
  ASSERT_TRUE(cluster.run(service.append(*id, 0, kBig / 2, Cluster::body(content.substr(0, kBig / 2)))));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.leftovers(1) == 1; }));
  ASSERT_TRUE(cluster.run(service.cancel_upload(*id)));
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(Cluster::eventually([&] { return cluster.leftovers(i) == 0; }));
  EXPECT_EQ(cluster.run(service.commit(*id, Digest::of(content))).error().code, Code::kNotFound);
}

TEST(Push, ThroughANodeThatIsNoOwnerLeavesNoCopyThere) {
  Cluster cluster(3, 2);
  const std::string content = pattern(100000);
  const Digest digest = Digest::of(content);
  const auto owners = cluster.owners(digest);
  const std::size_t other = 3 - owners[0] - owners[1];
  ASSERT_TRUE(cluster.push(other, content));
  EXPECT_TRUE(cluster.holds(owners[0], digest));
  EXPECT_TRUE(cluster.holds(owners[1], digest));
  EXPECT_FALSE(cluster.holds(other, digest));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.leftovers(other) == 0; }));
  EXPECT_EQ(cluster.read(other, digest).value(), content);
}

TEST(Push, AnOwnerThatIsDownIsReplacedByTheNextLabel) {
  Cluster cluster(3, 2);
  const std::string content = pattern(100000);
  const Digest digest = Digest::of(content);
  const auto owners = cluster.owners(digest);
  const std::size_t other = 3 - owners[0] - owners[1];
  cluster.set_down(owners[0], true);
  const auto pushed = cluster.push(owners[1], content);
  ASSERT_TRUE(pushed) << pushed.error().to_string();
  EXPECT_TRUE(cluster.holds(owners[1], digest));
  EXPECT_TRUE(cluster.holds(other, digest));
  EXPECT_EQ(cluster.record(digest).row->holders.size(), 2U);
}

TEST(Push, WithTwoOfThreeOwnersLeavesACopyTask) {
  Cluster cluster(3);
  const std::string content = pattern(100000);
  const Digest digest = Digest::of(content);
  cluster.set_down(2, true);
  ASSERT_TRUE(cluster.push(0, content));
  EXPECT_EQ(cluster.record(digest).row->holders.size(), 2U);
  const kv::ShardId shard = cluster.port().shards().of(digest);
  const auto tasks = cluster.run(cluster.metadata().list_tasks(shard, {}));
  ASSERT_TRUE(tasks);
  ASSERT_EQ(tasks->tasks.size(), 1U);
  EXPECT_EQ(tasks->tasks[0].row.kind, metadata::state::TaskKind::kCopy);
  const auto placement = cluster.run(cluster.service(0).placement(digest));
  ASSERT_TRUE(placement);
  EXPECT_EQ(placement->missing, std::vector<std::string>{"node2"});
  cluster.set_down(2, false);
  const auto fetched = cluster.run(cluster.service(0).peers().fetch("node2", digest));
  ASSERT_TRUE(fetched) << fetched.error().to_string();
  EXPECT_TRUE(cluster.holds(2, digest));
  EXPECT_EQ(cluster.record(digest).row->holders.size(), 3U);
}

TEST(Push, WithoutAQuorumOfStoresIsRefusedAndMayBeRepeated) {
  Cluster cluster(3);
  const std::string content = pattern(1000);
  const Digest digest = Digest::of(content);
  cluster.set_down(1, true);
  cluster.set_down(2, true);
  Service& service = cluster.service(0);
  const auto id = cluster.run(service.start_upload({}));
  ASSERT_TRUE(id);
  ASSERT_TRUE(cluster.run(service.append(*id, std::nullopt, std::nullopt, Cluster::body(content))));
  const auto refused = cluster.run(service.commit(*id, digest));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_EQ(cluster.run(service.stat(digest, false)).error().code, Code::kNotFound);
  cluster.set_down(1, false);
  const auto pushed = cluster.run(service.commit(*id, digest));
  ASSERT_TRUE(pushed) << pushed.error().to_string();
  EXPECT_EQ(cluster.read(1, digest).value(), content);
}

TEST(Push, NodesThatDidNotListenYetAreAskedAgainBeforeTheClientIsRefused) {
  Cluster cluster(3, 2);
  const std::string content = pattern(1000);
  const Digest digest = Digest::of(content);
  const auto owners = cluster.owners(digest);
  cluster.node(owners[0]).wire->refuse_next = 2;  // the other owner, and then the stand-in
  const auto pushed = cluster.push(owners[0], content);
  ASSERT_TRUE(pushed) << pushed.error().to_string();
  EXPECT_LE(cluster.node(owners[0]).wire->refuse_next, 0);
  EXPECT_GE(cluster.record(digest).row->holders.size(), 2U);
}

TEST(HttpPeers, AFailedProbeSaysNothingToTheCallsThatFollow) {
  Cluster cluster(2);
  std::atomic<std::uint16_t> port{1};  // nobody listens there
  HttpPeers peers(cluster.http(), [&](const std::string&) { return std::optional(Address{.host = "127.0.0.1", .port = port}); });
  const Digest digest = Digest::of("none");
  ASSERT_EQ(cluster.run(peers.store_id("node1")).error().code, Code::kUnavailable);
  port = cluster.node(1).server->port();
  EXPECT_EQ(cluster.run(peers.have("node1", digest)).error().code, Code::kNotFound) << "it was dialled";
}

TEST(HttpPeers, AProbeThatIsAnsweredEndsWhatAFailedCallHadSaid) {
  Cluster cluster(2);
  std::atomic<std::uint16_t> port{1};
  HttpPeers peers(cluster.http(), [&](const std::string&) { return std::optional(Address{.host = "127.0.0.1", .port = port}); });
  const Digest digest = Digest::of("none");
  ASSERT_EQ(cluster.run(peers.have("node1", digest)).error().code, Code::kUnavailable);
  port = cluster.node(1).server->port();
  ASSERT_TRUE(cluster.run(peers.store_id("node1")));
  EXPECT_EQ(cluster.run(peers.have("node1", digest)).error().code, Code::kNotFound) << "it was dialled";
}

TEST(HttpPeers, ANodeThatStopsIsUnavailableAndDoesNotCancelWhoeverAsksIt) {
  Cluster cluster(1);
  net::FilePool pool(1, 16);
  http::Router router;
  router.add(http::Method::kGet, "/internal/v1/store", [](http::Exchange& exchange) {
    return exchange.reply(503, {{std::string(kCodeHeader), std::to_string(static_cast<unsigned>(Code::kCancelled))}}, "stopping");
  });
  http::Server server(cluster.loops(), pool, std::move(router), http::Limits{}, nullptr, "origin");
  ASSERT_TRUE(server.listen("127.0.0.1", 0));
  HttpPeers peers(cluster.http(), [&](const std::string&) { return std::optional(Address{.host = "127.0.0.1", .port = server.port()}); });
  EXPECT_EQ(cluster.run(peers.store_id("node1")).error().code, Code::kUnavailable);
  server.stop(std::chrono::seconds(1));
}

TEST(Push, ARefusedCommitBeginsAgainAtArrive) {
  Cluster cluster(3);
  const std::string content = pattern(1000);
  int commits = 0;
  cluster.port().before([&](kv::ShardId, const std::string& bytes) -> Result<> {
    const auto command = metadata::state::decode_command(bytes);
    if (command && std::holds_alternative<metadata::state::Commit>(*command) && ++commits == 1) {
      return fail(Code::kConflict, "a holder left meanwhile");
    }
    return {};
  });
  ASSERT_TRUE(cluster.push(0, content));
  EXPECT_EQ(commits, 2);
  EXPECT_EQ(cluster.record(Digest::of(content)).row->holders.size(), 3U);
}

TEST(Push, ACommitWhoseAnswerWasLostIsFoundDone) {
  Cluster cluster(3);
  const std::string content = pattern(1000);
  cluster.port().before([&](kv::ShardId, const std::string& bytes) -> Result<> {
    const auto command = metadata::state::decode_command(bytes);
    if (command && std::holds_alternative<metadata::state::Commit>(*command)) cluster.port().lose_next_answer();
    return {};
  });
  const auto pushed = cluster.push(0, content);
  ASSERT_TRUE(pushed) << pushed.error().to_string();
  EXPECT_EQ(cluster.record(Digest::of(content)).row->holders.size(), 3U);
}

TEST(Push, NothingIsRenamedBeforeArriveIsAcknowledged) {
  Cluster cluster(3);
  const std::string content = pattern(kBig);
  const Digest digest = Digest::of(content);
  cluster.port().before([&](kv::ShardId, const std::string& bytes) -> Result<> {
    const auto command = metadata::state::decode_command(bytes);
    if (command && std::holds_alternative<metadata::state::Arrive>(*command)) {
      for (std::size_t i = 0; i < 3; ++i) EXPECT_FALSE(cluster.holds(i, digest));
      return fail(Code::kUnavailable, "no quorum");
    }
    return {};
  });
  EXPECT_EQ(cluster.push(0, content, true).error().code, Code::kUnavailable);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_FALSE(cluster.holds(i, digest));
}

TEST(Push, OfALiveBlobDropsItsBytesOnlyIfAQuorumHasThem) {
  Cluster cluster(3);
  const std::string content = pattern(100000);
  const Digest digest = Digest::of(content);
  ASSERT_FALSE(cluster.push(0, content).value());
  EXPECT_TRUE(cluster.push(1, content).value());
  ASSERT_TRUE(cluster.node(0).store->remove(digest));
  ASSERT_TRUE(cluster.node(2).store->remove(digest));
  EXPECT_FALSE(cluster.push(1, content).value());
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(cluster.holds(i, digest));
}

TEST(Push, OfManyAtOnceIsOneBlob) {
  Cluster cluster(3);
  const std::string content = pattern(kBig);
  std::vector<UploadId> ids;
  for (std::size_t i = 0; i < 6; ++i) {
    ids.push_back(cluster.run(cluster.service(i % 3).start_upload({})).value());
    ASSERT_TRUE(cluster.run(cluster.service(i % 3).append(ids[i], 0, content.size(), Cluster::body(content))));
  }
  std::atomic<int> done{0};
  std::atomic<int> good{0};
  net::Scope scope(cluster.loops().at(1).executor());
  static constexpr auto kCommit = [](Service* service, UploadId id, Digest digest, std::atomic<int>* ended,
                                     std::atomic<int>* succeeded) -> net::Task<void> {
    auto pushed = co_await service->commit(id, digest);
    if (pushed) ++*succeeded;
    ++*ended;
    co_return Result<>();
  };
  for (std::size_t i = 0; i < 6; ++i) {
    scope.spawn("commit", kCommit(&cluster.service(i % 3), ids[i], Digest::of(content), &done, &good));
  }
  EXPECT_TRUE(Cluster::eventually([&] { return done == 6; }));
  EXPECT_EQ(good, 6);
  EXPECT_EQ(cluster.record(Digest::of(content)).row->holders.size(), 3U);
  scope.stop_and_wait();
}

TEST(Upload, AWrongDigestIsRefusedAndTheSessionGone) {
  Cluster cluster(1);
  Service& service = cluster.service(0);
  const auto id = cluster.run(service.start_upload({}));
  ASSERT_TRUE(id);
  ASSERT_TRUE(cluster.run(service.append(*id, 0, 5, Cluster::body("hello"))));
  EXPECT_EQ(cluster.run(service.commit(*id, Digest::of("hellp"))).error().code, Code::kDigestMismatch);
  EXPECT_EQ(service.upload_bytes(*id).error().code, Code::kNotFound);
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.leftovers(0) == 0; }));
  EXPECT_EQ(cluster.run(service.stat(Digest::of("hello"), false)).error().code, Code::kNotFound);
}

TEST(Upload, AShortBodyIsRefused) {
  Cluster cluster(1);
  Service& service = cluster.service(0);
  const auto id = cluster.run(service.start_upload({}));
  ASSERT_TRUE(id);
  const auto refused = cluster.run(service.append(*id, 0, 10, Cluster::body("hello")));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().detail.find("5 of 10"), std::string::npos);
}

TEST(Upload, AChunkOutOfOrderIsRefusedAndOneSentAgainMaySkip) {
  Cluster cluster(1);
  Service& service = cluster.service(0);
  const auto id = cluster.run(service.start_upload({}));
  ASSERT_TRUE(id);
  ASSERT_TRUE(cluster.run(service.append(*id, 0, 5, Cluster::body("hello"))));
  EXPECT_EQ(cluster.run(service.append(*id, 6, 5, Cluster::body("world"))).error().code, Code::kRangeNotSatisfiable);
  EXPECT_EQ(cluster.run(service.append(*id, 0, 5, Cluster::body("hello"))).error().code, Code::kRangeNotSatisfiable);
  EXPECT_EQ(cluster.run(service.append(*id, 3, 5, Cluster::body("lo wo"), Resent::kSkip)).value(), 8U);
  EXPECT_EQ(cluster.run(service.append(*id, std::nullopt, std::nullopt, Cluster::body("rld"))).value(), 11U);
  EXPECT_EQ(service.upload_bytes(*id).value(), 11U);
  EXPECT_TRUE(cluster.run(service.commit(*id, Digest::of("hello world"))));
}

TEST(Upload, TheEmptyBlobIsPushedAndRead) {
  Cluster cluster(3);
  ASSERT_TRUE(cluster.push(0, ""));
  EXPECT_EQ(cluster.read(1, Digest::of("")).value(), "");
  EXPECT_EQ(*cluster.run(cluster.service(0).metainfo_json(Digest::of(""))).value(), make_metainfo("", 256 * 1024).json());
}

TEST(Upload, TooManyPiecesAreRefusedBeforeTheyAreSent) {
  Cluster cluster(1);
  const std::uint64_t most = kPiecesMax * 256 * 1024;
  EXPECT_EQ(cluster.run(cluster.service(0).start_upload({.digest = {}, .bytes = most + 1})).error().code, Code::kTooLarge);
}

#ifndef KRAKEN_SANITIZED
/// Peak resident bytes since the last call.
std::size_t peak_resident() {
  std::ifstream status("/proc/self/status");
  std::size_t peak = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) peak = std::stoul(line.substr(6)) * 1024;
  }
  std::ofstream("/proc/self/clear_refs") << "5";
  return peak;
}

TEST(Upload, OfALargeBlobNeedsNoMoreMemory) {
  Cluster cluster(2, 2);
  const auto push = [&](std::size_t megabytes) {
    const auto left = std::make_shared<std::uint64_t>(static_cast<std::uint64_t>(megabytes) << 20);
    const BodyReader zeros = [left](std::span<char> into) -> net::Task<std::size_t> {
      static constexpr auto kRead = [](std::shared_ptr<std::uint64_t> rest, std::span<char> to) -> net::Task<std::size_t> {
        const std::size_t count = std::min<std::uint64_t>(to.size(), *rest);
        std::fill_n(to.data(), count, '\0');
        *rest -= count;
        co_return count;
      };
      return kRead(left, into);
    };
    Sha256 sha;
    const std::string block(1u << 20, '\0');
    for (std::size_t i = 0; i < megabytes; ++i) sha.update(block);
    (void)peak_resident();
    const auto id = cluster.run(cluster.service(0).start_upload({}));
    EXPECT_TRUE(cluster.run(cluster.service(0).append(*id, 0, *left, zeros)));
    const auto pushed = cluster.run(cluster.service(0).commit(*id, sha.finish()));
    EXPECT_TRUE(pushed) << pushed.error().to_string();
    return peak_resident();
  };
  (void)push(20);  // whatever is allocated once
  const std::size_t small = push(21);
  const std::size_t large = push(512);
  EXPECT_LT(large, small + (10u << 20)) << small << " and " << large << " bytes";
}
#endif

TEST(Upload, SessionsNameTheirNode) {
  Cluster cluster(3);
  const auto id = cluster.run(cluster.service(1).start_upload({}));
  ASSERT_TRUE(id);
  EXPECT_EQ(cluster.service(0).session_owner(*id), "node1");
  EXPECT_EQ(cluster.service(0).upload_bytes(*id).error().code, Code::kNotFound);
}

TEST(Read, OfARangeIsThatRange) {
  Cluster cluster(3, 1);
  const std::string content = pattern(kBig);
  const Digest digest = Digest::of(content);
  ASSERT_TRUE(cluster.push(0, content));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(cluster.read(i, digest, 300000, 400000).value(), content.substr(300000, 400000));
    EXPECT_EQ(cluster.read(i, digest, kBig, 0).value(), "");
    EXPECT_EQ(cluster.read(i, digest, kBig - 1, 2).error().code, Code::kRangeNotSatisfiable);
  }
}

TEST(Read, OfWhatIsNotThereIsNotFoundAndOfWhatCannotBeReachedUnavailable) {
  Cluster cluster(3, 1);
  const std::string content = pattern(1000);
  const Digest digest = Digest::of(content);
  EXPECT_EQ(cluster.read(0, digest).error().code, Code::kNotFound);
  const std::size_t owner = cluster.owners(digest)[0];
  ASSERT_TRUE(cluster.push(owner, content));
  cluster.set_down(owner, true);
  EXPECT_EQ(cluster.read((owner + 1) % 3, digest).error().code, Code::kUnavailable);
  cluster.port().set_down(true);
  EXPECT_EQ(cluster.read(0, Digest::of("other")).error().code, Code::kUnavailable);
}

TEST(Read, DamageIsMadeGoodFromAnotherHolder) {
  Cluster cluster(3);
  const std::string content = pattern(kBig);
  const Digest digest = Digest::of(content);
  ASSERT_TRUE(cluster.push(0, content));
  cluster.flip(0, digest, kBig / 2);
  EXPECT_EQ(cluster.read(0, digest).value(), content);
  EXPECT_TRUE(Cluster::eventually([&] {
    const auto blob = cluster.node(0).store->open_blob(digest);
    return blob && cluster.node(0).store->verify(*blob, make_metainfo(content, 256 * 1024), 0, kBig).has_value();
  }));
  EXPECT_TRUE(std::filesystem::exists(cluster.node(0).store->path_of(digest).string() + ".damaged"));
  EXPECT_EQ(cluster.record(digest).row->holders.size(), 3U);
}

TEST(Read, AMissingFileIsFetchedAgain) {
  Cluster cluster(3);
  const std::string content = pattern(kBig);
  const Digest digest = Digest::of(content);
  ASSERT_TRUE(cluster.push(0, content));
  ASSERT_TRUE(cluster.node(1).store->remove(digest));
  EXPECT_EQ(cluster.read(1, digest).value(), content);
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.holds(1, digest); }));
}

TEST(Read, DamageIsNeverSentToAnotherNode) {
  Cluster cluster(3, 2);
  const std::string content = pattern(kBig);
  const Digest digest = Digest::of(content);
  const auto owners = cluster.owners(digest);
  const std::size_t other = 3 - owners[0] - owners[1];
  ASSERT_TRUE(cluster.push(owners[0], content));
  cluster.flip(owners[0], digest, 10);
  EXPECT_EQ(cluster.read(other, digest).value(), content);
}

TEST(Read, TheLastCopyLostIsSaidAndAPushHeals) {
  Cluster cluster(1);
  const std::string content = pattern(1000);
  const Digest digest = Digest::of(content);
  ASSERT_TRUE(cluster.push(0, content));
  cluster.flip(0, digest, 10);
  EXPECT_FALSE(cluster.read(0, digest));
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.record(digest).row->holders[0].suspect; }));
  ASSERT_FALSE(cluster.push(0, content).value());
  EXPECT_EQ(cluster.read(0, digest).value(), content);
}

TEST(Remove, TakesTheRecordAndThenTheFiles) {
  Cluster cluster(3);
  const std::string content = pattern(1000);
  const Digest digest = Digest::of(content);
  metadata::PushId mark;
  cluster.port().before([&](kv::ShardId, const std::string& bytes) -> Result<> {
    const auto command = metadata::state::decode_command(bytes);
    if (const auto* arrive = std::get_if<metadata::state::Arrive>(&*command)) mark = arrive->push;
    return {};
  });
  ASSERT_TRUE(cluster.push(0, content));
  // The push's own mark holds it for a day.
  EXPECT_EQ(cluster.run(cluster.service(0).remove(digest)).error().code, Code::kConflict);
  cluster.port().advance(std::chrono::hours(25));
  const auto expired = cluster.run(cluster.metadata().propose(metadata::state::Expire{.digest = digest, .push = mark}));
  ASSERT_TRUE(expired && expired->done());
  const auto removed = cluster.run(cluster.service(0).remove(digest));
  ASSERT_TRUE(removed) << removed.error().to_string();
  EXPECT_EQ(cluster.read(1, digest).error().code, Code::kNotFound);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(Cluster::eventually([&] { return !cluster.holds(i, digest); }));
  EXPECT_EQ(cluster.run(cluster.service(0).remove(Digest::of("other"))).error().code, Code::kNotFound);
}

TEST(Release, UnlinksOnlyWhatHasNoRecord) {
  Cluster cluster(1);
  const std::string content = pattern(1000);
  ASSERT_TRUE(cluster.push(0, content));
  ASSERT_TRUE(cluster.run(cluster.service(0).release_here(Digest::of(content))));
  EXPECT_TRUE(cluster.holds(0, Digest::of(content)));
  ASSERT_TRUE(cluster.run(cluster.service(0).stage_here("orphan", Digest::of("x"), 1, Cluster::body("x"))));
  ASSERT_TRUE(cluster.run(cluster.service(0).place_here("orphan", Digest::of("x"))));
  ASSERT_TRUE(cluster.run(cluster.service(0).release_here(Digest::of("x"))));
  EXPECT_FALSE(cluster.holds(0, Digest::of("x")));
}

TEST(Transfer, BytesThatAreNotTheDigestsAreRefused) {
  Cluster cluster(1);
  Service& service = cluster.service(0);
  EXPECT_EQ(cluster.run(service.stage_here("t", Digest::of("x"), 1, Cluster::body("y"))).error().code, Code::kDigestMismatch);
  EXPECT_EQ(cluster.run(service.place_here("t", Digest::of("x"))).error().code, Code::kNotFound);
  EXPECT_EQ(cluster.run(service.stage_here("../t", Digest::of("x"), 1, Cluster::body("x"))).error().code, Code::kInvalidArgument);
  EXPECT_TRUE(Cluster::eventually([&] { return cluster.leftovers(0) == 0; }));
}

}  // namespace
}  // namespace kraken::blobs
