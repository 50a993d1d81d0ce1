#include "tests/scenario/script.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace kraken::scenario {

Script parse(const std::string& text) {
  Script script;
  Block block;
  std::istringstream in(text);
  std::string line;
  bool expecting = false;
  for (size_t number = 1; std::getline(in, line); number++) {
    while (!line.empty() && line.back() == ' ') line.pop_back();
    if (expecting) {
      if (!line.empty()) {
        block.expected.push_back(line);
        continue;
      }
      script.blocks.push_back(std::exchange(block, {}));
      expecting = false;
    }
    if (line == "----") {
      if (block.commands.empty()) throw std::runtime_error("line " + std::to_string(number) + ": ---- without a command above it");
      expecting = true;
    } else if (line.empty() || line[0] == '#') {
      if (!block.commands.empty()) throw std::runtime_error("line " + std::to_string(number) + ": commands end with ----");
      // Blocks stand an empty line apart; only one between two comments is part of the text.
      if (!line.empty() || !block.before.empty()) block.before.push_back(line);
    } else {
      if (block.commands.empty()) block.line = number;
      block.commands.push_back(line);
    }
  }
  if (expecting) {
    script.blocks.push_back(std::move(block));
  } else {
    if (!block.commands.empty()) throw std::runtime_error("commands at the end without ----");
    script.after = std::move(block.before);
  }
  return script;
}

std::string print(const Script& script) {
  std::string out;
  const auto put = [&](const std::vector<std::string>& lines) {
    for (const std::string& line : lines) out += line + "\n";
  };
  for (size_t i = 0; i < script.blocks.size(); i++) {
    const Block& b = script.blocks[i];
    if (i != 0) out += "\n";
    put(b.before);
    put(b.commands);
    out += "----\n";
    put(b.expected);
  }
  if (!script.after.empty()) out += "\n";
  put(script.after);
  return out;
}

std::string diff(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  // Longest common subsequence; outputs are short.
  std::vector<std::vector<size_t>> common(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = a.size(); i-- > 0;)
    for (size_t j = b.size(); j-- > 0;) common[i][j] = a[i] == b[j] ? common[i + 1][j + 1] + 1 : std::max(common[i + 1][j], common[i][j + 1]);
  std::string out;
  size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    if (i < a.size() && j < b.size() && a[i] == b[j]) {
      out += "    " + a[i] + "\n";
      i++, j++;
    } else if (j == b.size() || (i < a.size() && common[i + 1][j] >= common[i][j + 1])) {
      out += "  - " + a[i++] + "\n";
    } else {
      out += "  + " + b[j++] + "\n";
    }
  }
  return out;
}

}  // namespace kraken::scenario
