// KR_RAFT_ASSERT stays on in release: a Raft replica that has broken its own invariant must stop before it speaks.
// For our own bugs only; what comes from peers or from the driver is answered, never asserted on.
// In the simulator's build it throws AssertionFailed, so that the failing seed can be printed.
#pragma once

#include <cstdio>
#include <cstdlib>

#ifdef KR_RAFT_MUTANTS
#include <stdexcept>
#include <string>
#endif

namespace kraken::raft {

#ifdef KR_RAFT_MUTANTS
struct AssertionFailed : std::logic_error {
  using std::logic_error::logic_error;
};
[[noreturn]] inline void assertion_failed(const char* file, int line, const char* text) {
  throw AssertionFailed(std::string(file) + ":" + std::to_string(line) + ": Raft invariant broken: " + text);
}
#else
[[noreturn]] inline void assertion_failed(const char* file, int line, const char* text) {
  std::fprintf(stderr, "%s:%d: Raft invariant broken: %s\n", file, line, text);
  std::abort();
}
#endif

}  // namespace kraken::raft

#define KR_RAFT_ASSERT(cond)                                                                \
  do {                                                                                      \
    if (!(cond)) [[unlikely]] ::kraken::raft::assertion_failed(__FILE__, __LINE__, #cond);  \
  } while (false)
