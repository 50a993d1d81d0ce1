#pragma once
// What the tests of the scheduler share: a store in a temporary folder, a tracker in memory, a peer made of both.

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "src/base/file.h"
#include "src/base/rng.h"
#include "src/net/file_pool.h"
#include "src/net/loop.h"
#include "src/p2p/scheduler.h"

namespace kraken::p2p::testing {

using namespace std::chrono_literals;

inline std::string random_blob(std::size_t bytes, std::uint64_t seed) {
  Rng rng(seed);
  std::string blob(bytes, '\0');
  for (auto& byte : blob) byte = static_cast<char>(rng.next());
  return blob;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "kraken-p2p-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class FileTorrent final : public Torrent {
 public:
  FileTorrent(MetaInfo metainfo, UniqueFd fd, Bitfield have, bool finished)
      : metainfo_(std::move(metainfo)), infohash_(metainfo_.infohash()), fd_(std::move(fd)), have_(std::move(have)), finished_(finished) {}
  const MetaInfo& metainfo() const override { return metainfo_; }
  const InfoHash& infohash() const override { return infohash_; }
  int fd() const override { return fd_.get(); }
  Bitfield have() const override { return have_; }
  bool check_before_giving() const override { return checks; }
  void damaged(std::uint32_t) override { ++damage; }
  bool finished() const override { return finished_; }
  Result<> mark(std::uint32_t) override {
    ++marks;
    return {};
  }
  Result<> finish() override {
    finished_ = true;
    return {};
  }
  void discard() override { discarded = true; }

  bool checks = false;
  std::atomic<int> damage{0};
  std::atomic<int> marks{0};
  std::atomic<bool> discarded{false};

 private:
  MetaInfo metainfo_;
  InfoHash infohash_;
  UniqueFd fd_;
  Bitfield have_;
  std::atomic<bool> finished_;
};

class FileStore final : public PieceStore {
 public:
  /// The whole of a blob.
  std::shared_ptr<FileTorrent> put(const MetaInfo& metainfo, std::string_view bytes) {
    return put_part(metainfo, bytes, Bitfield(metainfo.piece_count(), true), true);
  }
  std::shared_ptr<FileTorrent> put_part(const MetaInfo& metainfo, std::string_view bytes, Bitfield have, bool finished) {
    auto fd = file::open(folder_.path() / metainfo.digest.hex(), O_RDWR | O_CREAT | O_TRUNC);
    if (!fd || !file::write_at(fd->get(), bytes, 0)) std::abort();
    auto torrent = std::make_shared<FileTorrent>(metainfo, *std::move(fd), std::move(have), finished);
    std::scoped_lock lock(mutex_);
    torrents_[metainfo.digest] = torrent;
    return torrent;
  }
  std::string read(const Digest& digest) { return file::read_all(folder_.path() / digest.hex(), 1u << 30).value_or("unreadable"); }

  net::Task<std::shared_ptr<Torrent>> find(Digest digest, std::string) override {
    std::scoped_lock lock(mutex_);
    const auto found = torrents_.find(digest);
    if (found == torrents_.end() || found->second->discarded) co_return fail(Code::kNotFound, "no {}", digest.str());
    co_return std::static_pointer_cast<Torrent>(found->second);
  }
  net::Task<std::shared_ptr<Torrent>> create(MetaInfo metainfo) override {
    const Bitfield none(metainfo.piece_count());
    co_return std::static_pointer_cast<Torrent>(put_part(metainfo, "", none, false));
  }

 private:
  TemporaryFolder folder_;
  std::mutex mutex_;
  std::map<Digest, std::shared_ptr<FileTorrent>> torrents_;
};

/// Hands out everybody who was added or has announced.
class MemoryTracker final : public Announcer {
 public:
  void add(const InfoHash& infohash, PeerInfo peer) {
    std::scoped_lock lock(mutex_);
    peers_[infohash][peer.peer_id] = std::move(peer);
  }
  void know(const MetaInfo& metainfo) {
    std::scoped_lock lock(mutex_);
    metainfos_[metainfo.digest] = metainfo;
  }
  net::Task<AnnounceReply> announce(InfoHash infohash, Digest, PeerInfo self) override {
    std::scoped_lock lock(mutex_);
    AnnounceReply reply{.peers = {}, .interval = 1s};
    peers_[infohash][self.peer_id] = self;
    for (const auto& [id, peer] : peers_[infohash])
      if (id != self.peer_id) reply.peers.push_back(peer);
    co_return reply;
  }
  net::Task<MetaInfo> metainfo(std::string, Digest digest) override {
    std::scoped_lock lock(mutex_);
    const auto found = metainfos_.find(digest);
    if (found == metainfos_.end()) co_return fail(Code::kNotFound, "no metainfo of {}", digest.str());
    co_return found->second;
  }

 private:
  std::mutex mutex_;
  std::map<InfoHash, std::map<PeerId, PeerInfo>> peers_;
  std::map<Digest, MetaInfo> metainfos_;
};

struct Peer {
  explicit Peer(MemoryTracker* tracker, SchedulerOptions options = {}) {
    options.peer_id = random_peer_id();
    options.origin = tracker == nullptr;
    id = options.peer_id;
    scheduler = std::make_unique<Scheduler>(loop, pool, options, store, tracker);
    if (!scheduler->start()) std::abort();
  }
  ~Peer() { stop(); }
  void stop() { scheduler->stop(); }
  PeerInfo info(bool complete) const { return {id, "127.0.0.1", scheduler->port(), is_origin, complete}; }
  Result<std::shared_ptr<Download>> download(const Digest& digest) {
    return net::block_on(loop.executor(), scheduler->download("test/ns", digest));
  }
  Result<> wait(const std::shared_ptr<Download>& handle, Duration timeout = 60s) {
    return net::block_on(loop.executor(), handle->wait_complete(timeout));
  }
  SchedulerStats stats() { return net::block_on(loop.executor(), scheduler->stats()).value_or(SchedulerStats{}); }

  net::Loop loop{"p2p"};
  net::FilePool pool{2, 256};
  FileStore store;
  PeerId id;
  bool is_origin = false;
  std::unique_ptr<Scheduler> scheduler;
};

/// Waits for a condition, with a deadline far beyond what it takes.
template <class Condition>
bool eventually(Condition condition, Duration limit = 30s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

}  // namespace kraken::p2p::testing
