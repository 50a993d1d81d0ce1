#pragma once
// The tracker of a node: stock's announce and metainfo (facts §1.5), and one announce of our own that saves agents a
// round trip. Answered from memory, with or without a quorum; the log hears of it with the next tick.
//
//   GET  /announce, POST /announce/{infohash}         stock's v1 and v2
//   POST /announce      {"namespace","digest","peer":{..},"complete"?}  ->
//   {"peers":[..]|null,"interval":<ns>,"metainfo":{"Info":..}} GET  /namespace/{ns}/blobs/{digest}/metainfo
//
// Whoever uses POST /announce or sends `Kraken-Swarm: 1` is one of ours and gets the handout of swarm.md §4.3: one
// holder first (another one every two seconds, so that a dead one delays nobody for long), then a random choice of
// peers; none of the holders once a hundred agents are complete and enough are known. Stock's agents get every holder,
// sorted by policy. Threads: handlers run on any loop. What Deps points to must outlive the server.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/core/metainfo.h"
#include "src/core/names.h"
#include "src/net/task.h"
#include "src/tracker/peer_index.h"

namespace kraken::http {
class Exchange;
class Router;
}  // namespace kraken::http

namespace kraken::tracker {

inline constexpr const char* kOursHeader = "Kraken-Swarm";

/// Who surely has a blob: the P2P address (15001) and peer id of each live node that holds it.
class HolderDirectory {
 public:
  virtual ~HolderDirectory() = default;
  /// Best first (ring order); from memory or the local replica, never waiting for a quorum. Empty: nobody is known.
  virtual net::Task<std::vector<PeerInfo>> holders(Digest digest) = 0;
};

/// Immutable, so it may be cached for ever; both forms of the same metainfo.
struct CachedMetaInfo {
  MetaInfo metainfo;
  InfoHash infohash;
  std::string json;
};

class MetaInfoSource {
 public:
  virtual ~MetaInfoSource() = default;
  /// kNotFound, kPending (being fetched from a backend: 202), kUnavailable.
  virtual net::Task<std::shared_ptr<const CachedMetaInfo>> metainfo(Namespace ns, Digest digest) = 0;
};

/// stock's peerhandoutpolicy.priority.
enum class Policy : std::uint8_t { kDefault, kCompleteness };
Result<Policy> parse_policy(std::string_view text);

struct Deps {
  PeerIndex* peers = nullptr;
  HolderDirectory* holders = nullptr;
  MetaInfoSource* metainfo = nullptr;
  std::size_t announce_limit = 50;
  Duration announce_interval = std::chrono::seconds(3);
  Policy policy = Policy::kCompleteness;
  /// Sends an announce, whose body was read already, to the node that must answer it, and its answer to the client;
  /// false: it is ours to answer. At most one hop. Empty: always ours (every node is a voter of every shard).
  std::function<net::Task<bool>(http::Exchange&, Digest, std::string body)> forward;
};

void add_routes(http::Router& router, Deps deps);

}  // namespace kraken::tracker
