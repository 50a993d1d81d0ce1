#include "bench/load.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>

namespace kraken::bench {
namespace {

SteadyClock::duration of(double seconds) {
  return std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(seconds));
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

void add_key_options(CLI::App& app, Keys& keys) {
  app.add_option("--keys", keys.keys, "the counter {i} stays below this")->check(CLI::PositiveNumber);
  app.add_option("--groups", keys.groups, "{r} is the counter modulo this")->check(CLI::PositiveNumber);
  app.add_option("--values", keys.values, "{v} is one of these")->delimiter(',');
  app.add_option("--names", keys.names, "{n} is one of these")->delimiter(',');
}

std::string filled(std::string_view text, std::uint64_t counter, const Keys& keys) {
  const std::uint64_t i = counter % keys.keys;
  std::string out;
  out.reserve(text.size() + 8);
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view mark = text.substr(at, 3);
    if (mark == "{i}" || mark == "{r}") {
      out += std::to_string(mark == "{i}" ? i : i % keys.groups);
      at += 3;
    } else if (mark == "{n}" && !keys.names.empty()) {
      out += keys.names[i % keys.names.size()];
      at += 3;
    } else if (mark == "{v}" && !keys.values.empty()) {
      out += keys.values[counter / keys.keys % keys.values.size()];
      at += 3;
    } else {
      out += text[at++];
    }
  }
  return out;
}

void add_load_options(CLI::App& app, LoadOptions& options) {
  app.add_option("--to", options.to, "addresses, connections are dealt to them in turn")->delimiter(',')->required();
  app.add_option("--clients", options.clients)->check(CLI::PositiveNumber);
  app.add_option("--warm-up", options.warm_up, "seconds before anything counts");
  app.add_option("--seconds", options.seconds, "that count");
  app.add_option("--requests", options.requests, "instead of seconds: so many requests");
  add_key_options(app, options.keys);
}

Tally::Tally(const LoadOptions& options)
    : options_(options), start_(SteadyClock::now()), begin_(start_ + of(options.requests ? 0 : options.warm_up)),
      end_(begin_ + of(options.seconds)) {}

std::optional<std::uint64_t> Tally::next(SteadyClock::time_point now) {
  if (options_.requests ? sent_ >= options_.requests : now >= end_) return std::nullopt;
  return sent_++;
}

void Tally::answered(SteadyClock::time_point sent, SteadyClock::time_point now, bool good, const std::string& bad) {
  ++answers_;
  if (!good && first_bad_.empty()) first_bad_ = bad.empty() ? "no text" : bad;
  if (!options_.requests && (now < begin_ || now >= end_)) return;
  ++(good ? good_ : bad_);
  latencies_ms_.push_back(std::chrono::duration<float, std::milli>(now - sent).count());
}

double Tally::percentile(double p) const {
  if (latencies_ms_.empty()) return 0;
  const auto at = static_cast<std::size_t>(p * static_cast<double>(latencies_ms_.size()));
  return static_cast<double>(latencies_ms_[std::min(latencies_ms_.size() - 1, at)]);
}

int Tally::print(const char* program) {
  std::ranges::sort(latencies_ms_);
  const double took = std::chrono::duration<double>(SteadyClock::now() - start_).count();
  const double seconds = options_.requests ? took : options_.seconds;
  if (!first_bad_.empty()) std::fprintf(stderr, "%s: first bad answer: %s\n", program, first_bad_.c_str());
  std::printf(R"({"per_second":%.1f,"good":%llu,"bad":%llu,"answers":%llu,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,"seconds":%.3f,"client_cpu_seconds":%.3f})" "\n",
              static_cast<double>(good_) / seconds, static_cast<unsigned long long>(good_), static_cast<unsigned long long>(bad_),
              static_cast<unsigned long long>(answers_), percentile(0.5), percentile(0.99), percentile(1), took, cpu_seconds());
  return first_bad_.empty() ? 0 : 1;
}

}  // namespace kraken::bench
