#include "config/values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace kraken::config {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t size;
};

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
constexpr std::array<Unit, 8> kTimeUnits{{{"ns", 1},
                                          {"us", 1'000},
                                          {"\xC2\xB5s", 1'000},
                                          {"\xCE\xBCs", 1'000},
                                          {"ms", 1'000'000},
                                          {"s", kNsPerSecond},
                                          {"m", 60 * kNsPerSecond},
                                          {"h", 3600 * kNsPerSecond}}};
constexpr std::array<Unit, 6> kByteUnits{
    {{"", 0}, {"K", 10}, {"M", 20}, {"G", 30}, {"T", 40}, {"P", 50}}};  // the size is a power of two here

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

/// A leading decimal number with an optional fraction; what follows is left in `text`.
bool take_number(std::string_view& text, std::uint64_t& whole, double& fraction) {
  const auto end = std::find_if(text.begin(), text.end(), [](char c) { return c < '0' || c > '9'; });
  const auto digits = static_cast<std::size_t>(end - text.begin());
  if (digits == 0) return false;
  if (std::from_chars(text.data(), text.data() + digits, whole).ec != std::errc{}) return false;
  text.remove_prefix(digits);
  fraction = 0;
  if (text.empty() || text.front() != '.') return true;
  text.remove_prefix(1);
  double scale = 0.1;
  bool any = false;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    fraction += scale * (text.front() - '0');
    scale /= 10;
    text.remove_prefix(1);
    any = true;
  }
  return any;
}

/// whole * unit + fraction * unit added to `sum`; false on overflow of an int64.
bool add_scaled(std::uint64_t& sum, std::uint64_t whole, double fraction, std::uint64_t unit) {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (unit != 0 && whole > kMax / unit) return false;
  const std::uint64_t part = whole * unit + static_cast<std::uint64_t>(std::llround(fraction * static_cast<double>(unit)));
  if (part > kMax - sum) return false;
  sum += part;
  return true;
}

}  // namespace

Result<bool> parse_boolean(std::string_view text) {
  const std::string word = upper(trim(text));
  if (word == "TRUE" || word == "YES" || word == "ON") return true;
  if (word == "FALSE" || word == "NO" || word == "OFF") return false;
  return fail(Code::kInvalidArgument, "\"{}\" is neither true nor false", text);
}

Result<std::uint64_t> parse_integer(std::string_view text) {
  const std::string_view word = trim(text);
  std::uint64_t value = 0;
  const auto [end, ec] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (ec != std::errc{} || end != word.data() + word.size()) {
    return fail(Code::kInvalidArgument, "\"{}\" is not a whole number of zero or more", text);
  }
  return value;
}

Result<Duration> parse_duration(std::string_view text) {
  std::string_view rest = trim(text);
  if (auto integer = parse_integer(rest); integer) {
    if (*integer > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return fail(Code::kInvalidArgument, "\"{}\" is longer than 292 years", text);
    }
    return Duration(static_cast<std::int64_t>(*integer));
  }
  std::uint64_t sum = 0;
  const bool empty = rest.empty();
  while (!rest.empty()) {
    std::uint64_t whole = 0;
    double fraction = 0;
    if (!take_number(rest, whole, fraction)) break;
    const auto end = std::find_if(rest.begin(), rest.end(), [](char c) { return c >= '0' && c <= '9'; });
    const std::string_view name = rest.substr(0, static_cast<std::size_t>(end - rest.begin()));
    const auto* unit = std::find_if(kTimeUnits.begin(), kTimeUnits.end(), [&](const Unit& u) { return u.name == name; });
    if (unit == kTimeUnits.end()) {
      return fail(Code::kInvalidArgument, "\"{}\" is not a time: the units are h, m, s, ms, us and ns, as in 1m30s", text);
    }
    if (!add_scaled(sum, whole, fraction, unit->size)) {
      return fail(Code::kInvalidArgument, "\"{}\" is longer than 292 years", text);
    }
    rest.remove_prefix(name.size());
  }
  if (empty || !rest.empty()) return fail(Code::kInvalidArgument, "\"{}\" is not a time such as 5s, 300ms or 1h30m", text);
  return Duration(static_cast<std::int64_t>(sum));
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
  std::string_view rest = trim(text);
  std::uint64_t whole = 0;
  double fraction = 0;
  std::uint64_t sum = 0;
  if (take_number(rest, whole, fraction)) {
    std::string name = upper(trim(rest));
    if (name.size() > 1 && name.back() == 'B') name.pop_back();
    if (name == "B") name.clear();
    const auto* unit = std::find_if(kByteUnits.begin(), kByteUnits.end(), [&](const Unit& u) { return u.name == name; });
    if (unit != kByteUnits.end() && add_scaled(sum, whole, fraction, std::uint64_t{1} << unit->size)) return sum;
  }
  return fail(Code::kInvalidArgument, "\"{}\" is not a size such as 4MB, 512KB or 10GB", text);
}

Result<std::uint64_t> parse_bits(std::string_view text) {
  std::string_view rest = trim(text);
  std::uint64_t whole = 0;
  double fraction = 0;
  std::uint64_t sum = 0;
  if (take_number(rest, whole, fraction)) {
    std::string name = upper(trim(rest));
    if (name.ends_with("BIT")) name.resize(name.size() - 3);
    static constexpr std::array<Unit, 5> kUnits{
        {{"", 1}, {"K", 1'000}, {"M", 1'000'000}, {"G", 1'000'000'000}, {"T", 1'000'000'000'000}}};
    const auto* unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == name; });
    if (unit != kUnits.end() && add_scaled(sum, whole, fraction, unit->size)) return sum;
  }
  return fail(Code::kInvalidArgument, "\"{}\" is not a rate such as 200Mbit or 10Gbit", text);
}

std::string format_duration(Duration value) {
  auto left = static_cast<std::uint64_t>(value.count());
  if (left == 0) return "0s";
  static constexpr std::array<Unit, 6> kUnits{{{"h", 3600 * kNsPerSecond},
                                               {"m", 60 * kNsPerSecond},
                                               {"s", kNsPerSecond},
                                               {"ms", 1'000'000},
                                               {"us", 1'000},
                                               {"ns", 1}}};
  std::string out;
  for (const Unit& unit : kUnits) {
    if (left < unit.size) continue;
    out += fmt::format("{}{}", left / unit.size, unit.name);
    left %= unit.size;
  }
  return out;
}

std::string format_bytes(std::uint64_t value) {
  if (value == 0) return "0B";
  std::size_t power = 0;
  while (power + 1 < kByteUnits.size() && value % 1024 == 0) {
    value /= 1024;
    ++power;
  }
  return fmt::format("{}{}B", value, kByteUnits[power].name);
}

std::string format_bits(std::uint64_t value) {
  static constexpr std::array<std::string_view, 5> kNames{"bit", "Kbit", "Mbit", "Gbit", "Tbit"};
  std::size_t power = 0;
  while (power + 1 < kNames.size() && value != 0 && value % 1000 == 0) {
    value /= 1000;
    ++power;
  }
  return fmt::format("{}{}", value, kNames[power]);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace kraken::config
