#include "consensus/group/adoption.h"

#include <gtest/gtest.h>

namespace kraken::group {
namespace {

using namespace std::chrono_literals;

Incarnation folder(std::uint8_t number) {
  Incarnation made;
  made.bytes.fill(number);
  return made;
}

std::vector<WishNode> wish(const std::string& labels, double weight_of_first = 100) {
  std::vector<WishNode> out;
  for (const char label : labels) out.push_back({.label = std::string(1, label), .host = "h", .port = 1, .weight = out.empty() ? weight_of_first : 100});
  return out;
}

/// The folder of label 'a' is 1, of 'b' 2, and so on.
SystemState cluster(const std::string& labels) {
  std::vector<AdoptRing::Node> nodes;
  for (const WishNode& one : wish(labels)) nodes.push_back({.node = one, .incarnation = folder(static_cast<std::uint8_t>(one.label[0] - 'a' + 1))});
  return found_cluster(folder(90), folder(1), 4, 3, nodes);
}

NodeReport report(char label, std::vector<WishNode> wished, Duration since = 60s) {
  return {.label = std::string(1, label), .incarnation = folder(static_cast<std::uint8_t>(label - 'a' + 1)), .wish = std::move(wished), .since = since};
}

/// Labels in order, beginning one further with each shard.
std::vector<std::string> turning(std::span<const Member> members, std::string_view key) {
  std::vector<std::string> labels;
  for (const Member& member : members) labels.push_back(member.label);
  const std::size_t by = key == "shard/sys" ? 0 : static_cast<std::size_t>(key.back() - '0') % labels.size();
  std::rotate(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(by), labels.end());
  return labels;
}

struct Case {
  std::string name;
  std::string ring;            // labels
  std::vector<NodeReport> reports;
  std::string waits_for{};     // part of the sentence; empty with `adopted` empty: nothing to do
  std::string adopted{};       // labels of the command
  bool force = false, unsettled = false;
  std::string leader = "a";
  std::string hand_over_to{};
};

TEST(Adoption, FollowsItsRules) {
  const auto old = wish("abc"), four = wish("abcd");
  NodeReport stranger = report('c', four);
  stranger.incarnation = folder(77);
  const std::vector<Case> cases{
      {.name = "everybody has the ring", .ring = "abc", .reports = {report('a', old), report('b', old), report('c', old)}},
      {.name = "half way through the roll", .ring = "abc", .reports = {report('a', four), report('b', old), report('c', old), report('d', four)},
       .waits_for = "2 of 4 nodes have the new hashstate; another one has b, c"},
      {.name = "all have it", .ring = "abc", .reports = {report('a', four), report('b', four), report('c', four), report('d', four)}, .adopted = "abcd"},
      {.name = "not for long", .ring = "abc", .reports = {report('a', four), report('b', four), report('c', four), report('d', four, 2s)},
       .waits_for = "same for 30 s"},
      {.name = "the new node is not there", .ring = "abc", .reports = {report('a', four), report('b', four), report('c', four)}, .waits_for = "adds d, which has not been heard"},
      {.name = "an old node is down: the rest may decide", .ring = "abc", .reports = {report('a', four), report('b', four), report('d', four)}, .adopted = "abcd"},
      {.name = "no majority of the list", .ring = "abcd", .reports = {report('a', wish("abcd", 50)), report('b', wish("abcd", 50))}, .waits_for = "2 of 4 nodes have the new hashstate, a majority must"},
      {.name = "no majority of group 0", .ring = "abc",
       .reports = {report('a', wish("abcdef")), report('d', wish("abcdef")), report('e', wish("abcdef")), report('f', wish("abcdef"))},
       .waits_for = "1 of 3 voters of the system group"},
      {.name = "who left runs on with the old hashstate", .ring = "abc", .reports = {report('a', old), report('b', old), report('c', old), report('d', wish("abcd"))}},
      {.name = "one leaves", .ring = "abcd", .reports = {report('a', old), report('b', old), report('c', old), report('d', wish("abcd"))}, .adopted = "abc"},
      {.name = "the last but one leaves", .ring = "ab", .reports = {report('a', wish("a")), report('b', wish("ab"))}, .adopted = "a"},
      {.name = "two leave", .ring = "abcd", .reports = {report('a', wish("ab")), report('b', wish("ab"))}, .waits_for = "2 nodes would leave at once"},
      {.name = "two leave by force", .ring = "abcd", .reports = {report('a', wish("ab")), report('b', wish("ab"))}, .adopted = "ab", .force = true},
      {.name = "one leaves while another is down: shards of both would stop", .ring = "abcd", .reports = {report('a', old), report('b', old)},
       .waits_for = "of 3 voters up before the change"},
      {.name = "another weight", .ring = "abc", .reports = {report('a', wish("abc", 50)), report('b', wish("abc", 50)), report('c', wish("abc", 50))}, .adopted = "abc"},
      {.name = "the one before is not settled", .ring = "abc", .reports = {report('a', four), report('b', four), report('c', four), report('d', four)},
       .waits_for = "4 of 4 shards, or their blobs, are still moving", .unsettled = true},
      {.name = "one comes and one goes: who goes leads, and refuses who comes", .ring = "abc",
       .reports = {report('a', old), report('b', wish("bcd")), report('c', wish("bcd"))}, .waits_for = "adds d, which has not been heard", .hand_over_to = "b"},
      {.name = "who goes and leads waits for the rest of the roll", .ring = "abc",
       .reports = {report('a', old), report('b', wish("bcd")), report('c', old)}, .waits_for = "1 of 3 nodes have the new hashstate"},
      {.name = "who stays leads: it waits", .ring = "abc", .reports = {report('a', old), report('b', wish("bcd")), report('c', wish("bcd"))},
       .waits_for = "adds d, which has not been heard", .leader = "b"},
      {.name = "one comes and one goes", .ring = "abc", .reports = {report('a', old), report('b', wish("bcd")), report('c', wish("bcd")), report('d', wish("bcd"))},
       .adopted = "bcd", .leader = "b"},
      {.name = "another folder", .ring = "abc", .reports = {report('a', four), report('b', four), stranger, report('d', four)}, .waits_for = "kraken repair replace c"},
  };
  for (const Case& one : cases) {
    SystemState state = cluster(one.ring);
    if (one.unsettled) state.satisfied.assign(4, false);
    std::vector<std::uint32_t> voters = place(state, kSystemShard, turning).voters;
    const AdoptionView view{.state = state, .leader = one.leader, .reports = one.reports, .system_voters = voters, .stable_for = 30s, .force = one.force};
    const Adoption decided = decide_adoption(view, turning);
    std::string adopted;
    if (decided.command)
      for (const AdoptRing::Node& node : decided.command->nodes) adopted += node.node.label;
    EXPECT_EQ(adopted, one.adopted) << one.name << ": " << decided.waits_for;
    if (one.waits_for.empty()) {
      EXPECT_EQ(decided.waits_for, "") << one.name;
    } else {
      EXPECT_NE(decided.waits_for.find(one.waits_for), std::string::npos) << one.name << ": " << decided.waits_for;
    }
    EXPECT_EQ(decided.hand_over_to, one.hand_over_to) << one.name;
    if (decided.command) {
      EXPECT_EQ(state.apply(SystemCommand(*decided.command)), SystemOutcome::kDone) << one.name;
    }
  }
}

// A node that nobody lists may wish what it likes.
TEST(Adoption, AStrangersWishMovesNothing) {
  const SystemState state = cluster("abc");
  const AdoptionView view{.state = state,
                          .leader = "a",
                          .reports = {report('a', wish("abc")), report('b', wish("abc")), report('c', wish("abc")), report('z', wish("z"))},
                          .system_voters = {1, 2, 3}};
  const Adoption decided = decide_adoption(view, {});
  EXPECT_FALSE(decided.command);
}

}  // namespace
}  // namespace kraken::group
