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
/// has come; arming costs nothing but a store. One owner, on the socket's loop; not moved; the socket outlives it.
class Watchdog {
 public:
  explicit Watchdog(Socket& socket);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

  /// From now on, until disarm() or the next arm(). Forgets an earlier expiry.
  void arm(Duration timeout);
  void disarm();
  /// Its time came since the last arm(): the operation that was cancelled failed for this reason.
  bool expired() const { return expired_; }

 private:
  friend class WatchdogService;
  class WatchdogService* service_;
  Socket* socket_;
  MonotonicTime deadline_{};
  Watchdog* previous_ = nullptr;
  Watchdog* next_ = nullptr;
  bool armed_ = false;
  bool expired_ = false;
};

/// Some bytes, at least one. The end of the stream is kClosed. With a watchdog that expired: kDeadlineExceeded.
Task<std::size_t> read_some(Socket& socket, std::span<char> into, const Watchdog* watchdog = nullptr);
/// Exactly into.size() bytes.
Task<void> read_exact(Socket& socket, std::span<char> into, const Watchdog* watchdog = nullptr);
Task<void> write_all(Socket& socket, std::string_view bytes, const Watchdog* watchdog = nullptr);
/// Two pieces in one system call where they fit.
Task<void> write_all(Socket& socket, std::string_view head, std::string_view body, const Watchdog* watchdog = nullptr);

/// [offset, offset + length) of the file to the socket by sendfile(2), at most 1 MB a call. What is not in the page
/// cache is read on the pool, so that the loop never waits for a disk. Bytes that an earlier call was given are out.
/// kCorrupt if the file ends before. `progress`, if given, is called with the bytes after each call.
/// The descriptor stays the caller's and open until this returns.
Task<void> send_file(Socket& socket, FilePool& pool, int fd, std::uint64_t offset, std::uint64_t length,
                     Watchdog* watchdog = nullptr, Duration stall_timeout = std::chrono::seconds(60));

}  // namespace kraken::net
