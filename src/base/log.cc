#include "src/base/log.h"

#include <atomic>
#include <memory>

#include <nlohmann/json.hpp>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace kraken::log {
namespace {

std::atomic<Level> least_level{Level::kInfo};

struct Sink {
  Format format = Format::kConsole;
  std::string process;
  std::shared_ptr<spdlog::logger> logger;
};

Sink& sink() {
  static Sink instance = [] {
    Sink made;
    made.logger = std::make_shared<spdlog::logger>("kraken", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.logger->set_level(spdlog::level::trace);
    made.logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    return made;
  }();
  return instance;
}

spdlog::level::level_enum translate(Level level) {
  switch (level) {
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarn: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void configure(Level least, Format format, std::string process) {
  least_level = least;
  Sink& target = sink();
  target.format = format;
  target.process = std::move(process);
  if (format == Format::kJson) {
    target.logger->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})", spdlog::pattern_time_type::utc);
  }
}

bool enabled(Level level) noexcept { return level >= least_level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view event, std::string_view fields) {
  const Sink& target = sink();
  if (target.format == Format::kJson) {
    const auto quoted = [](std::string_view text) {
      return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    };
    target.logger->log(translate(level), "\"process\":{},\"event\":{},\"fields\":{}", quoted(target.process),
                       quoted(event), quoted(fields));
    return;
  }
  target.logger->log(translate(level), "{} {} {}", target.process, event, fields);
}

}  // namespace kraken::log
