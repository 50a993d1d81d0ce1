#include "storage/blob/syncer.h"

#include <fcntl.h>
#include <pthread.h>

#include <cerrno>

namespace kraken::blob {

Result<> Writeback::wait(std::uint32_t windows_max) {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return windows <= windows_max; });
  if (error != 0) return fail_errno(error, "writing an upload to the disk");
  return {};
}

Syncer::Syncer(std::size_t threads) {
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { run(); });
    ::pthread_setname_np(threads_.back().native_handle(), "blob-sync");
  }
}

Syncer::~Syncer() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  added_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Syncer::add(std::shared_ptr<Writeback> upload, std::uint64_t offset, std::uint64_t length) {
  {
    const std::scoped_lock lock(upload->mutex);
    ++upload->windows;
  }
  {
    const std::scoped_lock lock(mutex_);
    jobs_.push_back({std::move(upload), offset, length});
  }
  added_.notify_one();
}

void Syncer::run() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      added_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    // The bytes only: sizes, extents and the device's cache are the last fdatasync's business (Upload::place). An
    // fdatasync here would commit the journal once a window, which the log's own syncs would wait for.
    const int failed = ::sync_file_range(job.upload->fd.get(), static_cast<off64_t>(job.offset),
                                         static_cast<off64_t>(job.length),
                                         SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    const int error = failed == 0 ? 0 : errno;
    {
      const std::scoped_lock lock(job.upload->mutex);
      --job.upload->windows;
      if (error != 0 && job.upload->error == 0) job.upload->error = error;
    }
    job.upload->changed.notify_all();
  }
}

}  // namespace kraken::blob
