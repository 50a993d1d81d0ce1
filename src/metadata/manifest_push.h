#pragma once
// The one manifest push, for registry, build-index and replication (design §6, lifecycle §3): references first, each in
// its digest's shard, the manifest's own included; then one entry in the repository's shard. What the repository
// already has is tagged by that entry alone. The manifest's blob, and whatever it references, must have been pushed
// before.
//
// A tag of build-index's may name any blob, not only a manifest: leave media_type empty and references empty. It has a
// manifest row all the same, so that its reference is verified, replaced and removed like any other.
// Threads: any loop.

#include <optional>
#include <string>
#include <vector>

#include "src/metadata/client.h"

namespace kraken::metadata {

struct ManifestPush {
  Repository repository;
  Digest manifest;
  std::string media_type;          // "": any blob
  std::uint64_t size = 0;          // bytes of the manifest
  std::vector<Digest> references;  // each once; without subject and foreign layers
  std::optional<Digest> subject;
  std::vector<TagName> tags;  // none: by digest alone
  Expectation expect;         // of the first tag
  TagTasks tasks;
};

struct [[nodiscard]] ManifestPushed {
  enum class What : std::uint8_t {
    kStored,    // row and tags are committed
    kMissing,   // `missing` have no record: 400, nothing was written
    kConflict,  // the first tag is not what was expected; `tag` is the winner, none if there is no tag
  };
  What what = What::kStored;
  std::vector<Digest> missing;  // in the order of references; the manifest's own digest last
  std::optional<TagRow> tag;    // kStored: the first tag's row, none without tags
};

/// kUnavailable: begin again, nothing is visible (references that were added are swept). kOutcomeUnknown: the last step
/// may have happened, reading the tag tells. kInvalidArgument: more than kTagsMax tags or kManifestReferencesMax
/// references.
net::Task<ManifestPushed> push_manifest(Client& client, ManifestPush push);

}  // namespace kraken::metadata
