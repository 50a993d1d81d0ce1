#pragma once
// The tracker over a directory and metainfo that a test fills, behind a real server; and a clock that a test moves.

#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "http/health.h"
#include "http/router.h"
#include "src/tracker/routes.h"
#include "tests/unit/src/registry/http_harness.h"

namespace kraken::tracker::test {

class ManualClock final : public Clock {
 public:
  MonotonicTime monotonic() const override { return now; }
  WallTime wall() const override { return {}; }
  MonotonicTime now = std::chrono::hours(1);
};

/// A peer whose id and address follow from a number.
inline PeerInfo peer_of(int number, bool complete = false) {
  PeerId::Raw raw{};
  raw[0] = static_cast<std::uint8_t>(number);
  raw[1] = static_cast<std::uint8_t>(number >> 8);
  return {PeerId(raw), "10.0." + std::to_string(number / 256) + "." + std::to_string(number % 256), 16001, false,
          complete};
}

class FakeDirectory final : public HolderDirectory {
 public:
  std::map<Digest, std::vector<PeerInfo>> holders_of;
  std::optional<Error> fails;
  net::Task<std::vector<PeerInfo>> holders(Digest digest) override {
    if (fails) co_return std::unexpected(*fails);
    co_return holders_of[digest];
  }
};

class FakeMetaInfo final : public MetaInfoSource {
 public:
  std::map<Digest, std::shared_ptr<const CachedMetaInfo>> known;
  std::optional<Error> fails;
  net::Task<std::shared_ptr<const CachedMetaInfo>> metainfo(Namespace, Digest digest) override {
    if (fails) co_return std::unexpected(*fails);
    const auto found = known.find(digest);
    if (found == known.end()) co_return fail(Code::kNotFound, "no blob {}", digest.str());
    co_return found->second;
  }
  Digest add(const std::string& blob) {
    auto cached = std::make_shared<CachedMetaInfo>();
    cached->metainfo = make_metainfo(blob, 4u << 20);
    cached->infohash = cached->metainfo.infohash();
    cached->json = cached->metainfo.json();
    const auto digest = cached->metainfo.digest;
    known[digest] = std::move(cached);
    return digest;
  }
};

class TrackerTest : public ::testing::Test {
 protected:
  explicit TrackerTest(std::size_t announce_limit = 50) {
    http::Router router;
    Deps deps;
    deps.peers = &index_;
    deps.holders = &directory_;
    deps.metainfo = &metainfo_;
    deps.announce_limit = announce_limit;
    add_routes(router, std::move(deps));
    http::add_health(router, [this] { return ready_; });
    http_ = std::make_unique<kraken::test::HttpHarness>(std::move(router));
  }
  static std::string body_of(const Digest& digest, const InfoHash& infohash, const PeerInfo& peer) {
    nlohmann::json body;
    body["name"] = digest.hex();
    body["digest"] = digest.str();
    body["info_hash"] = infohash.json();
    body["peer"] = peer.json();
    return body.dump();
  }
  nlohmann::json announce(const Digest& digest, const PeerInfo& peer, http::Headers headers = {}) {
    const auto infohash = metainfo_.known.at(digest)->infohash;
    const auto reply = http_->post("/announce/" + infohash.hex(), body_of(digest, infohash, peer), std::move(headers));
    EXPECT_EQ(reply.status, 200) << reply.body;
    return nlohmann::json::parse(reply.body);
  }

  ManualClock clock_;
  PeerIndex index_{PeerIndexOptions{}, clock_};
  FakeDirectory directory_;
  FakeMetaInfo metainfo_;
  Result<> ready_;
  std::unique_ptr<kraken::test::HttpHarness> http_;
};

}  // namespace kraken::tracker::test
