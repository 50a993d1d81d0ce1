#include <algorithm>
#include <array>
#include <span>

#include "src/base/log.h"
#include "src/base/rng.h"
#include "src/blobs/impl.h"

namespace kraken::blobs {
namespace {

// Below this a second round trip costs more than the overlap saves.
constexpr std::uint64_t kFollowBytesMin = 1u << 20;

/// The session's bytes in order, as far as they have come; waits for more.
net::Task<std::size_t> read_growing(std::shared_ptr<Service::Impl> impl, std::shared_ptr<Session> session,
                                    std::shared_ptr<std::uint64_t> at, std::span<char> into) {
  for (;;) {
    const std::uint64_t seen = session->grown.version();
    const bool complete = session->complete;
    // A push that has its quorum forgets the session while this goes on to the end.
    if (session->abandoned && !complete) co_return fail(Code::kCancelled, "the upload was given up");
    const std::uint64_t there = session->received.load(std::memory_order_acquire);
    if (there > *at) {
      const std::span<char> part = into.first(std::min<std::uint64_t>(into.size(), there - *at));
      const std::uint64_t from = *at;
      KR_CO_TRY(const std::size_t got, co_await impl->ingest_pool_.run([session, part, from]() -> Result<std::size_t> {
        return file::read_at(session->upload->fd(), part, from);
      }));
      *at += got;
      co_return got;
    }
    if (complete) co_return std::size_t{0};
    KR_CO_CHECK(co_await session->grown.wait(seen, impl->options_.upload_ttl));
  }
}

}  // namespace

void Lease::release() {
  if (released_.exchange(true)) return;
  const std::scoped_lock lock(impl_->mutex_);
  session_->busy = false;
  session_->touched = system_clock().monotonic();
}

std::string Service::Impl::new_name() {
  std::array<std::byte, 16> bytes{};
  random_bytes(bytes);
  return to_hex(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
}

std::uint64_t Service::Impl::blob_bytes_max() const {
  std::uint64_t longest = 0;
  for (const auto& [size, length] : options_.piece_lengths.table()) longest = std::max(longest, length);
  return longest * kPiecesMax;
}

std::shared_ptr<blob::Upload> Service::Impl::shared(std::unique_ptr<blob::Upload> upload) {
  return {upload.release(), [this](blob::Upload* ended) {
            if (!ingest_pool_.post([ended] { delete ended; })) delete ended;
          }};
}

Result<std::shared_ptr<Session>> Service::Impl::take(const UploadId& id) {
  const std::scoped_lock lock(mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return fail(Code::kNotFound, "no upload {} on this node", id.str());
  if (found->second->busy) return fail(Code::kConflict, "another request is working on upload {}", id.str());
  found->second->busy = true;
  found->second->touched = system_clock().monotonic();
  return found->second;
}

void Service::Impl::forget(const std::shared_ptr<Session>& session) {
  {
    const std::scoped_lock lock(mutex_);
    sessions_.erase(session->id);
  }
  session->abandoned = true;
  session->grown.notify();
  for (const auto& follower : session->followers) {
    // A follower that still sends ends by the flag above, and its receiver drops the bytes.
    if (follower->ended && follower->result && !follower->placed) {
      scope().spawn("blobs.discard", peers_.discard(follower->label, follower->transfer));
    }
  }
}

net::Task<UploadId> Service::Impl::start_upload(UploadHints hints) {
  if (hints.bytes && *hints.bytes > 0) {
    const std::uint64_t piece_length = options_.piece_lengths.of(*hints.bytes);
    if ((*hints.bytes - 1) / piece_length >= kPiecesMax) {
      co_return fail(Code::kTooLarge, "{} bytes in pieces of {} are more than {} pieces; raise metainfogen.piece_lengths",
                     *hints.bytes, piece_length, kPiecesMax);
    }
  }
  {
    const std::scoped_lock lock(mutex_);
    if (sessions_.size() >= options_.uploads_max) {
      co_return fail(Code::kOverloaded, "{} uploads are open on this node, no more are taken (blobs.uploads_max)",
                     sessions_.size());
    }
  }
  std::array<char, 16> random{};
  random_bytes(std::as_writable_bytes(std::span(random)));
  const UploadId id = UploadId::make(options_.self, {random.data(), random.size()});
  const std::uint64_t bytes = hints.bytes.value_or(0);
  KR_CO_TRY(auto upload, co_await file_pool_.run([this, id, bytes] { return store_.create_upload(id.str(), bytes); }));
  auto session = std::make_shared<Session>();
  session->id = id;
  session->hints = hints;
  session->upload = shared(std::move(upload));
  session->touched = system_clock().monotonic();
  const std::scoped_lock lock(mutex_);
  sessions_.emplace(id, std::move(session));
  co_return id;
}

net::Task<std::uint64_t> Service::Impl::append(UploadId id, std::optional<std::uint64_t> offset,
                                               std::optional<std::uint64_t> length, BodyReader body, Resent resent) {
  KR_CO_TRY(auto session, take(id));
  auto lease = std::make_shared<Lease>(shared_from_this(), session);
  const std::uint64_t there = session->received;
  const std::uint64_t at = offset.value_or(there);
  if (at > there || (at < there && resent == Resent::kRefuse)) {
    co_return fail(Code::kRangeNotSatisfiable, "upload {} has {} bytes, so the next chunk begins there, not at {}", id.str(),
                   there, at);
  }
  if (at < there) {
    const std::uint64_t known = std::min(there - at, length.value_or(there - at));
    KR_CO_CHECK(co_await skip(known, body));
    if (length) *length -= known;
  }
  if (length && *length > blob_bytes_max() - std::min(there, blob_bytes_max())) {
    co_return fail(Code::kTooLarge, "{} bytes would be more than {} pieces; raise metainfogen.piece_lengths",
                   there + *length, kPiecesMax);
  }
  follow(session);
  Ingest to{.pool = ingest_pool_, .upload = session->upload, .lease = lease, .grown = {}, .buffer_bytes = options_.buffer_bytes,
            .bytes_max = blob_bytes_max()};
  to.grown = [session](std::uint64_t bytes) {
    session->received.store(bytes, std::memory_order_release);
    session->grown.notify();
  };
  auto appended = co_await ingest(std::move(to), length, std::move(body));
  if (!appended) {
    const Code code = appended.error().code;
    if (code == Code::kDiskFull || code == Code::kIo || code == Code::kTooLarge) forget(session);  // it cannot go on
    if (code != Code::kCancelled) lease->release();
    co_return std::unexpected(std::move(appended).error());
  }
  lease->release();
  co_return session->received.load();
}

void Service::Impl::follow(std::shared_ptr<Session> session) {
  if (session->following || !session->hints.digest) return;
  session->following = true;
  if (session->hints.bytes.value_or(kFollowBytesMin) < kFollowBytesMin) return;
  for (const std::string& label : owners(*session->hints.digest)) {
    if (label == options_.self) continue;
    auto follower = std::make_shared<Follower>();
    follower->label = label;
    follower->transfer = new_name();
    session->followers.push_back(follower);
    scope().spawn("blobs.follow", run_follower(session, follower));
  }
}

net::Task<void> Service::Impl::run_follower(std::shared_ptr<Session> session, std::shared_ptr<Follower> follower) {
  auto self = shared_from_this();
  auto at = std::make_shared<std::uint64_t>(0);
  Body body;
  body.reader = [self, session, at](std::span<char> into) { return read_growing(self, session, at, into); };
  auto staged = co_await peers_.stage(follower->label, follower->transfer, *session->hints.digest, std::move(body));
  follower->result = staged;
  follower->ended = true;
  follower->ended_event.notify();
  if (!staged) {
    // No error of the push: it sends the bytes again, or finds another node for them.
    log::debug("blobs.follower_failed", "to={} upload={} error={}", follower->label, session->id.str(),
               staged.error().to_string());
  }
  if (staged && session->abandoned && !session->complete) {
    auto discarded = co_await peers_.discard(follower->label, follower->transfer);
    (void)discarded;
  }
  co_return Result<>();
}

Result<std::uint64_t> Service::Impl::upload_bytes(const UploadId& id) const {
  const std::scoped_lock lock(mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return fail(Code::kNotFound, "no upload {} on this node", id.str());
  return found->second->received.load();
}

net::Task<void> Service::Impl::cancel_upload(UploadId id) {
  KR_CO_TRY(auto session, take(id));
  forget(session);
  co_return Result<>();
}

net::Task<void> Service::Impl::sweep() {
  auto self = shared_from_this();
  for (;;) {
    KR_CO_CHECK(co_await net::sleep_for(std::chrono::seconds(30)));
    const MonotonicTime limit = system_clock().monotonic() - options_.upload_ttl;
    std::vector<std::shared_ptr<Session>> idle;
    {
      const std::scoped_lock lock(mutex_);
      for (const auto& [id, session] : sessions_) {
        if (!session->busy && session->touched < limit) idle.push_back(session);
      }
      std::erase_if(staged_, [&](const auto& entry) { return entry.second->touched < limit; });
    }
    for (const auto& session : idle) {
      log::info("blobs.upload_expired", "upload={} bytes={}", session->id.str(), session->received.load());
      forget(session);
    }
  }
}

}  // namespace kraken::blobs
