#include "http/server.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "http/connection.h"
#include "http/errors.h"
#include "src/base/assert.h"
#include "src/base/log.h"
#include "src/net/listen.h"
#include "src/net/loop.h"
#include "src/net/scope.h"

namespace kraken::http {

namespace {

constexpr Duration kAcceptPause = std::chrono::milliseconds(100);
constexpr std::string_view kTooMany =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

}  // namespace

struct Server::Impl {
  Impl(net::Loops& l, net::FilePool& pool, Router router, Limits limits, ErrorWriter error_writer,
       const std::string& name)
      : loops(l),
        core(pool, std::move(router), limits, error_writer ? std::move(error_writer) : ErrorWriter(plain_error), name),
        accepting(l.at(0).executor()) {
    for (std::size_t i = 0; i < loops.size(); ++i) places.push_back(std::make_unique<Place>(loops.at(i).executor()));
  }

  /// The connections of one loop.
  struct Place {
    explicit Place(net::Executor executor) : scope(std::move(executor)) {}
    Connection::Set connections;
    net::Scope scope;
  };

  net::Task<void> accept(net::Acceptor& acceptor) {
    for (;;) {
      auto& place = *places[turn++ % places.size()];
      auto socket = co_await acceptor.accept(place.scope.executor());
      if (!socket) {
        if (socket.error().code == Code::kCancelled) co_return Result<>{};
        log::warn("http.accept_failed", "host={} port={} error={}", acceptor.host(), acceptor.port(),
                  socket.error().to_string());
        KR_CO_CHECK(co_await net::sleep_for(kAcceptPause));
        continue;
      }
      if (core.connections.load() >= core.limits.connections_max) {
        core.probe.connection_refused();
        boost::system::error_code ec;
        socket->write_some(boost::asio::buffer(kTooMany), ec);
        continue;
      }
      core.connections.fetch_add(1);
      place.scope.spawn("http.connection", serve(place, *std::move(socket)));
    }
  }

  net::Task<void> serve(Place& place, net::Socket socket) {
    Connection connection(core, place.connections, std::move(socket));
    co_return co_await connection.serve();
  }

  void stop(Duration drain) {
    for (std::size_t i = 0; i < loops.size(); ++i) KR_ASSERT(!loops.at(i).is_current());
    const auto deadline = system_clock().monotonic() + drain;
    core.stopping.store(true);
    accepting.stop_and_wait();
    // What has arrived is still answered, so that nobody is cut off who could not know; after that the port refuses, and
    // whoever asks there goes elsewhere at once.
    for (auto& acceptor : acceptors) {
      for (;;) {
        auto& place = *places[turn++ % places.size()];
        auto socket = acceptor->accept_now(place.scope.executor());
        if (!socket) break;
        core.connections.fetch_add(1);
        place.scope.spawn("http.connection", serve(place, *std::move(socket)));
      }
      acceptor->close();
    }
    for (auto& place : places)
      boost::asio::post(place->scope.executor(), [p = place.get()] {
        for (auto* connection : p->connections) connection->close_if_idle();
      });
    for (auto& place : places)
      place->scope.stop_and_wait(std::max(Duration::zero(), deadline - system_clock().monotonic()));
  }

  net::Loops& loops;
  Core core;
  std::vector<std::unique_ptr<net::Acceptor>> acceptors;
  std::vector<std::unique_ptr<Place>> places;
  std::size_t turn = 0;  // of the loop that accepts
  bool stopped = false;
  net::Scope accepting;
};

Server::Server(net::Loops& loops, net::FilePool& pool, Router router, Limits limits, ErrorWriter error_writer,
               std::string name)
    : impl_(std::make_shared<Impl>(loops, pool, std::move(router), limits, std::move(error_writer), name)) {}

Server::~Server() { stop(Duration::zero()); }

Result<void> Server::listen(std::string_view host, std::uint16_t port) {
  KR_TRY(auto acceptor, net::listen(host, port));
  impl_->acceptors.push_back(std::make_unique<net::Acceptor>(std::move(acceptor)));
  impl_->accepting.spawn("http.accept", impl_->accept(*impl_->acceptors.back()));
  return {};
}

std::uint16_t Server::port(std::size_t listener) const { return impl_->acceptors.at(listener)->port(); }

void Server::stop(Duration drain) {
  if (std::exchange(impl_->stopped, true)) return;
  impl_->stop(drain);
}

}  // namespace kraken::http
