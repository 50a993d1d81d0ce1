// What the parser makes of a command line: every subcommand explains itself, wrong words are refused.

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/command.h"

namespace kraken::tools {
namespace {

class CommandLine : public testing::Test {
 protected:
  CommandLine() { add_commands(app_, invocation_); }
  void parse(std::vector<std::string> words) {
    std::reverse(words.begin(), words.end());
    app_.parse(std::move(words));
  }
  CLI::App app_{"test", "kraken"};
  Invocation invocation_;
};

void check_help(const CLI::App& command) {
  EXPECT_FALSE(command.get_description().empty()) << command.get_name();
  const auto below = command.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* one : below) check_help(*one);
  for (const CLI::Option* option : command.get_options()) EXPECT_FALSE(option->get_description().empty()) << command.get_name() << " " << option->get_name();
}

TEST_F(CommandLine, EverySubcommandAndOptionIsDescribed) { check_help(app_); }

TEST_F(CommandLine, ASubcommandLeavesWhatIsToBeDone) {
  parse({"status", "--host", "127.0.0.9", "-o", "json"});
  EXPECT_TRUE(invocation_.run);
  EXPECT_EQ(invocation_.output, Output::kJson);
}

TEST_F(CommandLine, WrongWordsAreRefused) {
  EXPECT_THROW(parse({"status", "--hots", "x"}), CLI::ParseError);
  EXPECT_THROW(parse({"status", "-o", "xml"}), CLI::ParseError);
  EXPECT_THROW(parse({"inspect", "scan"}), CLI::ParseError);
  EXPECT_THROW(parse({"inspect", "families", "--data", "x", "--host", "y"}), CLI::ParseError);
  EXPECT_THROW(parse({"node"}), CLI::ParseError);
}

}  // namespace
}  // namespace kraken::tools
