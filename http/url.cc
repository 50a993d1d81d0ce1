#include "http/url.h"

#include <charconv>


namespace kraken::http {

namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_unreserved(char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.' || c == '~'; }

// net/url shouldEscape in mode encodePathSegment: '/', ';', ',' and '?' are escaped, these others are not.
bool stays_in_path(char c) {
  return is_unreserved(c) || c == '$' || c == '&' || c == '+' || c == '=' || c == ':' || c == '@';
}

void append_escaped(std::string& out, char c) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(c);
  out += '%';
  out += kDigits[byte >> 4];
  out += kDigits[byte & 15];
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> unescape(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0)
        return fail(Code::kInvalidArgument, "invalid URL escape \"{}\"", text.substr(i, 3));
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

bool has_escape(std::string_view text) {
  for (std::size_t i = 0; i + 2 < text.size(); ++i)
    if (text[i] == '%' && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) return true;
  return false;
}

}  // namespace

std::string path_escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text)
    if (stays_in_path(c))
      out += c;
    else
      append_escaped(out, c);
  return out;
}

std::string query_escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text)
    if (c == ' ')
      out += '+';
    else if (is_unreserved(c))
      out += c;
    else
      append_escaped(out, c);
  return out;
}

Result<std::string> path_unescape(std::string_view text) { return unescape(text, false); }
Result<std::string> query_unescape(std::string_view text) { return unescape(text, true); }

Result<std::string> unescape_param(std::string_view raw_segment) {
  if (raw_segment.find('%') == std::string_view::npos) return std::string(raw_segment);
  KR_TRY(auto once, path_unescape(raw_segment));
  if (!has_escape(once)) return once;
  return path_unescape(once);
}

std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query_string) {
  std::vector<std::pair<std::string, std::string>> out;
  while (!query_string.empty()) {
    const auto end = query_string.find('&');
    const auto pair = query_string.substr(0, end);
    query_string = end == std::string_view::npos ? std::string_view{} : query_string.substr(end + 1);
    if (pair.empty() || pair.find(';') != std::string_view::npos) continue;
    const auto equals = pair.find('=');
    auto key = query_unescape(pair.substr(0, equals));
    auto value = query_unescape(equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1));
    if (key && value) out.emplace_back(*std::move(key), *std::move(value));
  }
  return out;
}

Result<Url> parse_url(std::string_view text) {
  Url out;
  const auto scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return fail(Code::kInvalidArgument, "\"{}\" has no http:// in front", text);
  out.scheme = std::string(text.substr(0, scheme_end));
  if (out.scheme != "http" && out.scheme != "https")
    return fail(Code::kInvalidArgument, "\"{}\": only http and https are known", text);
  out.port = out.scheme == "http" ? 80 : 443;
  auto rest = text.substr(scheme_end + 3);
  const auto path = rest.find_first_of("/?");
  auto authority = rest.substr(0, path);
  if (path == std::string_view::npos)
    out.target = "/";
  else
    out.target = (rest[path] == '?' ? "/" : "") + std::string(rest.substr(path));
  if (authority.find('@') != std::string_view::npos)
    return fail(Code::kInvalidArgument, "the URL has a user name or password in it");
  const auto bracket = authority.rfind(']');
  const auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  auto host = authority.substr(0, colon);
  if (colon != std::string_view::npos) {
    const auto digits = authority.substr(colon + 1);
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
    if (ec != std::errc{} || end != digits.data() + digits.size())
      return fail(Code::kInvalidArgument, "\"{}\": the port is not a number up to 65535", text);
  }
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host.empty()) return fail(Code::kInvalidArgument, "\"{}\" names no host", text);
  out.host = std::string(host);
  return out;
}

}  // namespace kraken::http
