#include "src/agent/scheduler_config.h"

#include <gtest/gtest.h>

namespace kraken::agent {
namespace {

using namespace std::chrono_literals;

TEST(SchedulerConfig, StocksKeysAreReadWithoutRegardToCaseAndWhatIsMissingHasItsDefault) {
  const auto config = parse_scheduler_config(R"({"seedertti":1000000000,"ConnState":{"MaxOpenConnectionsPerTorrent":10,"DisableBlacklist":true},
    "Conn":{"Bandwidth":{"Enable":true,"EgressBitsPerSec":8000000,"IngressBitsPerSec":16000000}},"TorrentLog":{"Disable":true},"LeecherTTI":0})");
  ASSERT_TRUE(config) << config.error().to_string();
  EXPECT_EQ(config->seeder_tti, 1s);
  EXPECT_EQ(config->leecher_tti, config::Scheduler{}.leecher_tti);
  const auto options = scheduler_options(*config);
  EXPECT_EQ(options.swarm.connections_max, 10U);
  EXPECT_EQ(options.swarm.dial_until, 5U);
  EXPECT_FALSE(options.swarm.pauses);
  EXPECT_EQ(options.egress_bytes_per_second, 1000000U);
  EXPECT_EQ(options.ingress_bytes_per_second, 2000000U);
}

TEST(SchedulerConfig, AnEmptyObjectIsAllDefaults) {
  const auto config = parse_scheduler_config("{}");
  ASSERT_TRUE(config);
  EXPECT_EQ(scheduler_options(*config).swarm.connections_max, 24U);
  EXPECT_EQ(scheduler_options(*config).swarm.dial_until, 12U);
}

TEST(SchedulerConfig, WrongTypesAreNamed) {
  for (const char* json : {"", "null", "[1]", R"({"SeederTTI":"5m"})", R"({"Conn":7})", R"({"ConnState":{"MaxOpenConnectionsPerTorrent":-1}})",
                           R"({"ConnState":{"DisableBlacklist":1}})"}) {
    const auto config = parse_scheduler_config(json);
    ASSERT_FALSE(config) << json;
    EXPECT_EQ(config.error().code, Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace kraken::agent
