#include "http/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <exception>
#include <new>

#include "http/errors.h"
#include "src/base/log.h"

namespace kraken::http {

namespace beast_http = boost::beast::http;

namespace {

// For the first request of a connection, once the server stops.
constexpr Duration kFirstRequest = std::chrono::seconds(1);
constexpr std::size_t kHeadReadBytes = 2048;         // room for each read of a head
constexpr std::size_t kBodyInHeadBytes = 16 * 1024;  // a body up to this goes out in one piece with its head
constexpr std::size_t kSmallChunkBytes = 4096;
constexpr std::uint64_t kLingerBytesMax = 64 << 20;
constexpr Duration kLinger = std::chrono::seconds(5);
constexpr std::size_t kScratchBytes = 16 * 1024;

MonotonicTime steady_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

/// "Sun, 06 Nov 1994 08:49:37 GMT", made once a second on each thread.
std::string_view http_date() {
  thread_local std::time_t made_at = 0;
  thread_local char text[32];
  thread_local std::size_t length = 0;
  const std::time_t now = std::time(nullptr);
  if (now != made_at) {
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    length = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    made_at = now;
  }
  return {text, length};
}

bool is_framing_header(std::string_view name) {
  return equal_ignoring_case(name, "Content-Length") || equal_ignoring_case(name, "Transfer-Encoding") ||
         equal_ignoring_case(name, "Connection");
}

/// The trace id of a W3C traceparent "00-<32 hex>-<16 hex>-<2 hex>"; empty if it is none.
std::string_view trace_id_in(std::string_view traceparent) {
  if (traceparent.size() < 55 || traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-') return {};
  const auto id = traceparent.substr(3, 32);
  const bool hexadecimal =
      std::all_of(id.begin(), id.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!hexadecimal || id.find_first_not_of('0') == std::string_view::npos) return {};
  return id;
}

std::string new_trace_id() {
  thread_local Rng rng(random_seed());
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out(32, '0');
  for (std::size_t half = 0; half < 2; ++half) {
    auto bits = rng.next();
    for (std::size_t i = 0; i < 16; ++i, bits >>= 4) out[half * 16 + i] = kDigits[bits & 15];
  }
  return out;
}

}  // namespace

Probe::Probe(std::string server)
    : server_(std::move(server)),
      seconds_(metrics::histogram("kr_http_request_seconds", "From a request's head to the end of its answer",
                                  metrics::latency_bounds(), {{"server", server_}})),
      connections_(metrics::gauge("kr_http_connections", "Open connections", {{"server", server_}})),
      refused_(metrics::counter("kr_http_connections_refused_total", "Connections refused because there were too many",
                                {{"server", server_}})),
      aborted_(metrics::counter("kr_http_answers_aborted_total", "Answers cut off after their head was sent",
                                {{"server", server_}})) {}

void Probe::request_done(Method method, int status, Duration took) {
  const auto slot = static_cast<std::size_t>(method) * kStatuses +
                    static_cast<std::size_t>(std::clamp(status, 0, static_cast<int>(kStatuses) - 1));
  auto* counter = requests_[slot].load(std::memory_order_acquire);
  if (counter == nullptr) {
    counter = &metrics::counter("kr_http_requests_total", "Requests answered; code 0 is one that got no answer",
                                {{"server", server_}, {"method", std::string(name_of(method))}, {"code", std::to_string(status)}});
    requests_[slot].store(counter, std::memory_order_release);
  }
  counter->add();
  seconds_.observe(std::chrono::duration<double>(took).count());
}

Connection::Connection(Core& core, Set& set, net::Socket socket) : core_(core), set_(set), wire_(std::move(socket)) {
  boost::system::error_code ec;
  const auto remote = wire_.socket.remote_endpoint(ec);
  if (!ec) remote_address_ = remote.address().to_string();
  const auto local = wire_.socket.local_endpoint(ec);
  if (!ec) local_port_ = local.port();
  set_.insert(this);
  core_.probe.connection_opened();
}

Connection::~Connection() {
  set_.erase(this);
  core_.connections.fetch_sub(1);
  core_.probe.connection_closed();
}

void Connection::close_if_idle() {
  close_ = true;
  if (!idle_) return;
  // Its client has just dialled and its request is on the way.
  if (fresh_) return wire_.watchdog.arm(kFirstRequest);
  boost::system::error_code ec;
  wire_.socket.cancel(ec);
}

// --- reading the head -----------------------------------------------------------------------------------------------

/// Takes what is buffered; the header is done, or more is needed, or the error is what is wrong with the request.
Result<> Connection::parse_buffered(std::size_t& header_bytes) {
  boost::beast::error_code ec;
  const auto used = parser_->put({wire_.in.view().data(), wire_.in.size()}, ec);
  wire_.in.consume(used);
  header_bytes += used;
  const bool too_large = parser_->is_header_done() ? header_bytes > core_.limits.header_bytes
                                                   : header_bytes + wire_.in.size() >= core_.limits.header_bytes;
  if (too_large || ec == beast_http::error::header_limit) {
    head_status_ = 431;
    return fail(Code::kTooLarge, "the request's head is larger than {} bytes", core_.limits.header_bytes);
  }
  if (ec && ec != beast_http::error::need_more) {
    head_status_ = ec == beast_http::error::bad_version ? 505 : 400;
    return fail(Code::kInvalidArgument, "the request cannot be read: {}", ec.message());
  }
  return {};
}

net::Task<void> Connection::read_head() {
  head_ = RequestHead{};
  head_status_ = 0;
  parser_.emplace(head_.headers, core_.limits.header_bytes);
  wire_.in.shrink();
  const auto stopping = [this] { return close_ || core_.stopping.load(std::memory_order_relaxed); };
  wire_.watchdog.arm(fresh_ && stopping() ? kFirstRequest : core_.limits.idle_timeout);
  std::size_t header_bytes = 0;
  bool begun = false;
  for (;;) {
    // An empty line or two in front of a request is forgiven (RFC 9112 §2.2).
    while (!begun && !wire_.in.empty() && (wire_.in.view().front() == '\r' || wire_.in.view().front() == '\n')) {
      wire_.in.consume(1);
      if (++header_bytes > core_.limits.header_bytes) co_return fail(Code::kClosed, "nothing but line ends");
    }
    if (!wire_.in.empty()) {
      if (!begun) wire_.watchdog.arm(core_.limits.header_timeout);
      begun = true;
      KR_CO_CHECK(parse_buffered(header_bytes));
      if (parser_->is_header_done()) break;
    }
    idle_ = !begun;
    if (idle_ && !fresh_ && stopping())
      co_return fail(Code::kCancelled, "the server is stopping");
    auto room = wire_.in.prepare(kHeadReadBytes);
    auto n = co_await net::read_some(wire_.socket, room, &wire_.watchdog);
    idle_ = false;
    if (!n) {
      if (begun && n.error().code == Code::kDeadlineExceeded) head_status_ = 408;
      co_return std::unexpected(std::move(n).error());
    }
    wire_.in.commit(*n);
  }
  fresh_ = false;
  wire_.watchdog.disarm();
  co_return check_head();
}

void Connection::take_target() {
  std::string_view target = parser_->target();
  // The absolute form, which every server must take (RFC 9112 §3.2.2).
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() < scheme.size() || !equal_ignoring_case(target.substr(0, scheme.size()), scheme)) continue;
    const auto slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    break;
  }
  head_.target = target;
  const auto question = target.find('?');
  head_.path = target.substr(0, question);
  if (question != std::string_view::npos) head_.query_string = target.substr(question + 1);
}

void Connection::take_trace_id() {
  const auto given = trace_id_in(head_.headers.first("traceparent"));
  head_.trace_id = given.empty() ? new_trace_id() : std::string(given);
}

/// Fills the rest of the head and refuses what two parsers could read differently.
Result<> Connection::check_head() {
  head_.method_name = parser_->method();
  head_.method = method_of(head_.method_name);
  head_.chunked = parser_->chunked();
  if (const auto length = parser_->content_length()) head_.content_length = *length;
  head_.remote_address = remote_address_;
  head_.local_port = local_port_;
  take_target();
  take_trace_id();

  head_status_ = 400;
  const bool is_1_1 = parser_->version() >= 11;
  std::size_t hosts = 0;
  for (const auto& line : head_.headers.all()) {
    if (equal_ignoring_case(line.name, "Host")) ++hosts;
    if (!equal_ignoring_case(line.name, "Transfer-Encoding")) continue;
    if (!head_.chunked || !is_1_1 || !equal_ignoring_case(line.value, "chunked"))
      return fail(Code::kInvalidArgument, "the transfer coding \"{}\" is not understood here", line.value);
  }
  if (hosts > 1 || (is_1_1 && hosts == 0)) return fail(Code::kInvalidArgument, "a request has exactly one Host line");
  if (head_.path.empty() || head_.path.front() != '/')
    return fail(Code::kInvalidArgument, "the request's target is not a path");
  head_status_ = 0;

  body_ = Body{};
  if (head_.chunked)
    body_ = Body{.framing = Framing::kChunked, .done = false};
  else if (head_.content_length.value_or(0) > 0)
    body_ = Body{.framing = Framing::kLength, .remaining = *head_.content_length, .done = false};
  expects_continue_ =
      is_1_1 && !body_.done && equal_ignoring_case(head_.headers.first("Expect"), "100-continue");
  close_ = close_ || !parser_->keep_alive();
  return {};
}

// --- the life of a connection ---------------------------------------------------------------------------------------

net::Task<void> Connection::serve() {
  for (;;) {
    answer_ = AnswerState{};
    body_error_.reset();
    body_ = Body{};
    reading_ = false;
    auto head = co_await read_head();
    if (!head && head_status_ == 0) co_return Result<>{};  // closed, idle for too long, or the server is stopping
    if (!head) {
      core_.probe.request_done(head_.method, head_status_, Duration::zero());
      (void)co_await refuse(head_status_, std::move(head).error().detail + "\n");
      co_return Result<>{};
    }
    const auto began = steady_now();
    auto handled = co_await handle();
    const auto took = steady_now() - began;
    core_.probe.request_done(head_.method, answer_.status, took);
    log::debug("http.request", "method={} path={} status={} us={} trace={}", head_.method_name, head_.path,
               answer_.status, took.count() / 1000, head_.trace_id);
    if (!handled) co_return Result<>{};
    if (!close_) (void)co_await drain();
    if (close_) {
      if (!body_.done && !body_error_) (void)co_await linger();
      co_return Result<>{};
    }
  }
}

/// An answer to a request that could not even be read; what the client sends on is of no use.
net::Task<void> Connection::refuse(int status, std::string text) {
  close_ = true;
  body_.done = true;
  Headers headers{{"Content-Type", "text/plain; charset=utf-8"}};
  KR_CO_CHECK(co_await reply(status, std::move(headers), std::move(text)));
  co_return co_await linger();
}

/// kClosed: the connection is of no more use.
net::Task<void> Connection::handle() {
  auto match = core_.router.find(head_.method, head_.path);
  if (match.handler != nullptr) {
    head_.params = std::move(match.params);
    auto outcome = co_await run_handler(*match.handler);
    co_return co_await answer_outcome(std::move(outcome).value());
  }
  if (!match.error.empty()) {
    const Error error{Code::kInvalidArgument, std::move(match.error)};
    co_return co_await answer_error(error);
  }
  if (!match.allow.empty()) {
    Headers headers{{"Allow", std::move(match.allow)}};
    co_return co_await reply(405, std::move(headers), std::string{});
  }
  Headers headers{{"Content-Type", "text/plain; charset=utf-8"}, {"X-Content-Type-Options", "nosniff"}};
  co_return co_await reply(404, std::move(headers), std::string("404 page not found\n"));
}

/// The handler's own result. An exception is a bug in it, which one request pays for and not the process.
net::Task<Result<>> Connection::run_handler(const Handler& handler) {
  std::string what;
  try {
    auto outcome = co_await handler(*this);
    co_return outcome;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    what = error.what();
  }
  log::error("http.handler_threw", "method={} path={} error={}", head_.method_name, head_.path, what);
  co_return Result<>(fail(Code::kInternal, "internal error"));
}

net::Task<void> Connection::answer_outcome(Result<> outcome) {
  if (outcome && answer_.started && answer_.finished) co_return Result<>{};
  if (outcome && !answer_.started) {
    log::error("http.no_answer", "method={} path={}", head_.method_name, head_.path);
    outcome = fail(Code::kInternal, "internal error");
  }
  if (!answer_.started) co_return co_await answer_error(outcome.error());
  if (outcome) {
    log::error("http.unfinished_answer", "method={} path={}", head_.method_name, head_.path);
    outcome = fail(Code::kInternal, "the answer was not finished");
  }
  abort();
  co_return fail(Code::kClosed, "{}", outcome.error().detail);
}

net::Task<void> Connection::answer_error(const Error& error) {
  if (body_error_) {
    close_ = true;
    if (body_error_->code == Code::kClosed) co_return std::unexpected(*body_error_);
    if (body_error_->code == Code::kDeadlineExceeded) co_return co_await refuse(408, body_error_->detail + "\n");
  }
  if (core_.stopping.load(std::memory_order_relaxed)) close_ = true;
  auto answer = core_.error_writer(head_, error);
  co_return co_await reply(answer.status, std::move(answer.headers), std::move(answer.body));
}

/// No complete-looking answer may come of this. Where only the close would end the body, it is a reset.
void Connection::abort() {
  core_.probe.answer_aborted();
  boost::system::error_code ec;
  if (answer_.framing == Framing::kUntilClose)
    wire_.socket.set_option(boost::asio::socket_base::linger(true, 0), ec);
  wire_.socket.close(ec);
}

bool Connection::can_drain() const {
  if (body_.done) return true;
  if (expects_continue_ || body_error_) return false;
  return body_.framing == Framing::kChunked || body_.remaining <= core_.limits.drain_bytes;
}

/// Reads what the handler left of the body, so that the next request can be read; else the connection closes.
net::Task<void> Connection::drain() {
  if (body_.done) co_return Result<>{};
  if (!can_drain()) {
    close_ = true;
    co_return Result<>{};
  }
  std::vector<char> scratch(kScratchBytes);
  std::size_t drained = 0;
  wire_.watchdog.arm(kLinger);
  while (!body_.done) {
    auto n = co_await read_body(wire_, *parser_, body_, scratch);
    if (n) drained += *n;
    if (!n || drained > core_.limits.drain_bytes) {
      close_ = true;
      break;
    }
  }
  co_return Result<>{};
}

/// Closing with bytes unread would reset the connection and take our answer from the client with it.
net::Task<void> Connection::linger() {
  boost::system::error_code ec;
  wire_.socket.shutdown(net::Socket::shutdown_send, ec);
  if (ec) co_return Result<>{};
  std::vector<char> scratch(kScratchBytes);
  wire_.watchdog.arm(kLinger);
  for (std::uint64_t read = 0; read < kLingerBytesMax;) {
    auto n = co_await net::read_or_end(wire_.socket, scratch, &wire_.watchdog);
    if (!n || *n == 0) break;
    read += *n;
  }
  co_return Result<>{};
}

// --- the handler's side ---------------------------------------------------------------------------------------------

void Connection::expect_progress() {
  const auto seconds = std::chrono::duration<double>(core_.limits.rate_window).count();
  const auto bytes = static_cast<double>(core_.limits.body_bytes_per_second_min) * seconds;
  wire_.watchdog.expect(static_cast<std::uint64_t>(bytes), core_.limits.rate_window);
}

net::Task<std::size_t> Connection::read(std::span<char> into) {
  if (body_error_) co_return std::unexpected(*body_error_);
  if (!reading_) {
    reading_ = true;
    expect_progress();
  }
  if (expects_continue_) {
    expects_continue_ = false;
    constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!answer_.started && wire_.in.empty())
      KR_CO_CHECK(co_await net::write_all(wire_.socket, kContinue, &wire_.watchdog));
  }
  auto n = co_await read_body(wire_, *parser_, body_, into);
  if (!n) body_error_ = n.error();
  co_return n;
}

net::Task<std::string> Connection::read_all(std::size_t bytes_max) {
  constexpr std::size_t kStep = 64 * 1024;
  std::string out;
  if (head_.content_length.value_or(0) > bytes_max)
    co_return fail(Code::kTooLarge, "the body has {} bytes, more than {}", *head_.content_length, bytes_max);
  for (std::size_t used = 0;;) {
    // One byte more than is allowed, so that a body of exactly bytes_max is seen to end.
    const auto known = head_.content_length ? static_cast<std::size_t>(*head_.content_length) : kStep + used;
    out.resize(std::min(std::max(known, used + 1), bytes_max + 1));
    KR_CO_TRY(const auto n, co_await read(std::span<char>(out).subspan(used)));
    used += n;
    if (used > bytes_max) co_return fail(Code::kTooLarge, "the body has more than {} bytes", bytes_max);
    if (n > 0 && !body_.done) continue;
    out.resize(used);
    co_return out;
  }
}

/// Writes the head into wire_.out and settles how the body is framed.
void Connection::begin_answer(int status, const Headers& headers, Framing framing, std::uint64_t length) {
  KR_ASSERT(!answer_.started);
  const bool is_1_1 = parser_->version() >= 11;
  const bool bodyless = status < 200 || status == 204 || status == 304;
  if (framing == Framing::kChunked && !is_1_1) framing = Framing::kUntilClose;
  if (bodyless) framing = Framing::kNone;
  answer_ = AnswerState{.started = true,
                        .no_body = bodyless || head_.method == Method::kHead,
                        .framing = framing,
                        .remaining = length,
                        .status = status};
  if (framing == Framing::kUntilClose && !answer_.no_body) close_ = true;
  if (!can_drain() || core_.stopping.load(std::memory_order_relaxed)) close_ = true;

  auto& out = wire_.out;
  out.clear();
  out += "HTTP/1.1 ";
  append_number(out, static_cast<std::uint64_t>(status));
  out += ' ';
  out += reason_of(status);
  out += "\r\n";
  for (const auto& line : headers.all()) {
    if (equal_ignoring_case(line.name, "Connection") && equal_ignoring_case(line.value, "close")) close_ = true;
    if (!is_framing_header(line.name)) append_header(out, line.name, line.value);
  }
  if (!headers.has("Date")) append_header(out, "Date", http_date());
  if (framing == Framing::kLength) {
    out += "Content-Length: ";
    append_number(out, length);
    out += "\r\n";
  }
  if (framing == Framing::kChunked) out += "Transfer-Encoding: chunked\r\n";
  if (close_)
    out += "Connection: close\r\n";
  else if (!is_1_1)
    out += "Connection: keep-alive\r\n";
  out += "\r\n";
  expect_progress();
}

net::Task<void> Connection::reply(int status, Headers headers, std::string body) {
  if (answer_.started) co_return fail(Code::kInternal, "a request is answered once");
  begin_answer(status, headers, Framing::kLength, body.size());
  net::Pieces pieces;
  if (!answer_.no_body) {
    if (body.size() <= kBodyInHeadBytes)
      wire_.out += body;
    else
      pieces.second = body;
  }
  pieces.first = wire_.out;
  KR_CO_CHECK(co_await net::write_all(wire_.socket, pieces, &wire_.watchdog));
  answer_.finished = true;
  co_return Result<>{};
}

net::Task<void> Connection::reply_file(int status, Headers headers, int fd, std::uint64_t offset, std::uint64_t length) {
  KR_CO_CHECK(co_await start(status, std::move(headers), length));
  KR_CO_CHECK(co_await write_file(fd, offset, length));
  co_return co_await finish();
}

net::Task<void> Connection::start(int status, Headers headers, std::optional<std::uint64_t> content_length) {
  if (answer_.started) co_return fail(Code::kInternal, "a request is answered once");
  begin_answer(status, headers, content_length ? Framing::kLength : Framing::kChunked, content_length.value_or(0));
  const bool more = !answer_.no_body && content_length.value_or(1) > 0;
  const net::Pieces pieces{.first = wire_.out, .more = more};
  co_return co_await net::write_all(wire_.socket, pieces, &wire_.watchdog);
}

net::Task<void> Connection::write(std::string_view bytes) {
  if (!answer_.started || answer_.finished) co_return fail(Code::kInternal, "a write outside of an answer");
  if (answer_.no_body || bytes.empty()) co_return Result<>{};
  net::Pieces pieces;
  if (answer_.framing == Framing::kChunked) {
    wire_.out.clear();
    append_chunk_head(wire_.out, bytes.size());
    if (bytes.size() <= kSmallChunkBytes) {
      wire_.out += bytes;
      wire_.out += "\r\n";
    } else {
      pieces.second = bytes;
      pieces.third = "\r\n";
    }
    pieces.first = wire_.out;
  } else {
    if (answer_.framing == Framing::kLength) {
      if (bytes.size() > answer_.remaining) co_return fail(Code::kInternal, "more was written than announced");
      answer_.remaining -= bytes.size();
    }
    pieces.first = bytes;
  }
  co_return co_await net::write_all(wire_.socket, pieces, &wire_.watchdog);
}

net::Task<void> Connection::write_file(int fd, std::uint64_t offset, std::uint64_t length) {
  if (!answer_.started || answer_.finished) co_return fail(Code::kInternal, "a write outside of an answer");
  if (answer_.no_body || length == 0) co_return Result<>{};
  if (answer_.framing == Framing::kLength) {
    if (length > answer_.remaining) co_return fail(Code::kInternal, "more was written than announced");
    answer_.remaining -= length;
  }
  if (answer_.framing == Framing::kChunked) {
    wire_.out.clear();
    append_chunk_head(wire_.out, length);
    const net::Pieces head{.first = wire_.out, .more = true};
    KR_CO_CHECK(co_await net::write_all(wire_.socket, head, &wire_.watchdog));
  }
  KR_CO_CHECK(co_await net::send_file(wire_.socket, core_.pool, fd, offset, length, &wire_.watchdog));
  if (answer_.framing == Framing::kChunked)
    KR_CO_CHECK(co_await net::write_all(wire_.socket, "\r\n", &wire_.watchdog));
  co_return Result<>{};
}

net::Task<void> Connection::finish() {
  if (!answer_.started || answer_.finished) co_return fail(Code::kInternal, "there is no answer to finish");
  if (!answer_.no_body) {
    if (answer_.framing == Framing::kLength && answer_.remaining > 0)
      co_return fail(Code::kInternal, "{} bytes of the answer were announced and not written", answer_.remaining);
    if (answer_.framing == Framing::kChunked)
      KR_CO_CHECK(co_await net::write_all(wire_.socket, "0\r\n\r\n", &wire_.watchdog));
  }
  answer_.finished = true;
  co_return Result<>{};
}

}  // namespace kraken::http
