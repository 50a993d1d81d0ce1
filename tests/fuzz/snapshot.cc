// What a receiver believes of a snapshot: its meta, its manifest, and rows of an import. Any bytes give values or an error, and what an
// import refuses leaves the shard as it was.

#include "consensus/group/log_store.h"
#include "storage/kv/memory/memory_store.h"
#include "tests/fuzz/input.h"

#if __has_include("consensus/group/snapshot_files.h")
#include "consensus/group/snapshot_files.h"
#define KRAKEN_SNAPSHOT_FILES 1
#endif

using namespace kraken;
using namespace kraken::group;

namespace {

const ShardId kShard{2};

void rows(fuzz::Input& in) {
  kv::MemoryStore store;
  kv::Batch batch;
  batch.put(kv::Family::kSession, applied_key(kShard), "before");
  fuzz::require(store.write(batch, kv::Durability::kSynced).has_value());
  bool good = true;
  {
    auto import = store.begin_import(kShard);
    fuzz::require(import.has_value());
    while (!in.empty() && good) {
      const auto family = static_cast<kv::Family>(in.below(kv::kFamilies));
      std::string key = in.flag() ? applied_key(kShard).substr(0, 2) + in.text() : in.text();
      good = (*import)->add(family, key, in.text()).has_value();
    }
    if (good) good = (*import)->commit({}).has_value();
  }
  const auto kept = store.get(kv::Family::kSession, applied_key(kShard));
  fuzz::require(kept.has_value() && (good || *kept == "before"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  switch (in.below(4)) {
    case 0: static_cast<void>(decode_snap_meta(kShard, in.rest())); break;
    case 1: rows(in); break;
    default: {
      const std::string_view bytes = in.rest();
#ifdef KRAKEN_SNAPSHOT_FILES
      if (const auto manifest = decode_manifest(bytes)) {
        fuzz::require(manifest->files.size() <= kSnapshotFilesMax);
        const std::string encoded = encode(*manifest);
        const auto again = decode_manifest(encoded);
        fuzz::require(again && encode(*again) == encoded);
      }
#else
      static_cast<void>(raft::decode_conf(bytes));
#endif
    }
  }
  return 0;
}
