#pragma once
// Reading and writing on sockets with errors as values, sendfile, and Watchdog, the cheap deadline of one connection.

#include <boost/asio/buffer.hpp>

#include <cstdint>
#include <span>
#include <string_view>

#include "src/net/file_pool.h"
#include "src/net/task.h"

namespace kraken::net {

/// One coarse timer per loop looks every 100 ms at the armed watchdogs of that loop and cancels the sockets whose time
/// has come; arming costs a few stores. One owner, on the socket's loop; the socket outlives it.
class Watchdog {
 public:
  explicit Watchdog(Socket& socket);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

  /// One deadline for everything from now on, until disarm(), arm() or expect(). Forgets an earlier expiry.
  void arm(Duration timeout);
  /// From now on at least `bytes` must flow in every `within` that is spent waiting for the other side; the time
  /// between the waits does not count. expect(1, t) is an idle timeout. Forgets an earlier expiry.
  void expect(std::uint64_t bytes, Duration within);
  void disarm();
  /// Its time came: the operation that was cancelled failed for this reason, and so will every further one.
  bool expired() const { return expired_; }

  // For those who wait on the socket without the functions below.
  void wait_begins();
  void wait_ends(std::size_t bytes_moved);

 private:
  friend class WatchdogService;
  void set_deadline(MonotonicTime deadline);

  class WatchdogService* service_;
  Socket* socket_;
  Watchdog* previous_ = nullptr;
  Watchdog* next_ = nullptr;
  MonotonicTime deadline_{};
  MonotonicTime wait_began_{};
  Duration waited_{};          // since the bytes expected were last complete
  Duration within_{};          // zero: no expectation
  std::uint64_t expected_ = 0;
  std::uint64_t moved_ = 0;
  bool armed_ = false;
  bool expired_ = false;
};

/// Some bytes, at least one. The end of the stream is kClosed. With a watchdog that expired: kDeadlineExceeded.
Task<std::size_t> read_some(Socket& socket, std::span<char> into, Watchdog* watchdog = nullptr);
/// The same, but the orderly end of the stream is 0; a reset stays kClosed. Behind the end nobody may read again: Asio
/// would wait for an event that never comes.
Task<std::size_t> read_or_end(Socket& socket, std::span<char> into, Watchdog* watchdog = nullptr);
/// Exactly into.size() bytes.
Task<void> read_exact(Socket& socket, std::span<char> into, Watchdog* watchdog = nullptr);
/// All of it, or an error. Does not yield while the socket takes the bytes.
Task<void> write_all(Socket& socket, std::string_view bytes, Watchdog* watchdog = nullptr);
/// Up to three pieces, in one system call where they fit. `more`: something follows at once, so the kernel may wait for
/// it (200 ms at most) before it sends a packet that is not full.
struct Pieces {
  std::string_view first = {};
  std::string_view second = {};
  std::string_view third = {};
  bool more = false;
};
Task<void> write_all(Socket& socket, Pieces pieces, Watchdog* watchdog = nullptr);

/// [offset, offset + length) of the file to the socket by sendfile(2), at most 1 MB a call. What is not in the page
/// cache is read on the pool, so that the loop never waits for a disk.
/// kCorrupt if the file ends before.
/// The descriptor stays the caller's, open until this returns. The socket must be non-blocking.
Task<void> send_file(Socket& socket, FilePool& pool, int fd, std::uint64_t offset, std::uint64_t length,
                     Watchdog* watchdog = nullptr);

}  // namespace kraken::net
