#include "consensus/group/system_state.h"

#include <gtest/gtest.h>

#include "src/base/rng.h"
#include "storage/kv/memory/memory_store.h"

namespace kraken::group {
namespace {

Incarnation folder(std::uint8_t number) {
  Incarnation made;
  made.bytes.fill(number);
  return made;
}

AdoptRing::Node node(const std::string& label, std::uint8_t incarnation, double weight = 100) {
  return {.node = {.label = label, .host = label + ".example", .port = 14001, .weight = weight}, .incarnation = folder(incarnation)};
}

SystemState three() { return found_cluster(folder(90), folder(1), 4, 3, {node("b", 2), node("a", 1), node("c", 3)}); }

void satisfy(SystemState& state) {
  for (std::uint16_t shard = 1; shard <= state.shards; ++shard)
    EXPECT_EQ(state.apply(Satisfied{.epoch = state.epoch, .shard = ShardId{shard}}), SystemOutcome::kDone);
}

TEST(SystemState, AClusterIsFoundedSettledAndNumberedInOrderOfLabel) {
  const SystemState state = three();
  EXPECT_EQ(state.epoch, 1u);
  EXPECT_TRUE(state.settled());
  EXPECT_EQ(state.active("a")->member, 1u);
  EXPECT_EQ(state.active("c")->member, 3u);
  EXPECT_EQ(state.next_member, 4u);
}

TEST(SystemState, AnAdoptedRingNumbersTheNewOpensEveryShardAndKeepsTheGoneUntilAllAreSatisfied) {
  SystemState state = three();
  EXPECT_EQ(state.apply(AdoptRing{.prev_epoch = 1, .nodes = {node("a", 1), node("b", 2), node("d", 4)}}), SystemOutcome::kDone);
  EXPECT_EQ(state.epoch, 2u);
  EXPECT_FALSE(state.settled());
  EXPECT_EQ(state.active("d")->member, 4u);
  EXPECT_EQ(state.member(3)->state, NodeState::kLeaving);
  EXPECT_EQ(state.adopted().nodes.size(), 4u);
  EXPECT_EQ(state.apply(Satisfied{.epoch = 1, .shard = ShardId{1}}), SystemOutcome::kStale);
  satisfy(state);
  EXPECT_TRUE(state.settled());
  EXPECT_EQ(state.member(3)->state, NodeState::kDead);
  EXPECT_EQ(state.adopted().nodes.size(), 3u);
}

TEST(SystemState, ARingIsComparedAndSetAndWaitsForTheOneBefore) {
  SystemState state = three();
  const std::vector four{node("a", 1), node("b", 2), node("c", 3), node("d", 4)};
  EXPECT_EQ(state.apply(AdoptRing{.prev_epoch = 7, .nodes = four}), SystemOutcome::kStale);
  EXPECT_EQ(state.apply(AdoptRing{.prev_epoch = 1, .nodes = four}), SystemOutcome::kDone);
  const std::vector five{node("a", 1), node("b", 2), node("c", 3), node("d", 4), node("e", 5)};
  EXPECT_EQ(state.apply(AdoptRing{.prev_epoch = 2, .nodes = five}), SystemOutcome::kNotSettled);
  EXPECT_EQ(state.apply(AdoptRing{.prev_epoch = 2, .force = true, .nodes = five}), SystemOutcome::kDone);
  EXPECT_EQ(state.epoch, 3u);
}

TEST(SystemState, WhatMakesNoSenseChangesNothing) {
  const SystemState before = three();
  const auto outcome = [&](std::vector<AdoptRing::Node> nodes) {
    SystemState state = before;
    const SystemOutcome out = state.apply(AdoptRing{.prev_epoch = 1, .nodes = std::move(nodes)});
    EXPECT_EQ(encode(state), encode(before));
    return out;
  };
  EXPECT_EQ(outcome({}), SystemOutcome::kMalformed);
  EXPECT_EQ(outcome({node("a", 1), node("a", 4)}), SystemOutcome::kMalformed);
  EXPECT_EQ(outcome({node("a", 1), node("d", 1)}), SystemOutcome::kMalformed);
  EXPECT_EQ(outcome({node("a", 1, -1)}), SystemOutcome::kMalformed);
  EXPECT_EQ(outcome({node("a", 9), node("b", 2), node("c", 3)}), SystemOutcome::kIncarnation) << "another folder comes by Replace alone";
  EXPECT_EQ(outcome({node("d", 3)}), SystemOutcome::kIncarnation) << "a folder belongs to one label";
  EXPECT_EQ(outcome({node("a", 1), node("b", 2), node("c", 3)}), SystemOutcome::kDone) << "it is the ring already";
}

TEST(SystemState, AReplacedFolderIsDeadAndTheNewOneHasANumberOfItsOwn) {
  SystemState state = three();
  EXPECT_EQ(state.apply(Replace{"x", folder(2), folder(7)}), SystemOutcome::kUnknownLabel);
  EXPECT_EQ(state.apply(Replace{"b", folder(9), folder(7)}), SystemOutcome::kStale);
  EXPECT_EQ(state.apply(Replace{"b", folder(2), folder(3)}), SystemOutcome::kIncarnation);
  EXPECT_EQ(state.apply(Replace{"b", folder(2), folder(7)}), SystemOutcome::kDone);
  EXPECT_EQ(state.apply(Replace{"b", folder(2), folder(7)}), SystemOutcome::kDone) << "asked twice";
  EXPECT_EQ(state.epoch, 2u);
  EXPECT_EQ(state.member(2)->state, NodeState::kDead);
  EXPECT_EQ(state.active("b")->member, 4u);
  EXPECT_EQ(state.active("b")->host, "b.example");
  EXPECT_FALSE(state.settled());
}

TEST(SystemState, AFolderThatLeftAndComesBackKeepsItsNumberAndOthersNeverGetIt) {
  SystemState state = three();
  ASSERT_EQ(state.apply(AdoptRing{.prev_epoch = 1, .nodes = {node("a", 1), node("b", 2)}}), SystemOutcome::kDone);
  satisfy(state);
  ASSERT_EQ(state.apply(AdoptRing{.prev_epoch = 2, .nodes = {node("a", 1), node("b", 2), node("d", 4)}}), SystemOutcome::kDone);
  EXPECT_EQ(state.active("d")->member, 4u);
  satisfy(state);
  ASSERT_EQ(state.apply(AdoptRing{.prev_epoch = 3, .nodes = {node("a", 1), node("b", 2), node("c", 3), node("d", 4)}}), SystemOutcome::kDone);
  EXPECT_EQ(state.active("c")->member, 3u);
}

TEST(SystemState, RoundTripsAndRefusesEveryPrefixAndNoise) {
  SystemState state = three();
  ASSERT_EQ(state.apply(AdoptRing{.prev_epoch = 1, .nodes = {node("a", 1), node("b", 2, 7.5), node("d", 4)}}), SystemOutcome::kDone);
  ASSERT_EQ(state.apply(Satisfied{.epoch = 2, .shard = ShardId{3}}), SystemOutcome::kDone);
  const std::string bytes = encode(state);
  const auto decoded = decode_system_state(bytes);
  ASSERT_TRUE(decoded) << decoded.error().to_string();
  EXPECT_EQ(encode(*decoded), bytes);
  EXPECT_EQ(decoded->satisfied, state.satisfied);
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_system_state(std::string_view(bytes).substr(0, size)));
  const SystemCommand commands[] = {AdoptRing{.prev_epoch = 5, .force = true, .nodes = {node("a", 1)}}, Replace{"b", folder(2), folder(7)},
                                    Satisfied{.epoch = 2, .shard = ShardId{3}}};
  for (const SystemCommand& command : commands) {
    const std::string one = encode(command);
    const auto back = decode_system_command(one);
    ASSERT_TRUE(back);
    EXPECT_EQ(encode(*back), one);
    for (std::size_t size = 0; size < one.size(); ++size) EXPECT_FALSE(decode_system_command(std::string_view(one).substr(0, size)));
    EXPECT_FALSE(decode_system_command(one + "x"));
  }
  Rng rng(3);
  for (int i = 0; i < 2000; ++i) {
    std::string noise = bytes;
    noise[rng.next() % noise.size()] = static_cast<char>(rng.next());
    static_cast<void>(decode_system_state(noise));
    static_cast<void>(decode_system_command(noise));
  }
}

TEST(SystemState, ThreeVotersAShardAndForGroupZeroFiveFromFiveNodesOnWithTheRestAsLearners) {
  std::vector<AdoptRing::Node> nodes;
  for (std::uint8_t count = 1; count <= 6; ++count) {
    nodes.push_back(node(std::string(1, static_cast<char>('a' + count)), count));
    const SystemState state = found_cluster(folder(90), folder(1), 4, 3, nodes);
    EXPECT_EQ(place(state, ShardId{1}, {}).voters.size(), std::min<std::size_t>(count, 3));
    EXPECT_TRUE(place(state, ShardId{1}, {}).learners.empty());
    const Placement system = place(state, kSystemShard, {});
    EXPECT_EQ(system.voters.size(), count >= 5 ? 5u : std::min<std::size_t>(count, 3));
    EXPECT_EQ(system.voters.size() + system.learners.size(), count);
  }
}

TEST(SystemState, WhoLeavesHearsOfTheRingUntilItIsGone) {
  SystemState state = three();
  ASSERT_EQ(state.apply(AdoptRing{.prev_epoch = 1, .nodes = {node("a", 1), node("b", 2)}}), SystemOutcome::kDone);
  EXPECT_EQ(place(state, kSystemShard, {}).learners, std::vector<std::uint32_t>{3});
  EXPECT_EQ(place(state, ShardId{1}, {}).voters, (std::vector<std::uint32_t>{1, 2}));
  satisfy(state);
  EXPECT_TRUE(place(state, kSystemShard, {}).learners.empty());
}

struct Inner final : StateMachine {
  std::string apply(const ApplyContext&, std::string_view command, kv::Overlay&) override { return "inner " + std::string(command); }
  std::string query(ShardId, std::string_view query, const kv::View&, Duration) const override { return "inner " + std::string(query); }
};

TEST(SystemMachine, TakesItsOwnCommandsOfShardZeroAndHandsOnTheRest) {
  kv::MemoryStore store;
  kv::Batch batch;
  batch.put(kv::Family::kSession, system_state_key(), encode(three()));
  ASSERT_TRUE(store.write(batch, kv::Durability::kSynced));
  Inner inner;
  std::vector<SystemState> told;
  SystemMachine machine(inner, [&](SystemState state) { told.push_back(std::move(state)); });
  machine.restored(kSystemShard, store);
  ASSERT_EQ(told.size(), 1u);
  kv::Overlay rows(store);
  const std::string replace = encode(SystemCommand(Replace{"b", folder(2), folder(7)}));
  EXPECT_EQ(machine.apply({.shard = ShardId{1}}, replace, rows), "inner " + replace);
  EXPECT_EQ(machine.apply({.shard = kSystemShard}, "put", rows), "inner put");
  EXPECT_EQ(machine.apply({.shard = kSystemShard}, replace, rows), std::string("\0\0\0\0\0\0\0\0\2", 9));
  EXPECT_EQ(told.size(), 1u) << "not before it is written";
  machine.applied(kSystemShard, 6);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told.back().epoch, 2u);
  machine.applied(kSystemShard, 7);
  EXPECT_EQ(told.size(), 2u);
  EXPECT_EQ(machine.apply({.shard = kSystemShard}, std::string(1, kSystemMark) + "nonsense", rows)[0], 1);
  EXPECT_EQ(machine.query(kSystemShard, std::string(1, kSystemMark), rows, {}), encode(told.back()));
}

}  // namespace
}  // namespace kraken::group
