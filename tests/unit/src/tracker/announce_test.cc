#include "src/tracker/announce.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/src/tracker/fixture.h"

namespace kraken::tracker::test {
namespace {

using nlohmann::json;

json good() {
  json body;
  body["name"] = std::string(64, 'a');
  body["digest"] = "sha256:" + std::string(64, 'b');
  body["info_hash"] = InfoHash().json();
  body["peer"] = peer_of(1).json();
  return body;
}

TEST(ParseAnnounce, TakesWhatStockSends) {
  const auto announce = parse_announce(good().dump());
  ASSERT_TRUE(announce) << announce.error().detail;
  EXPECT_EQ(announce->digest.hex(), std::string(64, 'b'));
  EXPECT_EQ(announce->peer, peer_of(1));
  auto named = good();
  named["digest"] = nullptr;
  EXPECT_EQ(parse_announce(named.dump())->digest.hex(), std::string(64, 'a'));
}

TEST(ParseAnnounce, EachFaultHasItsOwnError) {
  struct Row {
    const char* name;
    std::function<void(json&)> spoil;
  };
  const std::vector<Row> rows{
      {"peer", [](json& body) { body.erase("peer"); }},
      {"peer", [](json& body) { body["peer"] = nullptr; }},
      {"peer", [](json& body) { body["peer"] = 7; }},
      {"peer", [](json& body) { body["peer"]["peer_id"] = json::array({1, 2, 3}); }},
      {"peer", [](json& body) { body["peer"]["peer_id"][0] = 256; }},
      {"peer", [](json& body) { body["peer"]["peer_id"][0] = "x"; }},
      {"port", [](json& body) { body["peer"]["port"] = 0; }},
      {"port", [](json& body) { body["peer"]["port"] = 65536; }},
      {"port", [](json& body) { body["peer"]["port"] = -1; }},
      {"ip", [](json& body) { body["peer"]["ip"] = ""; }},
      {"ip", [](json& body) { body["peer"]["ip"] = "a\"b"; }},
      {"ip", [](json& body) { body["peer"]["ip"] = std::string("a\0b", 3); }},
      {"ip", [](json& body) { body["peer"]["ip"] = std::string(300, 'a'); }},
      {"digest", [](json& body) { body["digest"] = "sha256:12"; }},
      {"digest", [](json& body) { body["digest"] = 5; }},
      {"name",
       [](json& body) {
         body["digest"] = nullptr;
         body["name"] = "xyz";
       }},
      {"digest",
       [](json& body) {
         body.erase("digest");
         body.erase("name");
       }},
      {"info_hash", [](json& body) { body["info_hash"] = "abc"; }},
  };
  for (const auto& row : rows) {
    auto body = good();
    row.spoil(body);
    const auto announce = parse_announce(body.dump());
    ASSERT_FALSE(announce) << body.dump();
    EXPECT_EQ(announce.error().code, Code::kInvalidArgument);
    EXPECT_NE(announce.error().detail.find(row.name), std::string::npos) << announce.error().detail;
  }
  for (const char* text : {"", "x", "[]", "null", "{", "\"peer\"", "{}"}) EXPECT_FALSE(parse_announce(text)) << text;
}

TEST(AnnounceJson, IsWhatStockWrites) {
  PeerId::Raw raw{};
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<std::uint8_t>(i * 13);
  const std::vector<PeerInfo> peers{{PeerId(raw), "127.0.0.1", 15042, true, true}, {PeerId(), "host", 1, false, false}};
  const auto text = announce_json(&peers, std::chrono::seconds(3), nullptr);
  EXPECT_EQ(text,
            "{\"peers\":[{\"peer_id\":[0,13,26,39,52,65,78,91,104,117,130,143,156,169,182,195,208,221,234,247],"
            "\"ip\":\"127.0.0.1\",\"port\":15042,\"origin\":true,\"complete\":true},"
            "{\"peer_id\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],\"ip\":\"host\",\"port\":1,\"origin\":false,"
            "\"complete\":false}],\"interval\":3000000000}\n");
  EXPECT_EQ(announce_json(nullptr, std::chrono::seconds(3), nullptr), "{\"peers\":null,\"interval\":3000000000}\n");
}

}  // namespace
}  // namespace kraken::tracker::test
