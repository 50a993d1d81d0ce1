// Pushes one blob over registry v2 as docker does (POST, one chunked PATCH without Content-Range, PUT) and prints JSON:
// seconds of the whole, of the PATCH and of the PUT, and the digest.
//   blob_push --to 127.0.0.1:5000 --repository bench/push --bytes 536870912 --seed 7
// The bytes are pseudo-random and made, with their SHA-256, before the clock starts.
#include <chrono>
#include <cstdio>
#include <cstring>

#include <CLI/CLI.hpp>

#include "bench/http_client.h"
#include "src/base/rng.h"
#include "src/core/digest.h"

namespace {

using namespace kraken;
using SteadyClock = std::chrono::steady_clock;

constexpr std::uint64_t kUnitBytes = 1u << 20;

double seconds_since(SteadyClock::time_point start) { return std::chrono::duration<double>(SteadyClock::now() - start).count(); }

/// One random megabyte; unit i of the blob is this with i written over its first eight bytes, so that no two are alike.
std::string make_unit(std::uint64_t seed) {
  Rng rng(seed);
  std::string unit(kUnitBytes, '\0');
  for (std::size_t at = 0; at < unit.size(); at += 8) {
    const std::uint64_t word = rng.next();
    std::memcpy(unit.data() + at, &word, 8);
  }
  return unit;
}

template <class Sink>
Result<> generate(std::string unit, std::uint64_t bytes, Sink&& sink) {
  for (std::uint64_t at = 0; at < bytes; at += kUnitBytes) {
    const std::uint64_t index = at / kUnitBytes;
    std::memcpy(unit.data(), &index, 8);
    KR_CHECK(sink(std::string_view(unit).substr(0, static_cast<std::size_t>(std::min(kUnitBytes, bytes - at)))));
  }
  return {};
}

std::string path_of(std::string location) {
  if (location.starts_with("http://")) location = location.substr(location.find('/', 7));
  return location;
}

Result<> push(const std::string& to, const std::string& repository, std::uint64_t bytes, std::uint64_t seed) {
  const std::string unit = make_unit(seed);
  Sha256 hasher;
  KR_CHECK(generate(unit, bytes, [&](std::string_view part) -> Result<> {
    hasher.update(part);
    return {};
  }));
  const Digest digest = hasher.finish();

  KR_TRY(const bench::Address address, bench::Address::parse(to));
  KR_TRY(auto connection, bench::Connection::open(address));
  const auto start = SteadyClock::now();
  KR_TRY(const auto begun, connection.exchange(fmt::format("POST /v2/{}/blobs/uploads/ HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", repository, to)));
  if (begun.status != 202) return fail(Code::kProtocol, "POST: {} {}", begun.status, begun.body);
  KR_CHECK(connection.send(fmt::format("PATCH {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
                                       path_of(begun.header("location")), to)));
  KR_CHECK(generate(unit, bytes, [&](std::string_view part) -> Result<> {
    KR_CHECK(connection.send(fmt::format("{:x}\r\n", part.size())));
    KR_CHECK(connection.send(part));
    return connection.send("\r\n");
  }));
  KR_CHECK(connection.send("0\r\n\r\n"));
  KR_TRY(const auto patched, connection.receive());
  if (patched.status != 202) return fail(Code::kProtocol, "PATCH: {} {}", patched.status, patched.body);
  const double patch_seconds = seconds_since(start);
  std::string location = path_of(patched.header("location"));
  location += (location.find('?') == std::string::npos ? '?' : '&');
  KR_TRY(const auto done, connection.exchange(fmt::format("PUT {}digest={} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", location, digest.str(), to)));
  if (done.status != 201) return fail(Code::kProtocol, "PUT: {} {}", done.status, done.body);
  const double seconds = seconds_since(start);
  std::printf(R"({"digest":"%s","bytes":%llu,"seconds":%.4f,"patch_seconds":%.4f,"put_seconds":%.4f,"mb_per_second":%.1f})" "\n", digest.str().c_str(),
              static_cast<unsigned long long>(bytes), seconds, patch_seconds, seconds - patch_seconds, static_cast<double>(bytes) / 1e6 / seconds);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  std::string to;
  std::string repository = "bench/push";
  std::uint64_t bytes = 512u << 20;
  std::uint64_t seed = 1;
  CLI::App app("Pushes one generated blob over registry v2");
  app.add_option("--to", to)->required();
  app.add_option("--repository", repository);
  app.add_option("--bytes", bytes);
  app.add_option("--seed", seed);
  CLI11_PARSE(app, argc, argv);
  if (const auto done = push(to, repository, bytes, seed); !done) {
    std::fprintf(stderr, "blob_push: %s\n", done.error().to_string().c_str());
    return 1;
  }
  return 0;
}
