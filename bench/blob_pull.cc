// Downloads one target from one or more servers at once, discarding the bytes in the kernel, and prints JSON: seconds to the
// last byte of each, and of the last.
//   blob_pull --from 127.0.0.11:16000,127.0.0.12:16000 --target /v2/bench/push/blobs/sha256:..
#include <chrono>
#include <cstdio>
#include <thread>

#include <CLI/CLI.hpp>

#include "bench/http_client.h"

namespace {

using namespace kraken;
using SteadyClock = std::chrono::steady_clock;

Result<std::uint64_t> pull(const std::string& from, const std::string& target) {
  KR_TRY(const bench::Address address, bench::Address::parse(from));
  KR_TRY(auto connection, bench::Connection::open(address));
  KR_TRY(const auto reply, connection.exchange(fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", target, from), true));
  if (reply.status != 200) return fail(Code::kProtocol, "{}: {}", from, reply.status);
  return reply.body_bytes;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> from;
  std::string target;
  CLI::App app("Downloads one target from several servers at once");
  app.add_option("--from", from)->delimiter(',')->required();
  app.add_option("--target", target)->required();
  CLI11_PARSE(app, argc, argv);
  struct Outcome {
    Result<std::uint64_t> bytes = fail(Code::kInternal, "not run");
    double seconds = 0;
  };
  std::vector<Outcome> outcomes(from.size());
  const auto start = SteadyClock::now();
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < from.size(); ++i) {
      threads.emplace_back([&, i] {
        outcomes[i].bytes = pull(from[i], target);
        outcomes[i].seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
      });
    }
  }
  double last = 0;
  std::uint64_t bytes = 0;
  std::string each;
  for (const Outcome& outcome : outcomes) {
    if (!outcome.bytes) {
      std::fprintf(stderr, "blob_pull: %s\n", outcome.bytes.error().to_string().c_str());
      return 1;
    }
    bytes += *outcome.bytes;
    last = std::max(last, outcome.seconds);
    each += fmt::format("{}{:.4f}", each.empty() ? "" : ",", outcome.seconds);
  }
  std::printf(R"({"bytes":%llu,"seconds":%.4f,"each_seconds":[%s],"mb_per_second":%.1f})" "\n", static_cast<unsigned long long>(bytes), last, each.c_str(),
              static_cast<double>(bytes) / 1e6 / last);
  return 0;
}
