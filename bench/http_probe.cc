// The time from a fault to the next acknowledged write (bench/probe.h), of what speaks HTTP.
//   http_probe --to 127.0.0.2:15004,127.0.0.3:15004 --fault 'kill -9 4711' --target '/tags/bench%2Fr{r}%3At/digest/sha256:..'
// A write that nobody answered keeps its connection; the next takes one that is free, or a new one.
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <memory>

#include "bench/http_client.h"
#include "bench/probe.h"

namespace kraken::bench {
namespace {

constexpr std::size_t kConnectionsMax = 3000;  // of one server; it takes 4,096

class HttpDoor final : public Door {
 public:
  HttpDoor(const ProbeOptions& options, std::string target)
      : options_(options), target_(std::move(target)), poll_(::epoll_create1(EPOLL_CLOEXEC)), servers_(options.to.size()) {}

  bool send(std::size_t server, std::uint64_t key, std::uint64_t write) override {
    Server& to = servers_[server];
    Line* line = take(to, server);
    if (!line) return false;
    line->write = write;
    const std::string request = fmt::format("PUT {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", filled(target_, key, options_.keys), options_.to[server]);
    if (line->connection.send(request)) return true;
    drop(line);
    return false;
  }

  void wait(SteadyClock::time_point until, const Answered& answered) override {
    for (;;) {
      const auto left = std::chrono::duration_cast<std::chrono::microseconds>(until - SteadyClock::now()).count();
      if (left <= 0) return;
      std::array<epoll_event, 64> events{};
      const int ready = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), static_cast<int>((left + 999) / 1000));
      for (int i = 0; i < ready; ++i) {
        Line* line = static_cast<Line*>(events[static_cast<std::size_t>(i)].data.ptr);
        const std::uint64_t write = line->write;
        const auto reply = line->connection.receive();
        if (!reply) {
          drop(line);
        } else {
          servers_[line->server].idle.push_back(line);
        }
        answered(write, reply && reply->status < 300);
      }
    }
  }

 private:
  struct Line {
    std::size_t server = 0;
    Connection connection;
    std::uint64_t write = 0;
  };
  struct Server {
    std::vector<std::unique_ptr<Line>> lines;
    std::vector<Line*> idle;
  };

  Line* take(Server& server, std::size_t index) {
    if (!server.idle.empty()) {
      Line* line = server.idle.back();
      server.idle.pop_back();
      return line;
    }
    if (server.lines.size() >= kConnectionsMax) return nullptr;
    const auto address = Address::parse(options_.to[index]);
    if (!address) return nullptr;
    auto connection = Connection::open(*address);
    if (!connection) return nullptr;
    server.lines.push_back(std::make_unique<Line>(Line{.server = index, .connection = *std::move(connection), .write = 0}));
    Line* line = server.lines.back().get();
    epoll_event event{.events = EPOLLIN, .data = {.ptr = line}};
    ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, line->connection.fd(), &event);
    return line;
  }

  void drop(Line* line) {
    Server& server = servers_[line->server];
    std::erase(server.idle, line);
    std::erase_if(server.lines, [line](const auto& one) { return one.get() == line; });
  }

  const ProbeOptions& options_;
  const std::string target_;
  const UniqueFd poll_;
  std::vector<Server> servers_;
};

}  // namespace
}  // namespace kraken::bench

int main(int argc, char** argv) {
  using namespace kraken;
  bench::ProbeOptions options;
  std::string target;
  CLI::App app("From a fault to the next acknowledged write");
  bench::add_probe_options(app, options);
  app.add_option("--target", target, "of the PUT; may have {i} and {r}")->required();
  CLI11_PARSE(app, argc, argv);
  bench::HttpDoor door(options, target);
  return bench::run_probe(options, door);
}
