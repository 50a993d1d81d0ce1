// Which port answers what. Every role has a router of its own; the proxy's address serves the build-index's and the
// origin's public paths too, so that one address is enough (design §3).

#include "http/errors.h"
#include "http/health.h"
#include "http/router.h"
#include "src/admin/inspect.h"
#include "src/admin/process.h"
#include "src/admin/repair.h"
#include "src/admin/spoken_error.h"
#include "src/admin/status.h"
#include "src/base/hex.h"
#include "src/blobs/endpoints.h"
#include "src/build_index/routes.h"
#include "src/node/impl.h"
#include "src/origin/routes.h"
#include "src/proxy/routes.h"
#include "src/registry/answers.h"
#include "src/tracker/routes.h"

namespace kraken::node {
namespace {

http::Limits limits_of(const config::Http& http) {
  http::Limits limits;
  limits.header_bytes = http.header_bytes;
  limits.header_timeout = http.header_timeout;
  limits.idle_timeout = http.idle_timeout;
  limits.connections_max = http.connections_max;
  return limits;
}

http::Answer mixed_error(const http::RequestHead& head, const Error& error) {
  return registry::is_registry_path(head.path) ? registry::error_answer(head, error) : http::plain_error(head, error);
}

}  // namespace

std::unique_ptr<http::Server> Node::Impl::server(http::Router router, const std::string& name, http::ErrorWriter writer) {
  return std::make_unique<http::Server>(*loops_, *pool_, std::move(router), limits_of(config_.http), std::move(writer), name);
}

http::Router Node::Impl::admin_router() {
  http::Router router;
  admin::Health health;
  health.ready = [this]() -> Result<> {
    std::string waits_for = not_ready();
    if (waits_for.empty()) return {};
    return std::unexpected(Error{Code::kUnavailable, std::move(waits_for)});
  };
  admin::add_process_routes(router, std::move(health));
  admin::StatusDeps status;
  status.groups = groups_.get();
  status.client = client_.get();
  status.self = label_;
  status.members = [this] {
    std::vector<admin::StatusMember> members;
    const auto ring = ring_.get();
    for (const ring::Member& member : ring->members()) members.push_back({member.label, member.host, member.weight});
    return members;
  };
  status.admin_port = config_.admin.port;
  status.max_replica = config_.hashring.max_replica;
  status.version = version_;
  status.metadata_path = config_.metadata.path;
  status.blobs_path = config_.blobs.path;
  status.incarnation = incarnation_;
  status.blob_store = blob_store_->id().str();
  status.roles = {{"proxy", config_.proxy.port},   {"origin", config_.origin.port}, {"peer", config_.origin.peer_port},
                  {"tracker", config_.tracker.port}, {"build_index", config_.build_index.port}, {"raft", config_.raft.port},
                  {"admin", config_.admin.port}};
  status.swarm = [this] { return admin::SwarmSeen{peer_index_->agents(), peer_index_->torrents()}; };
  status.uploads = [this] { return blobs_->sessions(); };
  status.repair = [this] { return admin::repair_json(*repair_, *scrubber_); };
  status.started = started_;
  admin::RepairDeps repair;
  repair.repair = repair_.get();
  repair.scrubber = scrubber_.get();
  repair.client = client_.get();
  repair.self = label_;
  repair.members = status.members;
  repair.admin_port = config_.admin.port;
  repair.shards = shards_.count();
  admin::add_repair_routes(router, std::move(repair));
  admin::add_status_routes(router, std::move(status));
  admin::add_inspect_routes(router, *store_, *pool_);
  return router;
}

void Node::Impl::make_servers() {
  const auto ready = [this]() -> Result<> {
    std::string waits_for = not_ready();
    if (waits_for.empty()) return {};
    return std::unexpected(Error{Code::kUnavailable, std::move(waits_for)});
  };

  origin::Context origin{.blobs = *blobs_, .client = *client_, .addresses = ring_.addresses(config_.origin.port), .healthy = {}, .peer_context = {}};
  origin.healthy = [this](const std::string& label) { return liveness_->up(label); };
  const origin::PeerContext context{.ip = own_host(),
                                    .port = config_.origin.peer_port,
                                    .peer_id_hex = peer_id_of_address(own_host(), config_.origin.peer_port).hex(),
                                    .zone = {},
                                    .cluster = {}};
  origin.peer_context = [context] { return context; };

  build_index::Deps index;
  index.tags = tags_.get();
  index.origin_address = fmt::format("{}:{}", own_host(), config_.origin.port);

  proxy::Deps proxy;
  proxy.registry = {registry_blobs_.get(), registry_blobs_.get(), registry_manifests_.get(), registry_manifests_.get()};
  proxy.prefetch_bytes_min = config_.proxy.server.prefetch_min_blob_size;
  proxy.prefetch_bytes_max = config_.proxy.server.prefetch_max_blob_size;

  tracker::Deps tracker;
  tracker.peers = peer_index_.get();
  tracker.holders = holders_.get();
  tracker.metainfo = metainfo_.get();
  tracker.announce_limit = config_.tracker.trackerserver.announce_limit;
  tracker.announce_interval = config_.tracker.trackerserver.announce_interval;
  tracker.policy = config_.tracker.peerhandoutpolicy.priority == "default" ? tracker::Policy::kDefault : tracker::Policy::kCompleteness;

  http::Router origin_routes;
  origin::add_routes(origin_routes, origin);
  http::Router public_routes;
  origin::add_routes(public_routes, origin);
  http::add_health(origin_routes, ready);
  blobs::add_internal_routes(origin_routes, *blobs_);
  http::Router index_routes;
  build_index::add_routes(index_routes, index);
  http::add_health(index_routes, ready);
  http::Router tracker_routes;
  tracker::add_routes(tracker_routes, tracker);
  http::add_health(tracker_routes, ready);
  http::Router proxy_routes;
  proxy::add_routes(proxy_routes, proxy);
  http::add_health(proxy_routes, ready);
  proxy_routes.merge(index_routes);
  proxy_routes.merge(public_routes);

  admin_server_ = server(admin_router(), "admin", admin::spoken_error);
  origin_server_ = server(std::move(origin_routes), "origin", http::plain_error);
  tracker_server_ = server(std::move(tracker_routes), "tracker", http::plain_error);
  build_index_server_ = server(std::move(index_routes), "build_index", http::plain_error);
  proxy_server_ = server(std::move(proxy_routes), "proxy", mixed_error);
}

}  // namespace kraken::node
