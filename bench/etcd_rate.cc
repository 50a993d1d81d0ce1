// http_rate for etcd: puts or linearizable gets per second and their latencies, over gRPC.
//   etcd_rate --to 127.0.0.1:2379,127.0.0.2:2379 --clients 500 --seconds 5 --do put --key 'bench/r{r}:t{i}' --keys 1000 --value sha256:..
// As there one thread, one outstanding request a client, and each client a connection of its own unless --channels says fewer.
#include <optional>
#include <vector>

#include "bench/etcd_client.h"
#include "bench/load.h"

namespace kraken::bench {
namespace {

struct Options : LoadOptions {
  std::string what = "put";
  std::string key = "key{i}";
  std::string value;
  unsigned channels = 0;
};

using Put = EtcdCall<etcdserverpb::PutRequest, etcdserverpb::PutResponse>;
using Get = EtcdCall<etcdserverpb::RangeRequest, etcdserverpb::RangeResponse>;

struct Client {
  etcdserverpb::KV::Stub* stub = nullptr;
  SteadyClock::time_point sent;
  std::optional<Put> put;
  std::optional<Get> get;
};

void start(const Options& options, Client& client, std::uint64_t number, grpc::CompletionQueue& queue) {
  if (options.what == "put") {
    etcdserverpb::PutRequest request;
    request.set_key(filled(options.key, number, options.keys));
    request.set_value(filled(options.value, number, options.keys));
    client.put.emplace().start(*client.stub, &etcdserverpb::KV::Stub::AsyncPut, request, queue, &client);
  } else {
    etcdserverpb::RangeRequest request;
    request.set_key(filled(options.key, number, options.keys));
    client.get.emplace().start(*client.stub, &etcdserverpb::KV::Stub::AsyncRange, request, queue, &client);
  }
}

std::string bad_of(const Options& options, const Client& client) {
  const grpc::Status& status = options.what == "put" ? client.put->status : client.get->status;
  if (!status.ok()) return status.error_message();
  if (options.what == "get" && (client.get->answer.kvs_size() != 1 || client.get->answer.kvs(0).value().empty()))
    return "the key is not there";
  return {};
}

int run(const Options& options) {
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<etcdserverpb::KV::Stub>> stubs;
  const unsigned channels = options.channels ? options.channels : options.clients;
  for (unsigned i = 0; i < channels; ++i) {
    auto channel = etcd_channel(options.to[i % options.to.size()]);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
      std::fprintf(stderr, "etcd_rate: no connection to %s within 10 s\n", options.to[i % options.to.size()].c_str());
      return 1;
    }
    stubs.push_back(etcdserverpb::KV::NewStub(channel));
  }
  std::vector<Client> clients(options.clients);
  Tally tally(options);
  std::size_t waiting = 0;
  const auto send_next = [&](Client& client, SteadyClock::time_point now) {
    const auto number = tally.next(now);
    if (!number) return;
    client.sent = now;
    ++waiting;
    start(options, client, *number, queue);
  };
  for (unsigned i = 0; i < options.clients; ++i) {
    clients[i].stub = stubs[i % channels].get();
    send_next(clients[i], SteadyClock::now());
  }
  while (waiting > 0) {
    void* tag = nullptr;
    bool ok = false;
    if (queue.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + std::chrono::seconds(30)) != grpc::CompletionQueue::GOT_EVENT) {
      std::fprintf(stderr, "etcd_rate: no answer for 30 s\n");
      return 1;
    }
    Client& client = *static_cast<Client*>(tag);
    const auto now = SteadyClock::now();
    const std::string bad = bad_of(options, client);
    tally.answered(client.sent, now, bad.empty(), bad);
    --waiting;
    send_next(client, now);
  }
  return tally.print("etcd_rate");
}

}  // namespace
}  // namespace kraken::bench

int main(int argc, char** argv) {
  using namespace kraken;
  bench::Options options;
  CLI::App app("etcd's puts or gets per second");
  bench::add_load_options(app, options);
  app.add_option("--do", options.what)->check(CLI::IsMember({"put", "get"}));
  app.add_option("--key", options.key, "may have {i} and {r}");
  app.add_option("--value", options.value, "of a put; may have {v}");
  app.add_option("--channels", options.channels, "connections that the clients share; one each by default");
  CLI11_PARSE(app, argc, argv);
  return bench::run(options);
}
