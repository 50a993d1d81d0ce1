#include "src/node/node.h"

#include <algorithm>
#include <thread>

#include "consensus/group/identity.h"
#include "src/admin/inspect.h"
#include "src/admin/status.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/node/impl.h"
#include "src/node/placement.h"
#include "storage/kv/disk_guard.h"
#include "storage/kv/rocksdb/open.h"

namespace kraken::node {
namespace {

std::size_t loop_count(const config::Threads& threads) {
  if (threads.loops != 0) return threads.loops;
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

void Observers::peers_changed(metadata::ShardId shard, std::span<const metadata::state::NamedPeer> peers, Duration now) {
  feed_.peers_changed(shard, peers, now);
}

void Observers::tasks_added(metadata::ShardId shard) {
  if (tasks::Executor* executor = executor_.load(); executor != nullptr) executor->wake(shard);
}

void Observers::restored(metadata::ShardId shard, const kv::View& view) { feed_.restored(shard, view); }

bool Liveness::up(const std::string& label) {
  if (label == self_) return true;
  const MonotonicTime now = system_clock().monotonic();
  const std::scoped_lock lock(mutex_);
  if (now - looked_ >= kKeep) {
    up_.clear();
    for (const group::PeerStatus& peer : groups_.peers()) up_[peer.label] = peer.up;
    looked_ = now;
  }
  const auto it = up_.find(label);
  return it != up_.end() && it->second;
}

Node::Impl::Impl(config::NodeConfig configuration, std::string version_text)
    : config_(std::move(configuration)), version_(std::move(version_text)), started_(system_clock().monotonic()) {}

Node::Impl::~Impl() { stop(); }

Result<void> Node::Impl::open() {
  KR_CHECK(config::check(config_));
  KR_TRY(label_, config::own_label(config_, config::host_identity()));
  KR_TRY(members_, config::members(config_));
  KR_TRY(ring::Ring ring, ring_of(config_));
  ring_.set(std::move(ring));
  KR_TRY(shards_, metadata::Shards::make(config_.raft.shards));
  loops_ = std::make_unique<net::Loops>(loop_count(config_.threads));
  pool_ = std::make_unique<net::FilePool>(config_.threads.files, config_.threads.files_queue);
  KR_CHECK(open_store());
  KR_CHECK(open_groups());
  KR_CHECK(open_blobs());
  make_roles();
  make_servers();
  return {};
}

Result<void> Node::Impl::open_store() {
  KR_CHECK(file::make_folders(config_.metadata.path));
  kv::DiskGuard guard({.folder = config_.metadata.path, .reserve_bytes = config_.metadata.reserve, .ballast_bytes = config_.metadata.ballast});
  KR_CHECK(guard.make_room());
  kv::RocksOptions options;
  options.block_cache_bytes = config_.metadata.block_cache;
  options.check_tables = config_.metadata.check_tables;
  options.write_buffers_bytes = config_.metadata.write_buffers;
  auto opened = kv::open_rocksdb(config_.metadata.path, options);
  if (!opened) return std::unexpected(std::move(opened).error());
  store_ = *std::move(opened);
  return {};
}

Result<void> Node::Impl::open_groups() {
  peer_index_ = std::make_unique<tracker::PeerIndex>([this] {
    tracker::PeerIndexOptions options = tracker::index_options(shards_);
    options.seed_ttl = config_.tracker.peerstore.local.ttl;
    return options;
  }());
  peer_feed_ = std::make_unique<tracker::PeerFeed>(*peer_index_);
  observers_ = std::make_unique<Observers>(*peer_feed_);
  machine_ = std::make_unique<metadata::Machine>(shards_, observers_.get());

  group::NodeOptions options;
  options.label = label_;
  options.members = group_members(config_, members_);
  options.shards = static_cast<std::uint16_t>(config_.raft.shards);
  options.cluster_token = config_.cluster.token;
  options.listen_host = config_.node.host;
  options.listen_port = config_.raft.port;
  options.folder = config_.metadata.path;
  options.order = [hash = hash_of(config_)](std::span<const group::Member> members, std::string_view key) {
    return order_members(members, key, hash);
  };
  options.records_follow = true;  // Repair reports its shards
  options.timings.beat = config_.raft.beat;
  options.timings.election_min = config_.raft.election_min;
  options.timings.election_max = config_.raft.election_max;
  options.timings.disk_stall = config_.raft.disk_stall;
  options.timings.disk_dead = config_.raft.disk_dead;
  options.timings.digests = config_.raft.digests;
  options.timings.adopt_after = config_.raft.adopt_after;
  options.replace = config_.raft.replace;
  options.limits.disk_reserve_bytes = config_.metadata.reserve;
  options.limits.ballast_bytes = config_.metadata.ballast;
  options.limits.log_keep_bytes = config_.raft.log_keep_bytes;
  options.limits.log_max_bytes = config_.raft.log_max_bytes;
  options.limits.log_max_node_bytes = config_.raft.log_max_node_bytes;
  options.limits.snapshot_rate = config_.raft.snapshot_rate;
  auto opened = group::Node::open(std::move(options), *machine_, *store_);
  if (!opened) return std::unexpected(std::move(opened).error());
  groups_ = *std::move(opened);
  groups_->on_leadership([this](kv::ShardId shard, bool leads) {
    if (shard != group::kSystemShard && tasks_started_) tell_leadership(shard, leads);
  });
  groups_->on_ring([this](std::shared_ptr<const group::AdoptedRing> adopted) { adopt(*adopted); });
  adopt(*groups_->ring());
  KR_TRY(incarnation_, admin::node_incarnation(*store_));
  liveness_ = std::make_unique<Liveness>(*groups_, label_);
  port_ = std::make_unique<metadata::GroupPort>(*groups_);
  metadata_ = std::make_unique<metadata::Client>(*port_, shards_);
  return {};
}

Result<void> Node::Impl::open_blobs() {
  blob::Options store;
  store.path = config_.blobs.path;
  store.uploads_path = config_.uploads_path();
  store.reserve_bytes = config_.blobs.reserve;
  store.sync = config_.blobs.sync;
  auto opened = blob::Store::open(std::move(store));
  if (!opened) return std::unexpected(std::move(opened).error());
  blob_store_ = *std::move(opened);

  client_ = std::make_unique<http::Client>(*pool_);
  blob_peers_ = std::make_unique<blobs::HttpPeers>(*client_, ring_.addresses(config_.origin.port));
  blobs::Options options;
  options.self = label_;
  options.max_replica = config_.hashring.max_replica;
  KR_TRY(options.piece_lengths, PieceLengths::make(config_.metainfogen.piece_lengths));
  options.uploads_max = config_.blobs.uploads_max;
  options.upload_ttl = config_.blobs.upload_ttl;
  blobs_ = std::make_unique<blobs::Service>(std::move(options), ring_, *blob_store_, *metadata_, *blob_peers_, *loops_);
  return {};
}

void Node::Impl::make_repair() {
  tasks::RepairOptions repair;
  repair.copies_max = config_.repair.copies_max;
  repair.bytes_per_second = config_.repair.bytes_per_second;
  repair.records_per_second = config_.repair.records_per_second;
  repair.interval = config_.repair.interval;
  repair_ = std::make_unique<tasks::Repair>(repair, *metadata_, *blobs_, loops_->next(),
                                            [this](kv::ShardId shard, std::uint64_t epoch) { return report_satisfied(shard, epoch); });
  blobs::ScrubberOptions scrub;
  scrub.interval = config_.blobs.scrub_interval;
  scrub.records_per_second = config_.blobs.scrub_records_per_second;
  scrub.orphans_go = [this] { return blobs_are_this_clusters(); };
  scrubber_ = std::make_unique<blobs::Scrubber>(std::move(scrub), *metadata_, *blobs_, *blob_store_, *pool_, loops_->next());
}

/// A file beside the blobs says whose they are. Metadata that began anew over old blobs must not empty their folder.
bool Node::Impl::blobs_are_this_clusters() const {
  const auto loaded = group::load_identity(*store_);
  if (!loaded || !loaded->system) return false;
  const std::string mine = loaded->system->cluster_id.hex();
  const std::filesystem::path path = std::filesystem::path(config_.blobs.path) / "cluster_id";
  std::error_code ec;
  if (!std::filesystem::exists(path, ec)) return !ec && file::replace(path, mine).has_value();
  const auto bound = file::read_all(path, 1024);
  if (bound && *bound == mine) return true;
  log::error("node.blobs_of_another_cluster", "path={} what=\"its blobs were placed by another cluster: files without a record stay; remove the file to let them go\"", path.string());
  return false;
}

void Node::Impl::adopt(const group::AdoptedRing& adopted) {
  if (adopted.epoch == 0) return;
  std::vector<ring::Member> leaving;
  auto ring = ring_of(adopted, hash_of(config_), leaving);
  if (!ring) {
    log::error("node.ring_refused", "epoch={} error=\"{}\"", adopted.epoch, ring.error().detail);
    return;
  }
  const bool is_news = adopted.epoch != ring_.get()->epoch();
  if (!ring_.set(*std::move(ring), leaving) || !is_news) return;
  log::info("node.ring", "epoch={} nodes={} settled={}", adopted.epoch, ring_.get()->size(), adopted.settled);
  if (tasks_started_) repair_->ring_changed();
}

net::Task<void> Node::Impl::report_satisfied(kv::ShardId shard, std::uint64_t epoch) {
  const auto adopted = groups_->ring();
  if (adopted->epoch != epoch || adopted->settled) co_return Result<>();
  auto told = co_await groups_->report_satisfied(shard, epoch);
  co_return told;
}

void Node::Impl::tell_leadership(kv::ShardId shard, bool leads) {
  tasks_->leadership(shard, leads);
  repair_->leadership(shard, leads);
}

void Node::Impl::make_roles() {
  tasks_ = std::make_unique<tasks::Executor>(tasks::Options{}, *metadata_, *blobs_, loops_->next());
  make_repair();

  tracker::ClusterHolders::Options holders;
  holders.max_replica = config_.hashring.max_replica;
  holders_ = std::make_unique<tracker::ClusterHolders>(
      holders, ring_, ring_.addresses(config_.origin.peer_port), *metadata_,
      [this](const std::string& label) { return liveness_->up(label); });
  metainfo_ = std::make_unique<tracker::ClusterMetaInfo>(*blobs_);
  batcher_ = std::make_unique<tracker::Batcher>(tracker::BatcherOptions{}, *peer_index_, *peer_feed_, *metadata_, loops_->next().executor());

  registry_blobs_ = std::make_unique<proxy::ClusterBlobs>(
      *blobs_, *client_, label_, ring_.addresses(config_.proxy.port));
  registry_manifests_ = std::make_unique<proxy::ClusterManifests>(*metadata_, *registry_blobs_, *registry_blobs_);
  tags_ = std::make_unique<build_index::ClusterTags>(*metadata_, *registry_blobs_);

  pieces_ = std::make_unique<OriginPieces>(*blobs_, *blob_store_, *pool_);
  p2p::SchedulerOptions options;
  options.host = config_.node.host;
  options.port = config_.origin.peer_port;
  options.peer_id = peer_id_of_address(own_host(), config_.origin.peer_port);
  options.origin = true;
  const config::Scheduler& scheduler = config_.origin.scheduler;
  options.handshake_timeout = scheduler.conn.handshake_timeout;
  options.seeder_tti = scheduler.seeder_tti;
  options.swarm.connections_max = scheduler.connstate.max_open_conn;
  if (scheduler.conn.bandwidth.enable) {
    options.egress_bytes_per_second = scheduler.conn.bandwidth.egress_bits_per_sec / 8;
    options.ingress_bytes_per_second = scheduler.conn.bandwidth.ingress_bits_per_sec / 8;
  }
  scheduler_ = std::make_unique<p2p::Scheduler>(loops_->next(), *pool_, std::move(options), *pieces_, nullptr);
}

Result<void> Node::Impl::start() {
  const std::string& host = config_.node.host;
  // Admin first: whoever looks while the others are still waited for finds an answer.
  KR_CHECK(admin_server_->listen(host, config_.admin.port));
  KR_CHECK(scheduler_->start());
  KR_CHECK(origin_server_->listen(host, config_.origin.port));
  KR_CHECK(tracker_server_->listen(host, config_.tracker.port));
  if (config_.tracker.balanced_port != 0) KR_CHECK(tracker_server_->listen(host, config_.tracker.balanced_port));
  KR_CHECK(build_index_server_->listen(host, config_.build_index.port));
  KR_CHECK(proxy_server_->listen(host, config_.proxy.port));
  if (config_.proxy.balanced_port != 0) KR_CHECK(proxy_server_->listen(host, config_.proxy.balanced_port));
  batcher_->start();
  tasks_->start();
  repair_->start();
  scrubber_->start();
  tasks_started_ = true;
  observers_->set_executor(tasks_.get());
  // Leaderships that came before the executor was listening.
  for (const group::ShardStatus& status : groups_->status()) {
    if (status.shard != group::kSystemShard && status.serving) tell_leadership(status.shard, true);
  }
  listening_ = true;
  log::info("node.listening", "label={} host={} words=\"{}\"", label_, host, admin::promise(ring_.get()->size(), config_.hashring.max_replica));
  return {};
}

std::string Node::Impl::not_ready() const {
  if (stopping_) return "the node is stopping";
  if (!listening_) return "the node is starting";
  std::string waits_for = groups_->not_ready();
  if (waits_for.empty()) return {};
  std::string absent;
  for (const group::PeerStatus& peer : groups_->peers()) {
    if (peer.up || waits_for.find(peer.label) != std::string::npos) continue;
    absent += fmt::format("{}{} ({})", absent.empty() ? "" : ", ", peer.label, peer.refused.empty() ? ring_.host_of(peer.label).value_or("") : peer.refused);
  }
  return absent.empty() ? waits_for : fmt::format("{}; not connected to {}", waits_for, absent);
}

void Node::Impl::stop() {
  if (stopping_.exchange(true)) return;
  // Leaderships first, while everything is still answered: no request anywhere waits for this node once it is gone.
  if (groups_) groups_->drain();
  std::vector<std::thread> stopping;
  for (http::Server* server : {proxy_server_.get(), build_index_server_.get(), tracker_server_.get(), origin_server_.get()}) {
    if (server != nullptr) stopping.emplace_back([this, server] { server->stop(config_.http.drain); });
  }
  for (std::thread& thread : stopping) thread.join();
  if (scheduler_) scheduler_->stop();
  if (observers_) observers_->set_executor(nullptr);
  tasks_started_ = false;
  if (tasks_) tasks_->stop();
  if (repair_) repair_->stop();
  if (scrubber_) scrubber_->stop();
  if (batcher_) batcher_->stop();
  if (admin_server_) admin_server_->stop(std::chrono::milliseconds(200));
  if (blobs_) blobs_->stop();
  if (groups_) groups_->stop();
  // The loops and the pool run on until the parts above are gone: their destructors wait for what is on the loops.
  if (store_) {
    if (auto flushed = store_->flush(); !flushed) log::warn("node.flush_failed", "error=\"{}\"", flushed.error().detail);
  }
}

Result<std::unique_ptr<Node>> Node::open(config::NodeConfig config, std::string version) {
  auto impl = std::make_unique<Impl>(std::move(config), std::move(version));
  KR_CHECK(impl->open());
  return std::unique_ptr<Node>(new Node(std::move(impl)));
}

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Node::~Node() = default;
Result<void> Node::start() { return impl_->start(); }
std::string Node::not_ready() const { return impl_->not_ready(); }
const std::string& Node::label() const { return impl_->label(); }
void Node::stop() { impl_->stop(); }

}  // namespace kraken::node
