// What the server does with requests that are malformed, too large, too slow, or too many.

#include <chrono>
#include <thread>

#include "tests/unit/http/http_fixture.h"

namespace kraken::http {
namespace {

using std::chrono::milliseconds;

net::Task<void> count(Exchange& exchange) {
  KR_CO_TRY(auto body, co_await exchange.read_all(10));
  co_return co_await exchange.reply(200, Headers{}, std::to_string(body.size()));
}

class LimitsTest : public ServerTest {
 protected:
  void SetUp() override {
    router.add(Method::kGet, "/a", answering(200, "hi"));
    router.add(Method::kPut, "/a", count);
  }
};

struct Malformed {
  const char* name;
  const char* request;
  int status;
};

class MalformedTest : public LimitsTest, public ::testing::WithParamInterface<Malformed> {};

TEST_P(MalformedTest, IsAnsweredAndTheConnectionCloses) {
  serve();
  RawClient client(port());
  // What follows must never be taken for a request of its own.
  client.send(GetParam().request + std::string("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"));
  const auto reply = client.read_reply();
  EXPECT_EQ(GetParam().status, reply.status);
  EXPECT_EQ("close", reply.header("Connection"));
  client.shutdown_send();
  EXPECT_EQ("", client.read_to_end());
}

INSTANTIATE_TEST_SUITE_P(
    Requests, MalformedTest,
    ::testing::Values(
        Malformed{"both_lengths", "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        Malformed{"both_lengths_the_other_way", "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
        Malformed{"two_lengths", "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400},
        Malformed{"two_lengths_in_one_line", "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 4\r\n\r\nabc", 400},
        Malformed{"length_that_is_no_number", "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc", 400},
        Malformed{"negative_length", "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nabc", 400},
        Malformed{"unknown_coding", "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc", 400},
        Malformed{"coding_before_chunked", "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
        Malformed{"coding_behind_chunked", "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400},
        Malformed{"chunked_twice", "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        Malformed{"chunked_in_http_1_0", "PUT /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        Malformed{"no_host", "GET /a HTTP/1.1\r\n\r\n", 400},
        Malformed{"two_hosts", "GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
        Malformed{"space_before_colon", "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc", 400},
        Malformed{"no_path", "GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        Malformed{"nul_in_the_path", "GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        Malformed{"not_http", "\x16\x03\x01 hello\r\n\r\n", 400},
        Malformed{"version_2", "GET /a HTTP/2.0\r\nHost: x\r\n\r\n", 505},
        Malformed{"bad_chunk", "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", 400},
        Malformed{"huge_chunk", "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400}),
    [](const auto& row) { return row.param.name; });

TEST_F(LimitsTest, TheSameLengthTwiceIsAllowed) {
  serve();
  EXPECT_EQ("3", ask("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc").body);
}

TEST_F(LimitsTest, ABodyBeyondTheHandlersLimitIs413) {
  serve();
  EXPECT_EQ("10", ask("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789").body);
  EXPECT_EQ(413, ask("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n0123456789a").status);
  EXPECT_EQ("10", ask("PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n").body);
  EXPECT_EQ(413, ask("PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n").status);
}

TEST_F(LimitsTest, AHeadOf16KilobytesIsTheLimit) {
  serve();
  const std::string front = "GET /a HTTP/1.1\r\nHost: x\r\nX: ";
  const std::string most(16 * 1024 - front.size() - 4 - 1, 'x');
  EXPECT_EQ(200, ask(front + most + "\r\n\r\n").status);
  for (const std::size_t more : {100u, 5000u, 100'000u}) {
    RawClient client(port());
    client.send(front + most + std::string(more, 'x') + "\r\n\r\n");
    const auto reply = client.read_reply();
    EXPECT_EQ(431, reply.status) << more;
    EXPECT_EQ("close", reply.header("Connection"));
  }
  // Many short lines count as much as a long one.
  std::string lines = "GET /a HTTP/1.1\r\nHost: x\r\n";
  for (int i = 0; i < 3000; ++i) lines += "A: b\r\n";
  RawClient client(port());
  client.send(lines + "\r\n");
  EXPECT_EQ(431, client.read_reply().status);
}

TEST_F(LimitsTest, AHeadThatComesTooSlowlyIs408) {
  serve(Limits{.header_timeout = milliseconds(300)});
  RawClient client(port());
  ASSERT_TRUE(client.send("GET /a HTTP/1.1\r\nHost"));
  const auto reply = client.read_reply();
  EXPECT_EQ(408, reply.status);
  client.shutdown_send();
  EXPECT_EQ("", client.read_to_end());
}

TEST_F(LimitsTest, AnIdleConnectionIsClosedWithoutAWord) {
  serve(Limits{.idle_timeout = milliseconds(300)});
  RawClient fresh(port());
  EXPECT_EQ("", fresh.read_to_end());
  RawClient used(port());
  ASSERT_TRUE(used.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_EQ(200, used.read_reply().status);
  EXPECT_EQ("", used.read_to_end());
}

TEST_F(LimitsTest, ABodyThatStallsIs408) {
  serve(Limits{.body_bytes_per_second_min = 10, .rate_window = milliseconds(300)});
  RawClient client(port());
  ASSERT_TRUE(client.send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nabc"));
  EXPECT_EQ(408, client.read_reply().status);
}

TEST_F(LimitsTest, ABodyThatTricklesBelowTheRateIs408) {
  serve(Limits{.body_bytes_per_second_min = 100, .rate_window = milliseconds(500)});
  RawClient client(port());
  ASSERT_TRUE(client.send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"));
  // Far beyond the handler's limit of 10 bytes: that comes first for a length, so this one is 413.
  EXPECT_EQ(413, client.read_reply().status);
  RawClient chunked(port());
  ASSERT_TRUE(chunked.send("PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
  std::thread trickle([&] {
    for (int i = 0; i < 9; ++i) {
      if (!chunked.send("1\r\nx\r\n")) return;
      std::this_thread::sleep_for(milliseconds(100));  // the client under test is a slow one
    }
  });
  EXPECT_EQ(408, chunked.read_reply().status);
  trickle.join();
}

TEST_F(LimitsTest, AnAnswerThatNobodyReadsIsGivenUp) {
  std::atomic<int> code{-1};
  const std::string megabyte(1 << 20, 'x');
  router.add(Method::kGet, "/much", [&](Exchange& exchange) -> net::Task<void> {
    KR_CO_CHECK(co_await exchange.start(200, Headers{}, std::nullopt));
    for (;;) {
      auto written = co_await exchange.write(megabyte);
      if (written) continue;
      code = static_cast<int>(written.error().code);
      co_return written;
    }
  });
  serve(Limits{.body_bytes_per_second_min = 1, .rate_window = milliseconds(300)});
  RawClient client(port());
  ASSERT_TRUE(client.send("GET /much HTTP/1.1\r\nHost: x\r\n\r\n"));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (code == -1 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(static_cast<int>(Code::kDeadlineExceeded), code);
}

TEST_F(LimitsTest, BeyondTheConnectionLimitANewOneGets503) {
  serve(Limits{.connections_max = 2});
  RawClient first(port());
  RawClient second(port());
  for (auto* client : {&first, &second}) {
    ASSERT_TRUE(client->send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"));
    EXPECT_EQ(200, client->read_reply().status);
  }
  RawClient third(port());
  EXPECT_EQ(503, third.read_reply().status);
}

}  // namespace
}  // namespace kraken::http
