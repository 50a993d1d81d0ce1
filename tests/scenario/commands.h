// The commands of a scenario (README.md lists them), one at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/scenario/cluster.h"

namespace kraken::scenario {

/// One line, taken apart: words without '=', and key=value.
struct Line {
  explicit Line(const std::string& text);
  std::string command;
  std::vector<std::string> words;
  std::vector<std::pair<std::string, std::string>> options;

  /// Failure if it is missing or no number.
  uint64_t number(size_t word) const;
  /// The value of `key`, once; nothing if it is not there. What is never asked for is an error: see done().
  std::optional<std::string> option(const std::string& key);
  bool flag(const std::string& word);
  void done() const;
};

class Runner {
 public:
  /// Runs one command and returns what it printed. A failure is printed too, as a line that begins with "FAILURE".
  std::vector<std::string> run(const std::string& text);

 private:
  void execute(Line& line);
  bool setup(Line& line);
  bool clients(Line& line);
  bool disks(Line& line);
  bool links(Line& line);
  bool looks(Line& line);
  Cluster& cluster();
  std::vector<uint64_t> everyone_or(const Line& line);

  raft::Options options_{.commit_at_once = true};  // one that lags would hide in each state what the scenario is about
  std::vector<Image> images_;  // until the first command that needs a cluster
  std::unique_ptr<Cluster> cluster_;
  raft::Seq ticket_ = 0;
};

}  // namespace kraken::scenario
