// What a handler can do, and what a client sees of it, over real sockets.

#include "http/server.h"

#include <sys/mman.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "src/base/file.h"
#include "tests/unit/http/http_fixture.h"

namespace kraken::http {
namespace {

net::Task<void> echo(Exchange& exchange) {
  KR_CO_TRY(auto body, co_await exchange.read_all(1 << 20));
  Headers headers{{"X-Accept", exchange.request().headers.get("Accept").value_or("-")}};
  co_return co_await exchange.reply(200, std::move(headers), std::move(body));
}

net::Task<void> show(Exchange& exchange) {
  const auto& head = exchange.request();
  auto text = fmt::format("{} {} {}", head.method_name, head.path, head.query("q").value_or("none"));
  for (const auto& param : head.params) text += " [" + param + "]";
  co_return co_await exchange.reply(200, Headers{}, std::move(text));
}

/// Writes "part" three times, chunked or with a length, then ends as `end` says.
net::Task<void> stream(Exchange& exchange, std::optional<std::uint64_t> length, bool fails) {
  KR_CO_CHECK(co_await exchange.start(200, Headers{}, length));
  for (int i = 0; i < 3; ++i) KR_CO_CHECK(co_await exchange.write("part"));
  if (fails) co_return fail(Code::kIo, "the disk went away");
  co_return co_await exchange.finish();
}

UniqueFd file_with(std::string_view content) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_TRUE(file::write_at(fd.get(), content, 0));
  return fd;
}

std::string pattern(std::size_t bytes) {
  std::string out(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(i % 251);
  return out;
}

TEST_F(ServerTest, AnswersGetAndKeepsTheConnection) {
  router.add(Method::kGet, "/hello", answering(200, "hi"));
  serve();
  RawClient client(port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"));
    const auto reply = client.read_reply();
    EXPECT_EQ(200, reply.status);
    EXPECT_EQ("hi", reply.body);
    EXPECT_EQ("text/plain", reply.header("Content-Type"));
    EXPECT_EQ("", reply.header("Connection"));
    EXPECT_NE("", reply.header("Date"));
  }
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  router.add(Method::kGet, "/<x>", show);
  router.add(Method::kPost, "/<x>", echo);
  serve();
  RawClient client(port());
  std::string requests;
  for (int i = 0; i < 50; ++i)
    requests += fmt::format("GET /{} HTTP/1.1\r\nHost: x\r\n\r\nPOST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{:02}", i, i);
  ASSERT_TRUE(client.send(requests));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(fmt::format("GET /{} none [{}]", i, i), client.read_reply().body);
    EXPECT_EQ(fmt::format("{:02}", i), client.read_reply().body);
  }
}

TEST_F(ServerTest, ARequestSplitAtEveryByteIsTheSame) {
  router.add(Method::kPut, "/<x>", echo);
  serve();
  const std::string request =
      "PUT /a HTTP/1.1\r\nHost: x\r\nAccept: a\r\nAccept: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\n123\r\n0\r\nT: v\r\n\r\n";
  RawClient client(port());
  for (std::size_t split = 1; split < request.size(); ++split) {
    ASSERT_TRUE(client.send(std::string_view(request).substr(0, split)));
    std::this_thread::yield();
    ASSERT_TRUE(client.send(std::string_view(request).substr(split)));
    const auto reply = client.read_reply();
    ASSERT_EQ(200, reply.status) << split;
    ASSERT_EQ("hello123", reply.body) << split;
    ASSERT_EQ("a, b", reply.header("X-Accept")) << split;
  }
}

TEST_F(ServerTest, AnHttp10ClientIsAnsweredAndClosed) {
  router.add(Method::kGet, "/hello", answering(200, "hi"));
  serve();
  RawClient client(port());
  ASSERT_TRUE(client.send("GET /hello HTTP/1.0\r\n\r\n"));
  const auto all = client.read_to_end();
  EXPECT_TRUE(all.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_NE(std::string::npos, all.find("Connection: close"));
  EXPECT_TRUE(all.ends_with("\r\n\r\nhi"));
}

TEST_F(ServerTest, AnHttp10ClientMayKeepTheConnection) {
  router.add(Method::kGet, "/hello", answering(200, "hi"));
  serve();
  RawClient client(port());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    const auto reply = client.read_reply();
    EXPECT_EQ("hi", reply.body);
    EXPECT_EQ("keep-alive", reply.header("Connection"));
  }
}

TEST_F(ServerTest, HeadHasTheLengthAndNoBody) {
  router.add(Method::kHead, "/hello", answering(200, "hi"));
  serve();
  RawClient client(port());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(client.send("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n"));
    const auto reply = client.read_reply(true);
    EXPECT_EQ(200, reply.status);
    EXPECT_EQ("2", reply.header("Content-Length"));
  }
}

TEST_F(ServerTest, HeadOfAStreamedAnswerDropsWhatIsWritten) {
  router.add(Method::kHead, "/s", [](Exchange& exchange) { return stream(exchange, 12, false); });
  serve();
  RawClient client(port());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(client.send("HEAD /s HTTP/1.1\r\nHost: x\r\n\r\n"));
    EXPECT_EQ("12", client.read_reply(true).header("Content-Length"));
  }
}

TEST_F(ServerTest, UnknownPathsAndMethodsHaveTheirAnswers) {
  router.add(Method::kGet, "/known", answering(200, "hi"));
  router.add(Method::kPut, "/known", answering(200, "hi"));
  router.add(Method::kGet, "/x/<name>/y", answering(200, "hi"));
  serve();
  EXPECT_EQ(404, ask("GET /unknown HTTP/1.1\r\nHost: x\r\n\r\n").status);
  const auto wrong = ask("DELETE /known HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(405, wrong.status);
  EXPECT_EQ("GET, PUT", wrong.header("Allow"));
  EXPECT_EQ(405, ask("HEAD /known HTTP/1.1\r\nHost: x\r\n\r\n", true).status);
  const auto empty = ask("GET /x//y HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(400, empty.status);
  EXPECT_EQ("param name is required", empty.body);
  EXPECT_EQ(400, ask("GET /x/%zz/y HTTP/1.1\r\nHost: x\r\n\r\n").status);
}

TEST_F(ServerTest, TheAbsoluteFormIsAPathToo) {
  router.add(Method::kGet, "/<x>", show);
  serve();
  EXPECT_EQ("GET /a 1", ask("GET http://example:80/a?q=1 HTTP/1.1\r\nHost: x\r\n\r\n").body.substr(0, 8));
}

TEST_F(ServerTest, ExpectContinueIsAnsweredAtTheFirstRead) {
  router.add(Method::kPut, "/<x>", echo);
  serve();
  RawClient client(port());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(client.send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
    EXPECT_EQ("HTTP/1.1 100 Continue\r\n\r\n", client.read_until("\r\n\r\n"));
    ASSERT_TRUE(client.send("hello"));
    EXPECT_EQ("hello", client.read_reply().body);
  }
}

TEST_F(ServerTest, ARefusalBeforeTheBodySendsNoContinueAndCloses) {
  router.add(Method::kPut, "/a", answering(507, "full"));
  serve();
  RawClient client(port());
  ASSERT_TRUE(client.send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
  const auto reply = client.read_reply();
  EXPECT_EQ(507, reply.status);
  EXPECT_EQ("close", reply.header("Connection"));
  client.shutdown_send();
  EXPECT_EQ("", client.read_to_end());
}

TEST_F(ServerTest, AnUnreadSmallBodyIsDrainedAndTheConnectionKept) {
  router.add(Method::kPut, "/a", answering(409, "no"));
  serve();
  RawClient client(port());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(client.send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + std::string(50000, 'x')));
    EXPECT_EQ(409, client.read_reply().status);
  }
}

TEST_F(ServerTest, AnUnreadLargeBodyClosesButTheAnswerArrives) {
  router.add(Method::kPut, "/a", answering(413, "too much"));
  serve();
  RawClient client(port());
  ASSERT_TRUE(client.send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"));
  client.send(std::string(8000000, 'x'));
  const auto reply = client.read_reply();
  EXPECT_EQ(413, reply.status);
  EXPECT_EQ("close", reply.header("Connection"));
  EXPECT_EQ("too much", reply.body);
}

TEST_F(ServerTest, AStreamedAnswerIsChunkedOrHasItsLength) {
  router.add(Method::kGet, "/chunked", [](Exchange& exchange) { return stream(exchange, std::nullopt, false); });
  router.add(Method::kGet, "/length", [](Exchange& exchange) { return stream(exchange, 12, false); });
  serve();
  RawClient client(port());
  ASSERT_TRUE(client.send("GET /chunked HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_NE(std::string::npos, client.read_until("\r\n\r\n").find("Transfer-Encoding: chunked\r\n"));
  EXPECT_EQ("4\r\npart\r\n4\r\npart\r\n4\r\npart\r\n0\r\n\r\n", client.read_until("0\r\n\r\n"));
  ASSERT_TRUE(client.send("GET /length HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_EQ("partpartpart", client.read_reply().body);
}

TEST_F(ServerTest, AFailureInMidAnswerNeverLooksComplete) {
  router.add(Method::kGet, "/chunked", [](Exchange& exchange) { return stream(exchange, std::nullopt, true); });
  router.add(Method::kGet, "/length", [](Exchange& exchange) { return stream(exchange, 100, true); });
  router.add(Method::kGet, "/short", [](Exchange& exchange) { return stream(exchange, 13, false); });
  serve();
  for (const auto* path : {"chunked", "length", "short"}) {
    RawClient client(port());
    ASSERT_TRUE(client.send(fmt::format("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", path)));
    const auto all = client.read_to_end();
    EXPECT_TRUE(all.starts_with("HTTP/1.1 200 OK")) << path;
    EXPECT_EQ(std::string::npos, all.find("\r\n0\r\n\r\n")) << path;
  }
  // To an HTTP/1.0 client only the close ends the body, so it must not be an orderly one.
  RawClient old(port());
  ASSERT_TRUE(old.send("GET /chunked HTTP/1.0\r\n\r\n"));
  bool was_reset = false;
  (void)old.read_to_end(&was_reset);
  EXPECT_TRUE(was_reset);
}

TEST_F(ServerTest, AnErrorBeforeTheAnswerGoesThroughTheErrorWriter) {
  router.add(Method::kGet, "/busy", [](Exchange&) -> net::Task<void> { co_return fail(Code::kUnavailable, "no quorum"); });
  router.add(Method::kGet, "/none", [](Exchange&) -> net::Task<void> { co_return fail(Code::kNotFound, "no such tag"); });
  router.add(Method::kGet, "/throws", [](Exchange&) -> net::Task<void> {
    throw std::runtime_error("a bug");
    co_return Result<>{};
  });
  router.add(Method::kGet, "/silent", [](Exchange&) -> net::Task<void> { co_return Result<>{}; });
  serve();
  const auto busy = ask("GET /busy HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(503, busy.status);
  EXPECT_EQ("1", busy.header("Retry-After"));
  EXPECT_EQ("no quorum", busy.body);
  const auto none = ask("GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(404, none.status);
  EXPECT_EQ("", none.body);
  EXPECT_EQ(500, ask("GET /throws HTTP/1.1\r\nHost: x\r\n\r\n").status);
  EXPECT_EQ(500, ask("GET /silent HTTP/1.1\r\nHost: x\r\n\r\n").status);
}

TEST_F(ServerTest, AFileGoesOutWholeAndInRanges) {
  const auto content = pattern(5'000'000);
  const auto fd = std::make_shared<UniqueFd>(file_with(content));  // the server's handlers keep it open
  router.add(Method::kGet, "/all", [fd, bytes = content.size()](Exchange& exchange) {
    return exchange.reply_file(200, Headers{}, fd->get(), 0, bytes);
  });
  router.add(Method::kGet, "/part", [fd](Exchange& exchange) {
    return exchange.reply_file(206, Headers{}, fd->get(), 12'345, 2'000'000);
  });
  router.add(Method::kGet, "/beyond", [fd, bytes = content.size()](Exchange& exchange) {
    return exchange.reply_file(200, Headers{}, fd->get(), 0, bytes + 1);
  });
  serve();
  RawClient client(port());
  ASSERT_TRUE(client.send("GET /all HTTP/1.1\r\nHost: x\r\n\r\nGET /part HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_TRUE(client.read_reply().body == content);
  EXPECT_TRUE(client.read_reply().body == content.substr(12'345, 2'000'000));
  // A file that is shorter than was said: the client must see that something is missing.
  RawClient truncated(port());
  ASSERT_TRUE(truncated.send("GET /beyond HTTP/1.1\r\nHost: x\r\n\r\n"));
  const auto all = truncated.read_to_end();
  EXPECT_NE(std::string::npos, all.find("Content-Length: 5000001\r\n"));
  EXPECT_EQ(content.size(), all.size() - all.find("\r\n\r\n") - 4);
}

TEST_F(ServerTest, ALargeBodyStreamsThroughWithASmallBuffer) {
  router.add(Method::kPut, "/count", [](Exchange& exchange) -> net::Task<void> {
    std::vector<char> buffer(64 * 1024);
    std::uint64_t bytes = 0;
    std::uint64_t sum = 0;
    for (;;) {
      KR_CO_TRY(const auto n, co_await exchange.read(buffer));
      if (n == 0) break;
      bytes += n;
      for (std::size_t i = 0; i < n; ++i) sum += static_cast<unsigned char>(buffer[i]);
    }
    co_return co_await exchange.reply(200, Headers{}, fmt::format("{} {}", bytes, sum));
  });
  serve();
  const auto content = pattern(3'000'000);
  std::uint64_t sum = 0;
  for (const char c : content) sum += static_cast<unsigned char>(c);
  const auto expected = fmt::format("{} {}", content.size(), sum);

  RawClient client(port());
  ASSERT_TRUE(client.send(fmt::format("PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", content.size())));
  ASSERT_TRUE(client.send(content));
  EXPECT_EQ(expected, client.read_reply().body);

  // docker's way: chunked, no Content-Range, chunks of any size.
  ASSERT_TRUE(client.send("PUT /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
  for (std::size_t at = 0, step = 1; at < content.size(); at += step, step = step * 3 + 1) {
    const auto part = content.substr(at, step);
    ASSERT_TRUE(client.send(fmt::format("{:x}\r\n{}\r\n", part.size(), part)));
  }
  ASSERT_TRUE(client.send("0\r\n\r\n"));
  EXPECT_EQ(expected, client.read_reply().body);
}

TEST_F(ServerTest, AClientThatGoesInMidBodyIsAnErrorToTheHandler) {
  std::promise<Code> seen;
  router.add(Method::kPut, "/a", [&seen](Exchange& exchange) -> net::Task<void> {
    auto body = co_await exchange.read_all(1 << 20);
    seen.set_value(body ? Code::kInternal : body.error().code);
    co_return std::unexpected(Error{Code::kClosed, "gone"});
  });
  serve();
  {
    RawClient client(port());
    ASSERT_TRUE(client.send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"));
  }
  EXPECT_EQ(Code::kClosed, seen.get_future().get());
}

TEST_F(ServerTest, TheTraceIdIsTheClientsOrANewOne) {
  router.add(Method::kGet, "/trace", [](Exchange& exchange) {
    return exchange.reply(200, Headers{}, exchange.request().trace_id);
  });
  serve();
  EXPECT_EQ("0af7651916cd43dd8448eb211c80319c",
            ask("GET /trace HTTP/1.1\r\nHost: x\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n").body);
  const auto made = ask("GET /trace HTTP/1.1\r\nHost: x\r\ntraceparent: rubbish\r\n\r\n").body;
  EXPECT_EQ(32u, made.size());
  EXPECT_NE(made, ask("GET /trace HTTP/1.1\r\nHost: x\r\n\r\n").body);
}

TEST_F(ServerTest, AHeaderValueCannotBecomeTwoLines) {
  router.add(Method::kGet, "/a", [](Exchange& exchange) {
    return exchange.reply(200, Headers{{"X-A", "a\r\nX-B: b"}}, std::string{});
  });
  serve();
  const auto reply = ask("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ("a  X-B: b", reply.header("X-A"));
  EXPECT_EQ("", reply.header("X-B"));
}

TEST_F(ServerTest, StoppingFinishesWhatRunsAndClosesWhatIsIdle) {
  std::promise<void> entered;
  std::promise<void> release;
  auto released = release.get_future().share();
  router.add(Method::kGet, "/idle", answering(200, "hi"));
  router.add(Method::kGet, "/slow", [&](Exchange& exchange) -> net::Task<void> {
    entered.set_value();
    while (released.wait_for(std::chrono::seconds(0)) != std::future_status::ready)
      KR_CO_CHECK(co_await net::sleep_for(std::chrono::milliseconds(1)));
    co_return co_await exchange.reply(200, Headers{}, std::string("done"));
  });
  serve();
  RawClient idle(port());
  ASSERT_TRUE(idle.send("GET /idle HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_EQ("hi", idle.read_reply().body);
  RawClient slow(port());
  ASSERT_TRUE(slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"));
  entered.get_future().get();
  std::thread stopping([&] { server->stop(std::chrono::seconds(20)); });
  EXPECT_EQ("", idle.read_to_end());
  release.set_value();
  const auto reply = slow.read_reply();
  EXPECT_EQ("done", reply.body);
  EXPECT_EQ("close", reply.header("Connection"));
  stopping.join();
}

TEST_F(ServerTest, WhatHasArrivedWhenTheServerStopsIsStillAnswered) {
  router.add(Method::kGet, "/", answering(200, "hi"));
  serve();
  // Some are in the listener's queue, some are being read, some have not been looked at.
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<RawClient>(port()));
    ASSERT_TRUE(clients.back()->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  }
  server->stop(std::chrono::seconds(20));
  for (const auto& client : clients) EXPECT_EQ("hi", client->read_reply().body);
}

TEST_F(ServerTest, StoppingCancelsWhatOutlastsTheDrainTime) {
  std::promise<void> entered;
  router.add(Method::kGet, "/forever", [&](Exchange&) -> net::Task<void> {
    entered.set_value();
    auto slept = co_await net::sleep_for(std::chrono::hours(1));
    co_return slept;
  });
  serve();
  RawClient client(port());
  ASSERT_TRUE(client.send("GET /forever HTTP/1.1\r\nHost: x\r\n\r\n"));
  entered.get_future().get();
  server->stop(std::chrono::milliseconds(50));
  EXPECT_EQ(503, client.read_reply().status);
  EXPECT_EQ("", client.read_to_end());
}

TEST_F(ServerTest, APortThatIsTakenIsNamed) {
  serve();
  auto second = server->listen("127.0.0.1", port());
  ASSERT_FALSE(second);
  EXPECT_EQ(Code::kAlreadyExists, second.error().code);
  EXPECT_NE(std::string::npos, second.error().detail.find(fmt::format("port {} on 127.0.0.1 is taken", port())));
}

}  // namespace
}  // namespace kraken::http
