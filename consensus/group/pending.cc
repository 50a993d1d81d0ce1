#include "consensus/group/pending.h"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <vector>

namespace kraken::group {

net::Task<std::string> wait(MonotonicTime deadline, std::function<void(PendingPtr)> start) {
  auto executor = co_await boost::asio::this_coro::executor;
  auto initiate = [executor, deadline, &start](auto handler) {
    auto pending = std::make_shared<Pending>();
    pending->deadline = deadline;
    pending->executor = executor;
    auto slot = boost::asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) {
      slot.assign([weak = std::weak_ptr<Pending>(pending)](boost::asio::cancellation_type) {
        auto waiting = weak.lock();
        if (!waiting || waiting->done.exchange(true)) return;
        auto to = waiting->executor;
        boost::asio::post(to, [waiting = std::move(waiting)] {
          waiting->finish(fail(Code::kCancelled, "cancelled; a write may or may not happen"));
        });
      });
    }
    pending->finish = [handler = std::move(handler), slot](Result<std::string> result) mutable {
      if (slot.is_connected()) slot.clear();
      auto resume = std::move(handler);
      std::move(resume)(std::move(result));
    };
    start(std::move(pending));
  };
  auto result = co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(Result<std::string>)>(
      initiate, boost::asio::use_awaitable);
  co_return result;
}

void Answers::add(PendingPtr pending, Result<std::string> result) {
  if (pending->done.exchange(true)) return;
  ready_.push_back({std::move(pending), std::move(result)});
}

void Answers::deliver() {
  std::vector<Ready> ready;
  ready.swap(ready_);
  while (!ready.empty()) {
    const net::Executor to = ready.front().pending->executor;
    std::vector<Ready> batch, others;
    for (Ready& one : ready) (one.pending->executor == to ? batch : others).push_back(std::move(one));
    auto run = [batch = std::move(batch)]() mutable {
      for (Ready& one : batch) one.pending->finish(std::move(one.result));
    };
    if (to) {
      boost::asio::post(to, std::move(run));
    } else {
      run();
    }
    ready = std::move(others);
  }
}

}  // namespace kraken::group
