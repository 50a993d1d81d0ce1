// `kraken`: one binary, one subcommand a job.

#include <csignal>
#include <cstdio>
#include <exception>

#include <CLI/CLI.hpp>

#include "config/values.h"
#include "tools/command.h"

namespace {

constexpr const char* kFooter = R"(Start here:
  kraken node  --config node.yaml      one node of the cluster
  kraken agent --config agent.yaml     on every host that pulls
  kraken status --host 127.0.0.1       how the cluster is

Exit codes: 0 done; 1 tried and failed; 2 the words make no sense; 3 the configuration is refused;
4 nothing answers or no quorum, try again; 5 no such thing; 6 damaged data;
70 the disk failed under a running node, which may be started again.)";

/// CLI11's sentence, or, where the first word is no subcommand, the one that was probably meant.
std::string explain_usage(CLI::App& app, const CLI::ParseError& error, const std::string& first) {
  if (first.empty()) return "say what to do: `kraken --help` lists the subcommands";
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  std::string nearest;
  std::size_t best = first.size() / 2 + 1;
  for (const CLI::App* command : commands) {
    const std::size_t distance = kraken::config::edit_distance(first, command->get_name());
    if (distance == 0) {
      std::string usage = command->get_name();
      for (const CLI::App* below : command->get_subcommands()) usage += " " + below->get_name();
      return fmt::format("{}; see `kraken {} --help`", error.what(), usage);
    }
    if (distance < best) {
      best = distance;
      nearest = command->get_name();
    }
  }
  if (first.starts_with("-")) return fmt::format("{}; see `kraken --help`", error.what());
  if (nearest.empty()) return fmt::format("there is no subcommand {}; `kraken --help` lists them", first);
  return fmt::format("there is no subcommand {}; did you mean `kraken {}`?", first, nearest);
}

int parse_and_run(int argc, char** argv) {
  using namespace kraken::tools;
  CLI::App app("A docker registry that stays up, and agents that pull from their neighbours", "kraken");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("kraken ") + kVersion);
  app.set_help_all_flag("--help-all", "Help of every subcommand");
  Invocation invocation;
  add_commands(app, invocation);
  CLI::App* version = app.add_subcommand("version", "The version of this binary");
  version->callback([&invocation] {
    invocation.run = [] {
      fmt::print("kraken {}\n", kVersion);
      return int{kExitOk};
    };
  });
  std::vector<std::string> words = repair_words(rewrite_words(std::vector<std::string>(argv + 1, argv + argc), "coh"));
  const std::string first = words.empty() ? "" : words.front();
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // help and version
    fmt::print(stderr, "kraken: {}\n", explain_usage(app, e, first));
    return kExitUsage;
  }
  return invocation.run ? invocation.run() : int{kExitUsage};
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return parse_and_run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "kraken: {}; this is a bug, please report it with the command line\n", e.what());
    return kraken::tools::kExitFailed;
  }
}
