#pragma once
// Logs: an event name, then key=value. `error` means that an operator must act, `warn` degraded, `info` a change of
// state; what happens per request is `debug`. Never a secret, never a body.
//   log::info("raft.became_leader", "group={} term={}", group, term);
// Threads: any.

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace kraken::log {

enum class Level { kDebug, kInfo, kWarn, kError };
enum class Format { kConsole, kJson };

/// Once, at start. Lines go to standard error. `process` is put on each line (for example "node origin0").
void configure(Level least, Format format, std::string process);
bool enabled(Level level) noexcept;
void write(Level level, std::string_view event, std::string_view fields);

template <class... Args>
void debug(std::string_view event, fmt::format_string<Args...> fields, Args&&... args) {
  if (enabled(Level::kDebug)) write(Level::kDebug, event, fmt::format(fields, std::forward<Args>(args)...));
}
template <class... Args>
void info(std::string_view event, fmt::format_string<Args...> fields, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, event, fmt::format(fields, std::forward<Args>(args)...));
}
template <class... Args>
void warn(std::string_view event, fmt::format_string<Args...> fields, Args&&... args) {
  if (enabled(Level::kWarn)) write(Level::kWarn, event, fmt::format(fields, std::forward<Args>(args)...));
}
template <class... Args>
void error(std::string_view event, fmt::format_string<Args...> fields, Args&&... args) {
  write(Level::kError, event, fmt::format(fields, std::forward<Args>(args)...));
}

}  // namespace kraken::log
