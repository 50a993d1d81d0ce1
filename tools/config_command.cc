#include <cstdio>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "config/load.h"
#include "tools/command.h"

namespace kraken::tools {
namespace {

struct Words {
  std::string file;
  std::string secrets;
  std::string kind = "auto";
};

/// A file that has an `agent` section, or none of a node's, is an agent's.
bool looks_like_agent(const config::LoadOptions& options) {
  const auto node = config::load_node(options);
  if (node) return false;
  return config::load_agent(options).has_value() || node.error().detail.find("unknown key agent") != std::string::npos;
}

int load(const Words& words, bool print) {
  config::LoadOptions options;
  options.file = words.file;
  if (!words.secrets.empty()) options.secrets = words.secrets;
  const bool agent = words.kind == "agent" || (words.kind == "auto" && looks_like_agent(options));
  std::vector<std::string> warnings;
  std::string text;
  std::string label;
  if (agent) {
    auto loaded = config::load_agent(options);
    if (!loaded) return report(loaded.error()), kExitConfig;
    warnings = loaded->warnings;
    text = config::print(loaded->config);
  } else {
    auto loaded = config::load_node(options);
    if (!loaded) return report(loaded.error()), kExitConfig;
    warnings = loaded->warnings;
    text = config::print(loaded->config);
    const auto own = config::own_label(loaded->config, config::host_identity());
    label = own ? fmt::format(", here the node {}", *own) : fmt::format("\nkraken: on this machine: {}", own.error().detail);
  }
  for (const std::string& warning : warnings) fmt::print(stderr, "kraken: warning: {}\n", warning);
  if (print) {
    fmt::print("{}", text);
  } else {
    fmt::print("{}: good for `kraken {}`{}\n", words.file, agent ? "agent" : "node", label);
  }
  return kExitOk;
}

}  // namespace

void add_config(CLI::App& app, Invocation& invocation) {
  CLI::App* config = app.add_subcommand("config", "Check and explain configuration files");
  config->require_subcommand(1);
  auto words = std::make_shared<Words>();
  const auto options = [&](CLI::App* command) {
    command->add_option("-c,--config,file", words->file, "The YAML file")->required();
    command->add_option("--secrets", words->secrets, "A file laid on top, for passwords and tokens");
    command->add_option("--kind", words->kind, "Whose file it is")->check(CLI::IsMember({"auto", "node", "agent"}))->capture_default_str();
  };
  CLI::App* check = config->add_subcommand("check", "Load a file as `kraken node` or `kraken agent` would, and say what is wrong");
  check->footer("Example:\n  kraken config check --config /etc/kraken/node.yaml");
  options(check);
  check->callback([&invocation, words] { invocation.run = [words] { return load(*words, false); }; });
  CLI::App* print = config->add_subcommand("print", "The whole configuration, defaults included, after extends and environment");
  print->footer("Example:\n  kraken config print --config node.yaml | less");
  options(print);
  print->callback([&invocation, words] { invocation.run = [words] { return load(*words, true); }; });
  CLI::App* schema = config->add_subcommand("schema", "JSON schema for editors");
  schema->add_option("kind", words->kind, "node or agent")->check(CLI::IsMember({"node", "agent"}))->required();
  schema->footer("Example:\n  kraken config schema node > node.schema.json");
  schema->callback([&invocation, words] {
    invocation.run = [words] {
      fmt::print("{}", words->kind == "agent" ? config::agent_schema() : config::node_schema());
      return kExitOk;
    };
  });
  CLI::App* reference = config->add_subcommand("reference", "docs/reference/config.md");
  reference->callback([&invocation] {
    invocation.run = [] {
      fmt::print("{}", config::reference_page());
      return kExitOk;
    };
  });
}

void add_output_option(CLI::App& command, Invocation& invocation) {
  command
      .add_option_function<std::string>(
          "-o,--output", [&invocation](const std::string& word) { invocation.output = word == "json" ? Output::kJson : Output::kTable; },
          "table or json")
      ->check(CLI::IsMember({"table", "json"}));
}

}  // namespace kraken::tools
