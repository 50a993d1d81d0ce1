#include "bench/probe.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

namespace kraken::bench {
namespace {

using Time = SteadyClock::time_point;

constexpr std::size_t kWritesMax = 1u << 20;

SteadyClock::duration of(double seconds) {
  return std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(seconds));
}

struct Write {
  std::uint64_t key = 0;
  Time sent;
};

class Probe {
 public:
  Probe(const ProbeOptions& options, Door& door) : options_(options), door_(door), written_(options.keys.keys) {}

  int run() {
    // Every key once before the fault: sessions are open and connections stand, as under any traffic.
    const Time start = SteadyClock::now();
    const Time before = start + of(options_.after);
    std::vector<bool> warm(options_.keys.keys);
    std::size_t cold = warm.size();
    const auto warmed = [&](std::uint64_t write, bool good) {
      const std::uint64_t key = writes_[write].key;
      if (!good || warm[key]) return;
      warm[key] = true;
      --cold;
    };
    while (SteadyClock::now() < before || cold > 0) {
      if (SteadyClock::now() > before + of(options_.timeout)) {
        std::fprintf(stderr, "probe: %zu keys could not be written before the fault\n", cold);
        return 1;
      }
      round(warmed);
    }
    fault_ = SteadyClock::now();
    if (const int code = std::system(options_.fault.c_str()); code != 0) {
      std::fprintf(stderr, "probe: \"%s\" ended with %d\n", options_.fault.c_str(), code);
      return 1;
    }
    std::size_t missing = written_.size();
    while (missing > 0 && SteadyClock::now() < *fault_ + of(options_.timeout)) {
      round([&](std::uint64_t write, bool good) {
        const Write& one = writes_[write];
        if (!good) ++refused_;
        if (!good || one.sent < *fault_ || written_[one.key]) return;
        written_[one.key] = SteadyClock::now();
        --missing;
      });
    }
    return print(missing);
  }

 private:
  /// One write of every key that is still to be written, then answers until the period is over.
  void round(const Door::Answered& answered) {
    const Time began = SteadyClock::now();
    ++rounds_;
    for (std::uint64_t key = 0; key < written_.size(); ++key) {
      if (written_[key] || writes_.size() >= kWritesMax) continue;
      writes_.push_back({.key = key, .sent = SteadyClock::now()});
      door_.send((rounds_ + key) % options_.to.size(), key, writes_.size() - 1);
    }
    door_.wait(began + of(options_.period_ms / 1e3), answered);
  }

  int print(std::size_t missing) const {
    if (missing > 0) {
      std::fprintf(stderr, "probe: %zu of %zu keys were not written within %.0f s of the fault\n", missing, written_.size(), options_.timeout);
      return 1;
    }
    const auto [first, last] = std::ranges::minmax(written_);
    const auto ms = [&](const std::optional<Time>& time) { return std::chrono::duration<double, std::milli>(*time - *fault_).count(); };
    std::printf(R"({"first_ms":%.2f,"all_ms":%.2f,"keys":%zu,"writes":%zu,"refused":%llu})" "\n", ms(first), ms(last), written_.size(),
                writes_.size(), static_cast<unsigned long long>(refused_));
    return 0;
  }

  const ProbeOptions& options_;
  Door& door_;
  std::vector<Write> writes_;
  std::vector<std::optional<Time>> written_;  // by key, after the fault
  std::optional<Time> fault_;
  std::uint64_t rounds_ = 0;
  std::uint64_t refused_ = 0;
};

}  // namespace

void add_probe_options(CLI::App& app, ProbeOptions& options) {
  app.add_option("--to", options.to, "addresses of the servers that the fault leaves alone")->delimiter(',')->required();
  app.add_option("--period-ms", options.period_ms, "between two writes of a key")->check(CLI::PositiveNumber);
  app.add_option("--after", options.after, "seconds until the fault");
  app.add_option("--timeout", options.timeout, "seconds");
  app.add_option("--fault", options.fault, "a shell command")->required();
  add_key_options(app, options.keys);
}

int run_probe(const ProbeOptions& options, Door& door) { return Probe(options, door).run(); }

}  // namespace kraken::bench
