#include "src/net/file_pool.h"

#include <pthread.h>

#include <boost/asio/post.hpp>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "src/base/assert.h"
#include "src/base/metrics.h"

namespace kraken::net {

namespace asio = boost::asio;

struct FilePool::Impl {
  Impl(std::size_t queue_max_, const std::string& name)
      : queue_max(queue_max_),
        refused(metrics::counter("kr_pool_refused_total", "Jobs refused because the queue was full", {{"pool", name}})) {}

  enum class Offer { kTaken, kFull, kStopped };
  Offer offer(std::move_only_function<void()> job) {
    {
      std::scoped_lock lock(mutex);
      if (stopping) return Offer::kStopped;
      if (jobs.size() >= queue_max) {
        refused.add();
        return Offer::kFull;
      }
      jobs.push_back(std::move(job));
    }
    more.notify_one();
    return Offer::kTaken;
  }

  // An exception of a job is no memory or a bug: noexcept ends the process.
  void work() noexcept {
    for (;;) {
      std::move_only_function<void()> job;
      {
        std::unique_lock lock(mutex);
        more.wait(lock, [this] { return stopping || !jobs.empty(); });
        if (jobs.empty()) return;
        job = std::move(jobs.front());
        jobs.pop_front();
      }
      job();
    }
  }

  const std::size_t queue_max;
  metrics::Counter& refused;
  std::mutex mutex;
  std::condition_variable more;
  std::deque<std::move_only_function<void()>> jobs;
  bool stopping = false;
  std::vector<std::thread> threads;
};

FilePool::FilePool(std::size_t threads, std::size_t queue_max, const std::string& name)
    : impl_(std::make_unique<Impl>(queue_max, name)) {
  KR_ASSERT(threads >= 1);
  for (std::size_t i = 0; i < threads; ++i)
    impl_->threads.emplace_back([impl = impl_.get(), thread_name = fmt::format("{}/{}", name, i)] {
      pthread_setname_np(pthread_self(), thread_name.substr(0, 15).c_str());
      impl->work();
    });
}

FilePool::~FilePool() { stop(); }

bool FilePool::post(std::move_only_function<void()> job) {
  return impl_->offer(std::move(job)) == Impl::Offer::kTaken;
}

std::size_t FilePool::queued() const {
  std::scoped_lock lock(impl_->mutex);
  return impl_->jobs.size();
}

void FilePool::stop() {
  {
    std::scoped_lock lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->more.notify_all();
  for (auto& thread : impl_->threads)
    if (thread.joinable()) thread.join();
}

Task<void> FilePool::execute(std::move_only_function<void()> job) {
  auto executor = co_await asio::this_coro::executor;
  auto initiation = [impl = impl_.get(), executor](auto handler, std::move_only_function<void()> work) {
    // The handler is shared, because a refused job is destroyed with all it holds and the answer still has to go out.
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    auto back = [shared, executor](Result<> result) {
      asio::post(executor, [shared, result = std::move(result)]() mutable { (*shared)(std::move(result)); });
    };
    auto offer = impl->offer([work = std::move(work), back]() mutable {
      work();
      work = nullptr;
      back(Result<>{});
    });
    if (offer == Impl::Offer::kFull) back(fail(Code::kOverloaded, "{} jobs are waiting for a thread", impl->queue_max));
    if (offer == Impl::Offer::kStopped) back(fail(Code::kCancelled, "the pool has stopped"));
  };
  auto result =
      co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Result<>)>(initiation, asio::use_awaitable, std::move(job));
  co_return result;
}

}  // namespace kraken::net
