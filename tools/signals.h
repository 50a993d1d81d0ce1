#pragma once
// SIGTERM and SIGINT as an event to wait for, so that a process stops in order.

namespace kraken::tools {

/// Blocks SIGTERM, SIGINT and SIGHUP in this thread and all that it starts. First thing in main, before any thread.
void block_stop_signals();

/// Waits until one of them comes; its name. A second one ends the process at once (exit code 130).
const char* wait_for_stop();

}  // namespace kraken::tools
