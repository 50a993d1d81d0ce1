#include "tools/progress.h"

#include <algorithm>
#include <cstdio>

#include <unistd.h>

#include "tools/command.h"

namespace kraken::tools {
namespace {
constexpr std::size_t kBarWidth = 30;
}

Progress::Progress(std::string verb) : verb_(std::move(verb)), terminal_(::isatty(STDERR_FILENO) != 0), start_(system_clock().monotonic()) {}

void Progress::moved(std::uint64_t bytes) {
  moved_ += bytes;
  moved_by_wire_ += bytes;
  draw(false);
}

void Progress::done(const std::string& name, std::uint64_t bytes, std::string_view how) {
  if (how == "there already") moved_ += bytes;
  if (terminal_) {
    draw(false);
  } else {
    fmt::print(stderr, "{} {} {}\n", name.substr(0, 19), human_bytes(static_cast<double>(bytes)), how);
  }
}

void Progress::draw(bool last) {
  if (!terminal_) return;
  const MonotonicTime now = system_clock().monotonic();
  if (!last && now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  const double seconds = std::max(1e-3, std::chrono::duration<double>(now - start_).count());
  const double rate = static_cast<double>(moved_by_wire_) / seconds;
  const double share = total_ == 0 ? 1 : std::min(1.0, static_cast<double>(moved_) / static_cast<double>(total_));
  const auto full = static_cast<std::size_t>(share * kBarWidth);
  const double left = rate > 0 ? static_cast<double>(total_ - std::min(moved_, total_)) / rate : 0;
  fmt::print(stderr, "\r\x1b[K{} [{}{}] {:3.0f} %  {}/s  {}", verb_, std::string(full, '='), std::string(kBarWidth - full, ' '), share * 100,
             human_bytes(rate), last ? "" : human_duration(left) + " left");
  if (last) fmt::print(stderr, "\n");
}

void Progress::finish() {
  draw(true);
  const double seconds = std::max(1e-3, std::chrono::duration<double>(system_clock().monotonic() - start_).count());
  fmt::print(stderr, "{} moved in {}, {}/s\n", human_bytes(static_cast<double>(moved_by_wire_)), human_duration(seconds),
             human_bytes(static_cast<double>(moved_by_wire_) / seconds));
}

}  // namespace kraken::tools
