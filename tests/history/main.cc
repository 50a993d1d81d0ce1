// history_check FILE [--seconds N]: is the recorded history of each key linearizable? Format: tests/history/record.h.
// One line for each key, and around each violation an excerpt. Exit code 0: all are; 1: one is not; 2: no verdict within
// the budget, or the file is not readable.

#include <charconv>
#include <fstream>
#include <string_view>

#include <fmt/format.h>

#include "tests/history/record.h"

namespace {

using namespace kraken::history;

int run(const char* path, std::chrono::seconds seconds) {
  std::ifstream file(path);
  if (!file) {
    fmt::print(stderr, "{}: cannot be opened\n", path);
    return 2;
  }
  const auto recording = read_recording(file);
  if (!recording) {
    fmt::print(stderr, "{}: {}\n", path, recording.error().detail);
    return 2;
  }
  std::size_t illegal = 0, unknown = 0, operations = 0;
  for (const auto& [key, recorded] : recording->histories) {
    const auto began = std::chrono::steady_clock::now();
    const auto history = settle_pending(recorded);
    const auto report = check(RegisterModel{}, history, {.configurations_max = 3'000'000, .time = seconds});
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
    const char* word = report.verdict == Verdict::kOk ? "ok" : report.verdict == Verdict::kIllegal ? "ILLEGAL" : "UNKNOWN";
    fmt::print("{:<8} {} ({} operations, {} configurations, {:.1f} ms)\n", word, key, recorded.size(),
               report.configurations, ms);
    operations += recorded.size();
    illegal += report.verdict == Verdict::kIllegal;
    unknown += report.verdict == Verdict::kUnknown;
    if (report.verdict != Verdict::kOk) fmt::print("{}", excerpt(history, report, key, *recording));
  }
  fmt::print("{}: {} keys, {} operations, {} illegal, {} unknown\n", illegal + unknown == 0 ? "LINEARIZABLE" : "FAILED",
             recording->histories.size(), operations, illegal, unknown);
  return illegal != 0 ? 1 : unknown != 0 ? 2 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = 60;
  const bool timed = argc == 4 && std::string_view(argv[2]) == "--seconds";
  if (timed) {
    const std::string_view text = argv[3];
    if (std::from_chars(text.data(), text.data() + text.size(), seconds).ec != std::errc{}) seconds = -1;
  }
  if ((argc != 2 && !timed) || seconds < 0) {
    fmt::print(stderr, "usage: history_check FILE [--seconds N]\n");
    return 2;
  }
  return run(argv[1], std::chrono::seconds(seconds));
}
