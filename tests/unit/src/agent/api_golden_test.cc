// The exchanges recorded with stock's agent API: same status, same headers that a client reads, same body.

#include <gtest/gtest.h>

#include <fstream>

#include "http/url.h"
#include "tests/unit/src/agent/fake_cluster.h"

namespace kraken::agent::testing {
namespace {

std::string recorded_blob(std::size_t bytes) {
  std::string blob(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) blob[i] = static_cast<char>(i % 251);
  return blob;
}

TEST(AgentApi, AnswersAsStockDidInEveryRecordedExchange) {
  std::ifstream in(std::string(KR_GOLDEN_FOLDER) + "/stock_wire.json");
  const nlohmann::json golden = nlohmann::json::parse(in);
  FakeCluster cluster(4 << 20);
  (void)cluster.put(recorded_blob(10));
  (void)cluster.put(recorded_blob(5242880));
  std::map<std::string, std::unique_ptr<TestAgent>> agents;
  std::size_t exchanges = 0;
  for (const auto& exchange : golden.at("http")) {
    const std::string to = exchange.at("to");
    if (!to.ends_with(" api")) continue;
    auto& agent = agents[to];
    if (!agent) agent = std::make_unique<TestAgent>(cluster.hosts(false));
    const std::string line = exchange.at("request").at("line");
    SCOPED_TRACE(to + " " + line);
    const std::string method = line.substr(0, line.find(' '));
    const std::string target = line.substr(method.size() + 1, line.rfind(' ') - method.size() - 1);
    const auto& body = exchange.at("request").at("body");
    const auto& response = exchange.at("response");
    // The tag appears between the recorded reads of it.
    const std::string status_line = response.at("line");
    const int status = std::stoi(status_line.substr(9, 3));
    if (target.starts_with("/tags/") && status == 200)
      cluster.tag("test/alpine:v1", Digest::parse(response.at("body").get<std::string>()).value());

    const auto reply = agent->api(http::method_of(method), target, body.is_string() ? body.get<std::string>() : "");
    EXPECT_EQ(reply.status, status);
    if (target.starts_with("/preload/")) continue;  // no docker on either host; the text names another socket
    for (const auto& header : response.at("headers")) {
      const std::string name = header[0];
      if (name != "Content-Type" && name != "X-Content-Type-Options") continue;
      EXPECT_EQ(reply.headers.get(name).value_or(""), header[1].get<std::string>()) << name;
    }
    const auto& expected = response.at("body");
    if (target == "/x/blacklist") {
      EXPECT_FALSE(nlohmann::json::parse(reply.body, nullptr, false).is_discarded());
    } else if (expected.is_object()) {
      EXPECT_EQ(Digest::of(reply.body).hex(), expected.at("sha256").get<std::string>());
    } else {
      EXPECT_EQ(reply.body, expected.get<std::string>());
    }
    ++exchanges;
  }
  EXPECT_GE(exchanges, 20U);
}

TEST(AgentApi, HealthIsOkAndReadinessSaysWhoIsMissing) {
  FakeCluster cluster;
  TestAgent agent(cluster.hosts());
  EXPECT_EQ(agent.api(http::Method::kGet, "/health").body, "OK");
  EXPECT_EQ(agent.api(http::Method::kGet, "/readiness").body, "OK");
  EXPECT_EQ(agent.registry(http::Method::kGet, "/health").body, "OK");
  cluster.server->stop(0ms);
  const auto missing = agent.api(http::Method::kGet, "/readiness");
  EXPECT_EQ(missing.status, 503);
  EXPECT_EQ(missing.body.substr(0, 17), "agent not ready: ");
}

TEST(AgentApi, ATagIsUnavailableWhenNobodyAnswersAndTheAnswerSaysToTryAgain) {
  FakeCluster cluster;
  TestAgent agent(cluster.hosts());
  cluster.server->stop(0ms);
  const auto reply = agent.api(http::Method::kGet, "/tags/library%2Fapp:v1");
  EXPECT_EQ(reply.status, 503);
  EXPECT_TRUE(reply.headers.has("Retry-After"));
}

TEST(AgentApi, BadDigestsTagsAndSettingsAreRefused) {
  FakeCluster cluster;
  TestAgent agent(cluster.hosts());
  EXPECT_EQ(agent.api(http::Method::kGet, "/namespace/ns/blobs/sha256:abc").status, 400);
  EXPECT_EQ(agent.api(http::Method::kGet, "/namespace/ns/blobs/..%2F..%2Fetc").status, 400);
  EXPECT_EQ(agent.api(http::Method::kDelete, "/blobs/md5:1").status, 400);
  EXPECT_EQ(agent.api(http::Method::kGet, "/tags/no-colon").status, 400);
  EXPECT_EQ(agent.api(http::Method::kPatch, "/x/config/scheduler", "[]").status, 400);
  EXPECT_EQ(agent.api(http::Method::kPatch, "/x/config/scheduler", R"({"SeederTTI":"5m"})").status, 400);
  EXPECT_EQ(agent.api(http::Method::kPatch, "/x/config/scheduler", R"({"SeederTTI":60000000000})").status, 200);
  EXPECT_EQ(agent.api(http::Method::kGet, "/preload/tags/a:b?runtime=podman").status, 400);
}

TEST(AgentApi, MetricsAreInPrometheusText) {
  FakeCluster cluster;
  TestAgent agent(cluster.hosts());
  const auto reply = agent.api(http::Method::kGet, "/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_NE(reply.body.find("kr_p2p_received_bytes_total{from=\"origin\"}"), std::string::npos);
}

}  // namespace
}  // namespace kraken::agent::testing
