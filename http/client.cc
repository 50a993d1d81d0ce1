#include "http/client.h"

#include <sys/socket.h>

#include <boost/asio/query.hpp>

#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "http/wire.h"
#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/net/dial.h"

namespace kraken::http {

namespace beast_http = boost::beast::http;

namespace {

constexpr std::size_t kHeadBytesMax = 64 * 1024;
constexpr std::size_t kHeadReadBytes = 2048;
constexpr std::size_t kBodyInHeadBytes = 16 * 1024;
constexpr std::size_t kSourceBytes = 256 * 1024;
constexpr std::uint64_t kFileStepBytes = 8 << 20;  // between two looks for an early answer
constexpr Duration kEarlyAnswerTimeout = std::chrono::seconds(2);

MonotonicTime steady_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

}  // namespace

/// One connection to one host; owned by whoever uses it, or by the pool while idle.
struct ClientConnection {
  explicit ClientConnection(net::Socket socket) : wire(std::move(socket)) {}
  Wire wire;
  bool reused = false;
  MonotonicTime idle_since{};
};

/// The connections of one loop. Touched on that loop only.
struct LoopPool {
  struct Host {
    std::vector<std::unique_ptr<ClientConnection>> idle;  // the most recently used is last
    std::size_t open = 0;                                 // in use and idle
  };
  std::unordered_map<std::string, Host> hosts;
  std::size_t idle = 0;
  MonotonicTime swept_at{};
};

/// A place in a host's count of open connections, for as long as it lives, with the connection if there is one.
class Lease {
 public:
  Lease() = default;
  Lease(LoopPool& pool, LoopPool::Host& host) : pool_(&pool), host_(&host) { ++host.open; }
  Lease(Lease&& other) noexcept
      : connection(std::move(other.connection)),
        pool_(std::exchange(other.pool_, nullptr)),
        host_(std::exchange(other.host_, nullptr)) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      drop();
      connection = std::move(other.connection);
      pool_ = std::exchange(other.pool_, nullptr);
      host_ = std::exchange(other.host_, nullptr);
    }
    return *this;
  }
  ~Lease() { drop(); }

  /// Closes the connection.
  void drop() {
    connection.reset();
    if (host_ != nullptr) --host_->open;
    host_ = nullptr;
  }

  void give_back(const ClientLimits& limits) {
    if (host_ == nullptr) return;
    if (!connection->wire.in.empty() || host_->idle.size() >= limits.idle_per_host_max ||
        pool_->idle >= limits.idle_max)
      return drop();
    connection->wire.watchdog.disarm();
    connection->wire.in.shrink();
    connection->reused = true;
    connection->idle_since = steady_now();
    host_->idle.push_back(std::move(connection));
    ++pool_->idle;
    host_ = nullptr;  // its place in `open` goes on with it
  }

  std::unique_ptr<ClientConnection> connection;

 private:
  LoopPool* pool_ = nullptr;
  LoopPool::Host* host_ = nullptr;
};

namespace {

/// Nothing to read and not closed. A server that closed an idle connection is seen here, most of the time.
bool is_quiet(ClientConnection& connection) {
  char byte = 0;
  const auto n = ::recv(connection.wire.socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

bool has_input(ClientConnection& connection) {
  char byte = 0;
  return ::recv(connection.wire.socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool is_idempotent(Method method) {
  return method == Method::kGet || method == Method::kHead || method == Method::kPut || method == Method::kDelete;
}

std::optional<std::uint64_t> length_of(const ClientRequest& request) {
  if (const auto* text = std::get_if<std::string>(&request.body)) return text->size();
  if (const auto* file = std::get_if<FileBody>(&request.body)) return file->length;
  return std::get<BodySource>(request.body).length;
}

void write_request_head(std::string& out, const ClientRequest& request) {
  out.clear();
  out += name_of(request.method);
  out += ' ';
  out += request.target;
  out += " HTTP/1.1\r\nHost: ";
  const bool v6 = request.host.find(':') != std::string::npos;
  out += v6 ? "[" + request.host + "]" : request.host;
  out += ':';
  append_number(out, request.port);
  out += "\r\n";
  for (const auto& line : request.headers.all()) {
    if (equal_ignoring_case(line.name, "Host") || equal_ignoring_case(line.name, "Content-Length") ||
        equal_ignoring_case(line.name, "Transfer-Encoding"))
      continue;
    append_header(out, line.name, line.value);
  }
  if (!request.headers.has("User-Agent")) append_header(out, "User-Agent", "kraken");
  const auto length = length_of(request);
  if (!length) {
    out += "Transfer-Encoding: chunked\r\n";
  } else if (*length > 0 || (request.method != Method::kGet && request.method != Method::kHead &&
                             request.method != Method::kDelete)) {
    out += "Content-Length: ";
    append_number(out, *length);
    out += "\r\n";
  }
  out += "\r\n";
}

}  // namespace

struct ClientResponse::Impl {
  std::shared_ptr<ClientImpl> client;
  Lease lease;
  Headers headers;
  std::optional<MessageParser<false>> parser;
  Body body;
  Duration idle_timeout{};
  bool reusable = false;

  void body_ended();
};

struct ClientImpl {
  ClientImpl(net::FilePool& pool, ClientLimits l) : files(pool), limits(l) {}

  LoopPool& pool_of(const net::Executor& executor) {
    const auto* context = &boost::asio::query(executor, boost::asio::execution::context);
    std::scoped_lock lock(mutex);
    auto& pool = pools[context];
    if (!pool) pool = std::make_unique<LoopPool>();
    return *pool;
  }

  net::Task<Lease> checkout(const ClientRequest& request, bool fresh_only);
  void sweep(LoopPool& pool) const;
  net::Task<ClientResponse> exchange(const ClientRequest& request, Lease lease, bool& anything_received);
  net::Task<void> send_request(const ClientRequest& request, ClientConnection& connection, bool& early);
  net::Task<void> send_source(const BodySource& source, ClientConnection& connection, bool& early);
  net::Task<void> receive_head(ClientResponse::Impl& response, Duration timeout, bool head_only,
                               bool& anything_received);

  net::FilePool& files;
  const ClientLimits limits;
  std::mutex mutex;  // of the map; a pool itself belongs to its loop
  std::unordered_map<const boost::asio::execution_context*, std::unique_ptr<LoopPool>> pools;
  metrics::Counter& retries =
      metrics::counter("kr_http_client_retries_total", "Requests sent again because a kept connection had been closed");
  metrics::Counter& dials = metrics::counter("kr_http_client_dials_total", "Connections opened");
  metrics::Counter& failures =
      metrics::counter("kr_http_client_failures_total", "Requests that got no answer");
};

void ClientImpl::sweep(LoopPool& pool) const {
  const auto now = steady_now();
  if (now - pool.swept_at < std::chrono::seconds(5)) return;
  pool.swept_at = now;
  for (auto& [name, host] : pool.hosts) {
    const auto dropped = std::erase_if(host.idle, [&](const auto& connection) {
      return now - connection->idle_since > limits.idle_keep || !is_quiet(*connection);
    });
    host.open -= dropped;
    pool.idle -= dropped;
  }
  std::erase_if(pool.hosts, [](const auto& entry) { return entry.second.open == 0; });
}

/// A kept connection or a new one. The host's place is taken before the dial, so that the bound holds meanwhile.
net::Task<Lease> ClientImpl::checkout(const ClientRequest& request, bool fresh_only) {
  auto executor = co_await boost::asio::this_coro::executor;
  auto& pool = pool_of(executor);
  sweep(pool);
  auto& host = pool.hosts[fmt::format("{}:{}", request.host, request.port)];
  while (!host.idle.empty()) {
    auto connection = std::move(host.idle.back());
    host.idle.pop_back();
    --pool.idle;
    --host.open;
    if (fresh_only || steady_now() - connection->idle_since > limits.idle_keep || !is_quiet(*connection)) continue;
    Lease lease(pool, host);
    lease.connection = std::move(connection);
    co_return lease;
  }
  if (host.open >= limits.connections_per_host_max)
    co_return fail(Code::kOverloaded, "{} connections to {}:{} are open already", host.open, request.host, request.port);
  Lease lease(pool, host);
  dials.add();
  KR_CO_TRY(auto socket, co_await net::dial(request.host, request.port, request.dial_timeout));
  lease.connection = std::make_unique<ClientConnection>(std::move(socket));
  co_return lease;
}

net::Task<void> ClientImpl::send_source(const BodySource& source, ClientConnection& connection, bool& early) {
  auto& wire = connection.wire;
  std::vector<char> buffer(kSourceBytes);
  std::string chunk_head;
  std::uint64_t sent = 0;
  for (;;) {
    KR_CO_TRY(const auto n, co_await source.read(buffer));
    if (n == 0) break;
    sent += n;
    if (source.length && sent > *source.length)
      co_return fail(Code::kInternal, "the body is longer than the {} bytes announced", *source.length);
    net::Pieces pieces{.first = std::string_view(buffer.data(), n)};
    if (!source.length) {
      chunk_head.clear();
      append_chunk_head(chunk_head, n);
      pieces = net::Pieces{.first = chunk_head, .second = pieces.first, .third = "\r\n"};
    }
    KR_CO_CHECK(co_await net::write_all(wire.socket, pieces, &wire.watchdog));
    early = has_input(connection);
    if (early) co_return Result<>{};
  }
  if (!source.length) co_return co_await net::write_all(wire.socket, "0\r\n\r\n", &wire.watchdog);
  if (sent < *source.length)
    co_return fail(Code::kInternal, "the body ended {} bytes before the length announced", *source.length - sent);
  co_return Result<>{};
}

/// `early`: an answer came before all was sent; what is left is not sent, and the connection is of no more use.
net::Task<void> ClientImpl::send_request(const ClientRequest& request, ClientConnection& connection, bool& early) {
  auto& wire = connection.wire;
  write_request_head(wire.out, request);
  wire.watchdog.expect(1, request.idle_timeout);
  if (const auto* text = std::get_if<std::string>(&request.body)) {
    net::Pieces pieces;
    if (text->size() <= kBodyInHeadBytes)
      wire.out += *text;
    else
      pieces.second = *text;
    pieces.first = wire.out;
    co_return co_await net::write_all(wire.socket, pieces, &wire.watchdog);
  }
  if (const auto* source = std::get_if<BodySource>(&request.body)) {
    KR_CO_CHECK(co_await net::write_all(wire.socket, wire.out, &wire.watchdog));
    co_return co_await send_source(*source, connection, early);
  }
  const auto& file = std::get<FileBody>(request.body);
  const net::Pieces head{.first = wire.out, .more = file.length > 0};
  KR_CO_CHECK(co_await net::write_all(wire.socket, head, &wire.watchdog));
  for (std::uint64_t sent = 0; sent < file.length && !early;) {
    const auto step = std::min(file.length - sent, kFileStepBytes);
    KR_CO_CHECK(co_await net::send_file(wire.socket, files, file.fd, file.offset + sent, step, &wire.watchdog));
    sent += step;
    early = sent < file.length && has_input(connection);
  }
  co_return Result<>{};
}

net::Task<void> ClientImpl::receive_head(ClientResponse::Impl& response, Duration timeout, bool head_only,
                                         bool& anything_received) {
  auto& wire = response.lease.connection->wire;
  wire.watchdog.arm(timeout);
  std::size_t header_bytes = 0;
  const auto begin = [&] {
    response.headers.clear();
    response.parser.emplace(response.headers, kHeadBytesMax);
    response.parser->skip(head_only);
    header_bytes = 0;
  };
  begin();
  for (;;) {
    while (!wire.in.empty()) {
      auto& parser = *response.parser;
      boost::beast::error_code ec;
      const auto used = parser.put({wire.in.view().data(), wire.in.size()}, ec);
      wire.in.consume(used);
      header_bytes += used;
      if (ec && ec != beast_http::error::need_more)
        co_return fail(Code::kProtocol, "the answer is not HTTP: {}", ec.message());
      if (parser.is_header_done() && parser.status() / 100 != 1) co_return Result<>{};
      if (parser.is_header_done()) {
        begin();  // 100 and 103 come before the answer
        continue;
      }
      if (header_bytes + wire.in.size() >= kHeadBytesMax) co_return fail(Code::kProtocol, "the answer's head is too large");
      break;
    }
    auto room = wire.in.prepare(kHeadReadBytes);
    KR_CO_TRY(const auto n, co_await net::read_some(wire.socket, room, &wire.watchdog));
    wire.in.commit(n);
    anything_received = true;
  }
}

net::Task<ClientResponse> ClientImpl::exchange(const ClientRequest& request, Lease lease, bool& anything_received) {
  bool early = false;
  auto timeout = request.timeout;
  auto sent = co_await send_request(request, *lease.connection, early);
  if (!sent) {
    // A server may answer and close before it has read all: 413, 507. Then its answer is worth more than our error.
    if (sent.error().code != Code::kClosed) co_return std::unexpected(std::move(sent).error());
    early = true;
    timeout = std::min(timeout, kEarlyAnswerTimeout);
  }
  ClientResponse response;
  response.impl_ = std::make_unique<ClientResponse::Impl>();
  auto& impl = *response.impl_;
  impl.lease = std::move(lease);
  impl.idle_timeout = request.idle_timeout;
  const bool head_only = request.method == Method::kHead;
  auto received = co_await receive_head(impl, timeout, head_only, anything_received);
  if (!received) co_return std::unexpected(sent ? std::move(received).error() : std::move(sent).error());

  const auto& parser = *impl.parser;
  response.status = parser.status();
  response.headers = std::move(impl.headers);
  if (const auto length = parser.content_length()) response.content_length = *length;
  impl.reusable = !early && parser.keep_alive();
  if (!parser.is_done()) {
    impl.body.done = false;
    if (parser.chunked())
      impl.body.framing = Framing::kChunked;
    else if (response.content_length)
      impl.body = Body{.framing = Framing::kLength, .remaining = *response.content_length, .done = false};
    else
      impl.body.framing = Framing::kUntilClose;
  }
  impl.lease.connection->wire.watchdog.expect(1, request.idle_timeout);
  co_return response;
}

void ClientResponse::Impl::body_ended() {
  if (!lease.connection) return;
  if (reusable && body.framing != Framing::kUntilClose)
    lease.give_back(client->limits);
  else
    lease.drop();
}

ClientResponse::ClientResponse() = default;
ClientResponse::ClientResponse(ClientResponse&&) noexcept = default;
ClientResponse& ClientResponse::operator=(ClientResponse&&) noexcept = default;
ClientResponse::~ClientResponse() = default;

net::Task<std::size_t> ClientResponse::read(std::span<char> into) {
  auto& impl = *impl_;
  if (impl.body.done) co_return std::size_t{0};
  if (!impl.lease.connection) co_return fail(Code::kClosed, "the answer's body failed before");
  auto n = co_await read_body(impl.lease.connection->wire, *impl.parser, impl.body, into);
  if (!n) {
    impl.lease.drop();
    if (n.error().code == Code::kInvalidArgument) n.error().code = Code::kProtocol;
    co_return n;
  }
  if (impl.body.done) impl.body_ended();
  co_return n;
}

net::Task<std::string> ClientResponse::read_all(std::size_t bytes_max) {
  constexpr std::size_t kStep = 64 * 1024;
  auto& impl = *impl_;
  std::string out;
  if (impl.body.done) co_return out;
  if (content_length.value_or(0) > bytes_max)
    co_return fail(Code::kTooLarge, "the answer has {} bytes, more than {}", *content_length, bytes_max);
  for (std::size_t used = 0;;) {
    const auto known = content_length ? static_cast<std::size_t>(*content_length) : used + kStep;
    out.resize(std::min(std::max(known, used + 1), bytes_max + 1));
    KR_CO_TRY(const auto n, co_await read(std::span<char>(out).subspan(used)));
    used += n;
    if (used > bytes_max) co_return fail(Code::kTooLarge, "the answer has more than {} bytes", bytes_max);
    if (n > 0 && !impl.body.done) continue;
    out.resize(used);
    co_return out;
  }
}

Client::Client(net::FilePool& pool, ClientLimits limits) : impl_(std::make_shared<ClientImpl>(pool, limits)) {}
Client::~Client() = default;

net::Task<ClientResponse> Client::send(ClientRequest request) {
  auto impl = impl_;
  const bool repeatable = is_idempotent(request.method) && !std::holds_alternative<BodySource>(request.body);
  const auto what = fmt::format("{} {}:{}{}", name_of(request.method), request.host, request.port, request.target);
  std::optional<Error> first_error;
  for (;;) {
    auto lease = co_await impl->checkout(request, first_error.has_value());
    if (!lease) {
      impl->failures.add();
      co_return std::unexpected((first_error ? std::move(*first_error) : std::move(lease).error()).within(what));
    }
    const bool reused = lease->connection->reused;
    bool anything_received = false;
    auto response = co_await impl->exchange(request, *std::move(lease), anything_received);
    if (response) {
      response->impl_->client = impl;
      if (response->impl_->body.done) response->impl_->body_ended();
      co_return response;
    }
    const bool stale = reused && !anything_received && response.error().code == Code::kClosed;
    if (!stale || !repeatable || first_error) {
      impl->failures.add();
      co_return std::unexpected((first_error ? std::move(*first_error) : std::move(response).error()).within(what));
    }
    impl->retries.add();
    first_error = std::move(response).error();
  }
}

}  // namespace kraken::http
