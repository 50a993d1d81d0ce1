// Requests per second and their latencies over N keep-alive connections, one outstanding request each.
//   http_rate --to 127.0.0.1:15004,127.0.0.2:15004 --clients 64 --seconds 5 --method GET --target '/tags/bench%2Fr:t{i}' --keys 1000
// {i} in the target is a counter below --keys. One epoll thread: the machine's other core is the server's.
// Prints one line of JSON.
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <map>
#include <vector>

#include <CLI/CLI.hpp>

#include "bench/http_client.h"

namespace kraken::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Options {
  std::vector<std::string> to;
  std::string method = "GET";
  std::string target = "/";
  std::string body;
  std::string header;
  unsigned clients = 64;
  double seconds = 5;
  std::uint64_t keys = 1;
};

struct Client {
  Connection connection;
  std::string host;
  SteadyClock::time_point sent;
};

struct Totals {
  std::vector<double> latencies_ms;
  std::map<int, std::uint64_t> statuses;
  std::string first_bad;
};

std::string request_of(const Options& options, const std::string& host, std::uint64_t counter) {
  std::string target = options.target;
  std::string body = options.body;
  for (std::string* text : {&target, &body}) {
    for (std::size_t at = 0; (at = text->find("{i}", at)) != std::string::npos;) text->replace(at, 3, std::to_string(counter % options.keys));
  }
  std::string request = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", options.method, target, host);
  if (!options.header.empty()) request += options.header + "\r\n";
  if (options.method != "GET" && options.method != "HEAD") request += fmt::format("Content-Length: {}\r\n", body.size());
  return request + "\r\n" + body;
}

Result<> run(const Options& options, Totals& totals) {
  const UniqueFd poll(::epoll_create1(EPOLL_CLOEXEC));
  std::vector<Client> clients;
  for (unsigned i = 0; i < options.clients; ++i) {
    const std::string& to = options.to[i % options.to.size()];
    KR_TRY(const Address address, Address::parse(to));
    KR_TRY(Connection connection, Connection::open(address));
    epoll_event event{.events = EPOLLIN, .data = {.u32 = i}};
    ::epoll_ctl(poll.get(), EPOLL_CTL_ADD, connection.fd(), &event);
    clients.push_back(Client{.connection = std::move(connection), .host = to, .sent = {}});
  }
  std::uint64_t counter = 0;
  const auto send_next = [&](Client& client) {
    client.sent = SteadyClock::now();
    return client.connection.send(request_of(options, client.host, counter++));
  };
  for (Client& client : clients) KR_CHECK(send_next(client));
  const auto end = SteadyClock::now() + std::chrono::duration<double>(options.seconds);
  std::vector<epoll_event> events(options.clients);
  for (std::size_t waiting = clients.size(); waiting > 0;) {
    const int ready = ::epoll_wait(poll.get(), events.data(), static_cast<int>(events.size()), 30000);
    if (ready == 0) return fail(Code::kDeadlineExceeded, "no answer for 30 s");
    for (int i = 0; i < ready; ++i) {
      Client& client = clients[events[static_cast<std::size_t>(i)].data.u32];
      KR_TRY(const Reply reply, client.connection.receive(false, options.method == "HEAD"));
      const auto now = SteadyClock::now();
      totals.latencies_ms.push_back(std::chrono::duration<double, std::milli>(now - client.sent).count());
      ++totals.statuses[reply.status];
      if (reply.status >= 300 && totals.first_bad.empty()) totals.first_bad = reply.head.substr(0, reply.head.find('\r')) + " " + reply.body.substr(0, 200);
      if (now < end) {
        KR_CHECK(send_next(client));
      } else {
        --waiting;
      }
    }
  }
  return {};
}

double percentile(std::vector<double>& sorted, double p) {
  return sorted.empty() ? 0 : sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(p * static_cast<double>(sorted.size())))];
}

}  // namespace
}  // namespace kraken::bench

int main(int argc, char** argv) {
  using namespace kraken;
  bench::Options options;
  CLI::App app("Requests per second over keep-alive connections");
  app.add_option("--to", options.to, "addresses, connections are dealt to them in turn")->delimiter(',')->required();
  app.add_option("--method", options.method);
  app.add_option("--target", options.target, "{i} is the counter");
  app.add_option("--body", options.body);
  app.add_option("--header", options.header, "one more header line");
  app.add_option("--clients", options.clients);
  app.add_option("--seconds", options.seconds);
  app.add_option("--keys", options.keys, "the counter stays below this");
  CLI11_PARSE(app, argc, argv);
  bench::Totals totals;
  const auto start = bench::SteadyClock::now();
  if (const auto done = bench::run(options, totals); !done) {
    std::fprintf(stderr, "http_rate: %s\n", done.error().to_string().c_str());
    return 1;
  }
  const double seconds = std::chrono::duration<double>(bench::SteadyClock::now() - start).count();
  std::ranges::sort(totals.latencies_ms);
  std::uint64_t good = 0;
  for (const auto& [status, count] : totals.statuses) good += status < 300 ? count : 0;
  if (!totals.first_bad.empty()) std::fprintf(stderr, "http_rate: first bad answer: %s\n", totals.first_bad.c_str());
  std::printf(R"({"per_second":%.1f,"good":%llu,"bad":%llu,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f})" "\n",
              static_cast<double>(good) / seconds, static_cast<unsigned long long>(good),
              static_cast<unsigned long long>(totals.latencies_ms.size() - good), bench::percentile(totals.latencies_ms, 0.5),
              bench::percentile(totals.latencies_ms, 0.99), totals.latencies_ms.empty() ? 0 : totals.latencies_ms.back());
  return totals.first_bad.empty() ? 0 : 1;
}
