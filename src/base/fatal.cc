#include "src/base/fatal.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "src/base/log.h"

namespace kraken {
namespace {

struct Listeners {
  std::mutex mutex;  // guards all
  std::vector<const std::function<void(std::string_view)>*> all;
};

Listeners& listeners() {
  static auto* instance = new Listeners;
  return *instance;
}

}  // namespace

void end_process(std::string_view event, std::string_view fields) {
  static std::atomic<bool> ending{false};
  if (ending.exchange(true))
    for (;;) ::pause();
  {
    const std::scoped_lock lock(listeners().mutex);
    for (const auto* note : listeners().all) (*note)(fmt::format("{} {}", event, fields));
  }
  log::write(log::Level::kError, event, fields);
  ::_exit(kExitDisk);
}

LastWords::LastWords(std::function<void(std::string_view)> note) : note_(std::move(note)) {
  const std::scoped_lock lock(listeners().mutex);
  listeners().all.push_back(&note_);
}

LastWords::~LastWords() {
  const std::scoped_lock lock(listeners().mutex);
  std::erase(listeners().all, &note_);
}

}  // namespace kraken
