#include "src/blobs/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace kraken::blobs {
namespace {

using metadata::state::BlobRow;
using metadata::state::BlobState;
using metadata::state::Holder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

StoreId store(int number) { return StoreId(StoreId::Raw{static_cast<std::uint8_t>(number)}); }

std::vector<std::string> told(const std::vector<Holder>& holders) {
  std::vector<std::string> out;
  for (const Holder& holder : holders) out.push_back(holder.label + ":" + std::to_string(holder.store.raw()[0]));
  std::ranges::sort(out);
  return out;
}

/// One situation: holders as "label:store", "!" behind it for a suspect; live as "label:store".
struct Case {
  const char* what;
  std::vector<std::string> owners;
  std::vector<std::string> holders;
  std::vector<std::string> live;
  std::vector<std::string> ring;
  std::vector<std::string> copy;
  std::vector<std::string> let_go;
  std::vector<std::string> lost;
  std::vector<std::string> waits_for;
  std::size_t good = 0;
  BlobState state = BlobState::kLive;
  std::vector<std::string> backends = {};
};

std::pair<std::string, StoreId> parse(std::string text) {
  if (text.back() == '!') text.pop_back();
  const std::size_t colon = text.find(':');
  return {text.substr(0, colon), store(std::stoi(text.substr(colon + 1)))};
}

Plan plan_of(const Case& test) {
  BlobRow row;
  row.state = test.state;
  row.backends = test.backends;
  for (const std::string& text : test.holders) {
    const auto [label, id] = parse(text);
    row.holders.push_back({.store = id, .label = label, .suspect = text.back() == '!'});
  }
  std::ranges::sort(row.holders, {}, &Holder::store);
  LiveStores live;
  for (const std::string& text : test.live) live.insert(parse(text));
  const std::set<std::string> ring(test.ring.begin(), test.ring.end());
  return plan(row, test.owners, [&](const std::string& label) { return ring.contains(label); }, live);
}

const std::vector<std::string> kAbc = {"a", "b", "c"};
const std::vector<std::string> kAbcd = {"a", "b", "c", "d"};
const std::vector<std::string> kLive = {"a:1", "b:2", "c:3"};
const std::vector<std::string> kLive4 = {"a:1", "b:2", "c:3", "d:4"};

TEST(Plan, Table) {
  const std::vector<Case> cases = {
      {"every owner holds it: nothing", kAbc, {"a:1", "b:2", "c:3"}, kLive, kAbc, {}, {}, {}, {}, 3},
      {"a push in progress is left alone", kAbc, {}, kLive, kAbc, {}, {}, {}, {}, 0, BlobState::kArriving},
      {"a condemned blob is still somebody's", kAbc, {"a:1", "b:2"}, kLive, kAbc, {"c"}, {}, {}, {}, 2, BlobState::kCondemned},
      {"an owner that lacks it gets it", kAbc, {"a:1", "b:2"}, kLive, kAbc, {"c"}, {}, {}, {}, 2},
      {"a surplus holder stays while an owner lacks it", {"a", "b", "d"}, {"a:1", "b:2", "c:3"}, kLive4, kAbcd, {"d"}, {}, {}, {}, 3},
      {"and goes when every owner has it", {"a", "b", "d"}, {"a:1", "b:2", "c:3", "d:4"}, kLive4, kAbcd, {}, {"c:3"}, {}, {}, 4},
      {"an owner that is silent decides nothing", kAbc, {"a:1", "b:2", "c:3"}, {"a:1", "b:2"}, kAbc, {}, {}, {}, {"c"}, 3},
      {"nobody goes while an owner is silent", {"a", "b", "d"}, {"a:1", "b:2", "c:3", "d:4"}, kLive, kAbcd, {}, {}, {}, {"d"}, 4},
      {"an owner with another store lacks it, and the old store is lost", kAbc, {"a:1", "b:2", "c:3"}, {"a:1", "b:2", "c:9"}, kAbc, {"c"}, {}, {"c:3"}, {}, 2},
      {"a stand-in with another store is lost too", kAbc, {"a:1", "b:2", "c:3", "d:4"}, {"a:1", "b:2", "c:3", "d:9"}, kAbcd, {}, {}, {"d:4"}, {}, 3},
      {"a store that moved to another label is where it is", {"a", "b"}, {"a:1", "c:2"}, {"a:1", "b:2"}, kAbc, {}, {}, {}, {}, 2},
      {"a label that left the ring stays named while an owner lacks it", kAbc, {"a:1", "b:2", "x:7"}, kLive, kAbc, {"c"}, {}, {}, {}, 3},
      {"and is forgotten when every owner has it", kAbc, {"a:1", "b:2", "c:3", "x:7"}, kLive, kAbc, {}, {}, {"x:7"}, {}, 4},
      {"a node that left and still answers lets go", kAbc, {"a:1", "b:2", "c:3", "x:7"}, {"a:1", "b:2", "c:3", "x:7"}, kAbc, {}, {"x:7"}, {}, {}, 4},
      {"a silent surplus holder is waited for", kAbc, {"a:1", "b:2", "c:3", "d:4"}, kLive, kAbcd, {}, {}, {}, {"d"}, 4},
      {"an owner's doubtful copy is copied again", kAbc, {"a:1", "b:2", "c:3!"}, kLive, kAbc, {"c"}, {}, {}, {}, 2},
      {"a suspect that is alone is never forgotten", kAbc, {"a:1!"}, {"a:9", "b:2", "c:3"}, kAbc, {"a", "b", "c"}, {}, {}, {}, 0},
      {"unless a backend has the blob", kAbc, {"a:1!"}, {"a:9", "b:2", "c:3"}, kAbc, {"a", "b", "c"}, {}, {"a:1"}, {}, 0, BlobState::kLive, {"s3"}},
      {"fewer nodes than copies: all of them", {"a", "b"}, {"a:1"}, {"a:1", "b:2"}, {"a", "b"}, {"b"}, {}, {}, {}, 1},
      {"without a ring nothing moves", {}, {"a:1"}, {"a:1"}, {}, {}, {}, {}, {}, 1},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.what);
    const Plan plan = plan_of(test);
    EXPECT_EQ(plan.copy, test.copy);
    EXPECT_EQ(told(plan.let_go), test.let_go);
    EXPECT_EQ(told(plan.lost), test.lost);
    EXPECT_EQ(plan.waits_for, test.waits_for);
    EXPECT_EQ(plan.good, test.good);
    EXPECT_EQ(plan.satisfied(), test.copy.empty() && test.let_go.empty() && test.lost.empty() && test.waits_for.empty());
  }
}

/// Whatever is known, carried out step by step by nodes that obey, ends in a satisfied record that every owner holds, and on the
/// way the last good copy is never given up.
TEST(Plan, CarriedOutNeverGivesUpTheLastCopyAndEnds) {
  const std::vector<std::string> labels = {"a", "b", "c", "d", "e"};
  for (unsigned holders = 1; holders < 32; ++holders) {
    for (unsigned owners = 1; owners < 32; ++owners) {
      for (unsigned wiped = 0; wiped < 32; ++wiped) {
        LiveStores live;
        std::vector<std::string> wanted;
        BlobRow row;
        row.state = BlobState::kLive;
        std::size_t kept = 0;
        for (unsigned i = 0; i < labels.size(); ++i) {
          const bool is_wiped = ((wiped >> i) & 1) != 0;
          live.emplace(labels[i], store(static_cast<int>(is_wiped ? 10 + i : 1 + i)));
          if (((owners >> i) & 1) != 0) wanted.push_back(labels[i]);
          if (((holders >> i) & 1) == 0) continue;
          row.holders.push_back({.store = store(static_cast<int>(1 + i)), .label = labels[i], .suspect = false});
          kept += is_wiped ? 0 : 1;
        }
        if (kept == 0) continue;  // nothing can be done
        const auto anybody = [](const std::string&) { return true; };
        int rounds = 0;
        for (; rounds < 20; ++rounds) {
          const Plan next = plan(row, wanted, anybody, live);
          if (next.satisfied()) break;
          ASSERT_FALSE(next.idle());
          for (const Holder& holder : next.lost) std::erase(row.holders, holder);
          for (const std::string& label : next.copy) row.holders.push_back({.store = live.find(label)->second, .label = label, .suspect = false});
          for (const Holder& holder : next.let_go) std::erase_if(row.holders, [&](const Holder& h) { return h.store == holder.store; });
          std::ranges::sort(row.holders, {}, &Holder::store);
          const auto good = std::ranges::count_if(row.holders, [&](const Holder& h) {
            return std::ranges::any_of(live, [&](const auto& entry) { return entry.second == h.store; });
          });
          ASSERT_GE(good, 1);
        }
        ASSERT_LT(rounds, 20);
        ASSERT_EQ(row.holders.size(), wanted.size());
        for (const std::string& label : wanted) ASSERT_NE(row.holder(live.find(label)->second), nullptr);
      }
    }
  }
}

}  // namespace
}  // namespace kraken::blobs
