// What happens to a queue whose peer does not read: bounded, the oldest Raft messages go first, then requests, and what
// arrives is whole frames in order.

#include "consensus/group/transport.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <future>
#include <thread>

#include "src/base/metrics.h"
#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

constexpr std::size_t kLimit = std::size_t{1} << 20;
constexpr std::size_t kChunk = std::size_t{32} << 10;

std::string numbered(std::uint64_t number) {
  Writer payload;
  payload.u64(number).raw(std::string(kChunk, static_cast<char>('a' + number % 26)));
  std::string frame;
  append_frame(FrameKind::kMessages, payload.str(), frame);
  return frame;
}

/// A node that shakes hands and then reads nothing until it is told to.
class DeafPeer {
 public:
  explicit DeafPeer(const std::string& host) : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~DeafPeer() { thread_.join(); }
  void listen_now() { hear_.set_value(); }

  std::uint16_t port = 0;
  std::promise<std::vector<std::uint64_t>> heard;  // numbers of the frames, once number `last` has come
  std::atomic<std::uint64_t> last{0};

 private:
  void run() {
    const UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::string in(65536, '\0'), buffer, out;
    while (!next_frame(buffer).value()) {
      const ssize_t got = ::read(fd.get(), in.data(), in.size());
      if (got <= 0) return heard.set_value({});
      buffer.append(in, 0, static_cast<std::size_t>(got));
    }
    buffer.clear();
    append_frame(FrameKind::kWelcome, encode(Welcome{.accepted = true, .reason = {}, .label = "b", .cluster_id = {}, .self = {}}), out);
    EXPECT_EQ(::write(fd.get(), out.data(), out.size()), static_cast<ssize_t>(out.size()));
    hear_.get_future().wait();
    std::vector<std::uint64_t> numbers;
    while (numbers.empty() || numbers.back() != last) {
      const ssize_t got = ::read(fd.get(), in.data(), in.size());
      if (got <= 0) break;
      buffer.append(in, 0, static_cast<std::size_t>(got));
      for (;;) {
        const auto frame = next_frame(buffer);
        if (!frame) {
          ADD_FAILURE() << frame.error().to_string();
          return heard.set_value(std::move(numbers));
        }
        if (!*frame) break;
        numbers.push_back(Reader((*frame)->payload).u64());
        buffer.erase(0, (*frame)->used);
      }
    }
    heard.set_value(std::move(numbers));
  }
  UniqueFd listener_;
  std::promise<void> hear_;
  std::thread thread_;
};

class TransportQueue : public ::testing::Test {
 protected:
  TransportQueue() : peer_(network_.host(1)), loop_("transport") {
    std::vector<Member> members{{.label = "a", .host = network_.host(0), .port = 14001}, {.label = "b", .host = network_.host(1), .port = peer_.port}};
    Transport::Callbacks callbacks{
        .hello = [](std::size_t, Hello::Purpose purpose) { return Hello{.purpose = purpose, .token = {}, .from = "a", .to = "b", .shards = 1, .members = 0, .cluster_id = {}, .self = {}}; },
        .greet = [](Hello) -> net::Task<Welcome> { co_return fail(Code::kDenied, "nobody dials"); },
        .welcomed = [](std::size_t, Welcome) -> net::Task<void> { co_return Result<>{}; },
        .frame = [](std::size_t, FrameKind, std::string_view) { return Result<>{}; },
        .up = [this](std::size_t) { up_.set_value(); },
        .down = [](std::size_t) {},
        .snapshot = [](net::Socket, std::string) {}};
    transport_ = std::make_unique<Transport>(loop_, members, 0, Timings{}, kLimit, std::move(callbacks));
    on_loop([&] { transport_->start(net::listen(network_.host(0), 0).value()); });
    up_.get_future().wait();
  }
  ~TransportQueue() override {
    transport_->stop_and_wait();
    loop_.stop();
    loop_.join();
  }
  template <class Work>
  void on_loop(Work work) {
    std::promise<void> done;
    loop_.post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }
  /// Sends the numbers [from, to); `must` says which are requests. How many sends said that something was dropped.
  int send(std::uint64_t from, std::uint64_t to, const std::function<bool(std::uint64_t)>& must, std::size_t& queued_most) {
    int dropped = 0;
    for (std::uint64_t number = from; number < to; ++number) {
      on_loop([&] {
        if (!transport_->send(1, numbered(number), !must(number))) ++dropped;
        queued_most = std::max(queued_most, transport_->queued_bytes(1));
        transport_->flush(1);
      });
    }
    return dropped;
  }
  std::vector<std::uint64_t> read_to(std::uint64_t last) {
    peer_.last = last;
    auto heard = peer_.heard.get_future();
    peer_.listen_now();
    return heard.get();
  }

  Network network_;
  DeafPeer peer_;
  std::promise<void> up_;
  net::Loop loop_;
  std::unique_ptr<Transport> transport_;
};

constexpr std::uint64_t kMany = 1000;  // 32 MB: more than the kernel keeps for a socket

TEST_F(TransportQueue, TheOldestRaftMessagesGoAndRequestsStay) {
  metrics::Counter& counted = metrics::counter("kr_raft_dropped_chunks_total", "");
  const double before = counted.value();
  const auto request = [](std::uint64_t number) { return number % 100 == 7; };
  std::size_t most = 0;
  const int dropped = send(1, kMany, request, most);
  EXPECT_GT(dropped, 0);
  EXPECT_GT(counted.value(), before);
  EXPECT_LE(most, kLimit + kChunk);
  const auto numbers = read_to(kMany - 1);
  EXPECT_TRUE(std::ranges::is_sorted(numbers));
  EXPECT_LT(numbers.size(), kMany - 1) << "something was dropped";
  for (std::uint64_t number = 7; number < kMany; number += 100)
    EXPECT_TRUE(std::ranges::binary_search(numbers, number)) << "request " << number;
  ASSERT_GE(numbers.size(), 10U);
  EXPECT_EQ(numbers[numbers.size() - 10], kMany - 10) << "the newest are there, without a gap";
}

TEST_F(TransportQueue, RequestsGoTooWhereTheyAloneFillItTwice) {
  std::size_t most = 0;
  const int dropped = send(1, kMany, [](std::uint64_t) { return true; }, most);
  EXPECT_GT(dropped, 0);
  EXPECT_LE(most, 2 * kLimit + kChunk);
  const auto numbers = read_to(kMany - 1);
  EXPECT_TRUE(std::ranges::is_sorted(numbers));
  EXPECT_EQ(numbers.back(), kMany - 1);
}

/// One of two that welcome each other.
class Pair {
 public:
  Pair(std::vector<Member> members, std::size_t self, const Timings& timings) : loop_("transport"), other_(1 - self) {
    const std::string mine = members[self].label, theirs = members[other_].label;
    Transport::Callbacks callbacks{
        .hello = [mine, theirs](std::size_t, Hello::Purpose purpose) {
          return Hello{.purpose = purpose, .token = {}, .from = mine, .to = theirs, .shards = 1, .members = 0, .cluster_id = {},
                       .self = {.incarnation = Incarnation::random()}};
        },
        .greet = [mine](Hello) -> net::Task<Welcome> { co_return Welcome{.accepted = true, .reason = {}, .label = mine, .cluster_id = {}, .self = {}}; },
        .welcomed = [](std::size_t, Welcome) -> net::Task<void> { co_return Result<>{}; },
        .frame = [](std::size_t, FrameKind, std::string_view) { return Result<>{}; },
        .up = [](std::size_t) {},
        .down = [](std::size_t) {},
        .snapshot = [](net::Socket, std::string) {}};
    auto acceptor = net::listen(members[self].host, members[self].port).value();
    transport_ = std::make_unique<Transport>(loop_, std::move(members), self, timings, kLimit, std::move(callbacks));
    loop_.post([this, shared = std::make_shared<net::Acceptor>(std::move(acceptor))] { transport_->start(std::move(*shared)); });
  }
  ~Pair() {
    transport_->stop_and_wait();
    loop_.stop();
    loop_.join();
  }
  bool up_both() {
    std::promise<bool> up;
    loop_.post([&] { up.set_value(transport_->up_both(other_)); });
    return up.get_future().get();
  }

 private:
  net::Loop loop_;
  const std::size_t other_;
  std::unique_ptr<Transport> transport_;
};

// A node that comes back asks at once; without the way back it would wait for answers that nobody can give.
TEST(Transport, WhoeverIsDialledDialsBackWithoutWaitingOutItsPause) {
  Network network;
  const std::vector<Member> members{{.label = "a", .host = network.host(0), .port = 14001}, {.label = "b", .host = network.host(1), .port = 14001}};
  const Timings patient{.redial_min = std::chrono::hours(1), .redial_max = std::chrono::hours(1)};
  Pair first(members, 0, patient);
  std::this_thread::sleep_for(100ms);  // it has dialled in vain
  Pair second(members, 1, patient);
  EXPECT_TRUE(Cluster::eventually([&] { return first.up_both() && second.up_both(); }));
}

}  // namespace
}  // namespace kraken::group::test
