#include "tests/unit/http/http_fixture.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "http/headers.h"

namespace kraken::http {

RawClient::RawClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const timeval limit{.tv_sec = 20, .tv_usec = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const int yes = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(0, ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address));
}

RawClient::~RawClient() { ::close(fd_); }

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

void RawClient::shutdown_send() { ::shutdown(fd_, SHUT_WR); }

void RawClient::reset() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  ::close(std::exchange(fd_, -1));
}

std::string RawClient::read_until(std::string_view marker) {
  for (;;) {
    const auto at = buffered_.find(marker);
    const auto end = at == std::string::npos ? at : at + marker.size();
    char bytes[16384];
    const auto n = at == std::string::npos ? ::recv(fd_, bytes, sizeof bytes, 0) : 0;
    if (n > 0) {
      buffered_.append(bytes, static_cast<std::size_t>(n));
      continue;
    }
    auto out = buffered_.substr(0, end);
    buffered_.erase(0, out.size());
    return out;
  }
}

std::string RawClient::read_exactly(std::size_t bytes) {
  while (buffered_.size() < bytes) {
    char more[16384];
    const auto n = ::recv(fd_, more, sizeof more, 0);
    if (n <= 0) break;
    buffered_.append(more, static_cast<std::size_t>(n));
  }
  auto out = buffered_.substr(0, bytes);
  buffered_.erase(0, out.size());
  return out;
}

std::string RawClient::read_to_end(bool* was_reset) {
  char bytes[16384];
  ssize_t n = 0;
  while ((n = ::recv(fd_, bytes, sizeof bytes, 0)) > 0) buffered_.append(bytes, static_cast<std::size_t>(n));
  if (was_reset != nullptr) *was_reset = n < 0 && errno == ECONNRESET;
  EXPECT_FALSE(n < 0 && errno == EAGAIN) << "the server neither answered nor closed";
  return std::exchange(buffered_, {});
}

std::string RawClient::Reply::header(std::string_view name) const {
  std::string_view rest = head;
  while (!rest.empty()) {
    const auto end = rest.find("\r\n");
    const auto line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 2);
    const auto colon = line.find(':');
    if (colon != std::string_view::npos && equal_ignoring_case(line.substr(0, colon), name))
      return std::string(line.substr(std::min(line.size(), colon + 2)));
  }
  return {};
}

RawClient::Reply RawClient::read_reply(bool bodyless) {
  Reply out;
  out.head = read_until("\r\n\r\n");
  if (out.head.size() > 12) out.status = std::atoi(out.head.c_str() + 9);
  if (!bodyless) out.body = read_exactly(std::strtoul(out.header("Content-Length").c_str(), nullptr, 10));
  return out;
}

void ServerTest::serve(Limits limits) {
  server = std::make_unique<Server>(loops, pool, std::move(router), limits, nullptr, "test");
  auto listening = server->listen("127.0.0.1", 0);
  ASSERT_TRUE(listening) << listening.error().to_string();
}

RawClient::Reply ServerTest::ask(std::string_view request, bool bodyless) {
  RawClient client(port());
  EXPECT_TRUE(client.send(request));
  return client.read_reply(bodyless);
}

namespace {

net::Task<void> answer(Exchange& exchange, int status, std::string body) {
  Headers headers{{"Content-Type", "text/plain"}};
  co_return co_await exchange.reply(status, std::move(headers), std::move(body));
}

}  // namespace

Handler answering(int status, std::string body) {
  return [status, body = std::move(body)](Exchange& exchange) { return answer(exchange, status, body); };
}

}  // namespace kraken::http
