// What `kraken inspect` and GET /inspect show of a store, decoded.

#include "src/admin/inspect.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "consensus/group/identity.h"
#include "consensus/group/log_store.h"
#include "src/metadata/state/keys.h"
#include "src/metadata/state/rows.h"
#include "storage/kv/memory/memory_store.h"
#include "tests/unit/http/http_fixture.h"

namespace kraken::admin {
namespace {

using kv::Family;
using kv::ShardId;
using testing::HasSubstr;

const Digest kDigest = Digest::of("content");

/// Two tags in shard 7, one in shard 9, and a little log in shard 7.
void fill(kv::MemoryStore& store) {
  kv::Batch batch;
  const auto tag = [&](std::uint16_t shard, const char* repository, const char* name) {
    const metadata::state::TagRow row{.digest = kDigest, .revision = 12, .time = std::chrono::hours(1), .tombstone = false};
    batch.put(Family::kTag, metadata::state::keys::tag(ShardId(shard), *Repository::parse(repository), *TagName::parse(name)), encode(row));
  };
  tag(7, "library/app", "v1");
  tag(7, "team/tool", "v2");
  tag(9, "library/app", "v3");
  const ShardId shard(7);
  batch.put(Family::kRaft, group::hard_state_key(shard), group::encode_hard_state(shard, {.term = raft::Term{5}, .vote = raft::replica_id(1, 2)}));
  for (std::uint64_t index = 3; index <= 5; ++index) {
    const raft::Entry entry{.term = raft::Term{index}, .index = raft::Index{index}, .kind = raft::Kind::kNoop, .data = {}};
    batch.put(Family::kRaft, group::entry_key(shard, entry.index), group::encode_entry(shard, entry));
  }
  batch.put(Family::kSession, group::applied_key(shard), group::encode_applied({.index = raft::Index{4}, .term = raft::Term{4}, .now = {}}));
  const group::Incarnation founder = group::Incarnation::random();
  const group::SystemState system =
      group::found_cluster(group::Incarnation::random(), founder, 128, 3, {{.node = {.label = "origin1", .host = "h", .port = 1}, .incarnation = founder}});
  batch.put(Family::kRaft, group::system_copy_key(), group::encode(system));
  ASSERT_TRUE(store.write(batch, kv::Durability::kSynced));
}

class Inspect : public testing::Test {
 protected:
  Inspect() { fill(store_); }
  std::vector<std::string> keys(const InspectQuery& query) {
    const auto page = inspect(store_, query);
    EXPECT_TRUE(page);
    std::vector<std::string> out;
    for (const InspectRow& row : page->rows) out.push_back(row.key);
    return out;
  }
  kv::MemoryStore store_;
};

TEST_F(Inspect, CountsTheRowsOfEveryFamily) {
  const auto families = count_families(store_);
  ASSERT_TRUE(families);
  ASSERT_EQ(families->size(), kv::kFamilies);
  EXPECT_EQ((*families)[kv::raw(Family::kTag)].rows, 3u);
  EXPECT_EQ((*families)[kv::raw(Family::kBlob)].rows, 0u);
}

TEST_F(Inspect, DecodesKeysAndValues) {
  const auto page = inspect(store_, {.family = Family::kTag, .shard = {}, .prefix = "team/", .after_hex = {}});
  ASSERT_TRUE(page);
  ASSERT_EQ(page->rows.size(), 1u);
  EXPECT_EQ(page->rows[0].key, "tag shard=7 team/tool:v2");
  EXPECT_THAT(page->rows[0].value, testing::AllOf(HasSubstr(kDigest.str()), HasSubstr("revision=12")));
}

TEST_F(Inspect, FiltersByShardAndGoesOnBehindAKey) {
  EXPECT_THAT(keys({.family = Family::kTag, .shard = ShardId(9), .prefix = {}, .after_hex = {}}), testing::ElementsAre("tag shard=9 library/app:v3"));
  const auto first = inspect(store_, {.family = Family::kTag, .shard = {}, .prefix = {}, .after_hex = {}, .limit = 1});
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->more);
  const auto rest = keys({.family = Family::kTag, .shard = {}, .prefix = {}, .after_hex = first->rows[0].key_hex});
  EXPECT_THAT(rest, testing::ElementsAre("tag shard=7 team/tool:v2", "tag shard=9 library/app:v3"));
}

TEST_F(Inspect, BadQueriesAreErrorsThatSayWhatThereIs) {
  EXPECT_THAT(parse_family("tgs").error().detail, HasSubstr("tag, manifest, blob"));
  EXPECT_THAT(inspect(store_, {.family = Family::kTag, .shard = {}, .prefix = {}, .after_hex = "xyz"}).error().detail, HasSubstr("hexadecimal"));
}

TEST_F(Inspect, ShowsTheLogAndTheVote) {
  const auto log = inspect_log(store_, ShardId(7), 4, 10);
  ASSERT_TRUE(log);
  ASSERT_EQ(log->size(), 2u);
  EXPECT_EQ((*log)[0].index, 4u);
  EXPECT_EQ((*log)[1].term, 5u);
  EXPECT_EQ((*log)[1].kind, "no_op");
  const auto vote = inspect_vote(store_, ShardId(7));
  ASSERT_TRUE(vote);
  EXPECT_EQ(vote->term, 5u);
  EXPECT_EQ(vote->voted_for, "origin1");
  EXPECT_EQ(vote->first, 3u);
  EXPECT_EQ(vote->last, 5u);
  EXPECT_EQ(vote->applied, 4u);
  EXPECT_EQ(inspect_vote(store_, ShardId(8)).error().code, Code::kNotFound);
}

TEST_F(Inspect, ADamagedEntryIsShownAsDamaged) {
  kv::Batch batch;
  batch.put(Family::kRaft, group::entry_key(ShardId(7), raft::Index{5}), "rubbish");
  ASSERT_TRUE(store_.write(batch, kv::Durability::kSynced));
  const auto log = inspect_log(store_, ShardId(7), 5, 10);
  ASSERT_TRUE(log);
  ASSERT_EQ(log->size(), 1u);
  EXPECT_EQ((*log)[0].kind, "damaged");
}

TEST_F(Inspect, TheFamiliesOfTheGroupLayerAreDecodedToo) {
  EXPECT_THAT(keys({.family = Family::kRaft, .shard = ShardId(7), .prefix = {}, .after_hex = {}}),
              testing::IsSupersetOf({"raft shard=7 hard_state", "raft shard=7 entry 3"}));
  EXPECT_THAT(keys({.family = Family::kSession, .shard = {}, .prefix = {}, .after_hex = {}}), testing::ElementsAre("session shard=7 applied"));
}

class InspectRoutes : public http::ServerTest {
 protected:
  InspectRoutes() {
    fill(store_);
    add_inspect_routes(router, store_, pool);
    serve();
  }
  http::RawClient::Reply get(const std::string& path) { return ask("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }
  kv::MemoryStore store_;
};

TEST_F(InspectRoutes, AnswerTheSameAsJson) {
  const auto families = nlohmann::json::parse(get("/inspect").body);
  EXPECT_EQ(families["families"].size(), kv::kFamilies);
  const auto rows = nlohmann::json::parse(get("/inspect?family=tag&shard=7&limit=1").body);
  EXPECT_EQ(rows["rows"].size(), 1u);
  EXPECT_TRUE(rows["more"]);
  EXPECT_EQ(nlohmann::json::parse(get("/inspect/log?shard=7").body)["entries"].size(), 3u);
  EXPECT_EQ(nlohmann::json::parse(get("/inspect/vote?shard=7").body)["voted_for"], "origin1");
}

TEST_F(InspectRoutes, RefuseWhatMakesNoSense) {
  EXPECT_EQ(get("/inspect?family=nothing").status, 400);
  EXPECT_EQ(get("/inspect?family=tag&limit=many").status, 400);
  EXPECT_EQ(get("/inspect/log").status, 400);
  EXPECT_EQ(get("/inspect/vote?shard=99").status, 404);
}

}  // namespace
}  // namespace kraken::admin
