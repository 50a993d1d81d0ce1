#include "src/net/io.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <fcntl.h>

#include <cstdlib>

#include "src/base/file.h"
#include "src/net/dial.h"
#include "src/net/listen.h"
#include "src/net/loop.h"
#include "src/net/scope.h"

namespace kraken::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string pattern(std::size_t bytes) {
  std::string out(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(i % 251);
  return out;
}

/// Two ends of a connection; `near` on loop 0, `far` on loop 1.
class IoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto acceptor = listen("127.0.0.1", 0);
    ASSERT_TRUE(acceptor);
    auto accepting = [](Acceptor& a, Executor target, Socket& out) -> Task<void> {
      KR_CO_TRY(out, co_await a.accept(target));
      co_return Result<>{};
    };
    Scope scope(loops.at(0).executor());
    scope.spawn("accept", accepting(*acceptor, loops.at(0).executor(), near));
    auto dialed = block_on(loops.at(1).executor(), dial("127.0.0.1", acceptor->port(), seconds(20)));
    ASSERT_TRUE(dialed);
    far = *std::move(dialed);
    scope.stop_and_wait(seconds(20));
  }
  template <class T>
  Result<T> on_near(Task<T> task) {
    return block_on(loops.at(0).executor(), std::move(task));
  }

  Loops loops{2};
  FilePool pool{2, 16};
  Socket near{loops.at(0).executor()};
  Socket far{loops.at(1).executor()};
};

Task<void> receive_all(Socket& socket, std::string& out) {
  std::vector<char> buffer(100'000);
  for (;;) {
    KR_CO_TRY(const auto n, co_await read_or_end(socket, buffer));
    if (n == 0) co_return Result<>{};
    out.append(buffer.data(), n);
  }
}

Task<void> send_files(Socket& socket, FilePool& pool, int fd, std::uint64_t offset, std::uint64_t length) {
  KR_CO_CHECK(co_await send_file(socket, pool, fd, offset, length));
  boost::system::error_code ec;
  socket.shutdown(Socket::shutdown_send, ec);
  co_return Result<>{};
}

TEST_F(IoTest, SendfileSendsExactlyTheRangeCachedOrNot) {
  const auto content = pattern(10'000'000);
  // A file on a real disk can be dropped from the page cache, one in memory cannot: both ways must give the same.
  std::string path = ::testing::TempDir() + "kr_io_test_XXXXXX";
  UniqueFd fd(::mkstemp(path.data()));
  ASSERT_TRUE(fd);
  ::unlink(path.c_str());
  ASSERT_TRUE(file::write_at(fd.get(), content, 0));
  ASSERT_TRUE(file::sync(fd.get()));
  ASSERT_EQ(0, ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED));
  std::string received;
  Scope receiving(loops.at(1).executor());
  receiving.spawn("receive", receive_all(far, received));
  auto sent = on_near(send_files(near, pool, fd.get(), 4097, 9'000'001));
  ASSERT_TRUE(sent) << sent.error().to_string();
  receiving.stop_and_wait(seconds(20));
  EXPECT_TRUE(received == content.substr(4097, 9'000'001));
}

TEST_F(IoTest, SendfileOfMoreThanThereIsSaysSo) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  ASSERT_TRUE(file::write_at(fd.get(), "short", 0));
  auto sent = on_near(send_files(near, pool, fd.get(), 0, 6));
  ASSERT_FALSE(sent);
  EXPECT_EQ(Code::kCorrupt, sent.error().code);
}

Task<std::size_t> read_with_deadline(Socket& socket, Duration timeout) {
  Watchdog watchdog(socket);
  watchdog.arm(timeout);
  char byte = 0;
  auto n = co_await read_some(socket, {&byte, 1}, &watchdog);
  co_return n;
}

TEST_F(IoTest, AWatchdogEndsAReadThatNobodyServes) {
  auto read = on_near(read_with_deadline(near, milliseconds(150)));
  ASSERT_FALSE(read);
  EXPECT_EQ(Code::kDeadlineExceeded, read.error().code);
}

Task<void> write_for_ever(Socket& socket, Duration within) {
  Watchdog watchdog(socket);
  watchdog.expect(1, within);
  const std::string bytes(1 << 20, 'x');
  for (;;) KR_CO_CHECK(co_await write_all(socket, bytes, &watchdog));
}

TEST_F(IoTest, AWriteThatNobodyTakesIsGivenUp) {
  auto written = on_near(write_for_ever(near, milliseconds(150)));
  ASSERT_FALSE(written);
  EXPECT_EQ(Code::kDeadlineExceeded, written.error().code);
}

Task<void> trickle(Socket& socket, int count, Duration pause) {
  for (int i = 0; i < count; ++i) {
    KR_CO_CHECK(co_await write_all(socket, "x"));
    KR_CO_CHECK(co_await sleep_for(pause));
  }
  co_return Result<>{};
}

Task<std::size_t> read_expecting(Socket& socket, std::uint64_t bytes, Duration within, std::size_t wanted) {
  Watchdog watchdog(socket);
  watchdog.expect(bytes, within);
  std::string into(wanted, '\0');
  KR_CO_CHECK(co_await read_exact(socket, into, &watchdog));
  co_return wanted;
}

TEST_F(IoTest, SlowButSteadyIsFineWhereThatIsEnough) {
  Scope scope(loops.at(1).executor());
  scope.spawn("trickle", trickle(far, 10, milliseconds(50)));
  EXPECT_EQ(10u, on_near(read_expecting(near, 1, milliseconds(400), 10)));
  scope.stop_and_wait();
}

TEST_F(IoTest, TooSlowIsCutOffThoughItNeverStalls) {
  Scope scope(loops.at(1).executor());
  scope.spawn("trickle", trickle(far, 100, milliseconds(20)));
  auto read = on_near(read_expecting(near, 50, milliseconds(300), 100));
  ASSERT_FALSE(read);
  EXPECT_EQ(Code::kDeadlineExceeded, read.error().code);
  scope.stop_and_wait();
}

TEST_F(IoTest, PiecesArriveInOrder) {
  const auto large = pattern(3'000'000);
  std::string received;
  Scope receiving(loops.at(1).executor());
  receiving.spawn("receive", receive_all(far, received));
  auto writing = [](Socket& socket, std::string_view middle) -> Task<void> {
    const Pieces all{.first = "head", .second = middle, .third = "tail"};
    KR_CO_CHECK(co_await write_all(socket, all));
    const Pieces two{.first = {}, .second = "more", .third = "!"};
    KR_CO_CHECK(co_await write_all(socket, two));
    boost::system::error_code ec;
    socket.shutdown(Socket::shutdown_send, ec);
    co_return Result<>{};
  };
  ASSERT_TRUE(on_near(writing(near, large)));
  receiving.stop_and_wait(seconds(20));
  EXPECT_TRUE(received == "head" + large + "tailmore!");
}

TEST_F(IoTest, AResetIsClosedAndNoOrderlyEnd) {
  boost::system::error_code ec;
  far.set_option(boost::asio::socket_base::linger(true, 0), ec);
  far.close(ec);
  auto reading = [](Socket& socket) -> Task<std::size_t> {
    char byte = 0;
    auto n = co_await read_or_end(socket, {&byte, 1});
    co_return n;
  };
  auto read = on_near(reading(near));
  ASSERT_FALSE(read);
  EXPECT_EQ(Code::kClosed, read.error().code);
}

}  // namespace
}  // namespace kraken::net
