#include "http/headers.h"

#include <algorithm>

#include "http/url.h"

namespace kraken::http {

namespace {
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
}  // namespace

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

Method method_of(std::string_view name) {
  if (name == "GET") return Method::kGet;
  if (name == "HEAD") return Method::kHead;
  if (name == "POST") return Method::kPost;
  if (name == "PUT") return Method::kPut;
  if (name == "PATCH") return Method::kPatch;
  if (name == "DELETE") return Method::kDelete;
  return Method::kOther;
}

std::string_view name_of(Method method) {
  switch (method) {
    case Method::kGet: return "GET";
    case Method::kHead: return "HEAD";
    case Method::kPost: return "POST";
    case Method::kPut: return "PUT";
    case Method::kPatch: return "PATCH";
    case Method::kDelete: return "DELETE";
    case Method::kOther: break;
  }
  return "OTHER";
}

void Headers::add(std::string name, std::string value) { lines_.push_back({std::move(name), std::move(value)}); }

void Headers::set(std::string name, std::string value) {
  remove(name);
  add(std::move(name), std::move(value));
}

void Headers::remove(std::string_view name) {
  std::erase_if(lines_, [name](const Header& line) { return equal_ignoring_case(line.name, name); });
}

bool Headers::has(std::string_view name) const {
  return std::any_of(lines_.begin(), lines_.end(),
                     [name](const Header& line) { return equal_ignoring_case(line.name, name); });
}

std::optional<std::string> Headers::get(std::string_view name) const {
  std::optional<std::string> out;
  for (const auto& line : lines_) {
    if (!equal_ignoring_case(line.name, name)) continue;
    if (out)
      *out += ", " + line.value;
    else
      out = line.value;
  }
  return out;
}

std::string_view Headers::first(std::string_view name) const {
  for (const auto& line : lines_)
    if (equal_ignoring_case(line.name, name)) return line.value;
  return {};
}

std::optional<std::string> RequestHead::query(std::string_view key) const {
  for (auto& [name, value] : parse_query(query_string))
    if (name == key) return std::move(value);
  return std::nullopt;
}

}  // namespace kraken::http
