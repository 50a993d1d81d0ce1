#include "src/blobs/http_peers.h"

#include <charconv>

#include "http/errors.h"
#include "src/blobs/endpoints.h"

namespace kraken::blobs {
namespace {

constexpr Duration kDownFor = std::chrono::seconds(1);
constexpr Duration kPlaceTimeout = std::chrono::minutes(2);  // a sync of what is left of a large file
constexpr Duration kIdleTimeout = std::chrono::minutes(2);   // of a disk that is behind
constexpr Duration kFetchTimeout = std::chrono::seconds(40);

class HttpStream final : public Stream {
 public:
  HttpStream(http::ClientResponse response, std::uint64_t bytes) : response_(std::move(response)), left_(bytes) {}
  net::Task<std::size_t> read(std::span<char> into) override {
    if (left_ == 0) co_return std::size_t{0};
    KR_CO_TRY(const std::size_t got, co_await response_.read(into.first(std::min<std::uint64_t>(into.size(), left_))));
    if (got == 0) co_return fail(Code::kClosed, "the other node sent {} bytes too few", left_);
    left_ -= got;
    co_return got;
  }

 private:
  http::ClientResponse response_;
  std::uint64_t left_;
};

Result<StoreId> store_of(const http::ClientResponse& response) {
  return StoreId::parse(response.headers.first(kStoreHeader));
}

std::string blob_target(const Digest& digest) { return "/internal/v1/blobs/" + digest.str(); }

}  // namespace

HttpPeers::HttpPeers(http::Client& client, ring::Addresses addresses)
    : client_(client), addresses_(std::move(addresses)) {}

net::Task<http::ClientResponse> HttpPeers::ask(std::string label, Ask ask) {
  const std::optional<Address> found = addresses_(label);
  if (!found) co_return fail(Code::kUnavailable, "no node {} in the ring", label);
  if (!ask.probe) {
    const std::scoped_lock lock(mutex_);
    const auto down = down_until_.find(label);
    if (down != down_until_.end() && system_clock().monotonic() < down->second) {
      co_return fail(Code::kUnavailable, "node {} ({}:{}) did not answer a moment ago", label, found->host,
                     found->port);
    }
  }
  const bool probe = ask.probe;
  http::ClientRequest request;
  request.method = ask.method;
  request.host = found->host;
  request.port = found->port;
  request.target = std::move(ask.target);
  request.headers = std::move(ask.headers);
  request.timeout = ask.timeout;
  request.idle_timeout = kIdleTimeout;
  if (ask.body.fd >= 0) {
    request.body = http::FileBody{.fd = ask.body.fd, .offset = 0, .length = ask.body.bytes.value_or(0)};
  } else if (ask.body.reader) {
    request.body = http::BodySource{.read = std::move(ask.body.reader), .length = ask.body.bytes};
  }
  auto sent = co_await client_.send(std::move(request));
  {
    const std::scoped_lock lock(mutex_);
    if (sent) down_until_.erase(label);
    if (!sent && !probe && sent.error().code == Code::kUnavailable) down_until_[label] = system_clock().monotonic() + kDownFor;
  }
  if (!sent) co_return std::unexpected(std::move(sent).error());
  http::ClientResponse response = *std::move(sent);
  if (response.status / 100 == 2 && response.status != 202) co_return response;
  auto text = co_await response.read_all(64 * 1024);
  Error error = http::error_from(response.status, text ? *text : std::string(), "node " + label);
  const std::string_view code = response.headers.first(kCodeHeader);
  unsigned number = 0;
  if (std::from_chars(code.data(), code.data() + code.size(), number).ec == std::errc() && number <= 255) {
    error.code = static_cast<Code>(number);
  }
  // It is that node that stops: to whoever asked, kCancelled means that he does.
  if (error.code == Code::kCancelled) error.code = Code::kUnavailable;
  co_return std::unexpected(std::move(error));
}

net::Task<StoreId> HttpPeers::ask_store(std::string label, Ask what) {
  KR_CO_TRY(auto response, co_await ask(std::move(label), std::move(what)));
  auto store = store_of(response);
  auto rest = co_await response.read_all(64 * 1024);
  if (!rest) co_return std::unexpected(std::move(rest).error());
  co_return store;
}

net::Task<StoreId> HttpPeers::store_id(std::string label) {
  Ask what{.target = "/internal/v1/store", .timeout = std::chrono::seconds(3), .probe = true};
  auto store = co_await ask_store(std::move(label), std::move(what));
  co_return store;
}

net::Task<Held> HttpPeers::have(std::string label, Digest digest) {
  Ask what{.method = http::Method::kHead, .target = blob_target(digest), .timeout = std::chrono::seconds(3)};
  KR_CO_TRY(auto response, co_await ask(std::move(label), std::move(what)));
  KR_CO_TRY(const StoreId store, store_of(response));
  co_return Held{.store = store, .bytes = response.content_length.value_or(0)};
}

net::Task<void> HttpPeers::stage(std::string label, std::string transfer, Digest digest, Body body) {
  Ask what{.method = http::Method::kPut, .target = fmt::format("/internal/v1/transfers/{}?digest={}", transfer, digest.str()),
           .body = std::move(body), .timeout = kPlaceTimeout};
  auto done = co_await ask_store(std::move(label), std::move(what));
  if (!done) co_return std::unexpected(std::move(done).error());
  co_return Result<>();
}

net::Task<StoreId> HttpPeers::place(std::string label, std::string transfer, Digest digest) {
  Ask what{.method = http::Method::kPost,
           .target = fmt::format("/internal/v1/transfers/{}/place?digest={}", transfer, digest.str()),
           .timeout = kPlaceTimeout};
  auto store = co_await ask_store(std::move(label), std::move(what));
  co_return store;
}

net::Task<StoreId> HttpPeers::put(std::string label, std::string transfer, Digest digest, Body body) {
  Ask what{.method = http::Method::kPut, .target = fmt::format("{}?transfer={}", blob_target(digest), transfer),
           .body = std::move(body), .timeout = kPlaceTimeout};
  auto store = co_await ask_store(std::move(label), std::move(what));
  co_return store;
}

net::Task<void> HttpPeers::discard(std::string label, std::string transfer) {
  Ask what{.method = http::Method::kDelete, .target = "/internal/v1/transfers/" + transfer};
  auto done = co_await ask_store(std::move(label), std::move(what));
  if (!done) co_return std::unexpected(std::move(done).error());
  co_return Result<>();
}

net::Task<std::unique_ptr<Stream>> HttpPeers::open(std::string label, Digest digest, std::uint64_t offset,
                                                   std::uint64_t length) {
  Ask what{.target = fmt::format("{}?offset={}&length={}", blob_target(digest), offset, length),
           .timeout = std::chrono::seconds(30)};
  KR_CO_TRY(auto response, co_await ask(label, std::move(what)));
  if (response.content_length != length) {
    co_return fail(Code::kCorrupt, "node {} has another length of blob {}", label, digest.str());
  }
  co_return std::make_unique<HttpStream>(std::move(response), length);
}

net::Task<void> HttpPeers::fetch(std::string label, Digest digest) {
  Ask what{.method = http::Method::kPost, .target = blob_target(digest) + "/fetch", .timeout = kFetchTimeout};
  auto done = co_await ask_store(std::move(label), std::move(what));
  if (!done) co_return std::unexpected(std::move(done).error());
  co_return Result<>();
}

net::Task<void> HttpPeers::let_go(std::string label, Digest digest, std::uint64_t epoch) {
  Ask what{.method = http::Method::kPost, .target = fmt::format("{}/let_go?epoch={}", blob_target(digest), epoch),
           .timeout = std::chrono::seconds(30)};
  auto done = co_await ask_store(std::move(label), std::move(what));
  if (!done) co_return std::unexpected(std::move(done).error());
  co_return Result<>();
}

net::Task<void> HttpPeers::release(std::string label, Digest digest) {
  Ask what{.method = http::Method::kPost, .target = blob_target(digest) + "/release"};
  auto done = co_await ask_store(std::move(label), std::move(what));
  if (!done) co_return std::unexpected(std::move(done).error());
  co_return Result<>();
}

}  // namespace kraken::blobs
