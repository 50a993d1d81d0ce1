// Room on the disk under the store: one that is full takes no proposals and leads nothing (consensus §2.5).

#include "consensus/group/engine.h"

#include "src/base/log.h"

namespace kraken::group {

/// Off the loop, since a sick disk may not answer; one look at a time.
void Engine::watch_space() {
  if (options_.limits.disk_reserve_bytes == 0 || options_.folder.empty() || looking_) return;
  looking_ = readers_->post([this] {
    auto state = disk_guard_.look();
    post([this, state = std::move(state)] {
      looking_ = false;
      if (stopped_) return;
      if (!state) {
        log::warn("raft.disk", "error=\"{}\"", state.error().to_string());
        return;
      }
      take_space(*state);
    });
  });
}

void Engine::take_space(const kv::DiskGuard::State& state) {
  if (state.full != disk_.full || state.critical != disk_.critical)
    log::error("raft.disk", "full={} critical={} available={} reserve={} {}", state.full, state.critical, state.available_bytes,
               options_.limits.disk_reserve_bytes,
               state.full ? "No proposals are taken and leadership is handed off until space is freed" : "Proposals are taken again");
  disk_ = state;
  tell_aside();
  if (!state.full) return;
  for (const auto& group : groups_)
    if (group && group->serving) transfer(group->shard, "");
}

}  // namespace kraken::group
