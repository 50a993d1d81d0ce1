#pragma once
// What one node asks of another about blobs, as an interface: HttpPeers speaks /internal/v1/ (src/blobs/endpoints.h), tests
// join services directly. Calls may fail, be repeated, or have happened although they failed; every one may be repeated.
// A node that does not answer gives kUnavailable (or kDeadlineExceeded), never kNotFound.
// Threads: any loop.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "src/base/error.h"
#include "src/core/digest.h"
#include "src/core/store_id.h"
#include "src/net/task.h"

namespace kraken::blobs {

/// Bytes that come: fills at least one byte of `into`, 0 at the end. An early end is an error, never 0.
using BodyReader = std::function<net::Task<std::size_t>(std::span<char> into)>;

/// Bytes that are sent: a range of an open file (sendfile), or what a reader gives.
struct Body {
  std::uint64_t bytes = 0;
  int fd = -1;                 // stays open until the call returns
  std::uint64_t offset = 0;
  BodyReader reader;           // used where fd is -1
};

/// Bytes of a blob on their way from another node.
class Stream {
 public:
  virtual ~Stream() = default;
  /// 0 only after the last byte that was asked for; kClosed where the other side ended early.
  virtual net::Task<std::size_t> read(std::span<char> into) = 0;
};

struct Held {
  StoreId store{};
  std::uint64_t bytes = 0;
};

class Peers {
 public:
  virtual ~Peers() = default;
  /// The store id of the node now.
  virtual net::Task<StoreId> store_id(std::string label) = 0;
  /// The node has the file. kNotFound: it answers, and has not.
  virtual net::Task<Held> have(std::string label, Digest digest) = 0;
  /// Puts the bytes into the node's uploads/ under `transfer`, where they wait, hashed, for `place`. kDigestMismatch,
  /// kDiskFull.
  virtual net::Task<void> stage(std::string label, std::string transfer, Digest digest, Body body) = 0;
  /// Renames what was staged into blobs/, synced. Also succeeds where the node has the blob already. kNotFound: neither.
  virtual net::Task<StoreId> place(std::string label, std::string transfer, Digest digest) = 0;
  /// Forgets what was staged.
  virtual net::Task<void> discard(std::string label, std::string transfer) = 0;
  /// Bytes of the node's own file, each piece checked before it is sent. kNotFound: the node has no good file.
  virtual net::Task<std::unique_ptr<Stream>> open(std::string label, Digest digest, std::uint64_t offset,
                                                  std::uint64_t length) = 0;
  /// The node gets the blob from a holder, places it and enters the record; returns when it has.
  virtual net::Task<void> fetch(std::string label, Digest digest) = 0;
};

}  // namespace kraken::blobs
