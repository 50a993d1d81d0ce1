#include "src/agent/storage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "src/base/log.h"

namespace kraken::agent {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kCleanName = "_clean";
constexpr std::string_view kMetaName = "_torrentmeta";
constexpr std::string_view kStatusName = "_status";
constexpr std::uint64_t kMetaBytesMax = 8u << 20;
constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::int64_t kTouchSeconds = 300;  // last use is written at most so often, as stock does

std::int64_t wall_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(system_clock().wall().time_since_epoch()).count();
}

std::string boot_id() {
  auto id = file::read_all("/proc/sys/kernel/random/boot_id", 100);
  return id ? id->substr(0, id->find('\n')) : std::string("unknown");
}

fs::path folder_of(const fs::path& top, const Digest& digest) {
  const std::string hex = digest.hex();
  return top / hex.substr(0, 2) / hex.substr(2, 2) / hex;
}

std::optional<Digest> digest_of(const fs::path& folder) {
  auto digest = Digest::from_hex(folder.filename().string());
  if (!digest) return std::nullopt;
  return *digest;
}

/// Calls `take` for every folder <top>/aa/bb/<hex>.
template <class Take>
void walk(const fs::path& top, Take take) {
  std::error_code ec;
  for (const auto& first : fs::directory_iterator(top, ec)) {
    if (!first.is_directory(ec)) continue;
    for (const auto& second : fs::directory_iterator(first.path(), ec)) {
      if (!second.is_directory(ec)) continue;
      for (const auto& third : fs::directory_iterator(second.path(), ec))
        if (const auto digest = digest_of(third.path())) take(third.path(), *digest);
    }
  }
}

Result<MetaInfo> read_metainfo(const fs::path& folder, const Digest& digest) {
  KR_TRY(const std::string json, file::read_all(folder / kMetaName, kMetaBytesMax));
  KR_TRY(auto metainfo, MetaInfo::parse(json));
  if (metainfo.digest != digest) return fail(Code::kCorrupt, "{} is of another blob", (folder / kMetaName).string());
  return metainfo;
}

template <class Take>
Result<> read_through(int fd, std::uint64_t offset, std::uint64_t length, Take take) {
  std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(length, kReadBytes)));
  while (length > 0) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(length, buffer.size()));
    KR_TRY(const std::size_t got, file::read_at(fd, std::span(buffer).first(want), offset));
    if (got == 0) return fail(Code::kCorrupt, "the file ends early");
    take(std::string_view(buffer.data(), got));
    offset += got;
    length -= got;
  }
  return {};
}

}  // namespace

struct Storage::Impl {
  struct Entry {
    std::uint64_t bytes = 0;
    std::int64_t used_at = 0;  // wall seconds, as on disk: decides the order in which blobs make room, and nothing else
    bool trusted = true;
    bool shareable = false;    // has metainfo
    MonotonicTime idle_since = system_clock().monotonic();  // decides when it goes: no wall clock that jumps empties a cache
  };
  /// A download as clean() saw it last.
  struct Progress {
    std::int64_t changed_at = 0;
    MonotonicTime idle_since{};
  };

  StorageOptions options;
  net::FilePool& pool;
  mutable std::mutex mutex;
  std::map<Digest, Entry> cached;
  std::map<Digest, bool> parts;  // downloads on disk -> trusted
  std::map<Digest, Progress> progress;
  std::atomic<std::uint64_t> next_temporary{0};

  Impl(StorageOptions with, net::FilePool& on) : options(std::move(with)), pool(on) {}

  Result<> load();
  void read_mark(bool& clean, std::set<Digest>& untrusted);
  Result<std::shared_ptr<p2p::Torrent>> find(const std::shared_ptr<Impl>& self, const Digest& digest);
  Result<std::shared_ptr<p2p::Torrent>> open_part(const std::shared_ptr<Impl>& self, const Digest& digest);
  Result<std::shared_ptr<p2p::Torrent>> create(const std::shared_ptr<Impl>& self, MetaInfo metainfo);
  Result<std::optional<CachedBlob>> open_cached(const Digest& digest);
  Result<> put(const Digest& digest, const std::string& bytes, const MetaInfo* metainfo);
  void forget(const Digest& digest);
  Result<> remove(const Digest& digest);
  Result<std::vector<Digest>> clean();
  Result<> make_room(std::uint64_t bytes);
  bool verify(const Digest& digest, int fd, std::uint64_t bytes) const;
  Result<> adopt(const Digest& digest, std::uint64_t bytes, bool shareable, const fs::path& from);
};

namespace {

class StoredTorrent final : public p2p::Torrent {
 public:
  StoredTorrent(std::shared_ptr<Storage::Impl> store, MetaInfo metainfo, UniqueFd fd, UniqueFd status, Bitfield have, bool finished)
      : store_(std::move(store)),
        metainfo_(std::move(metainfo)),
        infohash_(metainfo_.infohash()),
        fd_(std::move(fd)),
        status_(std::move(status)),
        have_(std::move(have)),
        finished_(finished) {}

  const MetaInfo& metainfo() const override { return metainfo_; }
  const InfoHash& infohash() const override { return infohash_; }
  int fd() const override { return fd_.get(); }
  Bitfield have() const override { return have_; }
  bool finished() const override { return finished_; }
  Result<> mark(std::uint32_t piece) override { return file::write_at(status_.get(), std::string_view("\1", 1), piece); }
  Result<> finish() override {
    KR_CHECK(store_->adopt(metainfo_.digest, metainfo_.length, true, folder_of(store_->options.download_dir, metainfo_.digest)));
    finished_ = true;
    status_.reset();
    return {};
  }
  void discard() override { store_->forget(metainfo_.digest); }

 private:
  std::shared_ptr<Storage::Impl> store_;
  MetaInfo metainfo_;
  InfoHash infohash_;
  UniqueFd fd_;
  UniqueFd status_;
  Bitfield have_;
  std::atomic<bool> finished_;
};

}  // namespace

void Storage::Impl::read_mark(bool& clean, std::set<Digest>& untrusted) {
  const fs::path path = options.cache_dir / kCleanName;
  auto mark = file::read_all(path, 64u << 20);
  std::error_code ignored;
  fs::remove(path, ignored);
  if (!mark) return;
  std::string_view rest = *mark;
  bool first = true;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (first) {
      clean = line == boot_id();
      first = false;
    } else if (auto digest = Digest::from_hex(line)) {
      untrusted.insert(*digest);
    }
  }
}

Result<> Storage::Impl::load() {
  KR_CHECK(file::make_folders(options.download_dir));
  KR_CHECK(file::make_folders(options.cache_dir));
  bool clean = false;
  std::set<Digest> untrusted;
  read_mark(clean, untrusted);
  walk(options.cache_dir, [&](const fs::path& folder, const Digest& digest) {
    struct stat data{};
    if (::stat((folder / "data").c_str(), &data) != 0) return;
    std::error_code ec;
    cached[digest] = {.bytes = static_cast<std::uint64_t>(data.st_size),
                      .used_at = data.st_atim.tv_sec,
                      .trusted = clean && !untrusted.contains(digest),
                      .shareable = fs::exists(folder / kMetaName, ec)};
  });
  walk(options.download_dir, [&](const fs::path&, const Digest& digest) { parts[digest] = clean && !untrusted.contains(digest); });
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(options.download_dir, ec))
    if (entry.path().filename().string().starts_with("tmp-")) fs::remove_all(entry.path(), ec);
  log::info("agent.storage_opened", "blobs={} parts={} clean={}", cached.size(), parts.size(), clean);
  return {};
}

bool Storage::Impl::verify(const Digest& digest, int fd, std::uint64_t bytes) const {
  Sha256 hasher;
  const auto read = read_through(fd, 0, bytes, [&](std::string_view part) { hasher.update(part); });
  return read && hasher.finish() == digest;
}

void Storage::Impl::forget(const Digest& digest) { (void)remove(digest); }

Result<> Storage::Impl::remove(const Digest& digest) {
  {
    std::scoped_lock lock(mutex);
    cached.erase(digest);
    parts.erase(digest);
    progress.erase(digest);
  }
  std::error_code ec;
  fs::remove_all(folder_of(options.cache_dir, digest), ec);
  if (!ec) fs::remove_all(folder_of(options.download_dir, digest), ec);
  if (ec) return fail(Code::kIo, "removing {}: {}", digest.str(), ec.message());
  return {};
}

Result<std::optional<CachedBlob>> Storage::Impl::open_cached(const Digest& digest) {
  bool trusted = false;
  bool touch = false;
  std::uint64_t bytes = 0;
  {
    std::scoped_lock lock(mutex);
    const auto found = cached.find(digest);
    if (found == cached.end()) return std::optional<CachedBlob>{};
    trusted = found->second.trusted;
    bytes = found->second.bytes;
    found->second.idle_since = system_clock().monotonic();
    const std::int64_t now = wall_seconds();
    touch = std::abs(now - found->second.used_at) > kTouchSeconds;  // the clock may have gone back
    if (touch) found->second.used_at = now;
  }
  auto fd = file::open(folder_of(options.cache_dir, digest) / "data", O_RDONLY);
  if (!fd && fd.error().code == Code::kNotFound) {
    std::scoped_lock lock(mutex);
    cached.erase(digest);
    return std::optional<CachedBlob>{};
  }
  if (!fd) return std::unexpected(fd.error());
  if (!trusted) {
    if (!verify(digest, fd->get(), bytes)) {
      log::warn("agent.blob_damaged", "digest={} it did not survive the last stop and is fetched again", digest.str());
      KR_CHECK(remove(digest));
      return std::optional<CachedBlob>{};
    }
    std::scoped_lock lock(mutex);
    if (const auto found = cached.find(digest); found != cached.end()) found->second.trusted = true;
  }
  if (touch) {
    const timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
    (void)::futimens(fd->get(), times);
  }
  return CachedBlob{std::make_shared<UniqueFd>(*std::move(fd)), bytes};
}

Result<std::shared_ptr<p2p::Torrent>> Storage::Impl::find(const std::shared_ptr<Impl>& self, const Digest& digest) {
  KR_TRY(auto whole, open_cached(digest));
  if (whole) {
    auto metainfo = read_metainfo(folder_of(options.cache_dir, digest), digest);
    if (!metainfo) return fail(Code::kNotFound, "{} has no metainfo here", digest.str());
    if (metainfo->length != whole->bytes) return fail(Code::kCorrupt, "{} has {} bytes, its metainfo {}", digest.str(), whole->bytes, metainfo->length);
    const Bitfield all(metainfo->piece_count(), true);
    return std::make_shared<StoredTorrent>(self, *std::move(metainfo), std::move(*whole->fd), UniqueFd(), all, true);
  }
  return open_part(self, digest);
}

Result<std::shared_ptr<p2p::Torrent>> Storage::Impl::open_part(const std::shared_ptr<Impl>& self, const Digest& digest) {
  bool trusted = false;
  {
    std::scoped_lock lock(mutex);
    const auto found = parts.find(digest);
    if (found == parts.end()) return fail(Code::kNotFound, "nothing of {} is here", digest.str());
    trusted = found->second;
  }
  const fs::path folder = folder_of(options.download_dir, digest);
  const auto useless = [&](std::string_view why) {
    log::warn("agent.part_useless", "digest={} reason={}", digest.str(), why);
    forget(digest);
    return fail(Code::kNotFound, "nothing usable of {} is here", digest.str());
  };
  auto metainfo = read_metainfo(folder, digest);
  if (!metainfo) return useless(metainfo.error().detail);
  auto fd = file::open(folder / "data", O_RDWR);
  if (!fd) return useless(fd.error().detail);
  auto status = file::open(folder / kStatusName, O_RDWR | O_CREAT, 0644);
  if (!status) return useless(status.error().detail);
  KR_TRY(const std::uint64_t bytes, file::size(fd->get()));
  if (bytes != metainfo->length) return useless("its length is wrong");

  Bitfield have(metainfo->piece_count());
  std::string marks(metainfo->piece_count(), '\0');
  KR_TRY(const std::size_t read, file::read_at(status->get(), marks, 0));
  std::uint32_t lost = 0;
  for (std::uint32_t piece = 0; piece < read; ++piece) {
    if (marks[piece] != 1) continue;
    if (!trusted) {
      std::uint32_t sum = 0;
      const auto summed = read_through(fd->get(), metainfo->piece_offset(piece), metainfo->piece_bytes(piece),
                                       [&](std::string_view part) { sum = crc32(part, sum); });
      if (!summed || sum != metainfo->piece_sums[piece]) {
        ++lost;
        KR_CHECK(file::write_at(status->get(), std::string_view("\0", 1), piece));
        continue;
      }
    }
    have.set(piece);
  }
  log::info("agent.part_opened", "digest={} pieces={} of={} lost={}", digest.str(), have.count(), have.size(), lost);
  {
    std::scoped_lock lock(mutex);
    parts[digest] = true;
  }
  return std::make_shared<StoredTorrent>(self, *std::move(metainfo), *std::move(fd), *std::move(status), std::move(have), false);
}

Result<std::shared_ptr<p2p::Torrent>> Storage::Impl::create(const std::shared_ptr<Impl>& self, MetaInfo metainfo) {
  KR_CHECK(make_room(metainfo.length));
  const fs::path folder = folder_of(options.download_dir, metainfo.digest);
  std::error_code ec;
  fs::remove_all(folder, ec);
  KR_CHECK(file::make_folders(folder));
  KR_TRY(auto fd, file::open(folder / "data", O_RDWR | O_CREAT | O_TRUNC, 0644));
  if (::ftruncate(fd.get(), static_cast<off_t>(metainfo.length)) != 0) return fail_errno(errno, "making room for a blob");
  KR_TRY(auto status, file::open(folder / kStatusName, O_RDWR | O_CREAT | O_TRUNC, 0644));
  KR_CHECK(file::write_at(status.get(), std::string(metainfo.piece_count(), '\0'), 0));
  // The metainfo comes last: a folder without it is nothing.
  KR_TRY(auto meta, file::open(folder / kMetaName, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  KR_CHECK(file::write_at(meta.get(), metainfo.json(), 0));
  {
    std::scoped_lock lock(mutex);
    parts[metainfo.digest] = true;
  }
  const Bitfield none(metainfo.piece_count());
  return std::make_shared<StoredTorrent>(self, std::move(metainfo), std::move(fd), std::move(status), none, false);
}

Result<> Storage::Impl::adopt(const Digest& digest, std::uint64_t bytes, bool shareable, const fs::path& from) {
  const fs::path folder = folder_of(options.cache_dir, digest);
  KR_CHECK(file::make_folders(folder.parent_path()));
  std::error_code ec;
  fs::remove(from / kStatusName, ec);
  if (::rename(from.c_str(), folder.c_str()) != 0) {
    if (errno != EEXIST && errno != ENOTEMPTY) return fail_errno(errno, "moving a blob to the cache");
    fs::remove_all(from, ec);  // it is there already, whole
  }
  std::scoped_lock lock(mutex);
  cached[digest] = {.bytes = bytes, .used_at = wall_seconds(), .trusted = true, .shareable = shareable};
  parts.erase(digest);
  progress.erase(digest);
  return {};
}

Result<> Storage::Impl::put(const Digest& digest, const std::string& bytes, const MetaInfo* metainfo) {
  KR_CHECK(make_room(bytes.size()));
  const fs::path temporary = options.download_dir / fmt::format("tmp-{}", next_temporary++);
  KR_CHECK(file::make_folders(temporary));
  KR_TRY(auto fd, file::open(temporary / "data", O_WRONLY | O_CREAT | O_TRUNC, 0644));
  KR_CHECK(file::write_at(fd.get(), bytes, 0));
  if (metainfo != nullptr) {
    KR_TRY(auto meta, file::open(temporary / kMetaName, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    KR_CHECK(file::write_at(meta.get(), metainfo->json(), 0));
  }
  return adopt(digest, bytes.size(), metainfo != nullptr, temporary);
}

Result<> Storage::Impl::make_room(std::uint64_t bytes) {
  KR_TRY(auto space, file::disk_space(options.cache_dir));
  const auto enough = [&] { return space.available_bytes >= bytes && space.available_bytes - bytes >= options.reserve_bytes; };
  if (enough()) return {};
  std::vector<std::pair<std::int64_t, Digest>> oldest;
  {
    std::scoped_lock lock(mutex);
    for (const auto& [digest, entry] : cached) oldest.emplace_back(entry.used_at, digest);
  }
  std::ranges::sort(oldest);
  for (const auto& [used_at, digest] : oldest) {
    log::info("agent.evicted", "digest={} for room", digest.str());
    KR_CHECK(remove(digest));
    KR_TRY(space, file::disk_space(options.cache_dir));
    if (enough()) return {};
  }
  return fail(Code::kDiskFull, "the agent's disk has {} bytes free and needs {} beyond its reserve of {}", space.available_bytes, bytes,
              options.reserve_bytes);
}

Result<std::vector<Digest>> Storage::Impl::clean() {
  std::vector<Digest> gone;
  const MonotonicTime now = system_clock().monotonic();
  {
    std::scoped_lock lock(mutex);
    if (options.cache_ttl > Duration::zero())
      for (const auto& [digest, entry] : cached)
        if (now - entry.idle_since > options.cache_ttl) gone.push_back(digest);
    if (options.download_ttl > Duration::zero())
      for (const auto& [digest, trusted] : parts) {
        struct stat status{};
        const fs::path path = folder_of(options.download_dir, digest) / kStatusName;
        if (::stat(path.c_str(), &status) != 0) continue;
        const auto [seen, is_new] = progress.try_emplace(digest, Progress{status.st_mtim.tv_sec, now});
        if (seen->second.changed_at != status.st_mtim.tv_sec) seen->second = {status.st_mtim.tv_sec, now};
        if (now - seen->second.idle_since > options.download_ttl) gone.push_back(digest);
      }
  }
  for (const Digest& digest : gone) KR_CHECK(remove(digest));
  (void)make_room(0);
  return gone;
}

// --- the tasks around it

Result<std::unique_ptr<Storage>> Storage::open(StorageOptions options, net::FilePool& pool) {
  auto impl = std::make_shared<Impl>(std::move(options), pool);
  KR_CHECK(impl->load());
  return std::unique_ptr<Storage>(new Storage(std::move(impl)));
}

Storage::~Storage() = default;

net::Task<std::shared_ptr<p2p::Torrent>> Storage::find(Digest digest, std::string) {
  auto impl = impl_;
  {
    std::scoped_lock lock(impl->mutex);
    if (!impl->cached.contains(digest) && !impl->parts.contains(digest)) co_return fail(Code::kNotFound, "nothing of {} is here", digest.str());
  }
  auto job = [impl, digest] { return impl->find(impl, digest); };
  co_return co_await impl->pool.run(job);
}

net::Task<std::shared_ptr<p2p::Torrent>> Storage::create(MetaInfo metainfo) {
  auto impl = impl_;
  auto job = [impl, metainfo = std::move(metainfo)]() mutable { return impl->create(impl, std::move(metainfo)); };
  co_return co_await impl->pool.run(std::move(job));
}

net::Task<std::optional<CachedBlob>> Storage::open_cached(Digest digest) {
  auto impl = impl_;
  {
    std::scoped_lock lock(impl->mutex);
    if (!impl->cached.contains(digest)) co_return std::optional<CachedBlob>{};
  }
  auto job = [impl, digest] { return impl->open_cached(digest); };
  co_return co_await impl->pool.run(job);
}

std::optional<std::uint64_t> Storage::cached_bytes(const Digest& digest) const {
  std::scoped_lock lock(impl_->mutex);
  const auto found = impl_->cached.find(digest);
  if (found == impl_->cached.end()) return std::nullopt;
  return found->second.bytes;
}

bool Storage::has_part(const Digest& digest) const {
  std::scoped_lock lock(impl_->mutex);
  return impl_->parts.contains(digest);
}

net::Task<void> Storage::put(Digest digest, std::string bytes, std::shared_ptr<const MetaInfo> metainfo) {
  auto impl = impl_;
  auto job = [impl, digest, bytes = std::move(bytes), metainfo] { return impl->put(digest, bytes, metainfo.get()); };
  co_return co_await impl->pool.run(std::move(job));
}

net::Task<void> Storage::remove(Digest digest) {
  auto impl = impl_;
  auto job = [impl, digest] { return impl->remove(digest); };
  co_return co_await impl->pool.run(job);
}

net::Task<std::vector<Digest>> Storage::clean() {
  auto impl = impl_;
  auto job = [impl] { return impl->clean(); };
  co_return co_await impl->pool.run(job);
}

std::vector<Digest> Storage::complete() const {
  std::scoped_lock lock(impl_->mutex);
  std::vector<Digest> all;
  for (const auto& [digest, entry] : impl_->cached)
    if (entry.shareable && entry.trusted) all.push_back(digest);
  return all;
}

net::Task<InfoHash> Storage::infohash(Digest digest) {
  auto impl = impl_;
  auto job = [impl, digest]() -> Result<InfoHash> {
    KR_TRY(const auto metainfo, read_metainfo(folder_of(impl->options.cache_dir, digest), digest));
    return metainfo.infohash();
  };
  co_return co_await impl->pool.run(job);
}

std::uint64_t Storage::cached_total() const {
  std::scoped_lock lock(impl_->mutex);
  std::uint64_t total = 0;
  for (const auto& [digest, entry] : impl_->cached) total += entry.bytes;
  return total;
}

void Storage::close() {
  std::string mark = boot_id() + "\n";
  {
    std::scoped_lock lock(impl_->mutex);
    for (const auto& [digest, entry] : impl_->cached)
      if (!entry.trusted) mark += digest.hex() + "\n";
    for (const auto& [digest, trusted] : impl_->parts)
      if (!trusted) mark += digest.hex() + "\n";
  }
  auto written = file::replace(impl_->options.cache_dir / kCleanName, mark);
  if (!written) log::warn("agent.no_clean_mark", "error={}", written.error().to_string());
}

}  // namespace kraken::agent
