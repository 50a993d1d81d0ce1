#include "src/p2p/swarm/swarm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace kraken::p2p::swarm {
namespace {

/// Pieces as a string: '#' is here, '.' is missing.
Bitfield pieces(std::string_view text) {
  Bitfield made(static_cast<std::uint32_t>(text.size()));
  for (std::uint32_t i = 0; i < text.size(); ++i)
    if (text[i] == '#') made.set(i);
  return made;
}

PeerId peer_id(std::uint8_t number) {
  PeerId::Raw raw{};
  raw[0] = number;
  return PeerId(raw);
}

PeerInfo info(std::uint8_t number, bool origin = false, bool complete = false) {
  return {peer_id(number), fmt::format("10.0.0.{}", number), 16001, origin, complete};
}

/// Actions as text: "1?3" piece 3 asked of connection 1, "1!3" announced to it, "1-3" cancelled, "1 complete",
/// "1 close <reason>", "dial 7", "announce", "announce complete".
std::vector<std::string> told(Swarm& swarm) {
  std::vector<std::string> out;
  for (const Action& action : swarm.take()) {
    if (const auto* dial = std::get_if<Dial>(&action)) out.push_back(fmt::format("dial {}", dial->peer.peer_id.raw()[0] & 0xff));
    if (const auto* ask = std::get_if<SendRequest>(&action)) out.push_back(fmt::format("{}?{}", ask->connection.value(), ask->piece));
    if (const auto* cancel = std::get_if<SendCancel>(&action)) out.push_back(fmt::format("{}-{}", cancel->connection.value(), cancel->piece));
    if (const auto* have = std::get_if<SendHave>(&action)) out.push_back(fmt::format("{}!{}", have->connection.value(), have->piece));
    if (const auto* complete = std::get_if<SendComplete>(&action)) out.push_back(fmt::format("{} complete", complete->connection.value()));
    if (const auto* close = std::get_if<Close>(&action)) out.push_back(fmt::format("{} close {}", close->connection.value(), name_of(close->reason)));
    if (const auto* announce = std::get_if<Announce>(&action)) out.push_back(announce->complete ? "announce complete" : "announce");
  }
  std::ranges::sort(out);
  return out;
}

using Told = std::vector<std::string>;

std::size_t count_of(const Told& all, std::string_view what) {
  return static_cast<std::size_t>(std::ranges::count_if(all, [&](const std::string& text) { return text.find(what) != std::string::npos; }));
}

constexpr ConnectionId id(std::uint32_t number) { return ConnectionId(number); }
constexpr PeerId::Raw kSelf{100};

struct Fixture {
  explicit Fixture(std::string_view have, Options options = {}, bool dials = true, std::uint64_t seed = 1)
      : swarm(options, PeerId(kSelf), pieces(have), pieces(have).all(), dials, seed) {
    swarm.start(now);
    told(swarm);
  }
  /// Connection `number` to peer `number`.
  bool connect(std::uint8_t number, std::string_view has, bool origin = false, bool outgoing = true) {
    return swarm.connected(now, id(number), info(number, origin), outgoing, pieces(has));
  }
  void deliver(std::uint8_t connection, std::uint32_t piece) {
    ASSERT_EQ(swarm.payload_begins(now, id(connection), piece), Payload::kTake);
    swarm.piece_good(now, id(connection), piece);
  }
  MonotonicTime now = 1000s;
  Swarm swarm;
};

TEST(Swarm, AsksOneRequestOfEachOfManyAndMoreOfFew) {
  struct Row {
    std::uint8_t neighbours;
    std::size_t each;
  };
  for (const Row& row : {Row{1, 5}, Row{2, 4}, Row{3, 3}, Row{4, 2}, Row{7, 2}, Row{8, 1}, Row{12, 1}}) {
    SCOPED_TRACE(static_cast<int>(row.neighbours));
    Fixture f(std::string(64, '.'));
    std::map<std::uint32_t, int> asked;
    std::map<std::uint8_t, std::size_t> outstanding;
    for (std::uint8_t i = 1; i <= row.neighbours; ++i) f.connect(i, std::string(64, '#'));
    for (const Action& action : f.swarm.take()) {
      const auto* request = std::get_if<SendRequest>(&action);
      if (request == nullptr) continue;
      ++asked[request->piece];
      ++outstanding[static_cast<std::uint8_t>(request->connection.value())];
    }
    for (const auto& [piece, times] : asked) EXPECT_EQ(times, 1) << "piece " << piece << " was asked of two";
    // The last to connect gets what the count of neighbours says.
    EXPECT_EQ(outstanding[row.neighbours], row.each);
  }
}

TEST(Swarm, AsksForTheRarestPieceFirst) {
  Options one;
  one.outstanding = 1;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Fixture g("....", one, true, seed);
    g.connect(1, "#...");
    g.connect(2, "#...");
    EXPECT_EQ(count_of(told(g.swarm), "?0"), 1U);
    g.swarm.peer_has(g.now, id(1), 1);
    told(g.swarm);
    g.connect(5, ".#.#");
    EXPECT_EQ(told(g.swarm), (Told{"5?3"})) << "piece 3 has one holder, piece 1 two";
  }
}

TEST(Swarm, TiesAreBrokenByChance) {
  std::set<std::string> firsts;
  Options one;
  one.outstanding = 1;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Fixture f(std::string(64, '.'), one, true, seed);
    f.connect(1, std::string(64, '#'));
    firsts.insert(told(f.swarm).front());
  }
  EXPECT_GT(firsts.size(), 10U);
}

TEST(Swarm, AReaderAloneWithSeedersGetsTheLowestMissingPiecesInOrder) {
  Fixture f("#.......");
  f.swarm.reader_at(f.now, 1, 0);
  f.connect(1, "########");
  EXPECT_EQ(told(f.swarm), (Told{"1?1", "1?2", "1?3", "1?4", "1?5"}));
}

TEST(Swarm, AReaderAmongLeechersGetsOutOfTurnOnlyWhatItHasWaitedFor) {
  Options options;
  options.outstanding = 1;
  int first_at_once = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Fixture f(std::string(64, '.'), options, true, seed);
    f.connect(9, std::string(64, '.'));
    f.swarm.reader_at(f.now, 1, 0);
    f.connect(1, std::string(64, '#'));
    const Told at_once = told(f.swarm);
    first_at_once += static_cast<int>(count_of(at_once, "1?0") == 1 && at_once.front() == "1?0");
    // A quick first piece makes the usual service time short; the second one takes longer than a reader likes to wait.
    const auto asked = [](const Told& all) {
      for (const std::string& text : all)
        if (text.starts_with("1?")) return static_cast<std::uint32_t>(std::stoul(text.substr(2)));
      return UINT32_MAX;
    };
    f.now += 10ms;
    const std::uint32_t first = asked(at_once);
    f.deliver(1, first);
    const std::uint32_t second = asked(told(f.swarm));
    f.now += 200ms;
    f.deliver(1, second);
    const std::uint32_t third = asked(told(f.swarm));
    if (first != 0 && second != 0) {
      EXPECT_EQ(third, 0U) << "what the reader waits for comes next";
    }
  }
  EXPECT_LT(first_at_once, 5);
}

TEST(Swarm, OriginsGetTheirShareOfTheRequestsInAllWhereAgentsHaveSomething) {
  Fixture f(std::string(64, '.'));
  f.connect(1, std::string(32, '#') + std::string(32, '.'));
  f.connect(2, std::string(32, '.') + std::string(32, '#'));
  for (std::uint8_t origin = 3; origin <= 5; ++origin) f.connect(origin, std::string(64, '#'), true);
  const Told all = told(f.swarm);
  EXPECT_EQ(count_of(all, "3?") + count_of(all, "4?") + count_of(all, "5?"), 1U);
}

TEST(Swarm, AnnouncesEachPieceToEveryOtherNeighbourAndCompletesTowardsThoseThatLackSomething) {
  Fixture f("#.");
  f.connect(1, "##", true);
  f.connect(2, "..");
  EXPECT_EQ(told(f.swarm), (Told{"1?1"}));
  f.deliver(1, 1);
  EXPECT_EQ(told(f.swarm), (Told{"2!1"}));
  EXPECT_TRUE(f.swarm.has_all());
  EXPECT_FALSE(f.swarm.is_verified());
  f.swarm.verified(f.now);
  EXPECT_EQ(told(f.swarm), (Told{"1 close both_complete", "2 complete", "announce complete"}));
  f.swarm.peer_complete(f.now, id(2));
  EXPECT_EQ(told(f.swarm), (Told{"2 close both_complete"}));
}

TEST(Swarm, ASeederRefusesOneThatHasEverything) {
  Fixture f("##");
  EXPECT_FALSE(f.connect(1, "##", false, false));
  EXPECT_TRUE(f.connect(2, "#.", false, false));
}

TEST(Swarm, APeerWhosePieceIsWrongIsBannedAndItsRequestsGoToOthers) {
  Fixture f("...");
  f.connect(1, "###");
  const Told first = told(f.swarm);
  EXPECT_EQ(first.size(), 3U);
  f.connect(2, "###");
  told(f.swarm);
  ASSERT_EQ(f.swarm.payload_begins(f.now, id(1), 0), Payload::kTake);
  f.swarm.piece_bad(f.now, id(1), 0);
  const Told after = told(f.swarm);
  EXPECT_EQ(count_of(after, "1 close bad_piece"), 1U);
  EXPECT_EQ(count_of(after, "2?"), 3U);
  EXPECT_TRUE(f.swarm.banned(peer_id(1)));
  EXPECT_FALSE(f.swarm.connected(f.now, id(7), info(1), false, pieces("###")));
  f.swarm.handout(f.now, {info(1)}, 1s);
  EXPECT_EQ(count_of(told(f.swarm), "dial"), 0U);
}

TEST(Swarm, ASilentGiverLosesItsRequestsToAnotherAfterHalfASecondAndIsClosedTheSecondTime) {
  Fixture f("...");
  f.connect(1, "###");
  EXPECT_EQ(told(f.swarm).size(), 3U);
  f.connect(2, "###");
  told(f.swarm);
  f.now += 400ms;
  f.swarm.tick(f.now);
  EXPECT_EQ(count_of(told(f.swarm), "1-"), 0U);
  f.now += 101ms;
  f.swarm.tick(f.now);
  const Told taken = told(f.swarm);
  EXPECT_EQ(count_of(taken, "1-"), 3U);
  EXPECT_EQ(count_of(taken, "2?"), 3U);
  // It comes back to life before the other: its payload is taken, the other's request is withdrawn.
  EXPECT_EQ(f.swarm.payload_begins(f.now, id(1), 0), Payload::kTake);
  EXPECT_EQ(count_of(told(f.swarm), "2-0"), 1U);
  f.swarm.piece_good(f.now, id(1), 0);
  told(f.swarm);
  // The other's payload comes nevertheless: read and dropped.
  EXPECT_EQ(f.swarm.payload_begins(f.now, id(2), 0), Payload::kDiscard);
  f.swarm.payload_dropped(f.now, id(2), 0);
  EXPECT_EQ(f.swarm.stats().discarded_pieces, 1U);
}

TEST(Swarm, AGiverThatStaysSilentIsClosed) {
  Fixture f("...");
  f.connect(1, "###");
  f.connect(2, "###");
  told(f.swarm);
  bool closed = false;
  for (int i = 0; i < 30 && !closed; ++i) {
    f.now += 100ms;
    f.swarm.payload_progress(f.now, id(2));
    f.swarm.tick(f.now);
    closed = count_of(told(f.swarm), "1 close silent") == 1;
  }
  EXPECT_TRUE(closed);
}

TEST(Swarm, TheOnlyGiverKeepsItsRequestsForSixteenSeconds) {
  Fixture f("...");
  f.connect(1, "###");
  told(f.swarm);
  f.now += 15s;
  f.swarm.tick(f.now);
  Told all = told(f.swarm);
  EXPECT_EQ(count_of(all, "1-"), 0U);
  EXPECT_EQ(count_of(all, "1 close"), 0U);
  f.now += 2s;
  f.swarm.tick(f.now);
  EXPECT_EQ(count_of(told(f.swarm), "1 close silent"), 1U);
}

TEST(Swarm, AStalledPayloadIsTakenOverAndTheRestOfTheFirstIsNotWritten) {
  Fixture f(".");
  f.connect(1, "#");
  ASSERT_EQ(f.swarm.payload_begins(f.now, id(1), 0), Payload::kTake);
  EXPECT_TRUE(f.swarm.may_write(id(1), 0));
  f.connect(2, "#");
  told(f.swarm);
  f.now += 600ms;
  f.swarm.tick(f.now);
  EXPECT_EQ(told(f.swarm), (Told{"2?0"}));
  EXPECT_FALSE(f.swarm.may_write(id(1), 0));
  ASSERT_EQ(f.swarm.payload_begins(f.now, id(2), 0), Payload::kTake);
  f.swarm.payload_dropped(f.now, id(1), 0);
  EXPECT_TRUE(f.swarm.may_write(id(2), 0));
  f.swarm.piece_good(f.now, id(2), 0);
  EXPECT_TRUE(f.swarm.has_all());
}

TEST(Swarm, APayloadThatNobodyAskedForIsABreach) {
  Fixture f("..");
  f.connect(1, "#.");
  told(f.swarm);
  EXPECT_FALSE(f.swarm.payload_begins(f.now, id(1), 1));
  EXPECT_TRUE(f.swarm.payload_begins(f.now, id(1), 0));
}

TEST(Swarm, ARequestRefusedWithAnErrorIsAskedOfAnother) {
  Fixture f(".");
  f.connect(1, "#");
  EXPECT_EQ(told(f.swarm), (Told{"1?0"}));
  f.connect(2, "#");
  f.swarm.peer_error(f.now, id(1), 0);
  EXPECT_EQ(told(f.swarm), (Told{"2?0"}));
}

TEST(Swarm, AClosedConnectionsRequestsGoToOthers) {
  Fixture f(".");
  f.connect(1, "#");
  f.connect(2, "#");
  EXPECT_EQ(told(f.swarm), (Told{"1?0"}));
  f.swarm.disconnected(f.now, id(1));
  EXPECT_EQ(told(f.swarm), (Told{"2?0"}));
}

TEST(Swarm, DialsUntilTwelveAndAcceptsUntilTwentyFour) {
  Fixture f(std::string(8, '.'));
  std::vector<PeerInfo> many;
  for (std::uint8_t i = 1; i <= 40; ++i) many.push_back(info(i));
  f.swarm.handout(f.now, many, 1s);
  EXPECT_EQ(count_of(told(f.swarm), "dial"), 12U);
  Fixture g(std::string(8, '.'));
  std::size_t accepted = 0;
  for (std::uint8_t i = 1; i <= 40; ++i) accepted += g.connect(i, "........", false, false) ? 1 : 0;
  EXPECT_EQ(accepted, 24U);
  g.swarm.handout(g.now, many, 1s);
  EXPECT_EQ(count_of(told(g.swarm), "dial"), 0U);
}

TEST(Swarm, ARefusedPeerIsDialledAgainAfterASecondAFailedOneAfterThirty) {
  Options options;
  options.lonely_pause = 1h;
  Fixture f("....", options);
  f.swarm.handout(f.now, {info(1), info(2)}, 1s);
  EXPECT_EQ(told(f.swarm), (Told{"dial 1", "dial 2"}));
  f.swarm.dial_failed(f.now, peer_id(1), DialFailure::kRefused);
  f.swarm.dial_failed(f.now, peer_id(2), DialFailure::kFailed);
  EXPECT_EQ(count_of(told(f.swarm), "dial"), 0U);
  f.now += 1s;
  f.swarm.tick(f.now);
  EXPECT_EQ(count_of(told(f.swarm), "dial 1"), 1U);
  f.now += 28s;
  f.swarm.tick(f.now);
  EXPECT_EQ(count_of(told(f.swarm), "dial 2"), 0U);
  f.now += 2s;
  f.swarm.tick(f.now);
  EXPECT_EQ(count_of(told(f.swarm), "dial 2"), 1U);
}

TEST(Swarm, WithNobodyUsefulAFailedPeerIsTriedAgainSooner) {
  Fixture f("....");
  f.swarm.handout(f.now, {info(1)}, 1s);
  told(f.swarm);
  f.swarm.dial_failed(f.now, peer_id(1), DialFailure::kFailed);
  f.now += 2s;
  f.swarm.tick(f.now);
  EXPECT_EQ(count_of(told(f.swarm), "dial 1"), 1U);
}

TEST(Swarm, AnnouncesQuicklyWhileShortOfPeersAndWithTheTrackersIntervalWhenNothingNewComes) {
  Fixture f("....");
  int announces = 0;
  f.swarm.handout(f.now, {info(1)}, 3s);
  told(f.swarm);
  for (int i = 0; i < 100; ++i) {
    f.now += 100ms;
    f.swarm.tick(f.now);
    if (count_of(told(f.swarm), "announce") == 0) continue;
    ++announces;
    f.swarm.handout(f.now, {info(1)}, 3s);
    told(f.swarm);
  }
  EXPECT_GE(announces, 4);
  EXPECT_LE(announces, 9);
}

TEST(Swarm, OfTwoConnectionsDialledAtOnceBothSidesKeepTheSame) {
  // This host is 100. The connection that the smaller id dialled stays.
  Fixture smaller(".");
  EXPECT_TRUE(smaller.connect(200, "#", false, true));
  EXPECT_FALSE(smaller.swarm.connected(smaller.now, id(1), info(200), false, pieces("#")));
  EXPECT_EQ(smaller.swarm.connections(), 1U);
  Fixture larger(".");
  EXPECT_TRUE(larger.connect(50, "#", false, true));
  told(larger.swarm);
  EXPECT_TRUE(larger.swarm.connected(larger.now, id(1), info(50), false, pieces("#")));
  const Told after = told(larger.swarm);
  EXPECT_EQ(count_of(after, "50 close duplicate"), 1U);
  EXPECT_EQ(count_of(after, "1?0"), 1U);
  EXPECT_EQ(larger.swarm.connections(), 1U);
}

TEST(Swarm, AnOriginNeverDialsNorAnnounces) {
  Fixture f("####", {}, false);
  f.swarm.handout(f.now, {info(1)}, 1s);
  f.swarm.tick(f.now + 10s);
  EXPECT_TRUE(told(f.swarm).empty());
}

TEST(Swarm, TheShareOfANeighbourGrowsWithWhatItSaysAndWhatItWasGiven) {
  Fixture f("####");
  f.connect(1, "#...", false, false);
  EXPECT_DOUBLE_EQ(f.swarm.share_of(id(1)), 0.25);
  f.swarm.peer_has(f.now, id(1), 2);
  EXPECT_DOUBLE_EQ(f.swarm.share_of(id(1)), 0.5);
  f.swarm.gave(f.now, id(1), 3);
  f.swarm.gave(f.now, id(1), 1);
  EXPECT_DOUBLE_EQ(f.swarm.share_of(id(1)), 1);
  // All was given, but it has not said so: the last piece may still be on its way, and the connection stays.
  EXPECT_EQ(count_of(told(f.swarm), "close"), 0U);
  EXPECT_EQ(f.swarm.connections(), 1U);
}

}  // namespace
}  // namespace kraken::p2p::swarm
