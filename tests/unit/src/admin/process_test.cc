// /livez, /readyz, /health, /readiness and /metrics of a process.

#include "src/admin/process.h"

#include <gmock/gmock.h>

#include "src/base/metrics.h"
#include "tests/unit/http/http_fixture.h"

namespace kraken::admin {
namespace {

using http::RawClient;
using testing::HasSubstr;

class Process : public http::ServerTest {
 protected:
  RawClient::Reply get(const std::string& path) { return ask("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }
};

TEST_F(Process, WithoutChecksItIsAliveAndReady) {
  add_process_routes(router, {});
  serve();
  for (const char* path : {"/livez", "/health", "/readyz", "/readiness"}) {
    const auto reply = get(path);
    EXPECT_EQ(200, reply.status) << path;
    EXPECT_EQ("OK\n", reply.body) << path;
  }
}

TEST_F(Process, NotReadySaysWhatItWaitsForAndStaysAlive) {
  Health health;
  health.ready = []() -> Result<> { return fail(Code::kUnavailable, "waits for origin2"); };
  add_process_routes(router, health);
  serve();
  for (const char* path : {"/readyz", "/readiness"}) {
    const auto reply = get(path);
    EXPECT_EQ(503, reply.status) << path;
    EXPECT_EQ("waits for origin2\n", reply.body) << path;
    EXPECT_EQ("1", reply.header("Retry-After")) << path;
  }
  EXPECT_EQ(200, get("/livez").status);
}

TEST_F(Process, MetricsAreInPrometheusFormat) {
  metrics::counter("kr_test_things_total", "Things of this test").add(3);
  add_process_routes(router, {});
  serve();
  const auto reply = get("/metrics");
  EXPECT_EQ(200, reply.status);
  EXPECT_THAT(reply.header("Content-Type"), HasSubstr("version=0.0.4"));
  EXPECT_THAT(reply.body, HasSubstr("kr_test_things_total 3"));
  EXPECT_THAT(reply.body, HasSubstr("kr_process_resident_bytes"));
}

TEST(ResidentBytes, IsWhatTheKernelSays) { EXPECT_GT(resident_bytes(), 1u << 20); }

}  // namespace
}  // namespace kraken::admin
