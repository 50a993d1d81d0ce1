#pragma once
// A body into an upload: while one buffer is hashed and written on the ingest threads, the next one is read from the
// network, so that network, processor and disk work at once and an upload of any size needs two buffers.
// Private to src/blobs. Threads: one loop, the one it is awaited on.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "src/blobs/peers.h"
#include "src/net/file_pool.h"
#include "src/net/task.h"
#include "storage/blob/store.h"

namespace kraken::blobs {

struct Ingest {
  net::FilePool& pool;
  std::shared_ptr<blob::Upload> upload;
  /// Kept until the last write has ended, which may be after a cancelled call returned.
  std::shared_ptr<void> lease;
  /// After each write, on the pool's thread, with the bytes now in the upload. May be empty.
  std::function<void(std::uint64_t bytes)> grown;
  std::size_t buffer_bytes = 512u << 10;
  std::uint64_t bytes_max = UINT64_MAX;  // of the whole upload; kTooLarge beyond
};

/// Appends until the body ends, or exactly `length` bytes: kInvalidArgument if it ends before. Returns the bytes appended.
net::Task<std::uint64_t> ingest(Ingest to, std::optional<std::uint64_t> length, BodyReader body);

/// Reads and drops `bytes` bytes.
net::Task<void> skip(std::uint64_t bytes, BodyReader body);

}  // namespace kraken::blobs
