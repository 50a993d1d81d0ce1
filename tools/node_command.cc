// kraken node and kraken agent: the two daemons.

#include <cerrno>
#include <cstdio>
#include <thread>

#include <sched.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>

#include "config/load.h"
#include "src/agent/agent.h"
#include "src/base/log.h"
#include "src/net/file_pool.h"
#include "src/net/loop.h"
#include "src/node/node.h"
#include "tools/command.h"
#include "tools/signals.h"

namespace kraken::tools {
namespace {

struct Words {
  std::string file;
  std::string secrets;
  std::string host;
  std::string label;
  bool replace = false;
};

config::LoadOptions load_options(const Words& words, const std::string& host_key) {
  config::LoadOptions options;
  options.file = words.file;
  if (!words.secrets.empty()) options.secrets = words.secrets;
  if (!words.host.empty()) options.overrides.emplace_back(host_key, "\"" + words.host + "\"");
  if (words.replace) options.overrides.emplace_back("raft.replace", "true");
  if (!words.label.empty()) options.overrides.emplace_back("node.label", "\"" + words.label + "\"");
  return options;
}

void configure_log(const config::Log& log, std::string process) {
  const log::Level level = log.level == "debug"  ? log::Level::kDebug
                           : log.level == "warn" ? log::Level::kWarn
                           : log.level == "error" ? log::Level::kError
                                                  : log::Level::kInfo;
  log::configure(level, log.format == "json" ? log::Format::kJson : log::Format::kConsole, std::move(process));
}

/// Connections, files and tables need more descriptors than the usual soft limit of 1024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// A thread that is woken waits its turn instead of driving out one that runs: what it is woken for has become more by then. A node is
/// many threads that hand each other work, so under load that is a tenth of its time (docs/performance.md); with an idle core it
/// changes nothing. For all threads that come after. Whoever started the process with another policy knows why.
void prefer_batches() {
  if (::sched_getscheduler(0) != SCHED_OTHER) return;
  const sched_param none{};
  if (::sched_setscheduler(0, SCHED_BATCH, &none) != 0) log::warn("node.scheduler", "errno={} The usual policy stays", errno);
}

/// Says whom the node waits for, after a second and again every ten, and when it is ready.
class Narrator {
 public:
  explicit Narrator(const node::Node& node) : thread_([&node](const std::stop_token& stop) { run(node, stop); }) {}

 private:
  static void run(const node::Node& node, const std::stop_token& stop) {
    constexpr Duration kLook = std::chrono::milliseconds(100);
    constexpr Duration kPatience = std::chrono::seconds(1);
    constexpr Duration kRepeat = std::chrono::seconds(10);
    bool ready = false;
    MonotonicTime tell = system_clock().monotonic() + kPatience;
    while (!stop.stop_requested()) {
      const std::string waits_for = node.not_ready();
      const MonotonicTime now = system_clock().monotonic();
      if (waits_for.empty()) {
        if (!ready) log::info("node.ready", "label={}", node.label());
        tell = now + kPatience;
      } else if (now >= tell) {
        log::info("node.waiting", "label={} for=\"{}\"", node.label(), waits_for);
        tell = now + kRepeat;
      }
      ready = waits_for.empty();
      std::this_thread::sleep_for(kLook);
    }
  }
  std::jthread thread_;
};

int run_node(const Words& words) {
  block_stop_signals();
  auto loaded = config::load_node(load_options(words, "node.host"));
  if (!loaded) return report(loaded.error()), kExitConfig;
  auto label = config::own_label(loaded->config, config::host_identity());
  if (!label) return report(label.error()), kExitConfig;
  configure_log(loaded->config.log, "node " + *label);
  for (const std::string& warning : loaded->warnings) log::warn("config.ignored", "{}", warning);
  raise_descriptor_limit();
  prefer_batches();
  auto opened = node::Node::open(std::move(loaded->config), kVersion);
  if (!opened) return report(opened.error(), "node " + *label);
  const std::unique_ptr<node::Node> node = *std::move(opened);
  if (auto started = node->start(); !started) return report(started.error(), "node " + *label);
  {
    const Narrator narrator(*node);
    const char* signal = wait_for_stop();
    log::info("node.stopping", "signal={}", signal);
  }
  node->stop();
  log::info("node.stopped", "label={}", *label);
  return kExitOk;
}

int run_agent(const Words& words) {
  block_stop_signals();
  auto loaded = config::load_agent(load_options(words, "agent.host"));
  if (!loaded) return report(loaded.error()), kExitConfig;
  const config::AgentConfig config = loaded->config;
  configure_log(config.log, "agent " + config.agent.host);
  for (const std::string& warning : loaded->warnings) log::warn("config.ignored", "{}", warning);
  raise_descriptor_limit();
  net::Loops loops(config.threads.loops != 0 ? config.threads.loops : std::max(1u, std::thread::hardware_concurrency()));
  net::FilePool pool(config.threads.files, config.threads.files_queue);
  auto opened = agent::Agent::open(config, loops, pool);
  if (!opened) return report(opened.error(), "agent " + config.agent.host);
  const std::unique_ptr<agent::Agent> agent = *std::move(opened);
  if (auto started = agent->start(); !started) return report(started.error(), "agent " + config.agent.host);
  log::info("agent.listening", "host={} registry={} peer={} server={}", config.agent.host, agent->ports().registry, agent->ports().peer,
            agent->ports().server);
  const char* signal = wait_for_stop();
  log::info("agent.stopping", "signal={}", signal);
  agent->stop();
  log::info("agent.stopped", "host={}", config.agent.host);
  return kExitOk;
}

CLI::App* add_daemon(CLI::App& app, Invocation& invocation, const char* name, const char* help, const std::shared_ptr<Words>& words,
                     int (*run)(const Words&)) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("-c,--config", words->file, "The YAML file; `kraken config print` shows every setting")->required();
  command->add_option("--secrets", words->secrets, "A file laid on top, for passwords and tokens");
  command->callback([&invocation, words, run] { invocation.run = [words, run] { return run(*words); }; });
  return command;
}

}  // namespace

void add_node(CLI::App& app, Invocation& invocation) {
  auto words = std::make_shared<Words>();
  CLI::App* command = add_daemon(app, invocation, "node", "Run one node of the cluster", words, run_node);
  command->add_option("--host", words->host, "Instead of node.host, so that one file serves several nodes");
  command->add_option("--label", words->label, "Instead of node.label");
  command->add_flag("--replace", words->replace, "This empty metadata folder takes the place of the label's old one, which is gone for good");
  command->footer(
      "Examples:\n  kraken node --config /etc/kraken/node.yaml\n"
      "  kraken node --config config/examples/three-nodes-on-one-host/node.yaml --host 127.0.0.2\n\n"
      "SIGTERM or SIGINT stops it in order; a second one at once. Exit code 3: the configuration is refused.");
}

void add_agent(CLI::App& app, Invocation& invocation) {
  auto words = std::make_shared<Words>();
  CLI::App* command = add_daemon(app, invocation, "agent", "Run the agent of a host that pulls images", words, run_agent);
  command->add_option("--host", words->host, "Instead of agent.host");
  command->footer(
      "Example:\n  kraken agent --config /etc/kraken/agent.yaml &\n  docker pull localhost:16000/library/app:v1\n\n"
      "SIGTERM or SIGINT stops it in order; a second one at once. Exit code 3: the configuration is refused.");
}

}  // namespace kraken::tools
