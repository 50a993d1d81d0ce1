// `kraken`: one binary, one subcommand a job.

#include <csignal>
#include <cstdio>
#include <exception>

#include <CLI/CLI.hpp>

#include "tools/command.h"

namespace {

constexpr const char* kVersion = "0.1.0";

constexpr const char* kFooter = R"(Start here:
  kraken node  --config node.yaml      one node of the cluster
  kraken agent --config agent.yaml     on every host that pulls
  kraken status --host 127.0.0.1       how the cluster is

Exit codes: 0 done; 1 tried and failed; 2 the words make no sense; 3 the configuration is refused;
4 nothing answers or no quorum, try again; 5 no such thing; 6 damaged data.)";

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
  std::vector<std::string> words = rewrite_words(std::vector<std::string>(argv + 1, argv + argc), "coh");
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // help and version
    app.exit(e);
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
