#pragma once
// Metainfo of the blobs asked for last, parsed and as JSON: it never changes, so it is never wrong. Bounded by bytes, least
// recently used goes. Threads: any.

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "src/core/digest.h"
#include "src/core/metainfo.h"

namespace kraken::blobs {

struct CachedMetaInfo {
  MetaInfo metainfo;
  std::string json;
};

class MetaInfoCache {
 public:
  explicit MetaInfoCache(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  /// nullptr where it is not there.
  std::shared_ptr<const CachedMetaInfo> get(const Digest& digest);
  std::shared_ptr<const CachedMetaInfo> put(MetaInfo metainfo);

 private:
  struct Entry {
    std::shared_ptr<const CachedMetaInfo> value;
    std::size_t bytes = 0;
    std::list<Digest>::iterator used;
  };
  std::mutex mutex_;
  const std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  std::list<Digest> order_;  // most recent first
  std::unordered_map<Digest, Entry> entries_;
};

}  // namespace kraken::blobs
