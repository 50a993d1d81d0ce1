#include "http/router.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "http/url.h"
#include "src/base/assert.h"

namespace kraken::http {

namespace {

constexpr std::size_t kSegmentsMax = 128;  // of a request's path; more is no route of ours

enum class Kind { kLiteral, kOne, kMany };

struct Segment {
  Kind kind = Kind::kLiteral;
  std::string text;  // the literal, or the capture's name
};

std::vector<Segment> parse_pattern(std::string_view pattern) {
  KR_ASSERT(!pattern.empty() && pattern.front() == '/');
  std::vector<Segment> out;
  for (auto rest = pattern.substr(1);;) {
    const auto slash = rest.find('/');
    auto text = rest.substr(0, slash);
    if (text.ends_with("...>"))
      out.push_back({Kind::kMany, std::string(text.substr(1, text.size() - 5))});
    else if (text.starts_with('<') && text.ends_with('>'))
      out.push_back({Kind::kOne, std::string(text.substr(1, text.size() - 2))});
    else
      out.push_back({Kind::kLiteral, std::string(text)});
    if (slash == std::string_view::npos) return out;
    rest = rest.substr(slash + 1);
  }
}

}  // namespace

struct Router::Route {
  Method method;
  std::string pattern;
  Handler handler;
  std::vector<Segment> segments;
  std::size_t many = SIZE_MAX;  // index of the <x...> segment
  std::size_t literals = 0;

  /// How many of the path's segments the <x...> takes; 0 if there is none.
  std::size_t taken_by_many(std::size_t count) const { return many == SIZE_MAX ? 0 : count - segments.size() + 1; }

  bool matches(std::span<const std::string_view> path) const {
    if (many == SIZE_MAX ? path.size() != segments.size() : path.size() < segments.size()) return false;
    const auto shift = many == SIZE_MAX ? 0 : path.size() - segments.size();
    for (std::size_t i = 0; i < segments.size(); ++i)
      if (segments[i].kind == Kind::kLiteral && segments[i].text != path[i < many ? i : i + shift]) return false;
    return true;
  }
};

Router::Router() = default;
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;
Router::~Router() = default;

void Router::add(Method method, std::string pattern, Handler handler) {
  auto route = std::make_shared<Route>();
  route->method = method;
  route->segments = parse_pattern(pattern);
  route->pattern = std::move(pattern);
  route->handler = std::move(handler);
  for (std::size_t i = 0; i < route->segments.size(); ++i) {
    if (route->segments[i].kind == Kind::kLiteral) ++route->literals;
    if (route->segments[i].kind != Kind::kMany) continue;
    KR_ASSERT(route->many == SIZE_MAX);
    route->many = i;
  }
  for (const auto& other : routes_) KR_ASSERT(other->method != method || other->pattern != route->pattern);
  auto behind = std::upper_bound(routes_.begin(), routes_.end(), route->literals,
                                 [](std::size_t literals, const auto& other) { return literals > other->literals; });
  routes_.insert(behind, std::move(route));
}

void Router::merge(const Router& other) {
  for (const auto& route : other.routes_) {
    const bool known = std::any_of(routes_.begin(), routes_.end(), [&](const auto& mine) {
      return mine->method == route->method && mine->pattern == route->pattern;
    });
    if (!known) add(route->method, route->pattern, route->handler);
  }
}

namespace {

/// The captures of a route that matched; an error text instead where one is empty or cannot be decoded.
std::string capture(const std::vector<Segment>& segments, std::span<const std::string_view> path, std::size_t many_count,
                    std::vector<std::string>& params) {
  std::size_t at = 0;
  for (const auto& segment : segments) {
    const auto count = segment.kind == Kind::kMany ? many_count : 1;
    if (segment.kind != Kind::kLiteral) {
      std::string value;
      for (std::size_t i = 0; i < count; ++i) {
        auto decoded = unescape_param(path[at + i]);
        if (!decoded) return fmt::format("path unescape {}: {}", segment.text, decoded.error().detail);
        if (i > 0) value += '/';
        value += *decoded;
      }
      if (value.empty()) return fmt::format("param {} is required", segment.text);
      params.push_back(std::move(value));
    }
    at += count;
  }
  return {};
}

}  // namespace

Router::Match Router::find(Method method, std::string_view raw_path) const {
  Match out;
  std::array<std::string_view, kSegmentsMax> storage;
  std::size_t count = 0;
  if (raw_path.empty() || raw_path.front() != '/') return out;
  for (auto rest = raw_path.substr(1);;) {
    if (count == storage.size()) return out;
    const auto slash = rest.find('/');
    storage[count++] = rest.substr(0, slash);
    if (slash == std::string_view::npos) break;
    rest = rest.substr(slash + 1);
  }
  const std::span<const std::string_view> path(storage.data(), count);
  for (const auto& route : routes_) {
    if (!route->matches(path)) continue;
    if (route->method != method) {
      const auto name = name_of(route->method);
      if (out.allow.find(name) == std::string::npos) out.allow += (out.allow.empty() ? "" : ", ") + std::string(name);
      continue;
    }
    out.allow.clear();
    out.pattern = route->pattern;
    out.error = capture(route->segments, path, route->taken_by_many(count), out.params);
    if (out.error.empty()) out.handler = &route->handler;
    return out;
  }
  return out;
}

}  // namespace kraken::http
