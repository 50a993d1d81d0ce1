#pragma once
// What a process is told: one struct per process, one member per YAML key, named like the key. The member initialisers
// are the defaults; meanings, ranges and advice are in the table of config/options.cc, from which the loader,
// `kraken config print`, docs/reference/config.md and the JSON schema are made.
// Sizes are bytes, rates bits per second, times Duration. Threads: plain values, constant after loading.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "src/base/clock.h"

namespace kraken::config {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

/// One host of the hashstate map.
struct HashstateEntry {
  std::string host;
  std::string label;
  std::uint32_t weight = 100;
  friend bool operator==(const HashstateEntry&, const HashstateEntry&) = default;
};

/// How a process finds the cluster. A node's own `hosts` and `dns` are not needed: it has the hashstate or `members`.
struct Cluster {
  std::vector<std::string> hosts;
  std::string dns;
  std::vector<std::string> members;  // YAML: static
  std::string token;
};

struct Tls {
  struct Server {
    bool disabled = false;
  } server;
};

struct Log {
  std::string level = "info";
  std::string format = "console";
};

/// Threads of a process. Zero loops: one per core.
struct Threads {
  std::uint32_t loops = 0;
  std::uint32_t files = 4;
  std::uint32_t files_queue = 1024;
};

struct Http {
  std::uint32_t connections_max = 4096;
  std::uint64_t header_bytes = 16 * kKiB;
  Duration header_timeout = 10s;
  Duration idle_timeout = 60s;
  Duration drain = 10s;
};

/// Stock's settings of a peer. Those that the table of options leaves out are only taken, and ignored, from stock's
/// PATCH /x/config/scheduler.
struct Scheduler {
  Duration seeder_tti = 5min;
  Duration leecher_tti = 5min;
  Duration conn_tti = 30s;
  Duration conn_ttl = 1h;
  Duration probe_timeout = 3s;
  struct ConnState {
    std::uint32_t max_open_conn = 24;
    bool disable_blacklist = false;
    Duration blacklist_duration = 30s;
  } connstate;
  struct Conn {
    Duration handshake_timeout = 5s;
    struct Bandwidth {
      bool enable = false;
      std::uint64_t egress_bits_per_sec = 0;
      std::uint64_t ingress_bits_per_sec = 0;
    } bandwidth;
  } conn;
  struct Dispatch {
    Duration piece_request_min_timeout = 4s;
    Duration piece_request_timeout_per_mb = 4s;
    std::uint32_t pipeline_limit = 1;
    std::uint32_t origin_pipeline_limit = 1;
  } dispatch;
};

struct NodeConfig {
  struct Node {
    std::string host = "127.0.0.1";
    std::string label;
  } node;
  Cluster cluster;
  std::vector<HashstateEntry> hashstate;  // in order of host
  struct Hashring {
    std::uint32_t max_replica = 3;
    std::string hash = "murmur3";
  } hashring;
  struct Metainfogen {
    std::map<std::uint64_t, std::uint64_t> piece_lengths{{0, 4 * kMiB}};  // blob size from which on -> piece length
  } metainfogen;
  struct Raft {
    std::uint16_t port = 14001;
    std::uint32_t shards = 128;
    Duration beat = 50ms;
    Duration election_min = 500ms;
    Duration election_max = 1s;
    Duration adopt_after = 30s;
    bool replace = false;
    std::uint64_t log_keep_bytes = 16 * kMiB;
    std::uint64_t log_max_bytes = 64 * kMiB;
    std::uint64_t log_max_node_bytes = 2 * kGiB;
    std::uint64_t snapshot_rate = 64 * kMiB;
    Duration disk_stall = 1s;
    Duration disk_dead = 30s;
    Duration digests = 10s;
  } raft;
  struct Metadata {
    std::string path = "/var/lib/kraken/metadata";
    std::uint64_t reserve = 256 * kMiB;
    std::uint64_t ballast = 256 * kMiB;
    bool check_tables = true;
    std::uint64_t block_cache = 32 * kMiB;
    std::uint64_t write_buffers = 64 * kMiB;
  } metadata;
  struct Blobs {
    std::string path = "/var/lib/kraken/blobs";
    std::string uploads_path;  // empty: `uploads` beside `path`
    std::uint64_t reserve = 1 * kGiB;
    bool sync = true;
    std::uint32_t uploads_max = 512;
    Duration upload_ttl = 6h;
    Duration scrub_interval = 6h;
    std::uint32_t scrub_records_per_second = 5000;
  } blobs;
  struct Repair {
    std::uint32_t copies_max = 4;
    std::uint64_t bytes_per_second = 0;  // 0: no limit
    std::uint32_t records_per_second = 20'000;
    Duration interval = 10min;
  } repair;
  Tls tls;
  Log log;
  Threads threads;
  Http http;
  struct Admin {
    std::uint16_t port = 14002;
  } admin;
  struct Origin {
    std::uint16_t port = 15002;
    std::uint16_t peer_port = 15001;
    Scheduler scheduler;
  } origin;
  struct Tracker {
    std::uint16_t port = 15003;
    std::uint16_t balanced_port = 5003;
    struct TrackerServer {
      std::uint32_t announce_limit = 50;
      Duration announce_interval = 3s;
    } trackerserver;
    struct PeerHandoutPolicy {
      std::string priority = "completeness";
    } peerhandoutpolicy;
    struct PeerStore {
      struct Local {
        Duration ttl = 5h;
      } local;
    } peerstore;
  } tracker;
  struct BuildIndex {
    std::uint16_t port = 15004;
  } build_index;
  struct Proxy {
    std::uint16_t port = 15000;
    std::uint16_t balanced_port = 5000;
    struct Server {
      std::uint64_t prefetch_min_blob_size = 0;
      std::uint64_t prefetch_max_blob_size = 50 * kGiB;
    } server;
  } proxy;

  /// blobs.uploads_path, or the folder `uploads` beside blobs.path.
  std::string uploads_path() const;
};

struct AgentConfig {
  struct Agent {
    std::string host = "127.0.0.1";
    std::uint16_t registry_port = 16000;
    std::uint16_t peer_port = 16001;
    std::uint16_t server_port = 16002;
    std::string tags = "strict";
    std::uint64_t direct_max = 1 * kMiB;  // blobs up to this size come straight from a holder
  } agent;
  Cluster cluster;
  struct Hosts {
    std::vector<std::string> hosts;
  };
  Hosts tracker;
  Hosts build_index;
  struct Store {
    std::string path = "/var/lib/kraken/agent";
    std::string download_dir;  // empty: `download` in path
    std::string cache_dir;     // empty: `cache` in path
    std::uint64_t reserve = 1 * kGiB;
    struct Cleanup {
      Duration ttl = 24h;
      Duration interval = 30min;
    };
    Cleanup download_cleanup;
    Cleanup cache_cleanup;
  } store;
  std::string peer_id_factory = "addr_hash";
  Scheduler scheduler;
  struct ContainerRuntime {
    struct Docker {
      std::string docker_host = "unix:///var/run/docker.sock";
      std::string docker_version = "1.21";
    } docker;
  } container_runtime;
  Tls tls;
  Log log;
  Threads threads;
  Http http;

  std::string download_dir() const;
  std::string cache_dir() const;
};

}  // namespace kraken::config
