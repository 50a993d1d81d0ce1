#include "src/agent/blobs.h"

#include <algorithm>

#include "src/base/file.h"
#include "src/base/log.h"

namespace kraken::agent {

using namespace std::chrono_literals;

namespace {

/// Waited for the next bytes of a blob that arrives; the scheduler gives up earlier where nobody has it.
constexpr Duration kReadTimeout = 6min;
constexpr Duration kFetchTimeout = 24h;

class CachedSource final : public registry::BlobSource {
 public:
  explicit CachedSource(CachedBlob blob) : blob_(std::move(blob)), end_(blob_.bytes) {}
  std::uint64_t bytes() const override { return blob_.bytes; }
  net::Task<> select(std::uint64_t first, std::uint64_t count) override {
    at_ = first;
    end_ = first + count;
    co_return Result<>{};
  }
  net::Task<registry::Slice> next(std::span<char>) override {
    const registry::Slice slice{blob_.fd->get(), at_, end_ - at_};
    at_ = end_;
    co_return slice;
  }

 private:
  CachedBlob blob_;
  std::uint64_t at_ = 0;
  std::uint64_t end_;
};

class ArrivingSource final : public registry::BlobSource {
 public:
  ArrivingSource(p2p::Scheduler& scheduler, std::string ns, std::shared_ptr<p2p::Download> download)
      : scheduler_(scheduler), ns_(std::move(ns)), download_(std::move(download)), end_(bytes()) {}
  std::uint64_t bytes() const override { return download_->metainfo().length; }
  net::Task<> select(std::uint64_t first, std::uint64_t count) override {
    at_ = first;
    end_ = first + count;
    co_return Result<>{};
  }
  net::Task<registry::Slice> next(std::span<char>) override {
    if (at_ == end_) co_return registry::Slice{};
    auto ready = co_await download_->readable(at_, kReadTimeout);
    if (!ready && ready.error().code == Code::kDigestMismatch && !begun_) {
      // Nothing of the wrong blob has gone out: the same client may have the right one.
      begun_ = true;
      const Digest digest = download_->metainfo().digest;
      KR_CO_TRY(download_, co_await scheduler_.download(ns_, digest));
      ready = co_await download_->readable(at_, kReadTimeout);
    }
    if (!ready) co_return std::unexpected(ready.error());
    begun_ = true;
    const registry::Slice slice{download_->fd(), at_, std::min(*ready, end_ - at_)};
    at_ += slice.bytes;
    co_return slice;
  }

 private:
  p2p::Scheduler& scheduler_;
  std::string ns_;
  std::shared_ptr<p2p::Download> download_;
  std::uint64_t at_ = 0;
  std::uint64_t end_;
  bool begun_ = false;
};

}  // namespace

net::Task<void> Blobs::fetch_small_now(std::string ns, Digest digest, std::uint64_t bytes_max, std::shared_ptr<const MetaInfo> metainfo) {
  KR_CO_TRY(auto bytes, co_await cluster_.blob(ns, digest, bytes_max));
  co_return co_await storage_.put(digest, std::move(bytes), metainfo);
}

net::Task<void> Blobs::fetch_small(std::string ns, Digest digest, std::uint64_t bytes_max, std::shared_ptr<const MetaInfo> metainfo) {
  std::shared_ptr<Flight> flight;
  bool mine = false;
  {
    std::scoped_lock lock(mutex_);
    auto& entry = flights_[digest];
    if (!entry) {
      entry = std::make_shared<Flight>();
      mine = true;
    }
    flight = entry;
  }
  if (mine) {
    auto result = co_await fetch_small_now(ns, digest, bytes_max, metainfo);
    {
      std::scoped_lock lock(mutex_);
      flight->result = result;
      flights_.erase(digest);
    }
    flight->landed.notify();
    co_return result;
  }
  for (;;) {
    const auto seen = flight->landed.version();
    {
      std::scoped_lock lock(mutex_);
      if (flight->result) co_return *flight->result;
    }
    KR_CO_CHECK(co_await flight->landed.wait(seen, 30s));
  }
}

net::Task<OpenBlob> Blobs::open_blob(std::string ns, Digest digest) {
  KR_CO_TRY(auto cached, co_await storage_.open_cached(digest));
  if (cached) co_return OpenBlob{std::move(cached), nullptr};
  if (direct_max_ > 0 && cluster_.knows_origins() && !storage_.has_part(digest)) {
    KR_CO_TRY(auto metainfo, co_await cluster_.metainfo(ns, digest));
    if (metainfo.length <= direct_max_ && metainfo.digest == digest) {
      auto known = std::make_shared<const MetaInfo>(std::move(metainfo));
      auto fetched = co_await fetch_small(ns, digest, direct_max_, known);
      if (fetched) {
        KR_CO_TRY(auto small, co_await storage_.open_cached(digest));
        if (small) co_return OpenBlob{std::move(small), nullptr};
      } else {
        log::debug("agent.direct_failed", "digest={} error={}", digest.str(), fetched.error().to_string());
      }
    }
  }
  KR_CO_TRY(auto download, co_await scheduler_.download(ns, digest));
  co_return OpenBlob{std::nullopt, std::move(download)};
}

net::Task<CachedBlob> Blobs::fetch(std::string ns, Digest digest) {
  for (int attempt = 0;; ++attempt) {
    KR_CO_TRY(auto blob, co_await open_blob(ns, digest));
    if (blob.cached) co_return *std::move(blob.cached);
    auto done = co_await blob.download->wait_complete(kFetchTimeout);
    if (!done && done.error().code == Code::kDigestMismatch && attempt == 0) continue;
    if (!done) co_return std::unexpected(done.error());
    KR_CO_TRY(auto cached, co_await storage_.open_cached(digest));
    if (cached) co_return *std::move(cached);
    if (attempt > 0) co_return fail(Code::kUnavailable, "{} was evicted as soon as it was here", digest.str());
  }
}

net::Task<void> Blobs::remove_blob(Digest digest) {
  KR_CO_CHECK(co_await scheduler_.remove(digest));
  co_return co_await storage_.remove(digest);
}

net::Task<std::uint64_t> Blobs::stat(Repository repository, Digest digest) {
  if (const auto bytes = storage_.cached_bytes(digest)) co_return *bytes;
  KR_CO_TRY(const auto metainfo, co_await cluster_.metainfo(repository.str(), digest));
  co_return metainfo.length;
}

net::Task<std::unique_ptr<registry::BlobSource>> Blobs::open(Repository repository, Digest digest) {
  KR_CO_TRY(auto blob, co_await open_blob(repository.str(), digest));
  if (blob.cached) co_return std::unique_ptr<registry::BlobSource>(std::make_unique<CachedSource>(*std::move(blob.cached)));
  co_return std::unique_ptr<registry::BlobSource>(
      std::make_unique<ArrivingSource>(scheduler_, repository.str(), std::move(blob.download)));
}

net::Task<std::string> Blobs::read_cached(CachedBlob blob, std::uint64_t bytes_max) {
  if (blob.bytes > bytes_max) co_return fail(Code::kTooLarge, "it has {} bytes, more than {}", blob.bytes, bytes_max);
  // At most a manifest's bytes, just written or read before: from the page cache.
  std::string bytes(static_cast<std::size_t>(blob.bytes), '\0');
  KR_CO_TRY(const auto read, file::read_at(blob.fd->get(), bytes, 0));
  if (read != bytes.size()) co_return fail(Code::kCorrupt, "the cached file is short");
  co_return bytes;
}

net::Task<std::string> Blobs::read(Repository repository, Digest digest, std::uint64_t bytes_max) {
  KR_CO_TRY(auto cached, co_await storage_.open_cached(digest));
  if (cached) co_return co_await read_cached(*std::move(cached), bytes_max);
  if (cluster_.knows_origins() && direct_max_ > 0) {
    // A manifest is small: straight from a holder, without asking for its metainfo first.
    auto fetched = co_await fetch_small(repository.str(), digest, bytes_max, nullptr);
    if (!fetched && (fetched.error().code == Code::kNotFound || fetched.error().code == Code::kTooLarge)) co_return std::unexpected(fetched.error());
    if (fetched) {
      KR_CO_TRY(auto small, co_await storage_.open_cached(digest));
      if (small) co_return co_await read_cached(*std::move(small), bytes_max);
    }
  }
  KR_CO_TRY(auto blob, co_await fetch(repository.str(), digest));
  co_return co_await read_cached(std::move(blob), bytes_max);
}

net::Task<registry::ManifestContent> Blobs::get(Repository repository, registry::Reference reference) {
  Cluster::Tag found;
  if (const auto* tag = std::get_if<TagName>(&reference)) {
    const QualifiedTag name{repository, *tag};
    KR_CO_TRY(found, co_await cluster_.tag(name));
  } else {
    found.digest = std::get<Digest>(reference);
  }
  auto getting = content_of(std::move(repository), std::move(found));
  co_return co_await std::move(getting);
}

net::Task<registry::ManifestContent> Blobs::get_stale(Repository repository, TagName tag) {
  const QualifiedTag name{repository, std::move(tag)};
  KR_CO_TRY(auto found, co_await cluster_.stale_tag(name));
  auto getting = content_of(std::move(repository), std::move(found));
  co_return co_await std::move(getting);
}

net::Task<registry::ManifestContent> Blobs::content_of(Repository repository, Cluster::Tag tag) {
  const Digest digest = tag.digest;
  KR_CO_TRY(auto body, co_await read(repository, digest, kManifestBytesMax));
  // By digest anything may be asked for here; what is no manifest is unknown as one.
  auto manifest = Manifest::parse(body, "");
  if (!manifest) co_return fail(Code::kNotFound, "{} is no manifest: {}", digest.str(), manifest.error().detail);
  co_return registry::ManifestContent{digest, std::move(manifest->media_type), std::move(body), 0, tag.stale};
}

net::Task<registry::PutOutcome> Blobs::put(registry::ManifestPut) {
  co_return fail(Code::kUnsupported, "an agent only serves pulls; push to a node");
}

net::Task<registry::RemoveOutcome> Blobs::remove(Repository, registry::Reference, registry::Precondition) {
  co_return fail(Code::kUnsupported, "an agent only serves pulls; delete on a node");
}

net::Task<registry::Page> Blobs::list(Repository repository, std::string after, std::size_t count) {
  KR_CO_TRY(auto names, co_await cluster_.tags(repository));
  registry::Page page;
  for (auto& name : names) {
    if (name <= after) continue;
    if (page.names.size() == count) {
      page.more = true;
      break;
    }
    page.names.push_back(std::move(name));
  }
  co_return page;
}

net::Task<registry::Page> Blobs::catalog(std::string, std::size_t) {
  co_return fail(Code::kUnsupported, "an agent has no catalog; ask a node");
}

}  // namespace kraken::agent
