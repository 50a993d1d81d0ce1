#include <CLI/CLI.hpp>

#include "tools/command.h"

namespace kraken::tools {

void add_commands(CLI::App& app, Invocation& invocation) {
  add_config(app, invocation);
  add_ring(app, invocation);
}

}  // namespace kraken::tools
