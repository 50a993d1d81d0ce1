// Handlers in virtual time: metadata::Client, whose coroutines run on an Asio context that only events of the simulation turn, over
// a Port that is one simulated node. Nothing of it looks at a clock.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/sim/whole/history.h"
#include "tests/sim/whole/node.h"

namespace kraken::sim::whole {

/// What turns the coroutines. Outlives the world, whose events and nodes hold those that wait.
struct VirtualLoop;
std::shared_ptr<VirtualLoop> make_virtual_loop();

/// What a client of the cluster may do. Each runs the calls of the HTTP handler of that kind at one node and tells the
/// history; `done` is called once, at the latest when the client's patience ends (then the operation's outcome is unknown, and
/// the handler goes on without it).
class Handlers {
 public:
  Handlers(World& world, std::shared_ptr<VirtualLoop> loop) : world_(world), loop_(std::move(loop)) {}

  enum class What : uint8_t {
    kPutTag,
    kGetTag,
    kSwapTag,       // reads, then writes conditionally
    kDeleteTag,
    kPushManifest,  // blob, reference, manifest and tag, as a push does
    kRaceMetainfo,  // several clients put the metainfo of one blob, cut differently
    kAddTask,
    kWorkTask,      // list, claim, finish or postpone
    kAnnounce,
    kListTags,
    kCount,
  };
  struct Request {
    What what = What::kGetTag;
    size_t client = 0, node = 0;
    std::string repository, tag;
    uint64_t number = 0;
    Time patience{};
  };
  using Done = std::function<void(bool ok)>;
  void start(Request request, Done done);
  uint64_t running() const { return *running_; }

  struct Call;

 private:
  World& world_;
  std::shared_ptr<VirtualLoop> loop_;
  std::shared_ptr<uint64_t> running_ = std::make_shared<uint64_t>(0);
  uint64_t next_value_ = 1;
};

}  // namespace kraken::sim::whole
