#pragma once
// Where a blob's copies have to go: a pure function of its record, its owners and of which store each node has now (design §6
// "Ring change"; the commands' own rules are in src/metadata/state). Whoever carries a plan out reads the record again first.
// Threads: pure.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "src/core/store_id.h"
#include "src/metadata/state/rows.h"

namespace kraken::blobs {

/// Label -> the blob store that its node answers with. A node that does not answer is not in it.
using LiveStores = std::map<std::string, StoreId, std::less<>>;

struct Plan {
  /// Owners that answer and lack the blob, or have a doubtful copy, best first.
  std::vector<std::string> copy;
  /// Holders that are no owners, under the label that answers for the store now; empty until every owner holds the blob.
  std::vector<metadata::state::Holder> let_go;
  /// Holders whose store is gone: their label answers with another one, or it left the ring and every owner holds the blob.
  std::vector<metadata::state::Holder> lost;
  /// Labels whose answer would decide or allow more.
  std::vector<std::string> waits_for;
  /// Holders from whom a copy can be had, as far as anybody knows.
  std::size_t good = 0;

  bool idle() const { return copy.empty() && let_go.empty() && lost.empty(); }
  /// The record is as this ring wants it, and every owner has been heard.
  bool satisfied() const { return idle() && waits_for.empty(); }
};

/// `owners`: the digest's, best first. `in_ring`: whether a label is in the adopted ring.
Plan plan(const metadata::state::BlobRow& row, const std::vector<std::string>& owners,
          const std::function<bool(const std::string& label)>& in_ring, const LiveStores& live);

}  // namespace kraken::blobs
