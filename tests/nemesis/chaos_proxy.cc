// A TCP proxy for each ordered pair of nodes, whose links can be held, refused, slowed and corrupted:
//   chaos_proxy PREFIX NODES PORT..      e.g. chaos_proxy 127.70.1 3 14001 15000
// What node I dials at J's ports comes to PREFIX.(100 + 10 I + J) and goes on to PREFIX.(J + 1), I and J counting from 0.
// Commands on standard input, each answered by "ok" once it is in force; it ends with its input:
//   I J open             as a wire
//   I J hold             nothing passes from I to J until it is opened again: on any connection between the two, whoever dialled
//                        it. Held bytes are not lost, as TCP repeats them
//   I J refuse           connections that I dialled at J are reset, new ones too
//   I J delay MS         each read is passed on so much later (and at most 64 KB in that time)
//   I J corrupt N        one in N reads has one bit flipped; only on the first PORT, whose frames have checksums
// One thread; whatever ends on one side of a connection ends the other.

#include <array>
#include <boost/asio.hpp>
#include <charconv>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Waiting = asio::steady_timer;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

struct Connection {
  Connection(tcp::socket from, asio::io_context& context) : dialler(std::move(from)), target(context) {}
  tcp::socket dialler, target;
  void close() {
    boost::system::error_code ignored;
    dialler.close(ignored);
    target.close(ignored);
  }
  void reset() {
    boost::system::error_code ignored;
    dialler.set_option(asio::socket_base::linger(true, 0), ignored);
    target.set_option(asio::socket_base::linger(true, 0), ignored);
    close();
  }
};

// From one node to another.
struct Link {
  explicit Link(asio::io_context& context) : changed(context, Waiting::time_point::max()) {}
  bool hold = false, refuse = false;
  std::chrono::milliseconds delay{0};
  unsigned corrupt = 0;
  Waiting changed;  // cancelled whenever the above changes
  std::set<std::shared_ptr<Connection>> dialled;
};

class Proxy {
 public:
  Proxy(asio::io_context& context, std::string prefix, unsigned nodes, std::vector<std::uint16_t> ports);
  void command(const std::string& line);

 private:
  asio::awaitable<void> listen(tcp::acceptor acceptor, unsigned from, unsigned to, std::uint16_t port);
  asio::awaitable<void> serve(std::shared_ptr<Connection> connection, unsigned from, unsigned to, std::uint16_t port);
  asio::awaitable<void> pump(std::shared_ptr<Connection> connection, tcp::socket& in, tcp::socket& out, Link& link,
                             bool may_corrupt);
  tcp::endpoint endpoint(unsigned last, std::uint16_t port) const {
    return {asio::ip::make_address(prefix_ + "." + std::to_string(last)), port};
  }

  asio::io_context& context_;
  const std::string prefix_;
  const std::vector<std::uint16_t> ports_;
  std::map<std::pair<unsigned, unsigned>, std::unique_ptr<Link>> links_;
  std::mt19937_64 random_{1};
};

Proxy::Proxy(asio::io_context& context, std::string prefix, unsigned nodes, std::vector<std::uint16_t> ports)
    : context_(context), prefix_(std::move(prefix)), ports_(std::move(ports)) {
  for (unsigned from = 0; from < nodes; ++from) {
    for (unsigned to = 0; to < nodes; ++to) {
      if (from == to) continue;
      links_.emplace(std::pair(from, to), std::make_unique<Link>(context_));
      for (const std::uint16_t port : ports_) {
        tcp::acceptor acceptor(context_, endpoint(100 + 10 * from + to, port));
        asio::co_spawn(context_, listen(std::move(acceptor), from, to, port), asio::detached);
      }
    }
  }
}

asio::awaitable<void> Proxy::listen(tcp::acceptor acceptor, unsigned from, unsigned to, std::uint16_t port) {
  Link& link = *links_.at({from, to});
  while (true) {
    auto [ec, socket] = co_await acceptor.async_accept(kTuple);
    if (ec) continue;
    auto connection = std::make_shared<Connection>(std::move(socket), context_);
    if (link.refuse)
      connection->reset();
    else
      asio::co_spawn(context_, serve(connection, from, to, port), asio::detached);
  }
}

asio::awaitable<void> Proxy::serve(std::shared_ptr<Connection> connection, unsigned from, unsigned to,
                                   std::uint16_t port) {
  Link& link = *links_.at({from, to});
  link.dialled.insert(connection);
  while (link.hold && connection->dialler.is_open()) co_await link.changed.async_wait(kTuple);
  auto [ec] = co_await connection->target.async_connect(endpoint(to + 1, port), kTuple);
  if (ec || !connection->dialler.is_open()) {
    connection->reset();
    link.dialled.erase(connection);
    co_return;
  }
  boost::system::error_code ignored;
  connection->dialler.set_option(tcp::no_delay(true), ignored);
  connection->target.set_option(tcp::no_delay(true), ignored);
  const bool may_corrupt = port == ports_.front();
  asio::co_spawn(context_, pump(connection, connection->target, connection->dialler, *links_.at({to, from}), may_corrupt),
                 asio::detached);
  co_await pump(connection, connection->dialler, connection->target, link, may_corrupt);
  link.dialled.erase(connection);
}

asio::awaitable<void> Proxy::pump(std::shared_ptr<Connection> connection, tcp::socket& in, tcp::socket& out, Link& link,
                                  bool may_corrupt) {
  std::array<char, 65536> buffer;
  Waiting pause(context_);
  while (true) {
    auto [ec, size] = co_await in.async_read_some(asio::buffer(buffer), kTuple);
    if (ec) break;
    if (link.delay.count() != 0) {
      pause.expires_after(link.delay);
      co_await pause.async_wait(kTuple);
    }
    while (link.hold && out.is_open()) co_await link.changed.async_wait(kTuple);
    if (may_corrupt && link.corrupt != 0 && random_() % link.corrupt == 0)
      buffer[random_() % size] ^= static_cast<char>(1u << random_() % 8);
    auto [written, count] = co_await asio::async_write(out, asio::buffer(buffer.data(), size), kTuple);
    if (written) break;
  }
  // The end of a stream is a message, too: it waits like the others.
  while (link.hold && out.is_open()) co_await link.changed.async_wait(kTuple);
  connection->close();
}

void Proxy::command(const std::string& line) {
  std::istringstream words(line);
  unsigned from = 0, to = 0, number = 0;
  std::string mode;
  words >> from >> to >> mode >> number;
  const auto found = links_.find({from, to});
  if (found == links_.end()) throw std::runtime_error("no such link: " + line);
  Link& link = *found->second;
  if (mode != "open" && mode != "hold" && mode != "refuse" && mode != "delay" && mode != "corrupt")
    throw std::runtime_error("no such mode: " + line);
  link.hold = mode == "hold";
  link.refuse = mode == "refuse";
  link.delay = std::chrono::milliseconds(mode == "delay" ? number : 0);
  link.corrupt = mode == "corrupt" ? number : 0;
  if (link.refuse) {
    for (const auto& connection : std::exchange(link.dialled, {})) connection->reset();
  }
  link.changed.cancel();
}

asio::awaitable<void> read_commands(asio::io_context& context, Proxy& proxy) {
  asio::posix::stream_descriptor input(context, ::dup(0));
  std::string text;
  while (true) {
    auto [ec, size] = co_await asio::async_read_until(input, asio::dynamic_buffer(text), '\n', kTuple);
    if (ec) break;
    proxy.command(text.substr(0, size));
    text.erase(0, size);
    std::cout << "ok" << std::endl;
  }
  context.stop();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::cerr << "usage: chaos_proxy PREFIX NODES PORT..\n";
    return 2;
  }
  std::vector<std::uint16_t> ports;
  for (int i = 3; i < argc; ++i) ports.push_back(static_cast<std::uint16_t>(std::stoul(argv[i])));
  asio::io_context context(1);
  Proxy proxy(context, argv[1], static_cast<unsigned>(std::stoul(argv[2])), std::move(ports));
  asio::co_spawn(context, read_commands(context, proxy), asio::detached);
  std::cout << "ok" << std::endl;
  context.run();
  return 0;
} catch (const std::exception& error) {
  std::cerr << "chaos_proxy: " << error.what() << "\n";
  return 1;
}
