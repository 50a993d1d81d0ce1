#include "src/net/listen.h"

#include <gtest/gtest.h>

#include "src/net/deadline.h"
#include "src/net/dial.h"
#include "src/net/io.h"
#include "src/net/loop.h"
#include "src/net/scope.h"

namespace kraken::net {
namespace {

using std::chrono::seconds;

TEST(Listen, BindsTheGivenAddressAlone) {
  auto first = listen("127.0.0.1", 0);
  ASSERT_TRUE(first) << first.error().to_string();
  EXPECT_NE(0, first->port());
  // The same port on another address is free, on the same it is not, not even for this process.
  EXPECT_TRUE(listen("127.0.0.2", first->port()));
  auto again = listen("127.0.0.1", first->port());
  ASSERT_FALSE(again);
  EXPECT_EQ(Code::kAlreadyExists, again.error().code);
  EXPECT_NE(std::string::npos,
            again.error().detail.find(fmt::format("port {} on 127.0.0.1 is taken by another process", first->port())));
}

TEST(Listen, AnAddressOfAnotherHostIsRefused) {
  auto other = listen("192.0.2.1", 0);
  ASSERT_FALSE(other);
  EXPECT_EQ(Code::kInvalidArgument, other.error().code);
  EXPECT_FALSE(listen("no such name", 0));
}

TEST(Listen, BeyondLoopbackOnlyInSoManyWords) {
  for (const auto* host : {"127.0.0.1", "127.64.3.2", "::1", "localhost"}) EXPECT_TRUE(check_bind(host, false)) << host;
  for (const auto* host : {"0.0.0.0", "::", "10.0.0.1", "example.org", ""}) {
    auto refused = check_bind(host, false);
    ASSERT_FALSE(refused) << host;
    EXPECT_EQ(Code::kDenied, refused.error().code);
    EXPECT_NE(std::string::npos, refused.error().detail.find("tls: {server: {disabled: true}}"));
    EXPECT_TRUE(check_bind(host, true)) << host;
  }
}

Task<void> greet(Acceptor& acceptor, Executor target) {
  KR_CO_TRY(auto socket, co_await acceptor.accept(target));
  co_return co_await write_all(socket, "hello");
}

Task<std::string> listen_to_greeting(std::string host, std::uint16_t port) {
  KR_CO_TRY(auto socket, co_await dial(std::move(host), port, seconds(20)));
  std::string out(5, '\0');
  KR_CO_CHECK(co_await read_exact(socket, out));
  char more = 0;
  auto end = co_await read_or_end(socket, {&more, 1});
  if (end != 0u) co_return fail(Code::kInternal, "no end");
  co_return out;
}

TEST(Dial, ReachesAListenerByAddressAndByName) {
  Loops loops(2);
  auto acceptor = listen("127.0.0.1", 0);
  ASSERT_TRUE(acceptor);
  Scope scope(loops.at(0).executor());
  for (const auto* host : {"127.0.0.1", "localhost"}) {
    scope.spawn("greet", greet(*acceptor, loops.at(0).executor()));
    EXPECT_EQ("hello", block_on(loops.at(1).executor(), listen_to_greeting(host, acceptor->port())));
  }
  scope.stop_and_wait();
}

TEST(Dial, SaysWhatItCouldNotReach) {
  Loop loop;
  std::uint16_t port = 0;
  { port = listen("127.0.0.1", 0)->port(); }
  auto refused = block_on(loop.executor(), dial("127.0.0.1", port, seconds(20)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(Code::kUnavailable, refused.error().code);
  EXPECT_NE(std::string::npos, refused.error().detail.find(fmt::format("127.0.0.1:{}", port)));
  auto unknown = block_on(loop.executor(), dial("no-such-host.invalid", 80, seconds(20)));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(Code::kUnavailable, unknown.error().code);
}

Task<void> write_until_it_fails(std::uint16_t port) {
  KR_CO_TRY(auto socket, co_await dial("127.0.0.1", port, seconds(20)));
  limit_unacknowledged(socket, std::chrono::milliseconds(300));
  const std::string piece(1 << 20, 'x');
  while (true) KR_CO_CHECK(co_await write_all(socket, piece));
}

TEST(Dial, AConnectionThatNobodyAcknowledgesEnds) {
  Loop loop;
  auto acceptor = listen("127.0.0.1", 0);
  ASSERT_TRUE(acceptor);
  // Nobody reads: once all windows are full, nothing more is acknowledged.
  const auto ended = block_on(loop.executor(), with_deadline(seconds(30), write_until_it_fails(acceptor->port())));
  ASSERT_FALSE(ended);
  EXPECT_NE(Code::kDeadlineExceeded, ended.error().code) << ended.error().detail;
}

TEST(Dial, HostAndPortAreTakenApart) {
  EXPECT_EQ("origin0", parse_host_port("origin0:15002")->host);
  EXPECT_EQ(15002, parse_host_port("origin0:15002")->port);
  EXPECT_EQ("::1", parse_host_port("[::1]:80")->host);
  for (const auto* bad : {"origin0", "origin0:", "origin0:x", "origin0:65536", "::1:80", "a:1x"})
    EXPECT_FALSE(parse_host_port(bad)) << bad;
}

TEST(Accept, ClosingEndsTheWait) {
  Loop loop;
  auto acceptor = listen("127.0.0.1", 0);
  ASSERT_TRUE(acceptor);
  Scope scope(loop.executor());
  scope.spawn("accept", greet(*acceptor, loop.executor()));
  loop.post([&] { acceptor->close(); });
  scope.stop_and_wait(seconds(20));
}

}  // namespace
}  // namespace kraken::net
