#pragma once
// What one node asks of another about blobs, as an interface: HttpPeers speaks /internal/v1/ (http_peers.h, endpoints.h),
// tests join services directly. Calls may fail, be repeated, or have happened although they failed; each may be repeated.
// A node that does not answer gives kUnavailable, kClosed or kDeadlineExceeded, never kNotFound.
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

/// Bytes that are sent: the first `bytes` of an open file, or, where fd is -1, what the reader gives.
struct Body {
  std::optional<std::uint64_t> bytes{};  // known beforehand; with fd always
  int fd = -1;                         // stays open until the call returns
  BodyReader reader{};
};

/// Bytes of a blob on their way from another node.
class Stream {
 public:
  virtual ~Stream() = default;
  /// 0 only after the last byte that was asked for; kClosed where the other side ended early.
  virtual net::Task<std::size_t> read(std::span<char> into) = 0;
};

struct Held {
  StoreId store;
  std::uint64_t bytes = 0;
};

class Peers {
 public:
  virtual ~Peers() = default;
  /// The node's store id; also how to find out whether it answers.
  virtual net::Task<StoreId> store_id(std::string label) = 0;
  /// kNotFound: the node answers, and has no such file.
  virtual net::Task<Held> have(std::string label, Digest digest) = 0;
  /// The bytes into the node's uploads/, where they wait, checked against the digest, for `place`. kDigestMismatch, kDiskFull.
  virtual net::Task<void> stage(std::string label, std::string transfer, Digest digest, Body body) = 0;
  /// What was staged into blobs/, synced. kNotFound: nothing was, or it is gone.
  /// REQUIRES for this and put: `Arrive`, or the record, was acknowledged.
  virtual net::Task<StoreId> place(std::string label, std::string transfer, Digest digest) = 0;
  /// Both in one round trip.
  virtual net::Task<StoreId> put(std::string label, std::string transfer, Digest digest, Body body) = 0;
  /// Forgets what was staged.
  virtual net::Task<void> discard(std::string label, std::string transfer) = 0;
  /// Bytes [offset, offset + length) of the node's own file, each piece checked before it is sent. kNotFound: the node has no
  /// good file.
  virtual net::Task<std::unique_ptr<Stream>> open(std::string label, Digest digest, std::uint64_t offset,
                                                  std::uint64_t length) = 0;
  /// The node gets the blob from a holder, places it and enters the record. kPending: it is at it.
  virtual net::Task<void> fetch(std::string label, Digest digest) = 0;
  /// The node, no owner in the ring of this epoch, lets go of its copy: Service::let_go_here.
  virtual net::Task<void> let_go(std::string label, Digest digest, std::uint64_t epoch) = 0;
  /// The record may be gone: the node looks, and unlinks its file if it is.
  virtual net::Task<void> release(std::string label, Digest digest) = 0;
};

}  // namespace kraken::blobs
