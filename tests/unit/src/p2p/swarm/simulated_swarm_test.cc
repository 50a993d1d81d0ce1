#include "tests/unit/src/p2p/swarm/simulated_swarm.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace kraken::p2p::swarm::testing {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = 1 << 20;

/// Last agent's time as a multiple of the time one agent's link needs for the blob.
double last_over_floor(const SimulatedSwarm& swarm, SimulatedSwarm& hosts, double bytes, double rate) {
  MonotonicTime last{};
  for (std::size_t i = 0; i < swarm.size(); ++i)
    if (hosts.host(i).complete_at) last = std::max(last, *hosts.host(i).complete_at);
  return std::chrono::duration<double>(last).count() / (bytes / rate);
}

TEST(SimulatedSwarm, EveryAgentCompletesAndNothingIsSentTwice) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SimulatedSwarm swarm(100, kMiB, {}, seed);
    for (int i = 0; i < 3; ++i) swarm.add_origin();
    for (int i = 0; i < 25; ++i) swarm.add_agent(i * 3ms);
    ASSERT_TRUE(swarm.run(60s)) << "seed " << seed;
    EXPECT_EQ(swarm.duplicates(), 0U) << "seed " << seed;
    for (std::size_t i = 3; i < swarm.size(); ++i) EXPECT_EQ(swarm.host(i).pieces_received, 100U) << "seed " << seed;
  }
}

TEST(SimulatedSwarm, TheLastOfFortyAgentsIsNearTheFloorOfItsOwnLink) {
  SimulatedSwarm swarm(400, kMiB, {}, 7);
  for (int i = 0; i < 5; ++i) swarm.add_origin();
  for (int i = 0; i < 40; ++i) swarm.add_agent(Duration(i * 2500000));
  ASSERT_TRUE(swarm.run(60s));
  EXPECT_LT(last_over_floor(swarm, swarm, 400.0 * kMiB, 300e6), 1.15);
}

TEST(SimulatedSwarm, ThreeReadersAtOnceTakeLessThanOneAndAHalfCopiesFromThreeOrigins) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SimulatedSwarm swarm(128, 4 * kMiB, {}, seed);
    for (int i = 0; i < 3; ++i) swarm.add_origin();
    for (int i = 0; i < 3; ++i) swarm.read_in_order(swarm.add_agent(i * 1ms));
    ASSERT_TRUE(swarm.run(60s));
    EXPECT_LE(swarm.copies(), 1.5) << "seed " << seed;
    EXPECT_LT(last_over_floor(swarm, swarm, 128 * 4.0 * kMiB, 300e6), 1.05) << "seed " << seed;
  }
}

TEST(SimulatedSwarm, AGiverServesTheNeediestNeighbourFirst) {
  // One origin that sends one piece at a time; as many agents with nothing as agents with three quarters of the blob, who
  // all lack the same quarter, so that only the origin can give it at first.
  SimulatedSwarm swarm(64, kMiB, {}, 3);
  swarm.watched_giver = swarm.add_origin();
  GiverOptions one;
  one.slots = 1;
  swarm.host(swarm.watched_giver).giver = Giver(one);
  Bitfield most(64, true);
  for (std::uint32_t piece = 0; piece < 16; ++piece) most.set(piece, false);
  std::set<std::size_t> poor;
  for (int i = 0; i < 4; ++i) {
    (void)swarm.add(false, most, 0ms);
    poor.insert(swarm.add_agent(0ms));
  }
  ASSERT_TRUE(swarm.run(60s));
  // The requests that were there before the poor ones' came first; of the next ones the poor get the greater part.
  ASSERT_GE(swarm.given_order.size(), 16U);
  const auto to_poor = std::count_if(swarm.given_order.begin() + 4, swarm.given_order.begin() + 16,
                                     [&](const auto& given) { return poor.contains(given.first); });
  EXPECT_GE(to_poor, 8);
}

TEST(SimulatedSwarm, APeerThatSendsWrongBytesIsBannedByEveryoneItServesAndAllComplete) {
  SimulatedSwarm swarm(60, kMiB, {}, 11);
  swarm.add_origin();
  const std::size_t liar = swarm.add(false, Bitfield(60, true), 0ms);
  swarm.host(liar).corrupt = true;
  std::vector<std::size_t> agents;
  for (int i = 0; i < 6; ++i) agents.push_back(swarm.add_agent(i * 2ms));
  ASSERT_TRUE(swarm.run(60s));
  std::uint64_t bad = 0;
  for (const std::size_t agent : agents) {
    bad += swarm.host(agent).swarm->stats().bad_pieces;
    EXPECT_LE(swarm.host(agent).swarm->stats().bad_pieces, 1U) << "banned after its first wrong piece";
    EXPECT_TRUE(swarm.host(agent).swarm->stats().bad_pieces == 0 || swarm.host(agent).swarm->banned(swarm.host(liar).id));
  }
  EXPECT_GT(bad, 0U);
}

TEST(SimulatedSwarm, AnOriginThatIsFrozenInTheMiddleStallsNobodyForMoreThanASecond) {
  Network network;
  SimulatedSwarm even(128, 4 * kMiB, network, 5);
  for (int i = 0; i < 3; ++i) even.add_origin();
  for (int i = 0; i < 3; ++i) even.add_agent(i * 1ms);
  ASSERT_TRUE(even.run(60s));
  SimulatedSwarm frozen(128, 4 * kMiB, network, 5);
  const std::size_t victim = frozen.add_origin();
  for (int i = 0; i < 2; ++i) frozen.add_origin();
  for (int i = 0; i < 3; ++i) frozen.add_agent(i * 1ms);
  frozen.at(500ms, [&] { frozen.stop(victim); });
  ASSERT_TRUE(frozen.run(60s));
  EXPECT_LT(frozen.now() - even.now(), 1s);
}

TEST(SimulatedSwarm, TheSameSeedGivesTheSameRun) {
  const auto run = [] {
    SimulatedSwarm swarm(80, kMiB, {}, 42);
    for (int i = 0; i < 2; ++i) swarm.add_origin();
    for (int i = 0; i < 10; ++i) swarm.add_agent(i * 5ms);
    EXPECT_TRUE(swarm.run(60s));
    return swarm.now();
  };
  EXPECT_EQ(run(), run());
}

}  // namespace
}  // namespace kraken::p2p::swarm::testing
