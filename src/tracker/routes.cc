#include "src/tracker/routes.h"

#include <algorithm>

#include "http/errors.h"
#include "http/exchange.h"
#include "http/router.h"
#include "src/tracker/announce.h"

namespace kraken::tracker {

namespace {

constexpr std::size_t kSwarmEstablished = 100;  // complete agents from which on ours need no holder (swarm.md §4.3)
constexpr std::size_t kPeersFew = 4;
constexpr Duration kHolderTurn = std::chrono::seconds(2);
constexpr std::size_t kHoldersMax = 16;

http::Headers text_headers() { return {{"Content-Type", "text/plain; charset=utf-8"}}; }

net::Task<> refuse(http::Exchange& exchange, const Error& error) {
  auto answer = http::plain_error(exchange.request(), error);
  return exchange.reply(answer.status, std::move(answer.headers), std::move(answer.body));
}

class Handlers {
 public:
  explicit Handlers(Deps deps) : deps_(std::move(deps)) {}

  net::Task<> announce_v1(http::Exchange& exchange) { return announce(exchange, false); }
  net::Task<> announce_v2(http::Exchange& exchange) { return announce(exchange, true); }
  net::Task<> announce_digest(http::Exchange& exchange);
  net::Task<> metainfo(http::Exchange& exchange);

 private:
  net::Task<> announce(http::Exchange& exchange, bool infohash_in_path);
  net::Task<std::vector<PeerInfo>> handout(InfoHash infohash, Digest digest, PeerInfo peer, bool ours);
  void choose_holders(std::vector<PeerInfo>& holders, const Handout& handout) const;

  const Deps deps_;
};

/// For ours: one holder at a time, the same for everybody at first, so that few copies leave the holders.
void Handlers::choose_holders(std::vector<PeerInfo>& holders, const Handout& handout) const {
  if (handout.complete_known >= kSwarmEstablished && handout.peers_known >= kPeersFew) {
    holders.clear();
  } else if (holders.size() > 1) {
    const auto turn = static_cast<std::size_t>(std::max<std::int64_t>(handout.asker_age / kHolderTurn, 0));
    std::swap(holders[0], holders[turn % holders.size()]);
    holders.resize(1);
  }
}

net::Task<std::vector<PeerInfo>> Handlers::handout(InfoHash infohash, Digest digest, PeerInfo peer, bool ours) {
  auto others = deps_.peers->announce(infohash, digest, peer, peer.complete ? 0 : deps_.announce_limit);
  if (peer.complete) co_return std::vector<PeerInfo>{};
  std::vector<PeerInfo> peers;
  // Without the directory an announce still finds the agents.
  if (auto holders = co_await deps_.holders->holders(digest); holders) peers = std::move(*holders);
  std::erase_if(peers, [&peer](const PeerInfo& holder) { return holder.peer_id == peer.peer_id; });
  if (peers.size() > kHoldersMax) peers.resize(kHoldersMax);
  if (ours) choose_holders(peers, others);
  // Stock's completeness: complete agents before the holders, the others behind.
  const bool sorted = !ours && deps_.policy == Policy::kCompleteness;
  auto& agents = others.peers;
  const auto middle = sorted ? std::ranges::partition(agents, &PeerInfo::complete).begin() : agents.begin();
  peers.insert(peers.begin(), agents.begin(), middle);
  peers.insert(peers.end(), middle, agents.end());
  co_return peers;
}

net::Task<> Handlers::announce(http::Exchange& exchange, bool infohash_in_path) {
  KR_CO_TRY(const auto body, co_await exchange.read_all(kAnnounceBytesMax));
  auto parsed = parse_announce(body);
  if (!parsed) co_return co_await refuse(exchange, parsed.error());
  if (infohash_in_path) {
    const auto infohash = InfoHash::parse(exchange.param(0));
    if (!infohash) {
      const Error error{Code::kInvalidArgument, "parse infohash: " + infohash.error().detail};
      co_return co_await refuse(exchange, error);
    }
    parsed->infohash = *infohash;
  }
  if (!parsed->infohash) {
    const Error error{Code::kInvalidArgument, "announce: \"info_hash\" is missing"};
    co_return co_await refuse(exchange, error);
  }
  if (deps_.forward) {
    KR_CO_TRY(const bool forwarded, co_await deps_.forward(exchange, parsed->digest, body));
    if (forwarded) co_return Result<>{};
  }
  const bool ours = !exchange.request().headers.first(kOursHeader).empty();
  const bool complete = parsed->peer.complete;
  auto chosen = co_await handout(*parsed->infohash, parsed->digest, std::move(parsed->peer), ours);
  if (!chosen) co_return co_await refuse(exchange, chosen.error());
  auto json = announce_json(complete || chosen->empty() ? nullptr : &*chosen, deps_.announce_interval, nullptr);
  co_return co_await exchange.reply(200, text_headers(), std::move(json));
}

net::Task<> Handlers::announce_digest(http::Exchange& exchange) {
  KR_CO_TRY(const auto body, co_await exchange.read_all(kAnnounceBytesMax));
  auto parsed = parse_digest_announce(body);
  if (!parsed) co_return co_await refuse(exchange, parsed.error());
  if (deps_.forward) {
    KR_CO_TRY(const bool forwarded, co_await deps_.forward(exchange, parsed->digest, body));
    if (forwarded) co_return Result<>{};
  }
  const auto found = co_await deps_.metainfo->metainfo(parsed->ns, parsed->digest);
  if (!found) co_return co_await refuse(exchange, found.error());
  const auto& metainfo = **found;
  const bool complete = parsed->peer.complete;
  auto chosen = co_await handout(metainfo.infohash, parsed->digest, std::move(parsed->peer), true);
  if (!chosen) co_return co_await refuse(exchange, chosen.error());
  auto json = announce_json(complete || chosen->empty() ? nullptr : &*chosen, deps_.announce_interval, &metainfo.json);
  http::Headers headers{{"Content-Type", "application/json"}};
  co_return co_await exchange.reply(200, std::move(headers), std::move(json));
}

net::Task<> Handlers::metainfo(http::Exchange& exchange) {
  const auto ns = Namespace::parse(exchange.param(0));
  if (!ns) co_return co_await refuse(exchange, ns.error());
  const auto digest = Digest::parse(exchange.param(1));
  if (!digest) {
    const Error error{Code::kInvalidArgument, "parse digest: " + digest.error().detail};
    co_return co_await refuse(exchange, error);
  }
  const auto found = co_await deps_.metainfo->metainfo(*ns, *digest);
  if (found) {
    http::Headers headers{{"Content-Type", "application/json"}};
    co_return co_await exchange.reply(200, std::move(headers), (*found)->json);
  }
  // Stock's tracker passes the origin's status on, with the origin's body (empty for 202 and 404) behind "origin: ".
  auto answer = http::plain_error(exchange.request(), found.error());
  if (answer.body.empty()) answer.headers.set("Content-Type", "text/plain; charset=utf-8");
  co_return co_await exchange.reply(answer.status, std::move(answer.headers), "origin: " + answer.body);
}

}  // namespace

Result<Policy> parse_policy(std::string_view text) {
  if (text == "default") return Policy::kDefault;
  if (text == "completeness") return Policy::kCompleteness;
  return fail(Code::kInvalidArgument, "peerhandoutpolicy.priority '{}': want default or completeness", text);
}

void add_routes(http::Router& router, Deps deps) {
  const auto handlers = std::make_shared<Handlers>(std::move(deps));
  const auto add = [&](http::Method method, const std::string& pattern,
                       net::Task<> (Handlers::*endpoint)(http::Exchange&)) {
    router.add(method, pattern,
               [handlers, endpoint](http::Exchange& exchange) { return ((*handlers).*endpoint)(exchange); });
  };
  add(http::Method::kGet, "/announce", &Handlers::announce_v1);
  add(http::Method::kPost, "/announce", &Handlers::announce_digest);
  add(http::Method::kPost, "/announce/<infohash>", &Handlers::announce_v2);
  add(http::Method::kGet, "/namespace/<ns>/blobs/<digest>/metainfo", &Handlers::metainfo);
}

}  // namespace kraken::tracker
