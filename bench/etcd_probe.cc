// The time from a fault to the next acknowledged write (bench/probe.h), of etcd over gRPC.
//   etcd_probe --to 127.0.0.2:2379,127.0.0.3:2379 --fault 'kill -9 4711' --key 'bench/r{r}:t' --value sha256:..
// One connection a server: gRPC sends any number of writes over it.
#include <unordered_map>

#include "bench/etcd_client.h"
#include "bench/probe.h"

namespace kraken::bench {
namespace {

using Put = EtcdCall<etcdserverpb::PutRequest, etcdserverpb::PutResponse>;

class EtcdDoor final : public Door {
 public:
  EtcdDoor(const ProbeOptions& options, std::string key, std::string value) : options_(options), key_(std::move(key)), value_(std::move(value)) {
    for (const std::string& to : options.to) stubs_.push_back(etcdserverpb::KV::NewStub(etcd_channel(to)));
  }
  ~EtcdDoor() override {
    for (auto& [write, put] : puts_) put->context.TryCancel();
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {}
  }

  bool send(std::size_t server, std::uint64_t key, std::uint64_t write) override {
    etcdserverpb::PutRequest request;
    request.set_key(filled(key_, key, options_.keys));
    request.set_value(value_);
    auto& put = puts_[write] = std::make_unique<Put>();
    put->context.set_wait_for_ready(true);
    // Never null, which a queue's tag may not be either.
    put->start(*stubs_[server], &etcdserverpb::KV::Stub::AsyncPut, request, queue_, reinterpret_cast<void*>(write + 1));
    return true;
  }

  void wait(SteadyClock::time_point until, const Answered& answered) override {
    for (;;) {
      const auto left = until - SteadyClock::now();
      void* tag = nullptr;
      bool ok = false;
      if (left.count() <= 0) return;
      if (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + left) != grpc::CompletionQueue::GOT_EVENT) return;
      const std::uint64_t write = reinterpret_cast<std::uint64_t>(tag) - 1;
      const auto found = puts_.find(write);
      const bool good = found->second->status.ok();
      puts_.erase(found);
      answered(write, good);
    }
  }

 private:
  const ProbeOptions& options_;
  const std::string key_;
  const std::string value_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<etcdserverpb::KV::Stub>> stubs_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Put>> puts_;
};

}  // namespace
}  // namespace kraken::bench

int main(int argc, char** argv) {
  using namespace kraken;
  bench::ProbeOptions options;
  std::string key = "bench/t{i}";
  std::string value;
  CLI::App app("From a fault to etcd's next acknowledged write");
  bench::add_probe_options(app, options);
  app.add_option("--key", key, "may have {i} and {r}");
  app.add_option("--value", value);
  CLI11_PARSE(app, argc, argv);
  bench::EtcdDoor door(options, key, value);
  return bench::run_probe(options, door);
}
