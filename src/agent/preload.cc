#include "src/agent/preload.h"

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "http/url.h"
#include "src/net/deadline.h"

namespace kraken::agent {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kAnswerBytesMax = 4u << 20;  // docker's progress lines; more are read and dropped

net::Task<void> pull(std::string path, std::string request) {
  auto executor = co_await asio::this_coro::executor;
  asio::local::stream_protocol::socket socket(executor);
  const asio::local::stream_protocol::endpoint endpoint(path);
  auto [connect_ec] = co_await socket.async_connect(endpoint, net::kTuple);
  if (connect_ec) co_return std::unexpected(net::error_of(connect_ec, "docker pull: dial unix " + path));
  auto [write_ec, written] = co_await asio::async_write(socket, asio::buffer(request), net::kTuple);
  if (write_ec) co_return std::unexpected(net::error_of(write_ec, "docker pull: send request"));
  std::string answer;
  std::string part(64 * 1024, '\0');
  for (;;) {
    auto [ec, n] = co_await socket.async_read_some(asio::buffer(part), net::kTuple);
    if (ec == asio::error::eof) break;
    if (ec) co_return std::unexpected(net::error_of(ec, "docker pull: read answer"));
    if (answer.size() < kAnswerBytesMax) answer.append(part, 0, n);
  }
  const bool ok = answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200");
  const std::size_t body = answer.find("\r\n\r\n");
  const std::string text = body == std::string::npos ? answer : answer.substr(body + 4);
  if (!ok) co_return fail(Code::kUnavailable, "docker pull: {}: {}", answer.substr(0, answer.find("\r\n")), text.substr(0, 300));
  // A pull that fails later says so in its stream of JSON lines.
  if (const std::size_t at = text.find("\"error\":"); at != std::string::npos)
    co_return fail(Code::kUnavailable, "docker pull: {}", text.substr(at, 300));
  co_return Result<>{};
}

}  // namespace

net::Task<void> docker_pull(DockerEndpoint docker, std::string registry, QualifiedTag tag, Duration timeout) {
  constexpr std::string_view kScheme = "unix://";
  if (!docker.host.starts_with(kScheme))
    co_return fail(Code::kInvalidArgument, "docker pull: docker_host {} is no unix:// socket", docker.host);
  const std::string target = fmt::format("/v{}/images/create?fromImage={}&tag={}", docker.version,
                                         http::query_escape(registry + "/" + tag.repository.str()), http::query_escape(tag.tag.str()));
  // HTTP/1.0, so that the answer ends with the connection.
  std::string request = fmt::format("POST {} HTTP/1.0\r\nHost: docker\r\nX-Registry-Auth: \r\nContent-Length: 0\r\n\r\n", target);
  auto pulling = pull(docker.host.substr(kScheme.size()), std::move(request));
  co_return co_await net::with_deadline(timeout, std::move(pulling), "docker pull");
}

}  // namespace kraken::agent
