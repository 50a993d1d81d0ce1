#include "src/blobs/locks.h"

#include <utility>

#include "src/base/assert.h"

namespace kraken::blobs {

DigestLocks::Guard::Guard(Guard&& other) noexcept
    : locks_(std::exchange(other.locks_, nullptr)), digest_(other.digest_) {}

DigestLocks::Guard& DigestLocks::Guard::operator=(Guard&& other) noexcept {
  if (this != &other) {
    release();
    locks_ = std::exchange(other.locks_, nullptr);
    digest_ = other.digest_;
  }
  return *this;
}

void DigestLocks::Guard::release() {
  if (DigestLocks* const locks = std::exchange(locks_, nullptr)) locks->release(digest_);
}

net::Task<DigestLocks::Guard> DigestLocks::acquire(Digest digest, Duration timeout) {
  const MonotonicTime deadline = system_clock().monotonic() + timeout;
  for (;;) {
    std::shared_ptr<Entry> entry;
    std::uint64_t seen = 0;
    {
      const std::scoped_lock lock(mutex_);
      auto& slot = entries_[digest];
      if (!slot) slot = std::make_shared<Entry>();
      if (!slot->held) {
        slot->held = true;
        co_return Guard(this, digest);
      }
      entry = slot;
      seen = entry->released.version();
    }
    const Duration left = deadline - system_clock().monotonic();
    if (left <= Duration::zero()) co_return fail(Code::kOverloaded, "blob {} is busy on this node", digest.str());
    auto waited = co_await entry->released.wait(seen, left);
    if (!waited && waited.error().code == Code::kCancelled) co_return std::unexpected(std::move(waited).error());
  }
}

void DigestLocks::release(const Digest& digest) {
  std::shared_ptr<Entry> entry;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = entries_.find(digest);
    KR_ASSERT(found != entries_.end() && found->second->held);
    entry = found->second;
    entries_.erase(found);  // those who wait hold the entry and come back to a new one
  }
  entry->released.notify();
}

}  // namespace kraken::blobs
