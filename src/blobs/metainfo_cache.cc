#include "src/blobs/metainfo_cache.h"

namespace kraken::blobs {

std::shared_ptr<const CachedMetaInfo> MetaInfoCache::get(const Digest& digest) {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(digest);
  if (found == entries_.end()) return nullptr;
  order_.splice(order_.begin(), order_, found->second.used);
  return found->second.value;
}

std::shared_ptr<const CachedMetaInfo> MetaInfoCache::put(MetaInfo metainfo) {
  const Digest digest = metainfo.digest;
  auto made = std::make_shared<CachedMetaInfo>();
  made->json = metainfo.json();
  made->metainfo = std::move(metainfo);
  const std::size_t bytes = made->json.size() + made->metainfo.piece_sums.size() * 4 + 512;
  const std::scoped_lock lock(mutex_);
  if (const auto found = entries_.find(digest); found != entries_.end()) return found->second.value;
  order_.push_front(digest);
  entries_.emplace(digest, Entry{made, bytes, order_.begin()});
  bytes_ += bytes;
  while (bytes_ > bytes_max_ && order_.size() > 1) {
    const auto last = entries_.find(order_.back());
    bytes_ -= last->second.bytes;
    entries_.erase(last);
    order_.pop_back();
  }
  return made;
}

}  // namespace kraken::blobs
