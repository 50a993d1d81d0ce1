#include "src/p2p/swarm/giver.h"

#include <gtest/gtest.h>

#include "src/p2p/swarm/bandwidth.h"

namespace kraken::p2p::swarm {
namespace {

constexpr ConnectionId id(std::uint32_t number) { return ConnectionId(number); }

std::string started(Giver& giver, MonotonicTime now) {
  std::string out;
  for (const Upload& upload : giver.take(now)) out += fmt::format("{}:{} ", upload.connection.value(), upload.piece);
  return out;
}

GiverOptions slots(std::uint32_t count) {
  GiverOptions options;
  options.slots = count;
  return options;
}

TEST(Giver, ServesTheNeediestNeighbourFirst) {
  Giver giver(slots(1));
  MonotonicTime now = 1s;
  giver.requested(now, id(1), 10, 0.9);
  giver.requested(now, id(2), 20, 0.1);
  giver.requested(now, id(3), 30, 0.5);
  EXPECT_EQ(started(giver, now), "2:20 ");
  EXPECT_EQ(started(giver, now), "");
  giver.finished(id(2));
  EXPECT_EQ(started(giver, now), "3:30 ");
  giver.finished(id(3));
  EXPECT_EQ(started(giver, now), "1:10 ");
}

TEST(Giver, EqualsAreServedByAge) {
  Giver giver(slots(1));
  giver.requested(1s, id(5), 1, 0.5);
  giver.requested(1s, id(4), 2, 0.5);
  giver.requested(1s, id(5), 3, 0.5);
  std::string order;
  for (int i = 0; i < 3; ++i) {
    order += started(giver, 1s);
    giver.finished(id(4));
    giver.finished(id(5));
  }
  EXPECT_EQ(order, "5:1 4:2 5:3 ");
}

TEST(Giver, AChangedShareChangesTheOrder) {
  Giver giver(slots(1));
  giver.requested(1s, id(1), 1, 0.1);
  giver.requested(1s, id(2), 2, 0.2);
  giver.share_changed(id(1), 0.3);
  EXPECT_EQ(started(giver, 1s), "2:2 ");
}

TEST(Giver, FillsItsSlotsWithDifferentConnections) {
  Giver giver(slots(3));
  for (std::uint32_t piece = 0; piece < 3; ++piece) giver.requested(1s, id(1), piece, 0.1);
  giver.requested(1s, id(2), 7, 0.9);
  EXPECT_EQ(started(giver, 1s), "1:0 2:7 ");
  EXPECT_EQ(giver.waiting(), 2U);
}

TEST(Giver, AnUploadWhoseSocketTakesNothingGivesItsSlotToAnother) {
  Giver giver(slots(1));
  giver.requested(1s, id(1), 1, 0.1);
  giver.requested(1s, id(2), 2, 0.2);
  EXPECT_EQ(started(giver, 1s), "1:1 ");
  EXPECT_EQ(giver.next_tick(1s), 1s + 20ms);
  giver.progress(1s + 15ms, id(1));
  EXPECT_EQ(started(giver, 1s + 25ms), "");
  EXPECT_EQ(giver.next_tick(1s + 50ms), MonotonicTime::max()) << "a blocked upload must not keep the timer busy";
  EXPECT_EQ(started(giver, 1s + 40ms), "2:2 ");
}

TEST(Giver, CancelledAndDisconnectedRequestsAreNotServed) {
  Giver giver(slots(1));
  giver.requested(1s, id(1), 1, 0.1);
  giver.requested(1s, id(1), 2, 0.1);
  giver.requested(1s, id(2), 3, 0.2);
  giver.cancelled(id(1), 1);
  EXPECT_EQ(started(giver, 1s), "1:2 ");
  giver.disconnected(id(1));
  EXPECT_EQ(started(giver, 1s), "2:3 ");
  giver.disconnected(id(2));
  EXPECT_EQ(giver.waiting(), 0U);
  EXPECT_EQ(giver.under_way(), 0U);
}

TEST(Giver, BoundsWhatOneConnectionMayHaveWaiting) {
  Giver giver;
  for (std::uint32_t piece = 0; piece < 16; ++piece) EXPECT_TRUE(giver.requested(1s, id(1), piece, 0));
  EXPECT_TRUE(giver.requested(1s, id(1), 3, 0));  // waits already
  EXPECT_FALSE(giver.requested(1s, id(1), 16, 0));
  EXPECT_TRUE(giver.requested(1s, id(2), 16, 0));
}

TEST(TokenBucket, SpreadsTheRateOverWhoeverTakes) {
  TokenBucket bucket(1000);
  EXPECT_EQ(bucket.take(10s, 500), 0s);
  EXPECT_EQ(bucket.take(10s, 500), 500ms);
  EXPECT_EQ(bucket.take(10s + 500ms, 1000), 500ms);
  EXPECT_EQ(bucket.take(20s, 1), 0s);
}

TEST(TokenBucket, ZeroIsNoLimit) {
  TokenBucket bucket(0);
  EXPECT_FALSE(bucket.limited());
  EXPECT_EQ(bucket.take(1s, 1u << 30), 0s);
  EXPECT_EQ(bucket.take(1s, 1u << 30), 0s);
}

}  // namespace
}  // namespace kraken::p2p::swarm
