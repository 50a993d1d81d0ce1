#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

constexpr ShardId kShard{1};

TEST(Cluster, OneNodeAloneServes) {
  Cluster cluster({.nodes = 1});
  cluster.start_all();
  ASSERT_TRUE(cluster.propose(0, kShard, "put a 1"));
  EXPECT_EQ(cluster.query(0, kShard, "get a").value(), "1");
}

TEST(Cluster, AnyNodeTakesAProposalAndReadsItBack) {
  Cluster cluster;
  cluster.start_all();
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::uint16_t shard = 0; shard <= 4; ++shard) {
      const auto put = cluster.propose(i, ShardId{shard}, fmt::format("put key{} value{}", i, i));
      ASSERT_TRUE(put) << put.error().to_string();
      for (std::size_t j = 0; j < 3; ++j) {
        const auto got = cluster.query(j, ShardId{shard}, fmt::format("get key{}", i));
        ASSERT_TRUE(got) << got.error().to_string();
        EXPECT_EQ(*got, fmt::format("value{}", i));
      }
    }
  }
}

}  // namespace
}  // namespace kraken::group::test
