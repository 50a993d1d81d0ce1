#include "src/net/loop.h"

#include <pthread.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <exception>
#include <optional>
#include <thread>

#include "src/base/assert.h"
#include "src/base/log.h"

namespace kraken::net {

namespace asio = boost::asio;

struct Loop::Impl {
  explicit Impl(std::string thread_name) : name(std::move(thread_name)), work(asio::make_work_guard(context)) {}

  void run() noexcept {
    pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
    try {
      context.run();
    } catch (const std::exception& error) {
      log::error("net.loop_failed", "loop={} error={}", name, error.what());
      std::terminate();
    }
  }

  std::string name;
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work;
  std::thread thread;
};

Loop::Loop(std::string name) : impl_(std::make_unique<Impl>(std::move(name))) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

Loop::~Loop() {
  stop();
  join();
}

asio::io_context& Loop::context() { return impl_->context; }
Executor Loop::executor() { return impl_->context.get_executor(); }
void Loop::post(std::move_only_function<void()> work) { asio::post(impl_->context, std::move(work)); }
bool Loop::is_current() const { return impl_->thread.get_id() == std::this_thread::get_id(); }
void Loop::stop() { impl_->context.stop(); }

void Loop::join() {
  if (!impl_->thread.joinable()) return;
  KR_ASSERT(!is_current());
  impl_->thread.join();
}

Loops::Loops(std::size_t count, const std::string& name) {
  KR_ASSERT(count >= 1);
  loops_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) loops_.push_back(std::make_unique<Loop>(fmt::format("{}/{}", name, i)));
}

Loop& Loops::next() { return *loops_[turn_.fetch_add(1, std::memory_order_relaxed) % loops_.size()]; }

void Loops::stop() {
  for (auto& loop : loops_) loop->stop();
  for (auto& loop : loops_) loop->join();
}

}  // namespace kraken::net
