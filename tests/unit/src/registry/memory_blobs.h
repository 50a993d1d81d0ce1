#pragma once
// Blobs and upload sessions in memory, for tests of whoever serves or needs them. `on_commit` runs when a blob is
// pushed. Threads: any; one lock.

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "src/registry/registry.h"

namespace kraken::registry::test {

class MemorySource final : public BlobSource {
 public:
  /// Gives at most `step` bytes a call, and fails once `fail_after` bytes were given.
  MemorySource(std::string content, std::size_t step, std::size_t fail_after)
      : content_(std::move(content)), end_(content_.size()), step_(step), fail_after_(fail_after) {}
  std::uint64_t bytes() const override { return content_.size(); }
  net::Task<> select(std::uint64_t first, std::uint64_t count) override {
    at_ = first;
    end_ = first + count;
    co_return Result<>{};
  }
  net::Task<Slice> next(std::span<char> buffer) override {
    if (given_ >= fail_after_) co_return fail(Code::kUnavailable, "the holder went away");
    const std::size_t count = std::min({buffer.size(), end_ - at_, step_, fail_after_ - given_});
    std::memcpy(buffer.data(), content_.data() + at_, count);
    at_ += count;
    given_ += count;
    co_return Slice{-1, 0, count};
  }

 private:
  const std::string content_;
  std::size_t at_ = 0;
  std::size_t end_;
  const std::size_t step_;
  const std::size_t fail_after_;
  std::size_t given_ = 0;
};

class MemoryBlobs : public BlobReader, public BlobWriter {
 public:
  using OnCommit = std::function<net::Task<>(Digest, std::string content)>;
  explicit MemoryBlobs(OnCommit on_commit = {}) : on_commit_(std::move(on_commit)) {}

  // What tests set and look at.
  std::optional<Error> fails;         // the next call of anything
  std::size_t step = SIZE_MAX;        // bytes a source gives at a time
  std::size_t fail_after = SIZE_MAX;  // of a source
  bool elsewhere = false;             // sessions are another node's
  std::optional<Error> forward_error;
  std::size_t size() const { return blobs_.size(); }
  std::size_t sessions() const { return sessions_.size(); }
  bool has(const Digest& digest) const { return blobs_.contains(digest); }
  Digest keep(std::string content) {
    const auto digest = Digest::of(content);
    blobs_[digest] = std::move(content);
    return digest;
  }

  net::Task<std::uint64_t> stat(Repository, Digest digest) override {
    KR_CO_CHECK(failure());
    const std::lock_guard lock(mutex_);
    const auto found = blobs_.find(digest);
    if (found == blobs_.end()) co_return fail(Code::kNotFound, "no blob {}", digest.str());
    co_return found->second.size();
  }
  net::Task<std::unique_ptr<BlobSource>> open(Repository, Digest digest) override {
    KR_CO_CHECK(failure());
    const std::lock_guard lock(mutex_);
    const auto found = blobs_.find(digest);
    if (found == blobs_.end()) co_return fail(Code::kNotFound, "no blob {}", digest.str());
    std::unique_ptr<BlobSource> source = std::make_unique<MemorySource>(found->second, step, fail_after);
    co_return source;
  }
  net::Task<UploadId> start(Repository) override {
    KR_CO_CHECK(failure());
    const std::lock_guard lock(mutex_);
    const auto number = std::to_string(++started_);
    const auto id = UploadId::make("node", std::string(16 - number.size(), '0') + number);
    sessions_[id];
    co_return id;
  }
  net::Task<std::uint64_t> status(Repository, UploadId id) override {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) co_return fail(Code::kNotFound, "no session {}", id.str());
    co_return found->second.size();
  }
  net::Task<std::uint64_t> append(Repository, UploadId id, std::optional<std::uint64_t> offset,
                                  std::optional<std::uint64_t> length, BodyReader body) override {
    KR_CO_CHECK(failure());
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) co_return fail(Code::kNotFound, "no session {}", id.str());
    if (offset && *offset != found->second.size())
      co_return fail(Code::kRangeNotSatisfiable, "the session stands at {}", found->second.size());
    std::string buffer(64 * 1024, '\0');
    std::uint64_t received = 0;
    while (!length || received < *length) {
      KR_CO_TRY(const auto count, co_await body(buffer));
      if (count == 0) break;
      found->second.append(buffer, 0, count);
      received += count;
    }
    if (length && received != *length) co_return fail(Code::kInvalidArgument, "{} of {} bytes came", received, *length);
    co_return found->second.size();
  }
  net::Task<> finish(Repository, UploadId id, Digest digest) override {
    KR_CO_CHECK(failure());
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) co_return fail(Code::kNotFound, "no session {}", id.str());
    auto content = std::move(found->second);
    sessions_.erase(found);
    if (const auto computed = Digest::of(content); computed != digest)
      co_return fail(Code::kDigestMismatch, "computed {}, expected {}", computed.str(), digest.str());
    if (on_commit_) KR_CO_CHECK(co_await on_commit_(digest, content));
    const std::lock_guard lock(mutex_);
    blobs_[digest] = std::move(content);
    co_return Result<>{};
  }
  net::Task<> cancel(Repository, UploadId id) override {
    const std::lock_guard lock(mutex_);
    if (sessions_.erase(id) == 0) co_return fail(Code::kNotFound, "no session {}", id.str());
    co_return Result<>{};
  }
  net::Task<bool> mount(Repository, Digest digest, std::optional<Repository>) override { co_return has(digest); }
  net::Task<> remove(Repository, Digest digest) override {
    KR_CO_CHECK(failure());
    const std::lock_guard lock(mutex_);
    if (blobs_.erase(digest) == 0) co_return fail(Code::kNotFound, "no blob {}", digest.str());
    co_return Result<>{};
  }
  bool is_local(UploadId) const override { return !elsewhere; }
  net::Task<> forward(http::Exchange&, UploadId) override {
    if (forward_error) co_return std::unexpected(*forward_error);
    co_return fail(Code::kUnavailable, "the node is gone");
  }

 private:
  Result<> failure() {
    if (!fails) return {};
    auto error = std::move(*fails);
    fails.reset();
    return std::unexpected(std::move(error));
  }

  OnCommit on_commit_;
  std::mutex mutex_;
  std::map<Digest, std::string> blobs_;
  std::map<UploadId, std::string> sessions_;
  std::uint64_t started_ = 0;
};

/// Manifests that do what a test says.
class ScriptedManifests final : public Manifests, public Tags {
 public:
  std::map<std::string, ManifestContent> contents;  // by tag or digest text
  PutOutcome put_outcome;
  RemoveOutcome remove_outcome;
  std::vector<std::string> names;  // of list and catalog
  std::optional<Error> fails;
  std::optional<ManifestPut> last_put;
  Precondition last_precondition;

  net::Task<ManifestContent> get(Repository, Reference reference) override {
    if (fails) co_return std::unexpected(*fails);
    const auto* tag = std::get_if<TagName>(&reference);
    const auto found = contents.find(tag != nullptr ? tag->str() : std::get<Digest>(reference).str());
    if (found == contents.end()) co_return fail(Code::kNotFound, "none");
    co_return found->second;
  }
  net::Task<ManifestContent> get_stale(Repository, TagName tag) override {
    const auto found = contents.find(tag.str());
    if (found == contents.end()) co_return fail(Code::kUnavailable, "none on this replica");
    ManifestContent content = found->second;
    content.stale = stale;
    co_return content;
  }
  Staleness stale;
  net::Task<PutOutcome> put(ManifestPut put) override {
    if (fails) co_return std::unexpected(*fails);
    last_put = std::move(put);
    co_return put_outcome;
  }
  net::Task<RemoveOutcome> remove(Repository, Reference, Precondition precondition) override {
    if (fails) co_return std::unexpected(*fails);
    last_precondition = precondition;
    co_return remove_outcome;
  }
  net::Task<Page> list(Repository, std::string after, std::size_t count) override {
    if (fails) co_return std::unexpected(*fails);
    Page page;
    for (const auto& name : names) {
      if (name <= after) continue;
      if (page.names.size() == count) {
        page.more = true;
        break;
      }
      page.names.push_back(name);
    }
    co_return page;
  }
  net::Task<Page> catalog(std::string after, std::size_t count) override {
    return list(Repository(), std::move(after), count);
  }
};

}  // namespace kraken::registry::test
