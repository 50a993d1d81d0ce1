#include "consensus/group/frame.h"

#include <gtest/gtest.h>

#include "src/base/hex.h"
#include "src/base/rng.h"

namespace kraken::group {
namespace {

using raft::GroupId;
using raft::Index;
using raft::ReplicaId;
using raft::Term;

raft::Hdr hdr(std::uint32_t group = 3) { return {.group = GroupId{group}, .from = ReplicaId{1}, .to = ReplicaId{2}, .term = Term{7}}; }

raft::Entry entry(std::uint64_t index, std::uint64_t term, std::string data) {
  return {.term = Term{term}, .index = Index{index}, .kind = raft::Kind::kData, .data = std::make_shared<const std::string>(std::move(data))};
}

std::vector<raft::Message> one_of_each() {
  raft::SnapMeta meta{.index = Index{9}, .term = Term{6}, .conf = {}, .snap_id = 77};
  meta.conf.voters = {ReplicaId{1}, ReplicaId{2}, ReplicaId{3}};
  meta.conf.placement_epoch = 4;
  return {
      raft::VoteReq{.h = hdr(), .last_index = Index{5}, .last_term = Term{6}, .pre = true, .transfer = false},
      raft::VoteResp{.h = hdr(), .pre = false, .granted = true},
      raft::AppendReq{.h = hdr(), .prev_index = Index{10}, .prev_term = Term{5}, .commit = Index{8},
                      .entries = {entry(11, 5, "a"), entry(12, 7, std::string(1000, 'b'))}, .read_seq = 99},
      raft::AppendReq{.h = hdr(), .prev_index = Index{10}, .prev_term = Term{5}, .commit = Index{8}, .entries = {}, .read_seq = 1},
      raft::AppendResp{.h = hdr(), .ok = false, .match = Index{10}, .hint_index = Index{4}, .hint_term = Term{2}, .read_seq = 5},
      raft::BeatReq{.h = hdr(), .commit = Index{8}, .read_seq = 3},
      raft::BeatResp{.h = hdr(), .match = Index{8}, .read_seq = 3},
      raft::SnapReq{.h = hdr(), .meta = meta},
      raft::SnapResp{.h = hdr(), .snap_id = 77, .ok = true},
      raft::TimeoutNow{.h = hdr()},
  };
}

std::string encoded(const std::vector<raft::Message>& messages) {
  std::string out;
  for (const raft::Message& message : messages) encode_message(message, out);
  return out;
}

TEST(Frame, WhatIsEncodedIsDecoded) {
  const std::string payload = encoded(one_of_each());
  const auto decoded = decode_messages(payload);
  ASSERT_TRUE(decoded) << decoded.error().to_string();
  ASSERT_EQ(decoded->size(), one_of_each().size());
  EXPECT_EQ(encoded(*decoded), payload);
  const auto& append = std::get<raft::AppendReq>((*decoded)[2]);
  EXPECT_EQ(append.entries[0].index, Index{11});
  EXPECT_EQ(append.entries[1].index, Index{12});
  EXPECT_EQ(append.entries[1].data->size(), 1000U);
  EXPECT_EQ(std::get<raft::SnapReq>((*decoded)[7]).meta.conf.voters.size(), 3U);
}

// The example of docs/formats/node_frames.md.
TEST(Frame, LooksAsDocumented) {
  std::string payload;
  encode_message(raft::BeatReq{.h = hdr(), .commit = Index{8}, .read_seq = 3}, payload);
  EXPECT_EQ(to_hex(payload), "05000000030000000000000001000000000000000200000000000000070000000000000008"
                             "0000000000000003");
  std::string frame;
  append_frame(FrameKind::kMessages, payload, frame);
  EXPECT_EQ(to_hex(frame.substr(0, 8)), "4b4e03035900002d");
  EXPECT_EQ(frame.size(), kFrameHeaderBytes + payload.size());
}

TEST(Frame, APieceOfAFrameIsNotYetOne) {
  std::string frames;
  append_frame(FrameKind::kMessages, "hello", frames);
  append_frame(FrameKind::kReplies, "", frames);
  const std::size_t first = kFrameHeaderBytes + 5;
  for (std::size_t i = 0; i < first; ++i) {
    const auto next = next_frame(std::string_view(frames).substr(0, i));
    ASSERT_TRUE(next) << i;
    EXPECT_FALSE(next->has_value()) << i;
  }
  const auto next = next_frame(frames);
  ASSERT_TRUE(next && *next);
  EXPECT_EQ((*next)->payload, "hello");
  EXPECT_EQ((*next)->used, first);
  const auto second = next_frame(std::string_view(frames).substr(first));
  ASSERT_TRUE(second && *second);
  EXPECT_EQ((*second)->kind, FrameKind::kReplies);
}

TEST(Frame, AnyFlippedBitIsFound) {
  std::string frame;
  append_frame(FrameKind::kMessages, encoded(one_of_each()), frame);
  for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
    std::string flipped = frame;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    // Refused at once, whatever comes: a longer length must not make it wait.
    const auto next = next_frame(flipped);
    ASSERT_FALSE(next) << bit;
    EXPECT_EQ(next.error().code, Code::kProtocol);
    if (bit < 64) {
      EXPECT_FALSE(decode_frame_header(flipped)) << bit;
    }
  }
}

TEST(Frame, LengthKindAndVersionAreCheckedBeforeAnythingIsAwaited) {
  std::string frame;
  append_frame(FrameKind::kMessages, "x", frame);
  const auto with = [&](std::size_t at, char value) {
    std::string other = frame;
    other[at] = value;
    return next_frame(other);
  };
  EXPECT_EQ(with(0, 'X').error().code, Code::kProtocol);
  EXPECT_EQ(with(2, 9).error().code, Code::kProtocol);
  EXPECT_EQ(with(3, 0).error().code, Code::kProtocol);
  EXPECT_EQ(with(3, 100).error().code, Code::kProtocol);
  EXPECT_EQ(with(4, 1).error().code, Code::kProtocol);  // 16 MB
}

TEST(Frame, ACountThatCannotFitIsRefusedBeforeAllocation) {
  std::string payload;
  encode_message(raft::AppendReq{.h = hdr(), .prev_index = Index{1}, .prev_term = Term{1}, .commit = Index{1}, .entries = {}, .read_seq = 0}, payload);
  payload.replace(payload.size() - 4, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(decode_messages(payload).error().code, Code::kProtocol);
}

TEST(Frame, EntriesWhoseTermsGoBackOrPassTheLeadersAreRefused) {
  const auto with = [](std::vector<raft::Entry> entries) {
    std::string payload;
    encode_message(raft::AppendReq{.h = hdr(), .prev_index = Index{1}, .prev_term = Term{3}, .commit = Index{1}, .entries = std::move(entries), .read_seq = 0}, payload);
    return decode_messages(payload).has_value();
  };
  EXPECT_TRUE(with({entry(2, 3, "a"), entry(3, 7, "b")}));
  EXPECT_FALSE(with({entry(2, 2, "a")}));
  EXPECT_FALSE(with({entry(2, 5, "a"), entry(3, 4, "b")}));
  EXPECT_FALSE(with({entry(2, 8, "a")}));
}

TEST(Frame, IndexesThatWrapAreRefused) {
  std::string payload;
  encode_message(raft::AppendReq{.h = hdr(), .prev_index = Index{~std::uint64_t{0} - 1}, .prev_term = Term{3}, .commit = Index{1}, .entries = {entry(1, 3, "a"), entry(2, 3, "b")}, .read_seq = 0}, payload);
  EXPECT_EQ(decode_messages(payload).error().code, Code::kProtocol);
}

TEST(Frame, UnknownMessagesAndReplicaZeroAreRefused) {
  std::string payload = encoded({raft::TimeoutNow{.h = hdr()}});
  payload[0] = 10;
  EXPECT_EQ(decode_messages(payload).error().code, Code::kProtocol);
  raft::Hdr nobody = hdr();
  nobody.from = ReplicaId{0};
  EXPECT_EQ(decode_messages(encoded({raft::TimeoutNow{.h = nobody}})).error().code, Code::kProtocol);
}

TEST(Frame, AnyBytesGiveMessagesOrAnError) {
  Rng rng(11);
  const std::string good = encoded(one_of_each());
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good.substr(0, rng.below(good.size()));
    for (int i = 0; i < 3 && !bytes.empty(); ++i) bytes[rng.below(bytes.size())] = static_cast<char>(rng.next());
    const auto decoded = decode_messages(bytes);
    if (!decoded) {
      EXPECT_EQ(decoded.error().code, Code::kProtocol);
    }
  }
}

std::vector<raft::Message> beats(std::uint64_t read_seq, std::uint64_t commit, std::uint32_t groups) {
  std::vector<raft::Message> all;
  for (std::uint32_t group = 1; group <= groups; ++group)
    all.push_back(raft::BeatReq{.h = hdr(group), .commit = Index{commit}, .read_seq = read_seq});
  for (std::uint32_t group = 50; group < 50 + groups; ++group)
    all.push_back(raft::BeatResp{.h = hdr(group), .match = Index{commit}, .read_seq = read_seq * 3});
  return all;
}

TEST(Beats, DifferencesGiveTheSameBeats) {
  BeatCoder sender, receiver;
  Rng rng(2);
  std::uint64_t commit = 1;
  for (std::uint64_t round = 1; round < 200; ++round) {
    if (rng.chance(0.3)) commit += rng.below(1'000'000);
    if (rng.chance(0.05)) sender.forget();
    std::vector<raft::Message> all = beats(round, commit, 1 + static_cast<std::uint32_t>(rng.below(20)));
    const auto decoded = receiver.decode(sender.encode(all));
    ASSERT_TRUE(decoded) << decoded.error().to_string();
    ASSERT_EQ(encoded(*decoded), encoded(all));
  }
}

TEST(Beats, AnIdleGroupTakesOneByte) {
  BeatCoder sender;
  std::vector<raft::Message> all;
  const auto round = [&](std::uint64_t read_seq) {
    all.clear();
    for (std::uint32_t group = 1; group <= 128; ++group)
      all.push_back(raft::BeatReq{.h = hdr(group), .commit = Index{5}, .read_seq = read_seq});
    return sender.encode(all).size();
  };
  EXPECT_GT(round(1), 128U * 16);
  EXPECT_EQ(round(2), 128U);
  EXPECT_EQ(round(3), 128U);
}

TEST(Beats, AnyBytesGiveBeatsOrAnError) {
  Rng rng(4);
  for (int round = 0; round < 5'000; ++round) {
    BeatCoder receiver;
    std::string bytes;
    for (std::uint64_t i = rng.below(60); i > 0; --i) bytes.push_back(static_cast<char>(rng.below(round % 2 ? 64 : 256)));
    const auto decoded = receiver.decode(bytes);
    if (!decoded) {
      EXPECT_EQ(decoded.error().code, Code::kProtocol);
    }
  }
}

}  // namespace
}  // namespace kraken::group
