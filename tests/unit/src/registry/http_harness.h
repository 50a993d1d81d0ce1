#pragma once
// A real server on a free port of loopback, and a client that asks it and waits. For tests of handlers.

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "http/client.h"
#include "http/errors.h"
#include "http/server.h"
#include "src/net/file_pool.h"
#include "src/net/loop.h"
#include "src/registry/answers.h"

namespace kraken::test {

struct Reply {
  int status = 0;
  http::Headers headers;
  std::string body;
  std::optional<std::uint64_t> content_length;
  std::optional<Error> broken;  // the connection ended before the body did
  std::string header(std::string_view name) const { return headers.get(name).value_or(""); }
};

class HttpHarness {
 public:
  explicit HttpHarness(http::Router router)
      : server_(std::make_unique<http::Server>(loops_, pool_, std::move(router), http::Limits{}, write_error, "test")),
        client_(std::make_unique<http::Client>(pool_)) {
    const auto listening = server_->listen("127.0.0.1", 0);
    EXPECT_TRUE(listening) << listening.error().to_string();
  }
  ~HttpHarness() {
    stop();
    client_.reset();
    server_.reset();
    loops_.stop();
  }
  /// Takes no more requests.
  void stop() { server_->stop(Duration::zero()); }

  std::uint16_t port() const { return server_->port(); }
  net::Loops& loops() { return loops_; }
  http::Client& client() { return *client_; }

  Reply ask(http::Method method, std::string target, http::Headers headers = {}, std::string body = "") {
    http::ClientRequest request;
    request.method = method;
    request.host = "127.0.0.1";
    request.port = port();
    request.target = std::move(target);
    request.headers = std::move(headers);
    request.body = std::move(body);
    return run(std::move(request));
  }
  /// Sends the body chunked, without a length, as docker does.
  Reply ask_chunked(http::Method method, std::string target, std::string body, http::Headers headers = {}) {
    http::ClientRequest request;
    request.method = method;
    request.host = "127.0.0.1";
    request.port = port();
    request.target = std::move(target);
    request.headers = std::move(headers);
    auto left = std::make_shared<std::string>(std::move(body));
    request.body = http::BodySource{[left](std::span<char> into) { return take(left, into); }, std::nullopt};
    return run(std::move(request));
  }
  Reply get(std::string target, http::Headers headers = {}) {
    return ask(http::Method::kGet, std::move(target), std::move(headers));
  }
  Reply head(std::string target, http::Headers headers = {}) {
    return ask(http::Method::kHead, std::move(target), std::move(headers));
  }
  Reply put(std::string target, std::string body = "", http::Headers headers = {}) {
    return ask(http::Method::kPut, std::move(target), std::move(headers), std::move(body));
  }
  Reply post(std::string target, std::string body = "", http::Headers headers = {}) {
    return ask(http::Method::kPost, std::move(target), std::move(headers), std::move(body));
  }
  Reply patch(std::string target, std::string body, http::Headers headers = {}) {
    return ask(http::Method::kPatch, std::move(target), std::move(headers), std::move(body));
  }
  Reply remove(std::string target, http::Headers headers = {}) {
    return ask(http::Method::kDelete, std::move(target), std::move(headers));
  }

 private:
  static http::Answer write_error(const http::RequestHead& head, const Error& error) {
    return registry::is_registry_path(head.path) ? registry::error_answer(head, error) : http::plain_error(head, error);
  }
  static net::Task<std::size_t> take(std::shared_ptr<std::string> left, std::span<char> into) {
    const std::size_t count = std::min(into.size(), left->size());
    left->copy(into.data(), count);
    left->erase(0, count);
    co_return count;
  }
  Reply run(http::ClientRequest request) {
    auto done = net::block_on(loops_.at(0).executor(), exchange(*client_, std::move(request)));
    EXPECT_TRUE(done) << done.error().to_string();
    return done ? std::move(*done) : Reply{};
  }
  static net::Task<Reply> exchange(http::Client& client, http::ClientRequest request) {
    KR_CO_TRY(auto response, co_await client.send(std::move(request)));
    Reply reply;
    reply.status = response.status;
    reply.headers = response.headers;
    reply.content_length = response.content_length;
    auto body = co_await response.read_all(256u << 20);
    if (body) {
      reply.body = std::move(*body);
    } else {
      reply.broken = body.error();
    }
    co_return reply;
  }

  net::Loops loops_{2};
  net::FilePool pool_{2, 64};
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<http::Client> client_;
};

}  // namespace kraken::test
