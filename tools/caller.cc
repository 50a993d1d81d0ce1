#include "tools/caller.h"

#include <vector>

#include <nlohmann/json.hpp>

#include "http/errors.h"
#include "src/net/dial.h"

namespace kraken::tools {
namespace {

constexpr std::size_t kBodyBytesMax = 64 << 20;
constexpr std::size_t kBufferBytes = 256 << 10;

net::Task<Reply> whole(http::Client& client, http::ClientRequest request) {
  KR_CO_TRY(http::ClientResponse response, co_await client.send(std::move(request)));
  Reply reply{.status = response.status, .headers = response.headers, .body = {}};
  KR_CO_TRY(reply.body, co_await response.read_all(kBodyBytesMax));
  co_return reply;
}

net::Task<Reply> streamed(http::Client& client, http::ClientRequest request, const std::function<Result<>(std::string_view)>& each) {
  KR_CO_TRY(http::ClientResponse response, co_await client.send(std::move(request)));
  Reply reply{.status = response.status, .headers = response.headers, .body = {}};
  if (response.status != 200) {
    KR_CO_TRY(reply.body, co_await response.read_all(kBodyBytesMax));
    co_return reply;
  }
  std::vector<char> buffer(kBufferBytes);
  for (;;) {
    KR_CO_TRY(const std::size_t bytes, co_await response.read(buffer));
    if (bytes == 0) co_return reply;
    KR_CO_CHECK(each({buffer.data(), bytes}));
  }
}

}  // namespace

Caller::Caller() : loop_("tool"), pool_(1, 64), client_(pool_) {}

Result<Reply> Caller::call(http::ClientRequest request) {
  return net::block_on(loop_.executor(), whole(client_, std::move(request)));
}

Result<std::string> Caller::get(const std::string& host, std::uint16_t port, const std::string& target, Duration timeout) {
  http::ClientRequest request;
  request.host = host;
  request.port = port;
  request.target = target;
  request.timeout = timeout;
  KR_TRY(Reply reply, call(std::move(request)));
  if (reply.status != 200) return std::unexpected(error_of(reply, fmt::format("{}:{}", host, port)));
  return std::move(reply.body);
}

Result<Reply> Caller::fetch(http::ClientRequest request, std::function<Result<>(std::string_view)> each) {
  return net::block_on(loop_.executor(), streamed(client_, std::move(request), each));
}

Error error_of(const Reply& reply, std::string_view what) {
  const auto json = nlohmann::json::parse(reply.body, nullptr, false);
  if (json.is_object() && json.contains("errors") && json["errors"].is_array() && !json["errors"].empty()) {
    const auto& first = json["errors"][0];
    if (first.is_object() && first.contains("message") && first["message"].is_string()) {
      return {http::code_of(reply.status), fmt::format("{}: {} ({})", what, first["message"].get<std::string>(), reply.status)};
    }
  }
  return http::error_from(reply.status, reply.body, what);
}

Result<Target> parse_target(std::string_view text, std::uint16_t default_port) {
  if (text.starts_with("http://")) text.remove_prefix(7);
  while (text.ends_with("/")) text.remove_suffix(1);
  if (text.empty()) return fail(Code::kInvalidArgument, "the host is empty");
  const bool has_port = text.starts_with("[") ? text.find("]:") != std::string_view::npos : text.find(':') != std::string_view::npos && text.find(':') == text.rfind(':');
  if (!has_port) {
    std::string host(text);
    if (host.starts_with("[") && host.ends_with("]")) host = host.substr(1, host.size() - 2);
    return Target{std::move(host), default_port};
  }
  KR_TRY(const net::HostPort parsed, net::parse_host_port(text));
  return Target{parsed.host, parsed.port};
}

}  // namespace kraken::tools
