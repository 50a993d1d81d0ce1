#include <algorithm>
#include <cstdio>

#include "tools/command.h"

namespace kraken::tools {

int exit_code_of(const Error& error) {
  switch (error.code) {
    case Code::kUnavailable:
    case Code::kOverloaded:
    case Code::kDeadlineExceeded:
    case Code::kOutcomeUnknown:
    case Code::kClosed: return kExitUnavailable;
    case Code::kNotFound: return kExitNotFound;
    case Code::kCorrupt:
    case Code::kDigestMismatch: return kExitDamaged;
    default: return kExitFailed;
  }
}

int report(const Error& error, std::string_view what) {
  std::string text = what.empty() ? error.detail : fmt::format("{}: {}", what, error.detail);
  for (std::size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 1)) text.insert(at + 1, "kraken: ");
  fmt::print(stderr, "kraken: {}\n", text);
  return exit_code_of(error);
}

std::vector<std::string> rewrite_words(std::vector<std::string> words, std::string_view shorts) {
  for (std::string& word : words) {
    if (word == "--") break;
    if (word.size() < 3 || word[0] != '-' || word[1] == '-') continue;
    const std::string_view name = std::string_view(word).substr(1, word.find('=') - 1);
    const bool letters = std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
    if (!letters) continue;  // a number, a path
    const bool is_short = shorts.find(name[0]) != std::string_view::npos;
    // -ojson is -o json; but no value of a short option is the name of an option.
    if (is_short && (name == "ojson" || name == "otable")) continue;
    word.insert(0, "-");
  }
  return words;
}

std::vector<std::string> repair_words(std::vector<std::string> words) {
  if (words.empty() || !words.front().starts_with("--") || words.front() == "--") return words;
  const auto flag = std::ranges::find(words, "--repair");
  if (flag == words.end()) return words;
  words.erase(flag);
  words.insert(words.begin(), "repair");
  return words;
}

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string human_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string human_duration(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<long>(seconds);
  if (whole < 3600) return fmt::format("{}m {}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h {}m", whole / 3600, whole % 3600 / 60);
  return fmt::format("{}d {}h", whole / 86400, whole % 86400 / 3600);
}

}  // namespace kraken::tools
