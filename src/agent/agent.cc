#include "src/agent/agent.h"

#include <algorithm>
#include <map>
#include <set>

#include "http/client.h"
#include "http/router.h"
#include "http/server.h"
#include "src/agent/api.h"
#include "src/agent/blobs.h"
#include "src/agent/cluster.h"
#include "src/agent/preload.h"
#include "src/agent/scheduler_config.h"
#include "src/agent/storage.h"
#include "src/base/log.h"
#include "src/base/metrics.h"
#include "src/base/rng.h"
#include "src/net/file_pool.h"
#include "src/net/listen.h"
#include "src/net/loop.h"
#include "src/net/scope.h"
#include "src/registry/answers.h"
#include "src/registry/registry.h"

namespace kraken::agent {

using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t kTrackerPort = 15003;
constexpr std::uint16_t kBuildIndexPort = 15004;
constexpr std::uint16_t kOriginPort = 15002;

constexpr Duration kAnnounceTick = 5s;
constexpr Duration kAnnounceEvery = 30min;   // of a complete blob
constexpr Duration kAnnounceSoon = 10s;      // all of them, once trackers answer again
constexpr Duration kHeartbeat = 30s;         // at least one announce, to notice that trackers were away
constexpr Duration kPreloadMax = 30min;

Result<std::unique_ptr<Hosts>> hosts_of(const config::AgentConfig::Hosts& own, const config::Cluster& cluster, std::uint16_t port) {
  std::vector<net::HostPort> fixed;
  for (const std::string& text : own.hosts) {
    KR_TRY(auto host, net::parse_host_port(text));
    fixed.push_back(std::move(host));
  }
  if (!fixed.empty()) return std::make_unique<Hosts>(std::move(fixed));
  for (const auto* list : {&cluster.hosts, &cluster.members}) {
    for (const std::string& text : *list) {
      auto host = net::parse_host_port(text);
      fixed.push_back({host ? host->host : text, port});
    }
    if (!fixed.empty()) return std::make_unique<Hosts>(std::move(fixed));
  }
  if (!cluster.dns.empty()) return std::make_unique<Hosts>(cluster.dns, port);
  return std::make_unique<Hosts>(std::vector<net::HostPort>{});
}

Result<ClusterHosts> cluster_hosts(const config::AgentConfig& config) {
  ClusterHosts hosts;
  KR_TRY(hosts.trackers, hosts_of(config.tracker, config.cluster, kTrackerPort));
  KR_TRY(hosts.build_indexes, hosts_of(config.build_index, config.cluster, kBuildIndexPort));
  KR_TRY(hosts.origins, hosts_of({}, config.cluster, kOriginPort));
  if (hosts.trackers->empty() || hosts.build_indexes->empty())
    return fail(Code::kInvalidArgument, "the agent does not know its cluster; set cluster.hosts to one or more nodes, for example [10.0.0.1, 10.0.0.2]");
  return hosts;
}

http::Limits limits_of(const config::Http& config) {
  http::Limits limits;
  limits.connections_max = config.connections_max;
  limits.header_bytes = config.header_bytes;
  limits.header_timeout = config.header_timeout;
  limits.idle_timeout = config.idle_timeout;
  return limits;
}

p2p::SchedulerOptions peer_options(const config::AgentConfig& config) {
  auto options = scheduler_options(config.scheduler);
  options.host = config.agent.host;
  options.port = config.agent.peer_port;
  options.peer_id = config.peer_id_factory == "random" || config.agent.peer_port == 0
                        ? random_peer_id()
                        : peer_id_of_address(config.agent.host, config.agent.peer_port);
  return options;
}

http::Answer write_error(const http::RequestHead& head, const Error& error) {
  if (registry::is_registry_path(head.path)) return registry::error_answer(head, error);
  return {500, {{"Content-Type", "text/plain; charset=utf-8"}}, error.detail};
}

class Running final : public Agent {
 public:
  Running(config::AgentConfig config, net::Loops& loops, net::FilePool& pool, std::unique_ptr<Storage> storage, ClusterHosts hosts)
      : config_(std::move(config)),
        loops_(loops),
        pool_(pool),
        storage_(std::move(storage)),
        client_(pool),
        cluster_(client_, std::move(hosts), config_.agent.tags == "stale_without_quorum"),
        options_(peer_options(config_)),
        scheduler_(loops.at(loops.size() - 1), pool, options_, *storage_, &cluster_),
        blobs_(*storage_, scheduler_, cluster_, config_.agent.direct_max),
        scope_(loops.at(0).executor()) {}
  ~Running() override { stop(); }

  Result<void> start() override {
    KR_CHECK(net::check_bind(config_.agent.host, config_.tls.server.disabled));
    KR_CHECK(scheduler_.start());
    Api api{&blobs_, &cluster_, &scheduler_, config_.scheduler.probe_timeout, {}};
    api.preload = [this](QualifiedTag tag, std::string runtime, std::string) { return preload(std::move(tag), std::move(runtime)); };

    http::Router registry_routes;
    registry::add_routes(registry_routes, {&blobs_, nullptr, &blobs_, &blobs_}, registry::Mode::kPullOnly);
    add_health(registry_routes, api);
    registry_ = std::make_unique<http::Server>(loops_, pool_, std::move(registry_routes), limits_of(config_.http), write_error, "agent_registry");
    KR_CHECK(registry_->listen(config_.agent.host, config_.agent.registry_port));
    http::Router api_routes;
    add_routes(api_routes, api);
    api_ = std::make_unique<http::Server>(loops_, pool_, std::move(api_routes), limits_of(config_.http), write_error, "agent_api");
    KR_CHECK(api_->listen(config_.agent.host, config_.agent.server_port));
    scope_.spawn("agent.announce", announce_loop());
    scope_.spawn("agent.clean", clean_loop());
    const Ports bound = ports();
    log::info("agent.started", "host={} registry={} peer={} server={} peer_id={}", config_.agent.host, bound.registry, bound.peer,
              bound.server, options_.peer_id.hex());
    return {};
  }

  void stop() override {
    if (stopped_) return;
    stopped_ = true;
    if (registry_) registry_->stop(config_.http.drain);
    if (api_) api_->stop(config_.http.drain);
    scope_.stop_and_wait(0ms);
    scheduler_.stop();
    storage_->close();
    log::info("agent.stopped", "host={}", config_.agent.host);
  }

  Ports ports() const override {
    return {registry_ ? registry_->port() : std::uint16_t{0}, scheduler_.port(), api_ ? api_->port() : std::uint16_t{0}};
  }

 private:
  net::Task<void> preload(QualifiedTag tag, std::string runtime) {
    if (runtime == "containerd") co_return fail(Code::kUnsupported, "preload through containerd is not in this version; runtime=docker is");
    if (runtime != "docker") co_return fail(Code::kInvalidArgument, "runtime {} is neither docker nor containerd", runtime);
    const DockerEndpoint docker{config_.container_runtime.docker.docker_host, config_.container_runtime.docker.docker_version};
    co_return co_await docker_pull(docker, fmt::format("127.0.0.1:{}", ports().registry), std::move(tag), kPreloadMax);
  }

  net::Task<void> clean_loop() {
    auto& gauge = metrics::gauge("kr_agent_cached_bytes", "Bytes of whole blobs in the agent's cache");
    const Duration every = std::max<Duration>(std::min(config_.store.cache_cleanup.interval, config_.store.download_cleanup.interval), 1s);
    for (;;) {
      gauge.set(static_cast<double>(storage_->cached_total()));
      KR_CO_CHECK(co_await net::sleep_for(every));
      auto gone = co_await storage_->clean();
      if (!gone) {
        log::warn("agent.clean_failed", "error={}", gone.error().to_string());
        continue;
      }
      for (const Digest& digest : *gone) KR_CO_CHECK(co_await scheduler_.remove(digest));
      if (!gone->empty()) log::info("agent.cleaned", "blobs={}", gone->size());
    }
  }

  /// Complete blobs are announced again every half hour, and soon after trackers were away: they may have forgotten.
  net::Task<void> announce_loop() {
    Rng rng(random_seed());
    const auto now = [] { return system_clock().monotonic(); };
    const auto within = [&](Duration duration) { return Duration(static_cast<Duration::rep>(rng.unit() * static_cast<double>(duration.count()))); };
    std::map<Digest, MonotonicTime> due;
    bool first = true;
    bool lost = false;
    std::uint64_t lost_before = cluster_.announces_lost();
    MonotonicTime spoke_at = now();
    for (;;) {
      const auto whole = storage_->complete();
      const std::set<Digest> here(whole.begin(), whole.end());
      std::erase_if(due, [&](const auto& entry) { return !here.contains(entry.first); });
      for (const Digest& digest : here) {
        if (cluster_.knows_origins() && storage_->cached_bytes(digest).value_or(0) <= config_.agent.direct_max) continue;
        // What came just now was announced by the scheduler; what was here at the start was not.
        due.try_emplace(digest, now() + (first ? within(kHeartbeat) : kAnnounceEvery * 3 / 4 + within(kAnnounceEvery / 2)));
      }
      first = false;
      if (!due.empty() && now() - spoke_at > kHeartbeat) std::ranges::min_element(due, {}, [](const auto& entry) { return entry.second; })->second = now();
      for (auto& [digest, at] : due) {
        if (at > now()) continue;
        at = now() + kAnnounceEvery * 3 / 4 + within(kAnnounceEvery / 2);
        spoke_at = now();
        auto infohash = co_await storage_->infohash(digest);
        if (!infohash) continue;
        const PeerInfo self{options_.peer_id, config_.agent.host, scheduler_.port(), false, true};
        auto told = co_await cluster_.announce(*infohash, digest, self);
        if (told && lost) {
          lost = false;
          lost_before = cluster_.announces_lost();
          for (auto& [other, when] : due) when = std::min(when, now() + within(kAnnounceSoon));
          log::info("agent.announcing_again", "blobs={}", due.size());
        }
        if (!told) {
          at = now() + kAnnounceTick + within(kAnnounceTick);
          break;
        }
      }
      lost = lost || cluster_.announces_lost() != lost_before;
      KR_CO_CHECK(co_await net::sleep_for(kAnnounceTick));
    }
  }

  config::AgentConfig config_;
  net::Loops& loops_;
  net::FilePool& pool_;
  std::unique_ptr<Storage> storage_;
  http::Client client_;
  Cluster cluster_;
  p2p::SchedulerOptions options_;
  p2p::Scheduler scheduler_;
  Blobs blobs_;
  std::unique_ptr<http::Server> registry_;
  std::unique_ptr<http::Server> api_;
  bool stopped_ = false;
  net::Scope scope_;
};

}  // namespace

Result<std::unique_ptr<Agent>> Agent::open(config::AgentConfig config, ClusterHosts hosts, net::Loops& loops, net::FilePool& pool) {
  StorageOptions options{config.download_dir(), config.cache_dir(), config.store.reserve, config.store.cache_cleanup.ttl,
                         config.store.download_cleanup.ttl};
  KR_TRY(auto storage, Storage::open(std::move(options), pool));
  return std::make_unique<Running>(std::move(config), loops, pool, std::move(storage), std::move(hosts));
}

Result<std::unique_ptr<Agent>> Agent::open(config::AgentConfig config, net::Loops& loops, net::FilePool& pool) {
  KR_TRY(auto hosts, cluster_hosts(config));
  return open(std::move(config), std::move(hosts), loops, pool);
}

}  // namespace kraken::agent
