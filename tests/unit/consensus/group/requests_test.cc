#include "consensus/group/requests.h"

#include <gtest/gtest.h>

#include "consensus/group/handshake.h"
#include "src/base/rng.h"

namespace kraken::group {
namespace {

std::string requests() {
  std::string out;
  Request request{.kind = Request::Kind::kPropose, .id = 7, .shard = ShardId{3}, .stamp = {}, .patience_ms = 9, .body = "put"};
  request.stamp = {.incarnation = Incarnation::random(), .boot_epoch = 1, .session = 2, .sequence = 3, .low = 3};
  encode_request(request, out);
  encode_request({.kind = Request::Kind::kReadIndex, .id = 8, .shard = ShardId{4}, .stamp = {}, .body = {}}, out);
  encode_request({.kind = Request::Kind::kQuery, .id = 9, .shard = ShardId{4}, .stamp = {}, .body = "q"}, out);
  return out;
}

TEST(Requests, WhatIsEncodedIsDecoded) {
  const std::string bytes = requests();
  const auto decoded = decode_requests(bytes);
  ASSERT_TRUE(decoded);
  ASSERT_EQ(decoded->size(), 3U);
  EXPECT_EQ((*decoded)[0].stamp.sequence, 3U);
  EXPECT_EQ((*decoded)[0].body, "put");
  EXPECT_EQ((*decoded)[1].shard, ShardId{4});
  std::string again;
  for (const Request& request : *decoded) encode_request(request, again);
  EXPECT_EQ(again, bytes);
}

TEST(Requests, RepliesToo) {
  std::string out;
  encode_reply({.id = 5, .outcome = Reply::Outcome::kNotLeader, .hint = raft::ReplicaId{2}}, out);
  encode_reply({.id = 6, .outcome = Reply::Outcome::kDone, .verdict = Verdict::kForgotten, .index = 12, .result = "r"}, out);
  const auto decoded = decode_replies(out);
  ASSERT_TRUE(decoded);
  EXPECT_EQ((*decoded)[0].hint, raft::ReplicaId{2});
  EXPECT_EQ((*decoded)[1].verdict, Verdict::kForgotten);
  EXPECT_EQ((*decoded)[1].result, "r");
}

TEST(Requests, OurOwnOutcomesAreNotTakenFromAPeer) {
  std::string out;
  encode_reply({.id = 5, .outcome = Reply::Outcome::kLost}, out);
  EXPECT_EQ(decode_replies(out).error().code, Code::kProtocol);
}

TEST(Requests, AnyBytesGiveRequestsOrAnError) {
  Rng rng(9);
  const std::string good = requests();
  for (int round = 0; round < 5'000; ++round) {
    std::string bytes = good.substr(0, rng.below(good.size() + 1));
    if (!bytes.empty()) bytes[rng.below(bytes.size())] = static_cast<char>(rng.next());
    static_cast<void>(decode_requests(bytes).has_value());
    static_cast<void>(decode_replies(bytes).has_value());
    static_cast<void>(decode_hello(bytes).has_value());
    static_cast<void>(decode_welcome(bytes).has_value());
  }
}

TEST(Handshake, WhatIsEncodedIsDecoded) {
  const Hello hello{.purpose = Hello::Purpose::kSnapshot, .token = "t", .from = "a", .to = "b", .shards = 128, .members = 5,
                    .cluster_id = Incarnation::random(), .self = {.incarnation = Incarnation::random(), .boot_epoch = 3, .run = 4}, .ring = "ring"};
  const auto decoded = decode_hello(encode(hello));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(encode(*decoded), encode(hello));
  const Welcome welcome{.accepted = false, .reason = "why", .label = "b", .cluster_id = {}, .self = hello.self, .ring = "another"};
  const auto answered = decode_welcome(encode(welcome));
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->reason, "why");
  EXPECT_EQ(answered->ring, "another");
  EXPECT_TRUE(decode_hello(encode(Hello{.cluster_id = {}, .self = hello.self, .ring = std::string(kShownRingMax, 'x')})));
  EXPECT_FALSE(decode_hello(encode(Hello{.cluster_id = {}, .self = hello.self, .ring = std::string(kShownRingMax + 1, 'x')})));
  EXPECT_FALSE(decode_hello(encode(hello) + "x"));
  EXPECT_FALSE(decode_hello(encode(Hello())));  // no incarnation
}

}  // namespace
}  // namespace kraken::group
