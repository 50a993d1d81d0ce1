#include "tools/signals.h"

#include <csignal>
#include <cstring>
#include <thread>

#include <unistd.h>

namespace kraken::tools {
namespace {

constexpr int kExitInterrupted = 130;

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

void block_stop_signals() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

const char* wait_for_stop() {
  const sigset_t set = stop_signals();
  int number = 0;
  while (sigwait(&set, &number) != 0) {
  }
  // Whoever is impatient gets what he wants; what was acknowledged is on disk anyway.
  std::thread([set] {
    int again = 0;
    while (sigwait(&set, &again) != 0) {
    }
    ::_exit(kExitInterrupted);
  }).detach();
  return number == SIGINT ? "SIGINT" : number == SIGTERM ? "SIGTERM" : "SIGHUP";
}

}  // namespace kraken::tools
