// raft_model: searches every course of a small group, up to limits, for a state that breaks an invariant.

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>

#include <fmt/format.h>

#include "consensus/raft/mutants.h"
#include "tests/model/search.h"

namespace {

using namespace kraken;
using namespace kraken::model;

constexpr const char* kUsage =
    "usage: raft_model [--states N] [--terms N] [--entries N] [--crashes N] [--beats N] [--proposals N] [--instant 1] [--mutant N | --mutants FEWEST] [-v]\n"
    "  --states N         stop after so many different states (default 1000000)\n"
    "  --terms, --entries, --crashes, --beats, --proposals   limits of one course (3, 4, 2, 2, 2)\n"
    "  --instant 1        disks finish at once: deeper courses\n"
    "  --mutant N         with the N-th deliberate bug of consensus/raft/mutants.h: prints the shortest course that shows it\n"
    "  --mutants FEWEST   each of them in turn: so many at least must be found\n"
    "  -v                 the number of states at each depth\n";

struct Run {
  Limits limits;
  uint64_t states = 1'000'000;
  bool verbose = false;
};

Result search(const Run& run) {
  const auto began = std::chrono::steady_clock::now();
  Search s(run.limits, run.states);
  Result result = s.run([&](size_t depth, uint64_t states) {
    if (run.verbose) std::cout << fmt::format("depth {:2}: {} states\n", depth, states) << std::flush;
  });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::cout << fmt::format("{} states, {} transitions, depth {}, {} values of a replica, {} messages, {:.1f} s, {:.0f} states/s{}\n", result.states, result.transitions, result.depth,
                           s.replica_values(), s.message_values(), seconds, static_cast<double>(result.states) / seconds,
                           result.exhausted ? ": all there are within the limits" : "");
  return result;
}

int run_mutants(const Run& run, int fewest) {
  int found = 0;
  for (int m = 1; m < static_cast<int>(raft::Mutant::kCount); m++) {
    raft::active_mutant = static_cast<raft::Mutant>(m);
    const Result result = search(run);
    std::cout << fmt::format("mutant {:2}: {}\n", m, result.violation.empty() ? "not found" : fmt::format("{}, after {} steps", result.violation, result.trace.size())) << std::flush;
    found += result.violation.empty() ? 0 : 1;
  }
  std::cout << fmt::format("{} found, at least {} must be\n", found, fewest);
  return found >= fewest ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Run run;
  int fewest = 0;
  for (int i = 1; i < argc; i++) {
    const std::string word = argv[i];
    if (word == "-v") {
      run.verbose = true;
      continue;
    }
    if (i + 1 == argc) {
      std::cerr << kUsage;
      return 2;
    }
    const uint64_t number = std::stoull(argv[++i]);
    if (word == "--states") {
      run.states = number;
    } else if (word == "--terms") {
      run.limits.terms = number;
    } else if (word == "--entries") {
      run.limits.entries = number;
    } else if (word == "--crashes") {
      run.limits.crashes = number;
    } else if (word == "--beats") {
      run.limits.beats = number;
    } else if (word == "--proposals") {
      run.limits.proposals = number;
    } else if (word == "--instant") {
      run.limits.instant_disk = number != 0;
    } else if (word == "--mutant") {
      raft::active_mutant = static_cast<raft::Mutant>(number);
    } else if (word == "--mutants") {
      fewest = static_cast<int>(number);
    } else {
      std::cerr << kUsage;
      return 2;
    }
  }
  if (run.limits.terms > kTermsMax || run.limits.entries > kEntriesMax || std::max({run.limits.crashes, run.limits.beats, run.limits.proposals}) > 200) {
    std::cerr << kUsage;
    return 2;
  }
  if (fewest > 0) return run_mutants(run, fewest);
  const Result result = search(run);
  if (result.violation.empty()) return 0;
  std::cout << result.violation << "\n";
  for (size_t i = 0; i < result.trace.size(); i++) std::cout << fmt::format("{:3}. {}\n", i + 1, result.trace[i]);
  return 1;
}
