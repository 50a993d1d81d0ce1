#include "tests/unit/src/registry/stock_wire.h"

#include "tests/unit/src/tracker/fixture.h"

namespace kraken::tracker::test {
namespace {

using nlohmann::json;

class StockWire : public TrackerTest {
 protected:
  static bool is_announce(const kraken::test::Recorded& recorded) { return recorded.target.starts_with("/announce/"); }

  /// Stock hands the asker its own record, which its agents then leave out. Ours leaves it out first.
  static std::string without_asker(const kraken::test::Recorded& recorded) {
    auto body = recorded.reply_body;
    const auto from = body.find(",{\"peer_id\":" + json::parse(recorded.body)["peer"]["peer_id"].dump());
    if (from == std::string::npos) return body;
    return body.erase(from, body.find('}', from) + 1 - from);
  }
};

TEST_F(StockWire, EachRecordedExchangeIsAnsweredAsStockDoes) {
  metainfo_.add(kraken::test::recorded_blob(10));
  for (const auto& exchange : kraken::test::recorded_with("proxy")) {
    if (exchange.method == http::Method::kPut && exchange.target == "/v2/team/app/manifests/one")
      metainfo_.add(exchange.body);
  }
  const auto recorded = kraken::test::recorded_with("tracker");
  ASSERT_EQ(recorded.size(), 14U);
  for (const auto& exchange : recorded) {
    if (!is_announce(exchange)) {
      kraken::test::expect_as_recorded(*http_, exchange);
      continue;
    }
    const auto digest = Digest::parse(json::parse(exchange.body)["digest"].get<std::string>());
    ASSERT_TRUE(digest);
    // The origins' order is that of the ring then; the directory says it.
    auto& holders = directory_.holders_of[*digest];
    const auto peers = json::parse(exchange.reply_body)["peers"];
    if (peers.is_array()) {
      holders.clear();
      for (const auto& peer : peers) {
        if (peer["origin"].get<bool>()) holders.push_back(*PeerInfo::from_json(peer));
      }
    }
    kraken::test::expect_as_recorded(*http_, exchange, without_asker(exchange));
  }
}

}  // namespace
}  // namespace kraken::tracker::test
