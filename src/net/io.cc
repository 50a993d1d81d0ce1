#include "src/net/io.h"

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <cerrno>

#include "src/base/assert.h"

namespace kraken::net {

namespace asio = boost::asio;

namespace {

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr std::uint64_t kSendfileBytesMax = 1 << 20;    // one call; also the most that waits for a disk in one job
constexpr std::uint64_t kProbeBytesMax = 4 << 20;       // asked of the page cache at once
constexpr std::uint64_t kBytesBetweenYields = 4 << 20;  // a fast reader must not keep the loop to itself
constexpr std::size_t kPageBytes = 4096;
constexpr Duration kPoolPause = std::chrono::milliseconds(10);
constexpr int kPoolRefusalsMax = 3000;  // 30 s

MonotonicTime steady_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

}  // namespace

class WatchdogService final : public asio::execution_context::service {
 public:
  using key_type = WatchdogService;
  static inline asio::execution_context::id id;

  explicit WatchdogService(asio::execution_context& context)
      : asio::execution_context::service(context),
        timer_(static_cast<asio::io_context&>(context)) {}  // NOLINT: only io_contexts run our coroutines

  static WatchdogService& of(const Executor& executor) {
    return asio::use_service<WatchdogService>(asio::query(executor, asio::execution::context));
  }

  void link(Watchdog& dog) {
    if (dog.armed_) return;
    dog.armed_ = true;
    dog.previous_ = nullptr;
    dog.next_ = first_;
    if (first_ != nullptr) first_->previous_ = &dog;
    first_ = &dog;
    if (!ticking_) tick();
  }

  void unlink(Watchdog& dog) {
    if (!dog.armed_) return;
    dog.armed_ = false;
    if (dog.previous_ != nullptr) dog.previous_->next_ = dog.next_;
    if (dog.next_ != nullptr) dog.next_->previous_ = dog.previous_;
    if (first_ == &dog) first_ = dog.next_;
  }

 private:
  void shutdown() noexcept override {}

  void tick() {
    ticking_ = true;
    timer_.expires_after(kTick);
    timer_.async_wait([this](const boost::system::error_code& ec) {
      ticking_ = false;
      if (ec) return;
      look();
      if (first_ != nullptr) tick();
    });
  }

  void look() {
    const auto now = steady_now();
    for (auto* dog = first_; dog != nullptr;) {
      auto* next = dog->next_;
      if (dog->deadline_ <= now) {
        unlink(*dog);
        dog->expired_ = true;
        boost::system::error_code ec;
        dog->socket_->cancel(ec);
      }
      dog = next;
    }
  }

  asio::steady_timer timer_;
  Watchdog* first_ = nullptr;
  bool ticking_ = false;
};

Watchdog::Watchdog(Socket& socket) : service_(&WatchdogService::of(socket.get_executor())), socket_(&socket) {}
Watchdog::~Watchdog() { service_->unlink(*this); }

void Watchdog::set_deadline(MonotonicTime deadline) {
  deadline_ = deadline;
  service_->link(*this);
}

void Watchdog::arm(Duration timeout) {
  expired_ = false;
  within_ = Duration::zero();
  set_deadline(steady_now() + timeout);
}

void Watchdog::expect(std::uint64_t bytes, Duration within) {
  disarm();
  expected_ = std::max<std::uint64_t>(bytes, 1);
  within_ = within;
  waited_ = Duration::zero();
  moved_ = 0;
}

void Watchdog::disarm() {
  expired_ = false;
  within_ = Duration::zero();
  service_->unlink(*this);
}

void Watchdog::wait_begins() {
  if (within_ == Duration::zero()) return;
  wait_began_ = steady_now();
  set_deadline(wait_began_ + (within_ - waited_));
}

void Watchdog::wait_ends(std::size_t bytes_moved) {
  if (within_ == Duration::zero()) return;
  if (armed_) {
    waited_ += steady_now() - wait_began_;
    service_->unlink(*this);
  }
  moved_ += bytes_moved;
  if (moved_ >= expected_) {
    moved_ = 0;
    waited_ = Duration::zero();
  }
}

namespace {

Error io_error(const boost::system::error_code& ec, std::string_view what, const Watchdog* watchdog) {
  if (watchdog != nullptr && watchdog->expired())
    return Error{Code::kDeadlineExceeded, fmt::format("{}: the other side is too slow", what)};
  return error_of(ec, what);
}

Error errno_error(int error, std::string_view what) {
  return error_of(boost::system::error_code(error, boost::system::system_category()), what);
}

Task<void> wait_writable(Socket& socket, Watchdog* watchdog) {
  if (watchdog != nullptr) {
    if (watchdog->expired()) co_return fail(Code::kDeadlineExceeded, "write: the other side is too slow");
    watchdog->wait_begins();
  }
  auto [ec] = co_await socket.async_wait(Socket::wait_write, kTuple);
  if (watchdog != nullptr) watchdog->wait_ends(0);
  if (ec) co_return std::unexpected(io_error(ec, "write", watchdog));
  co_return Result<>{};
}

/// mincore on a mapping that is never touched: about a microsecond a megabyte. Where it cannot tell, false: the pool
/// does it.
bool in_page_cache(int fd, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t begin = offset - offset % kPageBytes;
  const std::size_t bytes = static_cast<std::size_t>(offset + length - begin);
  std::array<unsigned char, kProbeBytesMax / kPageBytes + 2> resident;
  const std::size_t pages = (bytes + kPageBytes - 1) / kPageBytes;
  KR_ASSERT(pages <= resident.size());
  void* map = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(begin));
  if (map == MAP_FAILED) return false;
  const bool known = ::mincore(map, bytes, resident.data()) == 0;
  ::munmap(map, bytes);
  return known && std::all_of(resident.begin(), resident.begin() + static_cast<std::ptrdiff_t>(pages),
                              [](unsigned char page) { return (page & 1) != 0; });
}

struct Sent {
  std::uint64_t bytes = 0;
  int error = 0;         // of the call that moved nothing
  bool at_end = false;   // the file has no more
};

Sent send_once(int out, int fd, std::uint64_t offset, std::uint64_t length) {
  auto position = static_cast<off_t>(offset);
  for (;;) {
    const ssize_t n = ::sendfile(out, fd, &position, static_cast<std::size_t>(std::min(length, kSendfileBytesMax)));
    if (n > 0) return Sent{.bytes = static_cast<std::uint64_t>(n)};
    if (n == 0) return Sent{.at_end = true};
    if (errno != EINTR) return Sent{.error = errno};
  }
}

}  // namespace

Task<std::size_t> read_or_end(Socket& socket, std::span<char> into, Watchdog* watchdog) {
  if (watchdog != nullptr) {
    if (watchdog->expired()) co_return fail(Code::kDeadlineExceeded, "read: the other side is too slow");
    watchdog->wait_begins();
  }
  auto buffer = asio::buffer(into.data(), into.size());
  auto [ec, n] = co_await socket.async_read_some(buffer, kTuple);
  if (watchdog != nullptr) watchdog->wait_ends(n);
  if (ec == asio::error::eof) co_return std::size_t{0};
  if (ec) co_return std::unexpected(io_error(ec, "read", watchdog));
  co_return n;
}

Task<std::size_t> read_some(Socket& socket, std::span<char> into, Watchdog* watchdog) {
  KR_CO_TRY(const auto n, co_await read_or_end(socket, into, watchdog));
  if (n == 0) co_return fail(Code::kClosed, "read: closed by the other side");
  co_return n;
}

Task<void> read_exact(Socket& socket, std::span<char> into, Watchdog* watchdog) {
  while (!into.empty()) {
    KR_CO_TRY(const auto n, co_await read_some(socket, into, watchdog));
    into = into.subspan(n);
  }
  co_return Result<>{};
}

Task<void> write_all(Socket& socket, std::string_view bytes, Watchdog* watchdog) {
  return write_all(socket, Pieces{.first = bytes}, watchdog);
}

namespace {

/// The pieces as sendmsg wants them; what has gone out is taken off the front.
class Parts {
 public:
  explicit Parts(const Pieces& pieces) {
    for (auto piece : {pieces.first, pieces.second, pieces.third})
      // NOLINTNEXTLINE: iovec has no const form; sendmsg only reads
      if (!piece.empty()) parts_[count_++] = iovec{const_cast<char*>(piece.data()), piece.size()};
  }
  bool empty() const { return begin_ == count_; }
  ssize_t send(int fd, int flags) {
    msghdr message{};
    message.msg_iov = parts_.data() + begin_;
    message.msg_iovlen = count_ - begin_;
    return ::sendmsg(fd, &message, flags);
  }
  void advance(std::size_t bytes) {
    while (bytes > 0) {
      auto& part = parts_[begin_];
      const auto n = std::min(bytes, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + n;
      part.iov_len -= n;
      bytes -= n;
      if (part.iov_len == 0) ++begin_;
    }
  }

 private:
  std::array<iovec, 3> parts_{};
  std::size_t begin_ = 0;
  std::size_t count_ = 0;
};

}  // namespace

Task<void> write_all(Socket& socket, Pieces pieces, Watchdog* watchdog) {
  Parts parts(pieces);
  const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (pieces.more ? MSG_MORE : 0);
  while (!parts.empty()) {
    const ssize_t n = parts.send(socket.native_handle(), flags);
    if (n >= 0) {
      if (watchdog != nullptr) watchdog->wait_ends(static_cast<std::size_t>(n));
      parts.advance(static_cast<std::size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) co_return std::unexpected(errno_error(errno, "write"));
    KR_CO_CHECK(co_await wait_writable(socket, watchdog));
  }
  co_return Result<>{};
}

Task<void> send_file(Socket& socket, FilePool& pool, int fd, std::uint64_t offset, std::uint64_t length,
                     Watchdog* watchdog) {
  const int out = socket.native_handle();
  std::uint64_t probed_until = offset;  // what lies before was in the page cache a moment ago
  std::uint64_t since_yield = 0;
  int refusals = 0;
  while (length > 0) {
    if (offset >= probed_until) {
      const auto probe = std::min(length, kProbeBytesMax);
      if (in_page_cache(fd, offset, probe)) probed_until = offset + probe;
    }
    Sent sent;
    if (offset < probed_until) {
      sent = send_once(out, fd, offset, std::min(length, probed_until - offset));
    } else {
      auto job = [out, fd, offset, length]() -> Result<Sent> { return send_once(out, fd, offset, length); };
      auto ran = co_await pool.run(job);
      if (!ran && ran.error().code == Code::kOverloaded && ++refusals < kPoolRefusalsMax) {
        // A file that is being sent can wait for its turn; giving up would cut off an answer that has begun.
        KR_CO_CHECK(co_await sleep_for(kPoolPause));
        continue;
      }
      KR_CO_TRY(sent, std::move(ran));
      refusals = 0;
    }
    if (sent.at_end) co_return fail(Code::kCorrupt, "the file ends {} bytes early", length);
    if (sent.bytes == 0) {
      if (sent.error != EAGAIN && sent.error != EWOULDBLOCK)
        co_return std::unexpected(errno_error(sent.error, "sendfile"));
      KR_CO_CHECK(co_await wait_writable(socket, watchdog));
      since_yield = 0;
      continue;
    }
    if (watchdog != nullptr) watchdog->wait_ends(static_cast<std::size_t>(sent.bytes));
    offset += sent.bytes;
    length -= sent.bytes;
    since_yield += sent.bytes;
    if (since_yield >= kBytesBetweenYields) {
      since_yield = 0;
      KR_CO_CHECK(co_await yield());
    }
  }
  co_return Result<>{};
}

}  // namespace kraken::net
