#pragma once
// A cluster in one process for the agent's tests: tracker, build-index and origin over HTTP, and an origin's peer that
// holds the blobs. Plus a small HTTP client side.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <nlohmann/json.hpp>

#include "http/client.h"
#include "http/router.h"
#include "http/server.h"
#include "src/agent/agent.h"
#include "src/agent/cluster.h"
#include "tests/unit/src/p2p/test_peers.h"

namespace kraken::agent::testing {

using namespace std::chrono_literals;
using p2p::testing::TemporaryFolder;

struct FakeCluster {
  explicit FakeCluster(std::uint64_t piece = 64 * 1024) : piece_length(piece), origin(nullptr) {
    http::Router router;
    using enum http::Method;
    router.add(kGet, "/readiness", [](http::Exchange& exchange) { return exchange.reply(200, {}, "OK\n"); });
    router.add(kGet, "/tags/<tag>", [this](http::Exchange& exchange) { return get_tag(exchange); });
    router.add(kGet, "/repositories/<repo>/tags",
               [](http::Exchange& exchange) { return exchange.reply(200, {}, R"({"Links":{"next":"","self":""},"size":2,"result":["v2","v1"]})"); });
    router.add(kGet, "/namespace/<ns>/blobs/<digest>/metainfo", [this](http::Exchange& exchange) { return get_metainfo(exchange); });
    router.add(kGet, "/namespace/<ns>/blobs/<digest>", [this](http::Exchange& exchange) { return get_blob(exchange); });
    router.add(kPost, "/announce/<infohash>", [this](http::Exchange& exchange) { return announce(exchange); });
    server = std::make_unique<http::Server>(loops, pool, std::move(router), http::Limits{}, nullptr, "fake_cluster");
    if (!server->listen("127.0.0.1", 0)) std::abort();
  }
  ~FakeCluster() { server->stop(0ms); }

  Digest put(const std::string& bytes) {
    const MetaInfo metainfo = make_metainfo(bytes, piece_length);
    origin.store.put(metainfo, bytes);
    std::scoped_lock lock(mutex);
    blobs[metainfo.digest] = bytes;
    metainfos[metainfo.digest] = metainfo;
    return metainfo.digest;
  }
  void tag(const std::string& name, const Digest& digest) {
    std::scoped_lock lock(mutex);
    tags[name] = digest;
  }
  net::HostPort address() const { return {"127.0.0.1", server->port()}; }
  /// `before`: hosts that are asked first, for instance dead ones.
  ClusterHosts hosts(bool with_origins = true, std::vector<net::HostPort> before = {}) const {
    auto list = before;
    list.push_back(address());
    ClusterHosts made;
    made.trackers = std::make_unique<Hosts>(list);
    made.build_indexes = std::make_unique<Hosts>(list);
    made.origins = std::make_unique<Hosts>(with_origins ? list : std::vector<net::HostPort>{});
    return made;
  }

  std::atomic<bool> no_quorum{false};
  net::Task<void> get_tag(http::Exchange& exchange) {
    std::string found;
    {
      std::scoped_lock lock(mutex);
      if (const auto entry = tags.find(exchange.param(0)); entry != tags.end()) found = entry->second.str();
    }
    const bool stale = exchange.request().query("stale") == "true";
    if (no_quorum && !stale) co_return co_await exchange.reply(503);
    http::Headers headers;
    if (stale) headers = {{"Kraken-Stale", "age=12.500, index=7"}, {"Warning", "110 kraken \"stale\""}};
    co_return co_await exchange.reply(found.empty() ? 404 : 200, std::move(headers), found);
  }
  net::Task<void> get_metainfo(http::Exchange& exchange) {
    ++metainfo_reads;
    if (pending > 0) {
      --pending;
      co_return co_await exchange.reply(202);
    }
    std::string json;
    {
      std::scoped_lock lock(mutex);
      auto digest = Digest::parse(exchange.param(1));
      if (const auto entry = metainfos.find(digest.value_or(Digest())); entry != metainfos.end()) json = entry->second.json();
    }
    if (json.empty()) co_return co_await exchange.reply(404, {}, "origin: ");
    co_return co_await exchange.reply(200, {}, json);
  }
  net::Task<void> get_blob(http::Exchange& exchange) {
    ++blob_reads;
    std::string bytes;
    bool found = false;
    {
      std::scoped_lock lock(mutex);
      auto digest = Digest::parse(exchange.param(1));
      if (const auto entry = blobs.find(digest.value_or(Digest())); entry != blobs.end()) {
        bytes = entry->second;
        found = true;
      }
    }
    if (!found) co_return co_await exchange.reply(404);
    co_return co_await exchange.reply(200, {}, bytes);
  }
  net::Task<void> announce(http::Exchange& exchange) {
    KR_CO_TRY(const auto body, co_await exchange.read_all(1 << 20));
    nlohmann::json reply;
    reply["interval"] = 1000000000;
    {
      std::scoped_lock lock(mutex);
      announced.push_back(body);
      const auto parsed = nlohmann::json::parse(body, nullptr, false);
      const auto self = PeerInfo::from_json(parsed.at("peer"));
      auto& known = peers[exchange.param(0)];
      if (self) known[self->peer_id] = *self;
      reply["peers"] = nlohmann::json::array();
      auto holder = origin.info(true);
      holder.origin = true;
      if (origin_is_a_peer) reply["peers"].emplace_back(holder.json());
      for (const auto& [id, peer] : known)
        if (self && id != self->peer_id) reply["peers"].emplace_back(peer.json());
    }
    co_return co_await exchange.reply(200, {}, reply.dump());
  }

  std::uint64_t piece_length;
  net::Loops loops{1, "fake"};
  net::FilePool pool{1, 64};
  p2p::testing::Peer origin;
  std::mutex mutex;
  std::map<Digest, std::string> blobs;
  std::map<Digest, MetaInfo> metainfos;
  std::map<std::string, Digest> tags;
  std::map<std::string, std::map<PeerId, PeerInfo>> peers;
  std::vector<std::string> announced;
  std::atomic<int> metainfo_reads{0};
  std::atomic<int> blob_reads{0};
  std::atomic<int> pending{0};
  std::atomic<bool> origin_is_a_peer{true};
  std::unique_ptr<http::Server> server;
};

struct Reply {
  int status = 0;
  http::Headers headers;
  std::string body;
};

/// One agent with its own threads and folder, and requests to it.
struct TestAgent {
  explicit TestAgent(ClusterHosts hosts, std::filesystem::path folder = {}, std::uint64_t direct_max = 32 * 1024) {
    config.agent.registry_port = config.agent.peer_port = config.agent.server_port = 0;
    config.agent.direct_max = direct_max;
    config.store.path = (folder.empty() ? own.path() : folder).string();
    config.store.reserve = 0;
    config.http.drain = 0ms;
    auto opened = Agent::open(config, std::move(hosts), loops, pool);
    if (!opened) throw std::runtime_error(opened.error().to_string());
    agent = *std::move(opened);
    auto started = agent->start();
    if (!started) throw std::runtime_error(started.error().to_string());
  }
  ~TestAgent() { agent->stop(); }

  Reply ask(http::Method method, std::uint16_t port, std::string target, http::Headers headers = {}, std::string body = {}) {
    auto reply = net::block_on(loops.at(0).executor(), send(method, port, std::move(target), std::move(headers), std::move(body)));
    if (!reply) return {0, {}, reply.error().to_string()};
    return *std::move(reply);
  }
  Reply api(http::Method method, std::string target, std::string body = {}) { return ask(method, agent->ports().server, std::move(target), {}, std::move(body)); }
  Reply registry(http::Method method, std::string target, http::Headers headers = {}) {
    return ask(method, agent->ports().registry, std::move(target), std::move(headers));
  }
  net::Task<Reply> send(http::Method method, std::uint16_t port, std::string target, http::Headers headers, std::string body) {
    http::ClientRequest request;
    request.method = method;
    request.host = "127.0.0.1";
    request.port = port;
    request.target = std::move(target);
    request.headers = std::move(headers);
    request.body = std::move(body);
    KR_CO_TRY(auto response, co_await client.send(std::move(request)));
    Reply reply{response.status, response.headers, {}};
    KR_CO_TRY(reply.body, co_await response.read_all(64u << 20));
    co_return reply;
  }

  TemporaryFolder own;
  config::AgentConfig config;
  net::Loops loops{2, "agent"};
  net::FilePool pool{2, 256};
  http::Client client{pool};
  std::unique_ptr<Agent> agent;
};

}  // namespace kraken::agent::testing
