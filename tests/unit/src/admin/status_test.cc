// What the status says in words, and that the page needs nothing from elsewhere.

#include "src/admin/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kraken::admin {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Promise, OneNodeSurvivesNoDisk) { EXPECT_THAT(promise(1, 3), HasSubstr("not the loss of its disk")); }

TEST(Promise, TwoNodesCannotWriteWhileOneIsDown) {
  EXPECT_THAT(promise(2, 2), HasSubstr("no write availability if either is down"));
}

TEST(Promise, ThreeNodesGoOnWithoutOne) {
  EXPECT_THAT(promise(3, 2), HasSubstr("any one node may be down"));
  EXPECT_THAT(promise(3, 2), HasSubstr("on 2 disks"));
  EXPECT_THAT(promise(4, 3), HasSubstr("4 nodes, 3 voters a shard, 3 for the ring"));
  EXPECT_THAT(promise(5, 3), HasSubstr("5 nodes, 3 voters a shard, 5 for the ring"));
  EXPECT_THAT(promise(5, 3), HasSubstr("the shards that have both of them cannot be written"));
  EXPECT_THAT(promise(3, 1), HasSubstr("each blob is on one disk"));
}

TEST(StatusPage, FetchesNothingFromElsewhere) {
  const std::string page(status_page());
  EXPECT_THAT(page, HasSubstr("fetch(\"/status\")"));
  EXPECT_THAT(page, Not(HasSubstr("http://")));
  EXPECT_THAT(page, Not(HasSubstr("https://")));
  EXPECT_THAT(page, Not(HasSubstr("src=")));
}

}  // namespace
}  // namespace kraken::admin
