#include "storage/blob/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <span>

#include "src/base/assert.h"
#include "src/base/hex.h"
#include "src/base/log.h"
#include "src/base/rng.h"
#include "src/core/bitfield.h"
#include "storage/blob/syncer.h"

namespace kraken::blob {
namespace {

constexpr std::size_t kVerifiedMax = 1024;  // blobs whose good pieces are remembered
constexpr std::size_t kReadBytes = 256 * 1024;

/// What must stay the same for a file's checked pieces to count.
struct FileState {
  dev_t device = 0;
  ino_t inode = 0;
  off_t bytes = 0;
  timespec modified{};
  timespec changed{};

  static Result<FileState> of(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return fail_errno(errno, "fstat");
    return FileState{status.st_dev, status.st_ino, status.st_size, status.st_mtim, status.st_ctim};
  }
  friend bool operator==(const FileState& a, const FileState& b) {
    const auto same = [](const timespec& x, const timespec& y) { return x.tv_sec == y.tv_sec && x.tv_nsec == y.tv_nsec; };
    return a.device == b.device && a.inode == b.inode && a.bytes == b.bytes && same(a.modified, b.modified) &&
           same(a.changed, b.changed);
  }
};

bool name_is_safe(std::string_view name) {
  return !name.empty() && name.size() <= 128 && name.front() != '.' && std::ranges::all_of(name, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-';
  });
}

Result<std::uint32_t> sum_of(int fd, std::uint64_t offset, std::uint64_t length, std::span<char> buffer) {
  std::uint32_t sum = 0;
  while (length > 0) {
    const std::span<char> part = buffer.first(std::min<std::uint64_t>(length, buffer.size()));
    KR_TRY(const std::size_t got, file::read_at(fd, part, offset));
    if (got != part.size()) return fail(Code::kCorrupt, "the file ends at {} bytes", offset + got);
    sum = crc32({part.data(), got}, sum);
    offset += got;
    length -= got;
  }
  return sum;
}

}  // namespace

struct Store::Verified {
  std::mutex mutex;  // all
  FileState file;
  MonotonicTime since{};
  Bitfield good;
};

Store::Store(Options options) : options_(std::move(options)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(Options options) {
  KR_ASSERT(options.window_bytes > 0 && options.windows_max > 0);
  std::unique_ptr<Store> store(new Store(std::move(options)));
  const Options& o = store->options_;
  KR_CHECK(file::make_folders(o.path));
  KR_CHECK(file::make_folders(o.uploads_path));
  struct stat blobs {};
  struct stat uploads {};
  if (::stat(o.path.c_str(), &blobs) != 0) return fail_errno(errno, fmt::format("stat {}", o.path.string()));
  if (::stat(o.uploads_path.c_str(), &uploads) != 0) return fail_errno(errno, fmt::format("stat {}", o.uploads_path.string()));
  if (blobs.st_dev != uploads.st_dev) {
    return fail(Code::kInvalidArgument,
                "{} and {} are on different filesystems, so an upload could not be renamed into place; put them on one",
                o.path.string(), o.uploads_path.string());
  }
  KR_TRY(store->lock_, file::open(o.path / "lock", O_RDWR | O_CREAT));
  if (::flock(store->lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(Code::kConflict, "another process has the blob store {} open; stop it, or set another blobs.path",
                o.path.string());
  }
  KR_CHECK(store->load_id());
  if (o.sync) KR_CHECK(file::sync_folder(o.path.has_parent_path() ? o.path.parent_path() : std::filesystem::path(".")));
  KR_CHECK(store->remove_leftovers());
  store->syncer_ = std::make_unique<Syncer>(2);
  return store;
}

Result<> Store::load_id() {
  const std::filesystem::path path = options_.path / "store_id";
  auto text = file::read_all(path, 4096);
  if (text) {
    while (!text->empty() && text->back() == '\n') text->pop_back();
    auto parsed = StoreId::parse(*text);
    if (!parsed) {
      return fail(Code::kCorrupt, "{} does not hold a store id ({}); restore the file, or remove it to start as a new store "
                  "whose blobs the other nodes copy again", path.string(), parsed.error().detail);
    }
    id_ = *parsed;
    return {};
  }
  if (text.error().code != Code::kNotFound) return std::unexpected(std::move(text).error());
  StoreId::Raw raw{};
  random_bytes(std::as_writable_bytes(std::span(raw)));
  id_ = StoreId(raw);
  id_is_new_ = true;
  return file::replace(path, id_.str() + "\n");
}

Result<> Store::remove_leftovers() {
  std::error_code ec;
  std::size_t removed = 0;
  for (std::filesystem::directory_iterator at(options_.uploads_path, ec), end; !ec && at != end; at.increment(ec)) {
    std::error_code failed;
    std::filesystem::remove_all(at->path(), failed);
    if (failed) return fail_errno(failed.value(), fmt::format("remove leftover upload {}", at->path().string()));
    ++removed;
  }
  if (ec) return fail_errno(ec.value(), fmt::format("read folder {}", options_.uploads_path.string()));
  if (removed > 0) log::info("blob.leftover_uploads_removed", "path={} count={}", options_.uploads_path.string(), removed);
  return {};
}

std::filesystem::path Store::path_of(const Digest& digest) const {
  const std::string hex = digest.hex();
  return options_.path / hex.substr(0, 2) / hex.substr(2, 2) / hex;
}

Result<> Store::make_folder_of(const Digest& digest) {
  {
    const std::scoped_lock lock(mutex_);
    if (folders_.test(digest.prefix())) return {};
  }
  const std::filesystem::path inner = path_of(digest).parent_path();
  KR_CHECK(file::make_folders(inner));
  // Also where they were there: a process that died may have made them without this.
  if (options_.sync) {
    KR_CHECK(file::sync_folder(inner.parent_path()));
    KR_CHECK(file::sync_folder(options_.path));
  }
  const std::scoped_lock lock(mutex_);
  folders_.set(digest.prefix());
  return {};
}

Result<> Store::check_space(std::uint64_t bytes) const {
  KR_TRY(const file::DiskSpace space, file::disk_space(options_.uploads_path));
  const std::uint64_t promised = in_flight_bytes_.load() + options_.reserve_bytes;
  if (space.available_bytes >= promised && space.available_bytes - promised >= bytes) return {};
  return fail(Code::kDiskFull, "{}: {} bytes free, {} of them promised to uploads that run and {} kept in reserve: no room "
              "for {} more; free some, or lower blobs.reserve", options_.path.string(), space.available_bytes,
              in_flight_bytes_.load(), options_.reserve_bytes, bytes);
}

Result<std::unique_ptr<Upload>> Store::create_upload(std::string_view name, std::uint64_t expected_bytes) {
  if (!name_is_safe(name)) return fail(Code::kInvalidArgument, "\"{:.80}\" is no name for an upload", name);
  KR_CHECK(check_space(expected_bytes));
  std::filesystem::path path = options_.uploads_path / name;
  KR_TRY(UniqueFd fd, file::open(path, O_RDWR | O_CREAT | O_EXCL));
  in_flight_bytes_ += expected_bytes;
  return std::unique_ptr<Upload>(new Upload(*this, std::move(path), std::move(fd), expected_bytes));
}

Result<Blob> Store::open_blob(const Digest& digest) const {
  KR_TRY(UniqueFd fd, file::open(path_of(digest), O_RDONLY));
  KR_TRY(const std::uint64_t bytes, file::size(fd.get()));
  return Blob{.digest = digest, .fd = std::move(fd), .bytes = bytes};
}

Result<std::uint64_t> Store::size_of(const Digest& digest) const {
  struct stat status {};
  if (::stat(path_of(digest).c_str(), &status) != 0) return fail_errno(errno, fmt::format("blob {}", digest.str()));
  return static_cast<std::uint64_t>(status.st_size);
}

bool Store::has(const Digest& digest) const { return size_of(digest).has_value(); }

Result<> Store::remove(const Digest& digest) {
  const std::filesystem::path path = path_of(digest);
  if (::unlink(path.c_str()) != 0) return fail_errno(errno, fmt::format("remove {}", path.string()));
  doubt(digest);
  return options_.sync ? file::sync_folder(path.parent_path()) : Result<>{};
}

Result<> Store::set_aside(const Digest& digest) {
  const std::filesystem::path path = path_of(digest);
  std::filesystem::path aside = path;
  aside += ".damaged";
  if (::rename(path.c_str(), aside.c_str()) != 0) return fail_errno(errno, fmt::format("rename {}", path.string()));
  log::error("blob.damaged", "digest={} kept={}", digest.str(), aside.string());
  doubt(digest);
  return options_.sync ? file::sync_folder(path.parent_path()) : Result<>{};
}

void Store::doubt(const Digest& digest) {
  const std::scoped_lock lock(mutex_);
  verified_.erase(digest);
}

Result<> Store::list(std::uint16_t from, std::uint16_t to,
                     const std::function<bool(const Digest&, std::uint64_t bytes)>& each) const {
  const auto prefix = [](std::string_view hex) {  // of two or four digits, the missing ones 0
    const std::string bytes = from_hex(hex).value_or("") + std::string(2, '\0');
    return static_cast<unsigned char>(bytes[0]) << 8 | static_cast<unsigned char>(bytes[1]);
  };
  const auto names = [](const std::filesystem::path& folder, std::size_t length) -> Result<std::vector<std::string>> {
    std::vector<std::string> found;
    std::error_code ec;
    for (std::filesystem::directory_iterator at(folder, ec), end; !ec && at != end; at.increment(ec)) {
      std::string name = at->path().filename().string();
      if (name.size() == length && from_hex(name)) found.push_back(std::move(name));
    }
    if (ec) return fail_errno(ec.value(), fmt::format("read folder {}", folder.string()));
    std::ranges::sort(found);
    return found;
  };
  KR_TRY(const auto outer, names(options_.path, 2));
  for (const std::string& first : outer) {
    if ((prefix(first) | 0xff) < from || prefix(first) > to) continue;
    KR_TRY(const auto inner, names(options_.path / first, 2));
    for (const std::string& second : inner) {
      if (prefix(first + second) < from || prefix(first + second) > to) continue;
      KR_TRY(const auto blobs, names(options_.path / first / second, 64));
      for (const std::string& hex : blobs) {
        const auto digest = Digest::from_hex(hex);
        const auto bytes = digest ? size_of(*digest) : Result<std::uint64_t>(fail(Code::kNotFound, "{}", hex));
        if (bytes && !each(*digest, *bytes)) return {};
      }
    }
  }
  return {};
}

Result<> Store::verify(const Blob& blob, const MetaInfo& metainfo, std::uint64_t offset, std::uint64_t length) {
  KR_ASSERT(blob.digest == metainfo.digest);
  KR_TRY(const FileState now, FileState::of(blob.fd.get()));
  if (blob.bytes != metainfo.length || static_cast<std::uint64_t>(now.bytes) != metainfo.length) {
    return fail(Code::kCorrupt, "blob {}: the file has {} bytes, its record says {}", blob.digest.str(), now.bytes,
                metainfo.length);
  }
  if (length == 0 || metainfo.piece_count() == 0) return {};
  std::shared_ptr<Verified> verified;
  {
    const std::scoped_lock lock(mutex_);
    if (!verified_.contains(blob.digest) && verified_.size() >= kVerifiedMax) verified_.erase(verified_.begin());
    auto& slot = verified_[blob.digest];
    if (!slot) slot = std::make_shared<Verified>();
    verified = slot;
  }
  const MonotonicTime time = system_clock().monotonic();
  {
    const std::scoped_lock lock(verified->mutex);
    if (!(verified->file == now) || verified->good.size() != metainfo.piece_count() ||
        time - verified->since > kVerifiedFor) {
      verified->file = now;
      verified->since = time;
      verified->good = Bitfield(metainfo.piece_count());
    }
  }
  std::vector<char> buffer;
  const auto first = static_cast<std::uint32_t>(offset / metainfo.piece_length);
  const auto last = static_cast<std::uint32_t>((offset + length - 1) / metainfo.piece_length);
  KR_ASSERT(last < metainfo.piece_count());
  for (std::uint32_t piece = first; piece <= last; ++piece) {
    {
      const std::scoped_lock lock(verified->mutex);
      if (verified->good.size() == metainfo.piece_count() && verified->good.test(piece)) continue;
    }
    if (buffer.empty()) buffer.resize(std::min<std::uint64_t>(kReadBytes, metainfo.length));
    const auto sum = sum_of(blob.fd.get(), metainfo.piece_offset(piece), metainfo.piece_bytes(piece), buffer);
    if (!sum || *sum != metainfo.piece_sums[piece]) {
      // A sector that cannot be read is damage too: another holder has the bytes.
      return fail(Code::kCorrupt, "blob {}: piece {} is damaged{}", blob.digest.str(), piece,
                  sum ? std::string() : ": " + sum.error().detail);
    }
    const std::scoped_lock lock(verified->mutex);
    if (verified->file == now && verified->good.size() == metainfo.piece_count()) verified->good.set(piece);
  }
  return {};
}

}  // namespace kraken::blob
