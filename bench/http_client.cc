#include "bench/http_client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <memory>

namespace kraken::bench {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;

template <class T>
bool parse_number(std::string_view text, T& out, int base = 10) {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return ec == std::errc() && end != text.data();
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  Address made;
  if (colon == std::string_view::npos || !parse_number(text.substr(colon + 1), made.port)) {
    return fail(Code::kInvalidArgument, "\"{}\" is not <ip>:<port>", text);
  }
  made.host = text.substr(0, colon);
  return made;
}

std::string Reply::header(std::string_view name) const {
  for (std::size_t at = head.find("\r\n"); at != std::string::npos && at + 2 < head.size();) {
    const std::size_t from = at + 2;
    at = head.find("\r\n", from);
    const std::string_view line = std::string_view(head).substr(from, at == std::string::npos ? at : at - from);
    const std::size_t colon = line.find(':');
    if (colon != name.size()) continue;
    if (!std::equal(name.begin(), name.end(), line.begin(), [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); })) continue;
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    return std::string(value);
  }
  return {};
}

Result<Connection> Connection::open(const Address& address) {
  Connection made;
  made.fd_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(address.port);
  if (::inet_pton(AF_INET, address.host.c_str(), &where.sin_addr) != 1) return fail(Code::kInvalidArgument, "{} is no IPv4 address", address.host);
  const int on = 1;
  ::setsockopt(made.fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (::connect(made.fd_.get(), reinterpret_cast<const sockaddr*>(&where), sizeof(where)) != 0) {
    return fail_errno(errno, fmt::format("connect {}:{}", address.host, address.port));
  }
  return made;
}

Result<> Connection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (put < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, "send");
    }
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

Result<> Connection::fill() {
  // Not into buffer_: growing it by so much would clear as much, for answers of a few hundred bytes.
  static thread_local const std::unique_ptr<char[]> room = std::make_unique_for_overwrite<char[]>(kReadBytes);
  const ssize_t got = ::recv(fd_.get(), room.get(), kReadBytes, 0);
  if (got < 0) return fail_errno(errno, "recv");
  if (got == 0) return fail(Code::kClosed, "the server closed the connection");
  buffer_.append(room.get(), static_cast<std::size_t>(got));
  return {};
}

Result<> Connection::receive_length(Reply& reply, std::uint64_t length, bool discard) {
  while (length > 0) {
    if (discard && buffer_.empty()) {
      // MSG_TRUNC on TCP throws the bytes away without copying them to user space (tcp(7)).
      const ssize_t got = ::recv(fd_.get(), nullptr, static_cast<std::size_t>(std::min<std::uint64_t>(length, 1u << 20)), MSG_TRUNC);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_errno(errno, "recv");
      if (got == 0) return fail(Code::kClosed, "the body ended {} bytes early", length);
      length -= static_cast<std::uint64_t>(got);
      reply.body_bytes += static_cast<std::uint64_t>(got);
      continue;
    }
    if (buffer_.empty()) KR_CHECK(fill());
    const auto buffered = static_cast<std::size_t>(std::min<std::uint64_t>(length, buffer_.size()));
    if (!discard) reply.body.append(buffer_, 0, buffered);
    buffer_.erase(0, buffered);
    reply.body_bytes += buffered;
    length -= buffered;
  }
  return {};
}

Result<> Connection::receive_chunked(Reply& reply, bool discard) {
  for (;;) {
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n")) == std::string::npos) KR_CHECK(fill());
    std::uint64_t size = 0;
    if (!parse_number(std::string_view(buffer_).substr(0, end), size, 16)) return fail(Code::kProtocol, "bad chunk size");
    buffer_.erase(0, end + 2);
    KR_CHECK(receive_length(reply, size, discard));
    while (buffer_.size() < 2) KR_CHECK(fill());
    buffer_.erase(0, 2);
    if (size == 0) return {};
  }
}

Result<Reply> Connection::receive(bool discard, bool head_only) {
  std::size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) KR_CHECK(fill());
  Reply reply;
  reply.head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  if (reply.head.size() < 12 || !parse_number(std::string_view(reply.head).substr(9, 3), reply.status)) return fail(Code::kProtocol, "no status line");
  if (head_only || reply.status == 204 || reply.status == 304) return reply;
  if (reply.header("transfer-encoding") == "chunked") {
    KR_CHECK(receive_chunked(reply, discard));
    return reply;
  }
  std::uint64_t length = 0;
  if (!parse_number(reply.header("content-length"), length)) return fail(Code::kProtocol, "an answer without a length");
  KR_CHECK(receive_length(reply, length, discard));
  return reply;
}

Result<Reply> Connection::exchange(std::string_view request, bool discard) {
  KR_CHECK(send(request));
  return receive(discard, request.starts_with("HEAD "));
}

}  // namespace kraken::bench
