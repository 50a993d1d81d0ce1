#include <CLI/CLI.hpp>

#include "tools/command.h"

namespace kraken::tools {

void add_commands(CLI::App& app, Invocation& invocation) {
  add_node(app, invocation);
  add_agent(app, invocation);
  add_status(app, invocation);
  add_push(app, invocation);
  add_pull(app, invocation);
  add_inspect(app, invocation);
  add_repair(app, invocation);
  add_ring(app, invocation);
  add_config(app, invocation);
  add_doctor(app, invocation);
  add_testfs(app, invocation);
}

}  // namespace kraken::tools
