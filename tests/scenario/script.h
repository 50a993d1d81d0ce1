// The text of a scenario: comments, and blocks of commands with what they must print.
//
//   # a comment
//   command
//   command
//   ----
//   expected output, up to an empty line
#pragma once

#include <string>
#include <vector>

namespace kraken::scenario {

struct Block {
  std::vector<std::string> before;    // comments and empty lines above it, as they are
  std::vector<std::string> commands;
  std::vector<std::string> expected;
  size_t line = 0;                    // of the first command
};

struct Script {
  std::vector<Block> blocks;
  std::vector<std::string> after;  // comments at the end
};

/// std::runtime_error with a line number if it is not of that form.
Script parse(const std::string& text);
std::string print(const Script& script);
/// Lines that differ, marked - (expected) and + (printed), with the equal ones around them.
std::string diff(const std::vector<std::string>& expected, const std::vector<std::string>& printed);

}  // namespace kraken::scenario
