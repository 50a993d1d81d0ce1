#include "tests/unit/src/tracker/fixture.h"

namespace kraken::tracker::test {
namespace {

using nlohmann::json;

PeerInfo holder(int number) {
  auto peer = peer_of(1000 + number, true);
  peer.origin = true;
  return peer;
}

class Tracker : public TrackerTest {
 protected:
  Digest digest_ = metainfo_.add("a blob");
  std::vector<int> ports_;
  static std::vector<std::string> kinds(const json& reply) {
    std::vector<std::string> kinds;
    if (reply["peers"].is_null()) return kinds;
    for (const auto& peer : reply["peers"])
      kinds.push_back(peer["origin"].get<bool>() ? "holder" : peer["complete"].get<bool>() ? "seeder" : "leecher");
    return kinds;
  }
};

TEST_F(Tracker, StocksAgentsGetSeedersThenHoldersThenLeechers) {
  directory_.holders_of[digest_] = {holder(1), holder(2)};
  announce(digest_, peer_of(1));
  announce(digest_, peer_of(2, true));
  EXPECT_EQ(kinds(announce(digest_, peer_of(3))), (std::vector<std::string>{"seeder", "holder", "holder", "leecher"}));
  EXPECT_EQ(announce(digest_, peer_of(3))["interval"], 3000000000);
}

TEST_F(Tracker, OursGetOneHolderFirstAndAnotherOneEveryTwoSeconds) {
  directory_.holders_of[digest_] = {holder(1), holder(2)};
  announce(digest_, peer_of(1));
  const http::Headers ours{{kOursHeader, "1"}};
  const auto first = announce(digest_, peer_of(2), ours);
  EXPECT_EQ(kinds(first), (std::vector<std::string>{"holder", "leecher"}));
  EXPECT_EQ(first["peers"][0], holder(1).json());
  EXPECT_EQ(announce(digest_, peer_of(1), ours)["peers"][0], holder(1).json());
  clock_.now += std::chrono::seconds(2);
  EXPECT_EQ(announce(digest_, peer_of(2), ours)["peers"][0], holder(2).json());
}

TEST_F(Tracker, OursNeedNoHolderWhereAHundredSeed) {
  directory_.holders_of[digest_] = {holder(1)};
  for (int i = 1; i <= 100; ++i) announce(digest_, peer_of(i, true));
  const auto reply = announce(digest_, peer_of(200), {{kOursHeader, "1"}});
  EXPECT_EQ(kinds(reply), std::vector<std::string>(50, "seeder"));
}

TEST_F(Tracker, WhoeverIsCompleteGetsNobody) {
  directory_.holders_of[digest_] = {holder(1)};
  const auto reply = http_->post("/announce/" + metainfo_.known[digest_]->infohash.hex(),
                                 body_of(digest_, metainfo_.known[digest_]->infohash, peer_of(1, true)));
  EXPECT_EQ(reply.body, "{\"peers\":null,\"interval\":3000000000}\n");
}

TEST_F(Tracker, TheFirstVersionTakesTheInfohashFromTheBody) {
  const auto infohash = metainfo_.known[digest_]->infohash;
  announce(digest_, peer_of(1));
  const auto reply = http_->ask(http::Method::kGet, "/announce", {}, body_of(digest_, infohash, peer_of(2)));
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(json::parse(reply.body)["peers"].size(), 1U);
}

TEST_F(Tracker, OneRequestGivesMetainfoAndPeers) {
  directory_.holders_of[digest_] = {holder(1)};
  json body;
  body["namespace"] = "test/alpine";
  body["digest"] = digest_.str();
  body["peer"] = peer_of(1).json();
  const auto reply = http_->post("/announce", body.dump());
  EXPECT_EQ(reply.status, 200);
  const auto answer = json::parse(reply.body);
  EXPECT_EQ(answer["metainfo"], json::parse(metainfo_.known[digest_]->json));
  EXPECT_EQ(answer["peers"].size(), 1U);
  body["digest"] = Digest::of("absent").str();
  EXPECT_EQ(http_->post("/announce", body.dump()).status, 404);
}

TEST_F(Tracker, PeersAreAnsweredWithoutTheDirectory) {
  directory_.fails = Error{Code::kUnavailable, "no quorum"};
  announce(digest_, peer_of(1));
  EXPECT_EQ(kinds(announce(digest_, peer_of(2))), std::vector<std::string>{"leecher"});
}

TEST_F(Tracker, NonsenseIsRefusedAndTheServerLives) {
  const auto infohash = metainfo_.known[digest_]->infohash.hex();
  for (const char* body : {"", "{", "[]", "{}", "{\"peer\":null}", "{\"peer\":{\"peer_id\":[1]}}"}) {
    const auto reply = http_->post("/announce/" + infohash, body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_FALSE(reply.body.empty()) << body;
    EXPECT_EQ(http_->post("/announce", body).status, 400) << body;
  }
  EXPECT_EQ(http_->post("/announce/xyz", body_of(digest_, InfoHash(), peer_of(1))).status, 400);
  EXPECT_EQ(http_->post("/announce/" + infohash, std::string(100'000, 'x')).status, 413);
  announce(digest_, peer_of(1));
  EXPECT_EQ(index_.peers(), 1U);
}

TEST_F(Tracker, MetainfoAnswersAsTheOriginWould) {
  const auto url = [](const std::string& digest) { return "/namespace/test%2Falpine/blobs/" + digest + "/metainfo"; };
  const auto reply = http_->get(url(digest_.str()));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.header("Content-Type"), "application/json");
  EXPECT_EQ(reply.body, metainfo_.known[digest_]->json);
  EXPECT_EQ(http_->get(url("sha256:12")).status, 400);
  const auto absent = http_->get(url(Digest::of("absent").str()));
  EXPECT_EQ(absent.status, 404);
  EXPECT_EQ(absent.body, "origin: ");
  metainfo_.fails = Error{Code::kUnavailable, "no holder answers"};
  const auto unavailable = http_->get(url(digest_.str()));
  EXPECT_EQ(unavailable.status, 503);
  EXPECT_EQ(unavailable.body, "origin: no holder answers");
  metainfo_.fails = Error{Code::kPending, ""};
  EXPECT_EQ(http_->get(url(digest_.str())).status, 202);
}

TEST_F(Tracker, ReadinessSaysWhy) {
  EXPECT_EQ(http_->get("/health").body, "OK\n");
  EXPECT_EQ(http_->get("/readiness").body, "OK\n");
  ready_ = fail(Code::kUnavailable, "shard 7 has no leader");
  const auto reply = http_->get("/readiness");
  EXPECT_EQ(reply.status, 503);
  EXPECT_NE(reply.body.find("shard 7"), std::string::npos);
}

}  // namespace
}  // namespace kraken::tracker::test
