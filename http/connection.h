#pragma once
// One connection of a Server: reads requests, runs their handlers, is their Exchange. Private to http/.
// Threads: its loop only, but for Core's atomics.

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

#include "http/server.h"
#include "http/wire.h"
#include "src/base/metrics.h"
#include "src/base/rng.h"

namespace kraken::http {

/// A server's counters. The lookup by name happens once for each method and status.
class Probe {
 public:
  explicit Probe(std::string server);
  void request_done(Method method, int status, Duration took);
  void connection_opened() { connections_.add(1); }
  void connection_closed() { connections_.add(-1); }
  void connection_refused() { refused_.add(); }
  void answer_aborted() { aborted_.add(); }

 private:
  static constexpr std::size_t kMethods = 7;
  static constexpr std::size_t kStatuses = 600;
  std::string server_;
  std::array<std::atomic<metrics::Counter*>, kMethods * kStatuses> requests_{};
  metrics::Histogram& seconds_;
  metrics::Gauge& connections_;
  metrics::Counter& refused_;
  metrics::Counter& aborted_;
};

/// What all connections of a server share.
struct Core {
  Core(net::FilePool& p, Router r, Limits l, ErrorWriter w, const std::string& name)
      : pool(p), router(std::move(r)), limits(l), error_writer(std::move(w)), probe(name) {}
  net::FilePool& pool;
  const Router router;
  const Limits limits;
  const ErrorWriter error_writer;
  Probe probe;
  std::atomic<bool> stopping{false};
  std::atomic<std::size_t> connections{0};
};

class Connection final : public Exchange {
 public:
  /// The connections of one loop; a connection enters and leaves itself.
  using Set = std::unordered_set<Connection*>;

  Connection(Core& core, Set& set, net::Socket socket);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() override;

  /// Until the connection is over.
  net::Task<void> serve();
  /// The server is stopping: ends now if it is between requests, else after this one.
  void close_if_idle();

  const RequestHead& request() const override { return head_; }
  net::Task<std::size_t> read(std::span<char> into) override;
  net::Task<std::string> read_all(std::size_t bytes_max) override;
  using Exchange::reply;
  net::Task<void> reply(int status, Headers headers, std::string body) override;
  net::Task<void> reply_file(int status, Headers headers, int fd, std::uint64_t offset, std::uint64_t length) override;
  net::Task<void> start(int status, Headers headers, std::optional<std::uint64_t> content_length) override;
  net::Task<void> write(std::string_view bytes) override;
  net::Task<void> write_file(int fd, std::uint64_t offset, std::uint64_t length) override;
  net::Task<void> finish() override;
  bool started() const override { return answer_.started; }

 private:
  struct AnswerState {
    bool started = false;
    bool finished = false;
    bool no_body = false;  // HEAD, 204, 304: what is written is dropped
    Framing framing = Framing::kNone;
    std::uint64_t remaining = 0;  // of kLength
    int status = 0;
  };

  net::Task<void> read_head();
  Result<> parse_buffered(std::size_t& header_bytes);
  Result<> check_head();
  void take_target();
  void take_trace_id();
  net::Task<void> handle();
  net::Task<Result<>> run_handler(const Handler& handler);
  net::Task<void> answer_outcome(Result<> outcome);
  net::Task<void> answer_error(const Error& error);
  net::Task<void> refuse(int status, std::string text);
  net::Task<void> drain();
  net::Task<void> linger();
  bool can_drain() const;
  void begin_answer(int status, const Headers& headers, Framing framing, std::uint64_t length);
  void abort();
  void expect_progress();

  Core& core_;
  Set& set_;
  Wire wire_;
  RequestHead head_;
  std::optional<MessageParser<true>> parser_;
  Body body_;
  AnswerState answer_;
  std::string remote_address_;
  std::uint16_t local_port_ = 0;
  std::optional<Error> body_error_;  // what reading the body failed with
  int head_status_ = 0;              // what a request that cannot be read is answered with
  bool idle_ = false;
  bool fresh_ = true;     // no request has come yet
  bool reading_ = false;  // the handler has begun with the body
  bool close_ = false;
  bool expects_continue_ = false;  // and has not got it
};

}  // namespace kraken::http
