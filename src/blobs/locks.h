#pragma once
// One lock per digest, in memory, awaited: whoever places, enters, leaves or unlinks a blob of this node's store holds it
// until the outcome is known (lifecycle §3 "Holder"). Threads: any loop; a guard may be dropped anywhere.

#include <memory>
#include <mutex>
#include <unordered_map>

#include "src/base/clock.h"
#include "src/core/digest.h"
#include "src/net/event.h"
#include "src/net/task.h"

namespace kraken::blobs {

class DigestLocks {
  struct Entry {
    net::Event released;
    bool held = false;
  };

 public:
  class Guard {
   public:
    Guard() = default;
    Guard(Guard&& other) noexcept;
    Guard& operator=(Guard&& other) noexcept;
    ~Guard() { release(); }
    void release();

   private:
    friend class DigestLocks;
    Guard(DigestLocks* locks, Digest digest) : locks_(locks), digest_(digest) {}
    DigestLocks* locks_ = nullptr;
    Digest digest_;
  };

  /// kOverloaded where somebody holds it for longer than `timeout`.
  net::Task<Guard> acquire(Digest digest, Duration timeout);

 private:
  void release(const Digest& digest);
  std::mutex mutex_;
  std::unordered_map<Digest, std::shared_ptr<Entry>> entries_;  // those that are held
};

}  // namespace kraken::blobs
