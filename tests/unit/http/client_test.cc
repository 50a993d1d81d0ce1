// The client against our own server, and against servers that misbehave, which are scripts of raw bytes.

#include "http/client.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "src/base/file.h"
#include "src/net/deadline.h"
#include "tests/unit/http/http_fixture.h"

namespace kraken::http {
namespace {

net::Task<void> echo(Exchange& exchange) {
  KR_CO_TRY(auto body, co_await exchange.read_all(64 << 20));
  Headers headers{{"X-Length", exchange.request().content_length ? "known" : "chunked"}};
  co_return co_await exchange.reply(200, std::move(headers), std::move(body));
}

struct Got {
  int status = 0;
  Headers headers;
  std::string body;
};

net::Task<Got> fetch(Client& client, ClientRequest request) {
  KR_CO_TRY(auto response, co_await client.send(std::move(request)));
  KR_CO_TRY(auto body, co_await response.read_all(64 << 20));
  co_return Got{response.status, std::move(response.headers), std::move(body)};
}

/// Accepts connections one after the other; for each, `script` reads and writes the raw socket.
class RawServer {
 public:
  using Script = std::function<void(int fd, int connection)>;
  explicit RawServer(Script script) : script_(std::move(script)), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(0, ::bind(fd_, reinterpret_cast<sockaddr*>(&address), length));
    EXPECT_EQ(0, ::listen(fd_, 16));
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (int i = 0;; ++i) {
        const int connection = ::accept(fd_, nullptr, nullptr);
        if (connection < 0) return;
        connection_ = connection;
        if (stopping_) ::shutdown(connection, SHUT_RDWR);
        script_(connection, i);
        connection_ = -1;
        ::close(connection);
      }
    });
  }
  ~RawServer() {
    // A script may still wait for the client to close, whose pool keeps its connection.
    stopping_ = true;
    ::shutdown(fd_, SHUT_RDWR);
    if (const int connection = connection_; connection >= 0) ::shutdown(connection, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  std::uint16_t port() const { return port_; }

 private:
  Script script_;
  int fd_;
  std::uint16_t port_ = 0;
  std::atomic<int> connection_{-1};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

std::string read_request_head(int fd) {
  std::string out;
  char byte = 0;
  while (!out.ends_with("\r\n\r\n") && ::recv(fd, &byte, 1, 0) == 1) out += byte;
  return out;
}

void say(int fd, std::string_view text) { EXPECT_LE(0, ::send(fd, text.data(), text.size(), MSG_NOSIGNAL)); }

class ClientTest : public ServerTest {
 protected:
  ClientRequest get(std::uint16_t to, std::string target) {
    ClientRequest out;
    out.host = "127.0.0.1";
    out.port = to;
    out.target = std::move(target);
    return out;
  }
  Result<Got> run(ClientRequest request) {
    return net::block_on(loops.at(0).executor(), fetch(client, std::move(request)));
  }
  Client client{pool};
};

TEST_F(ClientTest, GetsAndReusesItsConnection) {
  std::atomic<int> connections{0};
  RawServer one([&](int fd, int) {
    ++connections;
    for (;;) {
      if (read_request_head(fd).empty()) return;
      say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    }
  });
  for (int i = 0; i < 5; ++i) {
    auto got = run(get(one.port(), "/"));
    ASSERT_TRUE(got) << got.error().to_string();
    EXPECT_EQ("hi", got->body);
  }
  EXPECT_EQ(1, connections);
}

TEST_F(ClientTest, SendsBodiesOfEveryKind) {
  router.add(Method::kPut, "/echo", echo);
  serve();
  std::string content(3'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i % 253);
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  ASSERT_TRUE(file::write_at(fd.get(), content, 0));

  auto request = get(port(), "/echo");
  request.method = Method::kPut;
  for (const std::size_t length : {std::size_t{0}, std::size_t{5}, content.size()}) {
    request.body = content.substr(0, length);
    auto got = run(request);
    ASSERT_TRUE(got) << got.error().to_string();
    EXPECT_TRUE(got->body == content.substr(0, length)) << length;
  }
  request.body = FileBody{fd.get(), 1000, 2'000'000};
  auto from_file = run(request);
  ASSERT_TRUE(from_file);
  EXPECT_TRUE(from_file->body == content.substr(1000, 2'000'000));

  for (const bool known : {true, false}) {
    std::size_t at = 0;
    BodySource source;
    source.read = [&](std::span<char> into) -> net::Task<std::size_t> {
      const auto n = std::min({into.size(), content.size() - at, std::size_t{100'000}});
      content.copy(into.data(), n, at);
      at += n;
      co_return n;
    };
    if (known) source.length = content.size();
    request.body = std::move(source);
    auto got = run(request);
    ASSERT_TRUE(got) << got.error().to_string();
    EXPECT_TRUE(got->body == content);
    EXPECT_EQ(known ? "known" : "chunked", got->headers.first("X-Length"));
  }
}

TEST_F(ClientTest, AHeadAnswerHasItsLengthAndKeepsTheConnection) {
  std::atomic<int> connections{0};
  RawServer one([&](int fd, int) {
    ++connections;
    while (!read_request_head(fd).empty()) say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  });
  for (int i = 0; i < 3; ++i) {
    auto request = get(one.port(), "/");
    request.method = Method::kHead;
    auto length = net::block_on(loops.at(0).executor(), [](Client& c, ClientRequest r) -> net::Task<std::uint64_t> {
      KR_CO_TRY(auto response, co_await c.send(std::move(r)));
      KR_CO_TRY(auto body, co_await response.read_all(0));
      co_return response.content_length.value_or(0) + body.size();
    }(client, request));
    EXPECT_EQ(1000u, length);
  }
  EXPECT_EQ(1, connections);
}

TEST_F(ClientTest, AnAnswerThatEndsEarlyIsAnErrorNeverAnEnd) {
  const std::pair<const char*, const char*> answers[] = {
      {"length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"},
      {"chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf"},
      {"last_chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"},
      {"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n"},
      {"head", "HTTP/1.1 200 OK\r\nContent-Le"},
      {"nothing", ""},
  };
  for (const auto& [name, answer] : answers) {
    RawServer one([text = answer](int fd, int) {
      (void)read_request_head(fd);
      say(fd, text);
      ::shutdown(fd, SHUT_WR);
    });
    auto got = run(get(one.port(), "/"));
    ASSERT_FALSE(got) << name;
    EXPECT_EQ(Code::kClosed, got.error().code) << name << " " << got.error().to_string();
  }
}

/// Until the other end has all of it, so that the next bytes come apart.
void say_and_wait(int fd, std::string_view text) {
  say(fd, text);
  for (int unacknowledged = 1; unacknowledged > 0; std::this_thread::yield())
    if (::ioctl(fd, SIOCOUTQ, &unacknowledged) != 0) return;
}

TEST_F(ClientTest, AnAnswerMayBeCutAnywhere) {
  const std::string answers[] = {
      "HTTP/1.1 200 OK\r\nX-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Length: 5\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: t\r\n\r\n",
      "HTTP/1.0 200 OK\r\nX-Length: 5\r\n\r\nhello",
  };
  for (const std::string& answer : answers) {
    RawServer one([&](int fd, int cut) {
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      (void)read_request_head(fd);
      say_and_wait(fd, std::string_view(answer).substr(0, static_cast<std::size_t>(cut)));
      say(fd, std::string_view(answer).substr(static_cast<std::size_t>(cut)));
      ::shutdown(fd, SHUT_WR);
    });
    for (std::size_t cut = 0; cut < answer.size(); ++cut) {
      ClientRequest request = get(one.port(), "/");
      request.headers.set("Connection", "close");
      const auto got = run(std::move(request));
      ASSERT_TRUE(got) << cut << ": " << got.error().to_string();
      EXPECT_EQ(200, got->status) << cut;
      EXPECT_EQ("5", got->headers.get("X-Length").value_or("")) << cut;
      EXPECT_EQ("hello", got->body) << cut;
    }
  }
}

TEST_F(ClientTest, AResetIsAnErrorWhereOnlyTheCloseEndsTheBody) {
  const auto answer_then = [](bool reset) {
    return [reset](int fd, int) {
      (void)read_request_head(fd);
      say(fd, "HTTP/1.0 200 OK\r\n\r\nall of it");
      char byte = 0;
      if (!reset) return;
      const linger now{.l_onoff = 1, .l_linger = 0};
      ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
      (void)::recv(fd, &byte, 1, MSG_DONTWAIT);
    };
  };
  {
    RawServer orderly(answer_then(false));
    auto got = run(get(orderly.port(), "/"));
    ASSERT_TRUE(got) << got.error().to_string();
    EXPECT_EQ("all of it", got->body);
  }
  RawServer resetting(answer_then(true));
  auto got = run(get(resetting.port(), "/"));
  ASSERT_FALSE(got);
  EXPECT_EQ(Code::kClosed, got.error().code);
}

TEST_F(ClientTest, AKeptConnectionThatWasClosedIsReplacedOnce) {
  // Each connection serves one request; then it closes only when the next has been read, so that the client cannot see
  // it before it sends.
  std::atomic<int> requests{0};
  RawServer one([&](int fd, int) {
    if (read_request_head(fd).empty()) return;
    ++requests;
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    (void)read_request_head(fd);
  });
  for (int i = 0; i < 3; ++i) {
    auto got = run(get(one.port(), "/"));
    ASSERT_TRUE(got) << got.error().to_string();
  }
  EXPECT_EQ(3, requests);
  // What must not be done twice is not tried twice.
  auto post = get(one.port(), "/");
  post.method = Method::kPost;
  auto got = run(post);
  ASSERT_FALSE(got);
  EXPECT_EQ(Code::kClosed, got.error().code);
}

TEST_F(ClientTest, AConnectionThatWasClosedWhileIdleIsNotUsed) {
  std::atomic<int> closed{0};
  RawServer one([&](int fd, int) {
    (void)read_request_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    ::shutdown(fd, SHUT_RDWR);
    ++closed;
  });
  for (int i = 1; i <= 3; ++i) {
    auto post = get(one.port(), "/");
    post.method = Method::kPost;
    auto got = run(post);
    ASSERT_TRUE(got) << got.error().to_string();
    while (closed < i) std::this_thread::yield();
  }
}

TEST_F(ClientTest, AnAnswerBeforeTheBodyIsSentIsReturned) {
  router.add(Method::kPut, "/full", answering(507, "disk full"));
  serve();
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  const std::uint64_t length = 200 << 20;
  ASSERT_EQ(0, ::ftruncate(fd.get(), static_cast<off_t>(length)));
  auto request = get(port(), "/full");
  request.method = Method::kPut;
  request.body = FileBody{fd.get(), 0, length};
  auto got = run(request);
  ASSERT_TRUE(got) << got.error().to_string();
  EXPECT_EQ(507, got->status);
  EXPECT_EQ("disk full", got->body);
}

TEST_F(ClientTest, ContinueAnswersAreSkipped) {
  RawServer one([](int fd, int) {
    (void)read_request_head(fd);
    say(fd, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
  });
  auto got = run(get(one.port(), "/"));
  ASSERT_TRUE(got) << got.error().to_string();
  EXPECT_EQ(200, got->status);
  EXPECT_FALSE(got->headers.has("Link"));
}

TEST_F(ClientTest, WhatIsNotHttpIsAProtocolError) {
  for (const auto* answer : {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    RawServer one([answer](int fd, int) {
      (void)read_request_head(fd);
      say(fd, answer);
    });
    auto got = run(get(one.port(), "/"));
    ASSERT_FALSE(got) << answer;
    EXPECT_EQ(Code::kProtocol, got.error().code) << answer;
  }
}

TEST_F(ClientTest, DeadlinesOfHeadAndBodyHold) {
  RawServer silent([](int fd, int) {
    (void)read_request_head(fd);
    char byte = 0;
    (void)::recv(fd, &byte, 1, 0);
  });
  auto request = get(silent.port(), "/");
  request.timeout = std::chrono::milliseconds(200);
  auto got = run(request);
  ASSERT_FALSE(got);
  EXPECT_EQ(Code::kDeadlineExceeded, got.error().code);

  RawServer stalling([](int fd, int) {
    (void)read_request_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    char byte = 0;
    (void)::recv(fd, &byte, 1, 0);
  });
  request = get(stalling.port(), "/");
  request.idle_timeout = std::chrono::milliseconds(200);
  got = run(request);
  ASSERT_FALSE(got);
  EXPECT_EQ(Code::kDeadlineExceeded, got.error().code);
}

TEST_F(ClientTest, NobodyThereIsUnavailable) {
  std::uint16_t port = 0;
  { port = RawServer([](int, int) {}).port(); }
  auto got = run(get(port, "/"));
  ASSERT_FALSE(got);
  EXPECT_EQ(Code::kUnavailable, got.error().code);
  EXPECT_NE(std::string::npos, got.error().detail.find(fmt::format("127.0.0.1:{}", port)));
}

TEST_F(ClientTest, ADroppedAnswerDoesNotPoisonTheNext) {
  router.add(Method::kGet, "/big", answering(200, std::string(1'000'000, 'x')));
  router.add(Method::kGet, "/small", answering(200, "small"));
  serve();
  for (int i = 0; i < 3; ++i) {
    auto dropped = net::block_on(loops.at(0).executor(), [](Client& c, ClientRequest r) -> net::Task<int> {
      KR_CO_TRY(auto response, co_await c.send(std::move(r)));
      co_return response.status;
    }(client, get(port(), "/big")));
    EXPECT_EQ(200, dropped);
    EXPECT_EQ("small", run(get(port(), "/small"))->body);
  }
}

TEST_F(ClientTest, TooManyConnectionsToAHostAreRefused) {
  RawServer silent([](int fd, int) {
    char byte = 0;
    (void)::recv(fd, &byte, 1, 0);
    (void)read_request_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });
  Client small(pool, ClientLimits{.connections_per_host_max = 1});
  auto both = net::block_on(loops.at(0).executor(), [](Client& c, ClientRequest r) -> net::Task<Code> {
    KR_CO_TRY(auto first, co_await c.send(r));  // its connection stays out
    auto second = co_await c.send(r);
    (void)first;
    co_return second ? Code::kInternal : second.error().code;
  }(small, [&] {
    auto request = get(silent.port(), "/");
    request.method = Method::kGet;
    return request;
  }()));
  // The first answer has no body, so its connection is free again at once: no refusal.
  EXPECT_EQ(Code::kInternal, both);

  RawServer unfinished([](int fd, int) {
    (void)read_request_head(fd);
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    char byte = 0;
    (void)::recv(fd, &byte, 1, 0);
  });
  both = net::block_on(loops.at(0).executor(), [](Client& c, ClientRequest r) -> net::Task<Code> {
    KR_CO_TRY(auto first, co_await c.send(r));
    auto second = co_await c.send(r);
    (void)first;
    co_return second ? Code::kInternal : second.error().code;
  }(small, get(unfinished.port(), "/")));
  EXPECT_EQ(Code::kOverloaded, both);
}

TEST_F(ClientTest, EveryLoopUsesItsOwnPool) {
  router.add(Method::kGet, "/hello", answering(200, "hi"));
  serve();
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        auto got = net::block_on(loops.at(static_cast<std::size_t>(t) % 2).executor(), fetch(client, get(port(), "/hello")));
        if (got && got->body == "hi") ++good;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(200, good);
}

TEST_F(ClientTest, ACancelledRequestEndsAtOnce) {
  RawServer silent([](int fd, int) {
    (void)read_request_head(fd);
    char byte = 0;
    (void)::recv(fd, &byte, 1, 0);
  });
  auto task = net::with_deadline(std::chrono::milliseconds(100), fetch(client, get(silent.port(), "/")), "fetch");
  auto got = net::block_on(loops.at(0).executor(), std::move(task));
  ASSERT_FALSE(got);
  EXPECT_EQ(Code::kDeadlineExceeded, got.error().code);
}

}  // namespace
}  // namespace kraken::http
