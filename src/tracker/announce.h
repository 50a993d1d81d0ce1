#pragma once
// The JSON of announces, as stock writes it (facts §1.5). Parsing is total and says what is wrong; writing is by hand,
// since an answer holds fifty ids of twenty numbers each and is made thousands of times a second.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/core/digest.h"
#include "src/core/names.h"
#include "src/core/peer.h"

namespace kraken::tracker {

inline constexpr std::size_t kAnnounceBytesMax = 16 * 1024;

struct Announce {
  Digest digest;
  std::optional<InfoHash> infohash;  // of the body
  PeerInfo peer;
};

/// {"name":"<hex>","digest":"sha256:.."|null,"info_hash":[20],"peer":{..}}; the digest is `digest`, else `name`.
Result<Announce> parse_announce(std::string_view body);

/// Our own: {"namespace":"..","digest":"sha256:..","peer":{..}}.
struct DigestAnnounce {
  Namespace ns;
  Digest digest;
  PeerInfo peer;
};
Result<DigestAnnounce> parse_digest_announce(std::string_view body);

/// {"peers":[..]|null,"interval":<ns>} and a newline; with `metainfo`, its JSON as one more member. nullptr: null.
std::string announce_json(const std::vector<PeerInfo>* peers, Duration interval, const std::string* metainfo);

}  // namespace kraken::tracker
