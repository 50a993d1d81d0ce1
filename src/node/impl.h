#pragma once
// The parts of a node in the order in which they are made; they go in the reverse order. Private to this folder.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "config/load.h"
#include "consensus/group/node.h"
#include "http/client.h"
#include "http/server.h"
#include "src/blobs/http_peers.h"
#include "src/blobs/scrubber.h"
#include "src/blobs/service.h"
#include "src/build_index/store.h"
#include "src/metadata/client.h"
#include "src/metadata/group_port.h"
#include "src/metadata/machine.h"
#include "src/net/file_pool.h"
#include "src/net/loop.h"
#include "src/net/scope.h"
#include "src/node/node.h"
#include "src/node/origin_pieces.h"
#include "src/p2p/scheduler.h"
#include "src/proxy/cluster_blobs.h"
#include "src/proxy/cluster_manifests.h"
#include "src/tasks/executor.h"
#include "src/tasks/repair.h"
#include "src/tracker/batcher.h"
#include "src/tracker/cluster.h"
#include "storage/blob/store.h"
#include "storage/kv/store.h"

namespace kraken::node {

/// Tells the tracker's index and the task executor what apply changed. The executor comes later than the groups.
class Observers final : public metadata::state::Observer {
 public:
  explicit Observers(tracker::PeerFeed& feed) : feed_(feed) {}
  void set_executor(tasks::Executor* executor) { executor_.store(executor); }
  void peers_changed(metadata::ShardId shard, std::span<const metadata::state::NamedPeer> peers, Duration now) override;
  void tasks_added(metadata::ShardId shard) override;
  void restored(metadata::ShardId shard, const kv::View& view) override;

 private:
  tracker::PeerFeed& feed_;
  std::atomic<tasks::Executor*> executor_{nullptr};
};

/// Who answers, as the groups' connections have it; looked up again after `kKeep`, since every request asks.
class Liveness {
 public:
  Liveness(group::Node& groups, std::string self) : groups_(groups), self_(std::move(self)) {}
  bool up(const std::string& label);

 private:
  static constexpr Duration kKeep = std::chrono::milliseconds(100);
  group::Node& groups_;
  const std::string self_;
  std::mutex mutex_;
  MonotonicTime looked_{-kKeep * 2};
  std::map<std::string, bool> up_;
};

class Node::Impl {
 public:
  Impl(config::NodeConfig configuration, std::string version_text);
  ~Impl();

  Result<void> open();
  Result<void> start();
  std::string not_ready() const;
  void stop();
  const std::string& label() const { return label_; }

 private:
  Result<void> open_store();
  Result<void> open_groups();
  Result<void> open_blobs();
  void make_roles();
  void make_repair();
  /// Group 0 has this ring now.
  void adopt(const group::AdoptedRing& adopted);
  bool blobs_are_this_clusters() const;
  net::Task<void> report_satisfied(kv::ShardId shard, std::uint64_t epoch);
  void tell_leadership(kv::ShardId shard, bool leads);
  void make_servers();
  http::Router admin_router();
  std::unique_ptr<http::Server> server(http::Router router, const std::string& name, http::ErrorWriter writer);
  /// As the hashstate names it.
  std::string own_host() const { return ring_.host_of(label_).value_or(config_.node.host); }

  const config::NodeConfig config_;
  const std::string version_;
  const MonotonicTime started_;
  std::string label_;
  std::string incarnation_;
  std::vector<config::Member> members_;
  ring::CurrentRing ring_;  // the configuration's, until group 0 says which was adopted
  metadata::Shards shards_;
  std::atomic<bool> listening_{false};
  std::atomic<bool> stopping_{false};

  std::unique_ptr<net::Loops> loops_;
  std::unique_ptr<net::FilePool> pool_;
  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<tracker::PeerIndex> peer_index_;
  std::unique_ptr<tracker::PeerFeed> peer_feed_;
  std::unique_ptr<Observers> observers_;
  std::unique_ptr<metadata::Machine> machine_;
  std::unique_ptr<group::Node> groups_;
  std::unique_ptr<Liveness> liveness_;
  std::unique_ptr<metadata::GroupPort> port_;
  std::unique_ptr<metadata::Client> metadata_;
  std::unique_ptr<blob::Store> blob_store_;
  std::unique_ptr<http::Client> client_;
  std::unique_ptr<blobs::HttpPeers> blob_peers_;
  std::unique_ptr<blobs::Service> blobs_;
  std::unique_ptr<tasks::Executor> tasks_;
  std::unique_ptr<tasks::Repair> repair_;
  std::unique_ptr<blobs::Scrubber> scrubber_;
  std::atomic<bool> tasks_started_{false};  // the two above listen; the groups begin before there is one
  std::unique_ptr<tracker::ClusterHolders> holders_;
  std::unique_ptr<tracker::ClusterMetaInfo> metainfo_;
  std::unique_ptr<tracker::Batcher> batcher_;
  std::unique_ptr<proxy::ClusterBlobs> registry_blobs_;
  std::unique_ptr<proxy::ClusterManifests> registry_manifests_;
  std::unique_ptr<build_index::ClusterTags> tags_;
  std::unique_ptr<OriginPieces> pieces_;
  std::unique_ptr<p2p::Scheduler> scheduler_;
  std::unique_ptr<http::Server> admin_server_;
  std::unique_ptr<http::Server> proxy_server_;
  std::unique_ptr<http::Server> origin_server_;
  std::unique_ptr<http::Server> tracker_server_;
  std::unique_ptr<http::Server> build_index_server_;
};

}  // namespace kraken::node
