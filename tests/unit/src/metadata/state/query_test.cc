#include <gtest/gtest.h>

#include "tests/unit/src/metadata/state/world.h"

namespace kraken::metadata::state::test {
namespace {

void put(World& world, const char* in, const char* name) {
  PutManifest command = world.put_command(digest(1), {}, world.push(), {tag(name)});
  command.repository = repository(in);
  ASSERT_TRUE(world.apply(command).done());
}

std::vector<std::string> names(const TagsAnswer& answer) {
  std::vector<std::string> out;
  for (const NamedTag& named : answer.tags) out.push_back(named.tag.str());
  return out;
}

std::vector<std::string> names(const RepositoriesAnswer& answer) {
  std::vector<std::string> out;
  for (const Repository& name : answer.repositories) out.push_back(name.str());
  return out;
}

using Names = std::vector<std::string>;

TEST(ListTags, PagesInByteOrder) {
  World world;
  for (const char* const name : {"v2", "v10", "latest", "v1", "v1.0"}) put(world, "app", name);
  put(world, "app-b", "x");
  put(world, "app/b", "y");
  auto page = world.ask(ListTags{repository("app"), "", 2});
  EXPECT_EQ(names(page), (Names{"latest", "v1"}));
  EXPECT_TRUE(page.more);
  page = world.ask(ListTags{repository("app"), "v1", 3});
  EXPECT_EQ(names(page), (Names{"v1.0", "v10", "v2"}));
  EXPECT_FALSE(page.more);
  page = world.ask(ListTags{repository("app"), "v0 which is no tag", 1});
  EXPECT_EQ(names(page), (Names{"v1"}));
  EXPECT_TRUE(world.ask(ListTags{repository("app"), "", 0}).more);
}

TEST(ListTags, TellsAnEmptyRepositoryFromAnUnknownOne) {
  World world;
  put(world, "app", "v1");
  world.apply(DeleteTag{repository("app"), tag("v1"), {}, false});
  EXPECT_TRUE(world.ask(ListTags{repository("app"), "", 10}).repository_known);
  EXPECT_FALSE(world.ask(ListTags{repository("none"), "", 10}).repository_known);
}

TEST(ListRepositories, PagesInByteOrderAndLeavesOutTombstones) {
  World world;
  for (const char* const name : {"b", "a", "a/b", "a-b", "c"}) {
    for (const char* const t : {"v1", "v2", "v3"}) put(world, name, t);
  }
  put(world, "aa", "v1");
  world.apply(DeleteTag{repository("aa"), tag("v1"), {}, true});
  world.apply(DeleteTag{repository("b"), tag("v1"), {}, true});
  auto page = world.ask(ListRepositories{"", 3});
  EXPECT_EQ(names(page), (Names{"a", "a-b", "a/b"}));
  EXPECT_TRUE(page.more);
  page = world.ask(ListRepositories{"a/b", 3});
  EXPECT_EQ(names(page), (Names{"b", "c"}));
  EXPECT_FALSE(page.more);
  EXPECT_EQ(names(world.ask(ListRepositories{"aa", 1})), (Names{"b"}));
}

TEST(ListBlobs, PagesInOrderOfDigest) {
  World world;
  std::set<Digest> all;
  for (int i = 0; i < 10; ++i) {
    world.push_blob(digest(i), {1});
    all.insert(digest(i));
  }
  std::vector<Digest> seen;
  std::optional<Digest> after;
  for (;;) {
    const auto page = world.ask(ListBlobs{after, 3});
    for (const NamedBlob& blob : page.blobs) seen.push_back(blob.digest);
    if (!page.more) break;
    after = page.blobs.back().digest;
  }
  EXPECT_EQ(seen, std::vector<Digest>(all.begin(), all.end()));
}

TEST(ListTasks, GivesTheDueOnesFirstDueFirstAndSaysWhenTheNextIs) {
  World world;
  TaskRow row;
  row.kind = TaskKind::kCopy;
  row.digest = digest(1);
  for (const auto delay : {30s, 10s, 20s}) world.apply(AddTask{row, delay});
  auto answer = world.ask(ListTasks{});
  EXPECT_TRUE(answer.tasks.empty());
  EXPECT_EQ(answer.next_due, world.now + 10s);
  world.now += 20s;
  answer = world.ask(ListTasks{});
  ASSERT_EQ(answer.tasks.size(), 2u);
  EXPECT_LT(answer.tasks[0].key, answer.tasks[1].key);
  EXPECT_EQ(answer.next_due, world.now + 10s);
  answer = world.ask(ListTasks{true, {}, {}, 1});
  EXPECT_TRUE(answer.more);
  EXPECT_EQ(world.ask(ListTasks{true, {}, answer.tasks[0].key, 5}).tasks.size(), 1u);
  EXPECT_EQ(world.ask(ListTasks{false, TaskKind::kVerifyRef, {}, 5}).tasks.size(), 0u);
  EXPECT_EQ(world.ask(ListTasks{false, TaskKind::kCopy, {}, 5}).tasks.size(), 3u);
}

TEST(ListPeers, PagesOverInfohashes) {
  World world;
  PeerBatch batch;
  for (int i = 0; i < 7; ++i) {
    InfoHash::Raw hash{};
    hash[0] = static_cast<std::uint8_t>(i / 3);
    PeerId::Raw id{};
    id[0] = static_cast<std::uint8_t>(i);
    batch.records.push_back({InfoHash(hash), PeerId(id), "10.0.0.1", 1, false, 1min});
  }
  world.apply(batch);
  std::size_t seen = 0;
  ListPeers question;
  question.limit = 2;
  for (;;) {
    const auto page = world.ask(question);
    seen += page.peers.size();
    if (!page.more) break;
    question.after_infohash = page.peers.back().infohash;
    question.after_peer = page.peers.back().peer_id;
  }
  EXPECT_EQ(seen, 7u);
  EXPECT_EQ(world.ask(ListPeers{batch.records[4].infohash, {}, {}, 10}).peers.size(), 3u);
}

TEST(GetBlob, ShowsAtMostSoManyMarks) {
  World world;
  for (int i = 0; i < 40; ++i) world.arrive(digest(1), world.push());
  EXPECT_EQ(world.ask(GetBlob{digest(1), false}).marks.size(), kMarksShown);
}

TEST(Query, OfAnotherShardOrWithoutSenseIsAnErrorAnswer) {
  const Machine machine(Shards::make(2).value());
  const MapView rows;
  int errors = 0;
  for (const std::uint16_t shard : {std::uint16_t{1}, std::uint16_t{2}}) {
    const auto answer =
        decode_answer(machine.query(ShardId(shard), encode(Query(GetBlob{digest(1), false})), rows, 1s));
    errors += std::holds_alternative<ErrorAnswer>(answer.value()) ? 1 : 0;
  }
  EXPECT_EQ(errors, 1);
  const auto answer = decode_answer(machine.query(ShardId(1), "no query", rows, 1s)).value();
  EXPECT_EQ(static_cast<Code>(std::get<ErrorAnswer>(answer).code), Code::kInvalidArgument);
}

TEST(Query, OfARowThatCannotBeReadIsAnErrorAnswer) {
  World world;
  kv::Batch batch;
  batch.put(kv::Family::kBlob, keys::blob(world.shard, digest(1)), "\xff");
  world.rows.write(batch);
  const auto answer =
      decode_answer(world.machine.query(world.shard, encode(Query(GetBlob{digest(1), false})), world.rows, 1s)).value();
  EXPECT_TRUE(std::holds_alternative<ErrorAnswer>(answer));
}

}  // namespace
}  // namespace kraken::metadata::state::test
