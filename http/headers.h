#pragma once
// Header lines, methods and the head of a request: plain values shared by server and client.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kraken::http {

enum class Method : std::uint8_t { kGet, kHead, kPost, kPut, kPatch, kDelete, kOther };

Method method_of(std::string_view name);
/// "GET"; kOther gives "OTHER".
std::string_view name_of(Method method);

struct Header {
  std::string name;
  std::string value;
};

/// Header lines in their order. Names are compared without regard to case.
class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<Header> lines) : lines_(lines) {}

  /// One more line.
  void add(std::string name, std::string value);
  /// The only line of this name.
  void set(std::string name, std::string value);
  void remove(std::string_view name);
  bool has(std::string_view name) const;
  /// All lines of the name, joined by ", " (RFC 9110 §5.3: the same meaning); nullopt if there is none.
  std::optional<std::string> get(std::string_view name) const;
  /// The first line's value without a copy; empty if there is none.
  std::string_view first(std::string_view name) const;
  const std::vector<Header>& all() const { return lines_; }
  std::size_t size() const { return lines_.size(); }
  void clear() { lines_.clear(); }

 private:
  std::vector<Header> lines_;
};

bool equal_ignoring_case(std::string_view a, std::string_view b);

struct RequestHead {
  Method method = Method::kOther;
  std::string method_name;
  std::string target;        // as it was sent, without scheme and host
  std::string path;          // before '?', not decoded
  std::string query_string;  // after '?', not decoded
  Headers headers;
  std::optional<std::uint64_t> content_length;  // nullopt: no body, or chunked
  bool chunked = false;
  std::string remote_address;  // without port
  std::uint16_t local_port = 0;
  std::string trace_id;             // 32 hexadecimal digits: the client's traceparent, or a new one
  std::vector<std::string> params;  // decoded captures of the route, in its order

  bool has_body() const { return chunked || content_length.value_or(0) > 0; }
  /// The first value of `key` in the query, decoded ('+' is a space); "" for a key without '='.
  std::optional<std::string> query(std::string_view key) const;
};

/// What an error or a simple handler answers.
struct Answer {
  int status = 200;
  Headers headers;
  std::string body;
};

}  // namespace kraken::http
