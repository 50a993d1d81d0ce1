// raft_scenario: runs scenario files against the Raft core and compares what they print with what they expect.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include <fmt/format.h>

#include "consensus/raft/mutants.h"
#include "tests/scenario/commands.h"
#include "tests/scenario/script.h"

namespace {

using namespace kraken;
using namespace kraken::scenario;

constexpr const char* kUsage =
    "usage: raft_scenario [--rewrite] [--mutant N | --mutants FEWEST] PATH..\n"
    "  PATH        a scenario, or a folder of *.txt\n"
    "  --rewrite   write what was printed into the files: read the change with care before it is committed\n"
    "  --mutant N  with the N-th deliberate bug of consensus/raft/mutants.h\n"
    "  --mutants FEWEST  each of them in turn: so many at least must make some scenario fail\n";

std::string read(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error("cannot read it");
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> files_of(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path))
      if (entry.path().extension() == ".txt") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// What differs, in words; empty if nothing does. `script` gets what was printed.
std::string play(Script& script, const std::string& path) {
  std::string differences;
  Runner runner;
  for (Block& block : script.blocks) {
    std::vector<std::string> printed;
    for (const std::string& command : block.commands)
      for (std::string& line : runner.run(command)) printed.push_back(std::move(line));
    if (printed.empty()) printed.push_back("ok");
    if (printed != block.expected) differences += fmt::format("{}:{}: {}\n{}", path, block.line, block.commands.back(), diff(block.expected, printed));
    block.expected = std::move(printed);
  }
  return differences;
}

/// The header of every scenario says what it is, where the situation comes from and what must happen.
std::string missing_words(const Script& script) {
  std::string head;
  if (!script.blocks.empty())
    for (const std::string& line : script.blocks.front().before) head += line + "\n";
  std::string missing;
  for (const char* word : {"Situation:", "Source:", "Must:"})
    if (head.find(word) == std::string::npos) missing += std::string(missing.empty() ? "" : ", ") + word;
  return missing;
}

int run_all(const std::vector<std::string>& files, bool rewrite) {
  size_t failed = 0, commands = 0;
  for (const std::string& path : files) {
    std::string problem;
    try {
      Script script = parse(read(path));
      problem = play(script, path);
      for (const Block& block : script.blocks) commands += block.commands.size();
      if (const std::string missing = missing_words(script); !missing.empty()) problem += fmt::format("{}: the comment at the top lacks {}\n", path, missing);
      if (rewrite) std::ofstream(path) << print(script);
    } catch (const std::exception& e) {
      problem = fmt::format("{}: {}\n", path, e.what());
    }
    if (problem.empty()) continue;
    failed++;
    std::cout << problem;
  }
  std::cout << fmt::format("{} scenarios, {} commands, {} {}\n", files.size(), commands, failed, rewrite ? "rewritten" : "failed");
  return failed == 0 || rewrite ? 0 : 1;
}

bool some_fails(const std::vector<std::string>& files, std::string& which) {
  for (const std::string& path : files) {
    Script script = parse(read(path));
    if (play(script, path).empty()) continue;
    which = std::filesystem::path(path).filename().string();
    return true;
  }
  return false;
}

int run_mutants(const std::vector<std::string>& files, int fewest) {
  int count = 0;
  for (int m = 1; m < static_cast<int>(raft::Mutant::kCount); m++) {
    raft::active_mutant = static_cast<raft::Mutant>(m);
    std::string which;
    const bool found = some_fails(files, which);
    std::cout << fmt::format("mutant {:2}: {}\n", m, found ? which : "NOT FOUND");
    count += found ? 1 : 0;
  }
  std::cout << fmt::format("{} found, at least {} must be\n", count, fewest);
  return count >= fewest ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> paths;
  bool rewrite = false;
  int mutants = 0;
  for (int i = 1; i < argc; i++) {
    const std::string word = argv[i];
    if (word == "--rewrite") {
      rewrite = true;
    } else if (word == "--mutants" && i + 1 < argc) {
      mutants = std::stoi(argv[++i]);
    } else if (word == "--mutant" && i + 1 < argc) {
      raft::active_mutant = static_cast<raft::Mutant>(std::stoi(argv[++i]));
    } else if (word.starts_with("-")) {
      std::cerr << kUsage;
      return 2;
    } else {
      paths.push_back(word);
    }
  }
  const std::vector<std::string> files = files_of(paths);
  if (files.empty()) {
    std::cerr << kUsage;
    return 2;
  }
  return mutants > 0 ? run_mutants(files, mutants) : run_all(files, rewrite);
}
