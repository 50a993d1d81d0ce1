// kraken_sim: runs seeds of whole nodes.
//
//   kraken_sim --seed N            one seed (-v prints what happens)
//   kraken_sim --from N --count M  many; every tenth runs twice and must take the same course
//   kraken_sim --mutant NAME ...   with a deliberate bug; then finding it is success for whoever asked
//   kraken_sim --mutants           each deliberate bug must be found within --count seeds (--only NAME,NAME: these)
//   kraken_sim --list-mutants
//   kraken_sim ... --bare          without the seeds that failed once, which every run of many begins with
//   kraken_sim --seed N --shrink   tries to reach the same failure with less, and prints the command of the least
//   what --shrink finds: --until MS --faults N --nodes N --shards N --without FAULT[,FAULT]
//
// Exit code 0: all held (or every mutant was found). 1: something broke; the seed and the command that replays it are printed.
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "consensus/raft/assert.h"
#include "tests/sim/whole/cluster.h"
#include "tests/sim/whole/mutants.h"

namespace {

using namespace kraken::sim;
using namespace kraken::sim::whole;
using Cluster = kraken::sim::whole::Cluster;
using RunResult = kraken::sim::whole::RunResult;

// Seeds that found bugs once, here or in the code: docs/testing.md has the table.
const std::vector<uint64_t> kOnceFailed = {1160, 1647, 3489, 100033, 100040, 100390, 200290, 301594, 319580, 324176, 420287, 500212, 701489};

struct Failure {
  std::string invariant, detail;
};

struct Outcome {
  RunResult result;
  std::optional<Failure> failure;
  Time at{};
  uint64_t faults = 0;
};

Outcome run_seed(uint64_t seed, const Reduction& reduction, bool verbose) {
  Outcome o;
  Cluster cluster(seed, reduction, verbose);
  try {
    o.result = cluster.run();
  } catch (const Violation& v) {
    o.failure = Failure{v.invariant, v.what()};
  } catch (const kraken::raft::AssertionFailed& a) {
    o.failure = Failure{"assertion", a.what()};
  }
  o.at = cluster.now();
  o.faults = cluster.faults();
  return o;
}

struct Arguments {
  std::string program;
  uint64_t from = 1, count = 1;
  bool counted = false, verbose = false, all_mutants = false, shrink = false, bare = false;
  const NamedMutant* mutant = nullptr;
  std::vector<std::string> only;
  Reduction reduction;
};

std::string words(const Reduction& r) {
  std::string text;
  if (r.until_ms != 0) text += fmt::format(" --until {}", r.until_ms);
  if (r.faults_max != Reduction{}.faults_max) text += fmt::format(" --faults {}", r.faults_max);
  if (r.nodes_max != Reduction{}.nodes_max) text += fmt::format(" --nodes {}", r.nodes_max);
  if (r.shards_max != Reduction{}.shards_max) text += fmt::format(" --shards {}", r.shards_max);
  std::string without;
  for (size_t f = 0; f < kFaultNames.size(); f++)
    if (r.without_fault(static_cast<Fault>(f))) without += (without.empty() ? "" : ",") + std::string(kFaultNames[f]);
  if (!without.empty()) text += " --without " + without;
  return text;
}

std::string command(const Arguments& a, uint64_t seed, const Reduction& reduction) {
  return fmt::format("{} --seed {}{}{}", a.program, seed, words(reduction), a.mutant == nullptr ? std::string() : fmt::format(" --mutant {}", a.mutant->name));
}

void print_failure(const Arguments& a, uint64_t seed, const Outcome& o) {
  fmt::print("seed {}: invariant broken: {}\n  {}\n  after {} ms and {} faults\n", seed, o.failure->invariant, o.failure->detail, o.at.count() / 1'000'000, o.faults);
  fmt::print("replay: {}\nshrink: {} --shrink\n", command(a, seed, a.reduction), command(a, seed, a.reduction));
}

int run_seeds(const Arguments& a) {
  RunResult sum;
  std::vector<uint64_t> seeds;
  if (a.count > 1 && !a.bare) seeds = kOnceFailed;
  for (uint64_t seed = a.from; seed < a.from + a.count; seed++) seeds.push_back(seed);
  int failures = 0;
  for (uint64_t seed : seeds) {
    Outcome o = run_seed(seed, a.reduction, a.verbose);
    if (!o.failure && seed % 10 == 0) {
      const Outcome again = run_seed(seed, a.reduction, false);
      if (again.failure || again.result.trace != o.result.trace) o.failure = Failure{"determinism", "the same seed took another course"};
    }
    if (o.failure) {
      print_failure(a, seed, o);
      std::fflush(stdout);
      if (++failures >= 3) return 1;
      continue;
    }
    sum.steps += o.result.steps;
    sum.elections += o.result.elections;
    sum.commits += o.result.commits;
    sum.writes += o.result.writes;
    sum.reads += o.result.reads;
    sum.snapshots += o.result.snapshots;
    sum.faults += o.result.faults;
    sum.searched += o.result.searched;
    sum.compared += o.result.compared;
    sum.altered += o.result.altered;
    sum.unknown += o.result.unknown;
    sum.rings += o.result.rings;
    sum.configurations += o.result.configurations;
    if (a.count == 1)
      fmt::print("seed {}: trace {:016x}; {} faults, {} steps, {} entries, {} requests without an answer\n", seed, o.result.trace, o.result.faults, o.result.steps, o.result.commits,
                 o.result.unknown);
  }
  if (failures > 0) return 1;
  fmt::print("{} seeds from {}: {} faults, {} steps, {} elections, {} entries committed, {} writes and {} reads answered, {} operations searched for an order, "
             "{} states compared, {} snapshots, {} rings, {} configurations, {} altered packets refused; every invariant held\n",
             a.count, a.from, sum.faults, sum.steps, sum.elections, sum.commits, sum.writes, sum.reads, sum.searched, sum.compared, sum.snapshots, sum.rings, sum.configurations, sum.altered);
  return 0;
}

int hunt_mutants(const Arguments& a) {
  int missed = 0, hunted = 0;
  for (const NamedMutant& m : all_mutants()) {
    if (!a.only.empty() && std::find(a.only.begin(), a.only.end(), m.name) == a.only.end()) continue;
    hunted++;
    activate(&m);
    bool found = false;
    for (uint64_t seed = a.from; seed < a.from + a.count && !found; seed++) {
      const Outcome o = run_seed(seed, a.reduction, false);
      if (!o.failure) continue;
      fmt::print("mutant {:<6} {:<26} found by seed {:<5} {}: {}\n", m.layer, m.name, seed, o.failure->invariant, o.failure->detail);
      found = true;
    }
    if (!found) {
      fmt::print("mutant {:<6} {:<26} NOT FOUND in {} seeds\n", m.layer, m.name, a.count);
      missed++;
    }
    std::fflush(stdout);
  }
  fmt::print("{} of {} mutants found\n", hunted - missed, hunted);
  return missed == 0 ? 0 : 1;
}

/// Smaller runs that break the same invariant: no longer than needed, then without whole kinds of faults, then with fewer faults,
/// nodes and shards, as long as anything helps.
int shrink(const Arguments& a) {
  const Outcome first = run_seed(a.from, a.reduction, false);
  if (!first.failure) {
    fmt::print("seed {} does not fail\n", a.from);
    return 2;
  }
  Reduction best = a.reduction;
  Outcome last = first;
  const auto attempt = [&](Reduction r) {
    const Outcome o = run_seed(a.from, r, false);
    if (!o.failure || o.failure->invariant != first.failure->invariant) return false;
    best = r;
    last = o;
    return true;
  };
  for (bool again = true; again;) {
    again = false;
    const auto improve = [&](auto&& change) {
      Reduction r = best;
      if (change(r) && attempt(r)) again = true;
    };
    improve([&](Reduction& r) { return r.faults_max > last.faults && (r.faults_max = last.faults, true); });
    for (size_t f = 0; f < kFaultNames.size(); f++)
      improve([&](Reduction& r) { return !r.without_fault(static_cast<Fault>(f)) && (r.without |= 1u << f, true); });
    for (uint64_t less : {last.faults / 2, last.faults * 3 / 4, last.faults - 1})
      improve([&](Reduction& r) { return less < r.faults_max && last.faults > 0 && (r.faults_max = less, true); });
    for (size_t nodes : {size_t{1}, size_t{2}, size_t{3}, size_t{4}})
      improve([&](Reduction& r) { return nodes < r.nodes_max && (r.nodes_max = nodes, true); });
    improve([&](Reduction& r) { return r.shards_max > 1 && (r.shards_max = 1, true); });
    const uint64_t length = best.until_ms == 0 ? 8'000 : best.until_ms;
    for (uint64_t ms : {length / 4, length / 2, length * 3 / 4})
      improve([&](Reduction& r) { return ms > 0 && (r.until_ms = ms, true); });
  }
  print_failure(a, a.from, last);
  fmt::print("reduced: {}\n", command(a, a.from, best));
  return 1;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return parts;
}

bool parse(int argc, char** argv, Arguments& a) {
  for (int i = 1; i < argc; i++) {
    const std::string_view arg = argv[i];
    const auto text = [&]() -> std::string_view { return i + 1 < argc ? argv[++i] : ""; };
    const auto number = [&]() -> uint64_t { return std::strtoull(std::string(text()).c_str(), nullptr, 10); };
    if (arg == "--seed") {
      a.from = number();
      a.count = 1;
      a.counted = true;
    } else if (arg == "--from") {
      a.from = number();
    } else if (arg == "--count") {
      a.count = number();
      a.counted = true;
    } else if (arg == "-v") {
      a.verbose = true;
    } else if (arg == "--mutants") {
      a.all_mutants = true;
    } else if (arg == "--only") {
      a.only = split(text());
    } else if (arg == "--bare") {
      a.bare = true;
    } else if (arg == "--shrink") {
      a.shrink = true;
    } else if (arg == "--until") {
      a.reduction.until_ms = number();
    } else if (arg == "--faults") {
      a.reduction.faults_max = number();
    } else if (arg == "--nodes") {
      a.reduction.nodes_max = number();
    } else if (arg == "--shards") {
      a.reduction.shards_max = number();
    } else if (arg == "--without") {
      for (const std::string& name : split(text()))
        for (size_t f = 0; f < kFaultNames.size(); f++)
          if (kFaultNames[f] == name) a.reduction.without |= 1u << f;
    } else if (arg == "--list-mutants") {
      for (const NamedMutant& m : all_mutants()) fmt::print("{} {}\n", m.layer, m.name);
      std::exit(0);
    } else if (arg == "--mutant") {
      a.mutant = find_mutant(text());
      if (a.mutant == nullptr) return false;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  a.program = argv[0];
  if (!parse(argc, argv, a)) {
    fmt::print(stderr, "usage: {} [--seed N | --from N --count M] [--mutant NAME] [--mutants [--only A,B]] [--list-mutants] [--bare] [--shrink] [-v]\n"
                       "          [--until MS] [--faults N] [--nodes N] [--shards N] [--without FAULT,FAULT]\n", argv[0]);
    return 2;
  }
  if (!a.counted) a.count = 500;
  if (a.all_mutants) return hunt_mutants(a);
  activate(a.mutant);
  return a.shrink ? shrink(a) : run_seeds(a);
}
