// Requests per second and their latencies over N keep-alive connections, one outstanding request each.
//   http_rate --to 127.0.0.1:15004,127.0.0.2:15004 --clients 64 --seconds 5 --method GET --target '/tags/bench%2Fr:t{i}' --keys 1000
// {i} and {r}: bench/words.h. One epoll thread: the machine's other core is the server's. Prints one line of JSON.
#include <sys/epoll.h>

#include <cerrno>
#include <vector>

#include "bench/http_client.h"
#include "bench/load.h"

namespace kraken::bench {
namespace {

struct Options : LoadOptions {
  std::string method = "GET";
  std::string target = "/";
  std::string body;
  std::string header;
};

struct Client {
  Connection connection;
  std::string host;
  SteadyClock::time_point sent;
};

std::string request_of(const Options& options, const std::string& host, std::uint64_t counter) {
  std::string request = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", options.method, filled(options.target, counter, options.keys), host);
  if (!options.header.empty()) request += options.header + "\r\n";
  const std::string body = filled(options.body, counter, options.keys);
  if (options.method != "GET" && options.method != "HEAD") request += fmt::format("Content-Length: {}\r\n", body.size());
  return request + "\r\n" + body;
}

Result<> run(const Options& options, Tally& tally) {
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
  std::size_t waiting = 0;
  const auto send_next = [&](Client& client, SteadyClock::time_point now) -> Result<> {
    const auto number = tally.next(now);
    if (!number) return {};
    client.sent = now;
    ++waiting;
    return client.connection.send(request_of(options, client.host, *number));
  };
  for (Client& client : clients) KR_CHECK(send_next(client, SteadyClock::now()));
  std::vector<epoll_event> events(options.clients);
  while (waiting > 0) {
    const int ready = ::epoll_wait(poll.get(), events.data(), static_cast<int>(events.size()), 30000);
    if (ready == 0) return fail(Code::kDeadlineExceeded, "no answer for 30 s");
    for (int i = 0; i < ready; ++i) {
      Client& client = clients[events[static_cast<std::size_t>(i)].data.u32];
      KR_TRY(const Reply reply, client.connection.receive(false, options.method == "HEAD"));
      const auto now = SteadyClock::now();
      const bool good = reply.status < 300;
      tally.answered(client.sent, now, good, good ? "" : reply.head.substr(0, reply.head.find('\r')) + " " + reply.body.substr(0, 200));
      --waiting;
      KR_CHECK(send_next(client, now));
    }
  }
  return {};
}

}  // namespace
}  // namespace kraken::bench

int main(int argc, char** argv) {
  using namespace kraken;
  bench::Options options;
  CLI::App app("Requests per second over keep-alive connections");
  bench::add_load_options(app, options);
  app.add_option("--method", options.method);
  app.add_option("--target", options.target, "may have {i} and {r}");
  app.add_option("--body", options.body, "may have {i} and {r}");
  app.add_option("--header", options.header, "one more header line");
  CLI11_PARSE(app, argc, argv);
  bench::Tally tally(options);
  if (const auto done = bench::run(options, tally); !done) {
    std::fprintf(stderr, "http_rate: %s\n", done.error().to_string().c_str());
    return 1;
  }
  return tally.print("http_rate");
}
