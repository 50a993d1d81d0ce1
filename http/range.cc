#include "http/range.h"

#include <algorithm>
#include <charconv>

#include "http/headers.h"

namespace kraken::http {

namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Digits only, saturating: an end beyond 2^64 means "to the end" as well as any other that is too large.
std::optional<std::uint64_t> number(std::string_view digits) {
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return ec == std::errc{} ? value : UINT64_MAX;
}

}  // namespace

Result<std::optional<Range>> parse_range(std::string_view header, std::uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  header = trim(header);
  if (header.size() < kUnit.size() || !equal_ignoring_case(header.substr(0, kUnit.size()), kUnit)) return std::nullopt;
  const auto spec = trim(header.substr(kUnit.size()));
  const auto dash = spec.find('-');
  if (dash == std::string_view::npos || spec.find(',') != std::string_view::npos) return std::nullopt;
  const auto first = number(trim(spec.substr(0, dash)));
  const auto last_text = trim(spec.substr(dash + 1));
  const auto last = number(last_text);
  if (!last && !last_text.empty()) return std::nullopt;
  if (!first) {
    if (!trim(spec.substr(0, dash)).empty() || !last) return std::nullopt;
    const auto length = std::min(*last, size);  // the last so many bytes
    if (length == 0) return fail(Code::kRangeNotSatisfiable, "the range \"{}\" holds none of {} bytes", spec, size);
    return Range{size - length, length};
  }
  if (last && *last < *first) return std::nullopt;
  if (*first >= size) return fail(Code::kRangeNotSatisfiable, "the range \"{}\" begins behind {} bytes", spec, size);
  const auto end = last ? std::min(*last, size - 1) : size - 1;
  return Range{*first, end - *first + 1};
}

std::string content_range(const Range& range, std::uint64_t size) {
  return fmt::format("bytes {}-{}/{}", range.offset, range.offset + range.length - 1, size);
}

std::string unsatisfied(std::uint64_t size) { return fmt::format("bytes */{}", size); }

Result<ContentRange> parse_content_range(std::string_view header) {
  constexpr std::string_view kUnit = "bytes ";
  const auto bad = [&] { return fail(Code::kProtocol, "Content-Range \"{}\" cannot be read", header.substr(0, 100)); };
  auto rest = trim(header);
  if (rest.size() < kUnit.size() || !equal_ignoring_case(rest.substr(0, kUnit.size()), kUnit)) return bad();
  rest = trim(rest.substr(kUnit.size()));
  const auto dash = rest.find('-');
  const auto slash = rest.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) return bad();
  const auto first = number(rest.substr(0, dash));
  const auto last = number(rest.substr(dash + 1, slash - dash - 1));
  const auto size_text = rest.substr(slash + 1);
  const auto size = number(size_text);
  if (!first || !last || *last < *first || *last == UINT64_MAX || (!size && size_text != "*")) return bad();
  if (size && *last >= *size) return bad();
  return ContentRange{{*first, *last - *first + 1}, size};
}

}  // namespace kraken::http
