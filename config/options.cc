#include "config/options.h"

#include <algorithm>
#include <type_traits>

#include "config/values.h"

namespace kraken::config {
namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kSecond = 1000 * kMillisecond;
constexpr std::uint64_t kHour = 3600 * kSecond;
constexpr std::uint64_t kPieceUnit = 256 * kKiB;  // PieceSummer::kUnitBytes of src/core: sums are combined from these
constexpr std::uint64_t kPieceLengthMax = 64 * kMiB;
constexpr std::uint64_t kAny = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kLongest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

std::string number_text(Kind kind, std::uint64_t value) {
  switch (kind) {
    case Kind::kDuration: return format_duration(Duration(static_cast<std::int64_t>(value)));
    case Kind::kBytes: return format_bytes(value);
    case Kind::kBits: return format_bits(value);
    default: return fmt::format("{}", value);
  }
}

Result<std::uint64_t> parse_number(Kind kind, const std::string& text) {
  switch (kind) {
    case Kind::kDuration: {
      KR_TRY(const Duration value, parse_duration(text));
      return static_cast<std::uint64_t>(value.count());
    }
    case Kind::kBytes: return parse_bytes(text);
    case Kind::kBits: return parse_bits(text);
    default: return parse_integer(text);
  }
}

Result<std::string> scalar_of(const Tree& tree) {
  if (tree.kind == Tree::Kind::kScalar) return tree.scalar;
  return fail(Code::kInvalidArgument, "takes one value, not a {}", tree.kind == Tree::Kind::kMap ? "map" : "list");
}

Result<> set_hashstate(std::vector<HashstateEntry>& out, const Tree& tree) {
  if (tree.kind != Tree::Kind::kMap) return fail(Code::kInvalidArgument, "is a map of host to label and weight");
  out.clear();
  for (const auto& [host, entry] : tree.map) {
    HashstateEntry node{.host = host, .label = {}, .weight = 100};
    if (entry.kind != Tree::Kind::kMap) {
      return fail(Code::kInvalidArgument, "host {} ({}) needs `label` and `weight`", host, entry.where());
    }
    for (const auto& [key, value] : entry.map) {
      KR_TRY(const std::string text, scalar_of(value));
      if (key == "label") {
        node.label = text;
      } else if (key == "weight") {
        auto weight = parse_integer(text);
        if (!weight || *weight == 0 || *weight > std::numeric_limits<std::int32_t>::max()) {
          return fail(Code::kInvalidArgument,
                      "host {} ({}) has weight \"{}\"; a weight is a whole number from 1 to 2147483647, and a host that "
                      "shall hold nothing is taken out of the map",
                      host, value.where(), text);
        }
        node.weight = static_cast<std::uint32_t>(*weight);
      } else {
        return fail(Code::kInvalidArgument, "host {} ({}) has the key \"{}\"; only `label` and `weight` are known", host,
                    value.where(), key);
      }
    }
    if (node.label.empty()) {
      return fail(Code::kInvalidArgument, "host {} ({}) has no label; give it one, for example origin0", host,
                  entry.where());
    }
    out.push_back(std::move(node));
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.host < b.host; });
  return {};
}

Tree get_hashstate(const std::vector<HashstateEntry>& nodes) {
  Tree tree;
  tree.kind = Tree::Kind::kMap;
  for (const HashstateEntry& node : nodes) {
    Tree entry;
    entry.at_path("label") = Tree::text(node.label);
    entry.at_path("weight") = Tree::text(fmt::format("{}", node.weight));
    tree.map.emplace_back(node.host, std::move(entry));
  }
  return tree;
}

Result<> set_piece_lengths(std::map<std::uint64_t, std::uint64_t>& out, const Tree& tree) {
  if (tree.kind != Tree::Kind::kMap || tree.map.empty()) {
    return fail(Code::kInvalidArgument, "is a map of blob size to piece length, for example 0: 4MB");
  }
  out.clear();
  for (const auto& [key, value] : tree.map) {
    KR_TRY(const std::uint64_t from, parse_bytes(key));
    KR_TRY(const std::string text, scalar_of(value));
    KR_TRY(const std::uint64_t length, parse_bytes(text));
    if (length == 0 || length % kPieceUnit != 0 || length > kPieceLengthMax) {
      return fail(Code::kInvalidArgument, "has the piece length {}; it is a multiple of 256KB, at most 64MB", text);
    }
    out[from] = length;
  }
  return {};
}

Tree get_piece_lengths(const std::map<std::uint64_t, std::uint64_t>& lengths) {
  Tree tree;
  tree.kind = Tree::Kind::kMap;
  for (const auto& [from, length] : lengths) {
    tree.map.emplace_back(from == 0 ? "0" : format_bytes(from), Tree::text(format_bytes(length)));
  }
  return tree;
}

/// One option as it is declared: everything but the field.
struct Said {
  Kind kind;
  std::string_view meaning;
  std::string_view when = "";
  std::uint64_t least = 0;
  std::uint64_t most = kAny;
  std::vector<std::string> choices = {};
};

Said boolean(std::string_view meaning, std::string_view when = "") { return {Kind::kBoolean, meaning, when}; }
Said text(std::string_view meaning, std::string_view when = "") { return {Kind::kText, meaning, when}; }
Said path(std::string_view meaning, std::string_view when = "") { return {Kind::kPath, meaning, when}; }
Said list(std::string_view meaning, std::string_view when = "") { return {Kind::kList, meaning, when}; }
Said port(std::string_view meaning, bool may_be_off = false) {
  return {Kind::kPort, meaning, "another process holds it", may_be_off ? 0u : 1u, 65535};
}
Said number(std::uint64_t least, std::uint64_t most, std::string_view meaning, std::string_view when = "") {
  return {Kind::kInteger, meaning, when, least, most};
}
Said time(std::uint64_t least, std::uint64_t most, std::string_view meaning, std::string_view when = "") {
  return {Kind::kDuration, meaning, when, least, most};
}
Said bytes(std::uint64_t least, std::uint64_t most, std::string_view meaning, std::string_view when = "") {
  return {Kind::kBytes, meaning, when, least, most};
}
Said bits(std::string_view meaning, std::string_view when = "") { return {Kind::kBits, meaning, when}; }
Said choice(std::vector<std::string> choices, std::string_view meaning, std::string_view when = "") {
  return {Kind::kChoice, meaning, when, 0, kAny, std::move(choices)};
}

Result<> check_range(const Said& said, std::uint64_t value) {
  if (value >= said.least && value <= said.most) return {};
  return fail(Code::kInvalidArgument, "is {}; it must be from {} to {}", number_text(said.kind, value),
              number_text(said.kind, said.least), number_text(said.kind, said.most));
}

template <class T>
Result<> set_value(const Said& said, T& out, const Tree& tree) {
  if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    out.clear();
    if (tree.kind == Tree::Kind::kScalar) {
      out.push_back(tree.scalar);
      return {};
    }
    if (tree.kind != Tree::Kind::kList) return fail(Code::kInvalidArgument, "is a list");
    for (const Tree& item : tree.list) {
      KR_TRY(std::string one, scalar_of(item));
      out.push_back(std::move(one));
    }
  } else if constexpr (std::is_same_v<T, std::vector<HashstateEntry>>) {
    return set_hashstate(out, tree);
  } else if constexpr (std::is_same_v<T, std::map<std::uint64_t, std::uint64_t>>) {
    return set_piece_lengths(out, tree);
  } else {
    KR_TRY(const std::string value, scalar_of(tree));
    if constexpr (std::is_same_v<T, bool>) {
      KR_TRY(out, parse_boolean(value));
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (said.kind == Kind::kChoice && std::find(said.choices.begin(), said.choices.end(), value) == said.choices.end()) {
        return fail(Code::kInvalidArgument, "is \"{}\"; it is one of {}", value, fmt::join(said.choices, ", "));
      }
      if (value.find('\0') != std::string::npos) return fail(Code::kInvalidArgument, "has a NUL in it");
      out = value;
    } else {
      KR_TRY(const std::uint64_t parsed, parse_number(said.kind, value));
      KR_CHECK(check_range(said, parsed));
      if constexpr (std::is_same_v<T, Duration>) {
        out = Duration(static_cast<std::int64_t>(parsed));
      } else {
        out = static_cast<T>(parsed);
      }
    }
  }
  return {};
}

template <class T>
Tree get_value(const Said& said, const T& value) {
  if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    Tree tree;
    tree.kind = Tree::Kind::kList;
    for (const std::string& item : value) tree.list.push_back(Tree::text(item));
    return tree;
  } else if constexpr (std::is_same_v<T, std::vector<HashstateEntry>>) {
    return get_hashstate(value);
  } else if constexpr (std::is_same_v<T, std::map<std::uint64_t, std::uint64_t>>) {
    return get_piece_lengths(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return Tree::text(value ? "true" : "false");
  } else if constexpr (std::is_same_v<T, std::string>) {
    return Tree::text(said.kind == Kind::kSecret && !value.empty() ? "***" : value);
  } else if constexpr (std::is_same_v<T, Duration>) {
    return Tree::text(format_duration(value));
  } else {
    return Tree::text(number_text(said.kind, value));
  }
}

template <class C>
class Table {
 public:
  /// `field` gives a reference to the member, from a C& or a const C&.
  template <class F>
  void add(std::string name, F field, Said said) {
    if (said.kind == Kind::kInteger) said.most = std::min<std::uint64_t>(said.most, std::numeric_limits<std::uint32_t>::max());
    if (said.kind == Kind::kDuration) said.most = std::min(said.most, kLongest);
    Option<C> option;
    option.path = std::move(name);
    option.kind = said.kind;
    option.least = said.least;
    option.most = said.most;
    option.choices = said.choices;
    option.meaning = said.meaning;
    option.when = said.when;
    option.set = [field, said](C& config, const Tree& tree) { return set_value(said, field(config), tree); };
    option.get = [field, said](const C& config) { return get_value(said, field(config)); };
    options_.push_back(std::move(option));
  }
  std::vector<Option<C>> take() { return std::move(options_); }

 private:
  std::vector<Option<C>> options_;
};

// KR_OPTION names a member once: the YAML path and the field cannot differ.
#define KR_OPTION(member, ...) table.add(#member, [](auto& c) -> auto& { return c.member; }, __VA_ARGS__)
// The same below another field, whose path is `prefix`.
#define KR_UNDER(member, ...) \
  table.add(prefix + #member, [at](auto& c) -> auto& { return at(c).member; }, __VA_ARGS__)

/// What both the agent's and the origin's scheduler have.
template <class C, class F>
void add_scheduler(Table<C>& table, const std::string& prefix, F at) {
  KR_UNDER(seeder_tti, time(kSecond, kAny, "A complete torrent that nobody has asked for this long leaves memory; its bytes stay."));
  KR_UNDER(connstate.max_open_conn,
           number(1, 1000, "Peer connections of one torrent.", "stock has 10; more spread faster and cost memory"));
  KR_UNDER(conn.handshake_timeout, time(kMillisecond, kAny, "A peer must finish the handshake in this time."));
  KR_UNDER(conn.bandwidth.enable, boolean("Limit what the peers of this process send and receive."));
  KR_UNDER(conn.bandwidth.egress_bits_per_sec, bits("Piece bytes sent, all connections together; 0 is no limit.", "the network is shared with the application"));
  KR_UNDER(conn.bandwidth.ingress_bits_per_sec, bits("Piece bytes received, all connections together; 0 is no limit."));
}

/// What only those have who download.
template <class C, class F>
void add_leecher(Table<C>& table, const std::string& prefix, F at) {
  KR_UNDER(leecher_tti, time(kSecond, kAny, "A download that has got nothing for this long fails."));
  KR_UNDER(probe_timeout, time(kMillisecond, kAny, "The health probe of the event loop fails after this long."));
  KR_UNDER(connstate.disable_blacklist, boolean("Never avoid a peer that failed.", "tests only"));
  KR_UNDER(connstate.blacklist_duration, time(0, kAny, "A peer that could not be reached, or broke the rules, is not dialled again for this long."));
}

template <class C>
void add_process(Table<C>& table) {
  KR_OPTION(tls.server.disabled, boolean("Serve plain HTTP beyond this machine.",
                                         "a bind beyond loopback needs it spelled out, because there is no TLS yet"));
  KR_OPTION(log.level, choice({"debug", "info", "warn", "error"}, "The least serious lines that are written.", "looking into a fault: debug has a line for every request"));
  KR_OPTION(log.format, choice({"console", "json"}, "How a line looks."));
  KR_OPTION(threads.loops, number(0, 256, "Event loops; 0 is one for each core.", "the host is shared"));
  KR_OPTION(threads.files, number(1, 64, "Threads for file reads, writes and hashing.", "many disks, or disks with long queues"));
  KR_OPTION(threads.files_queue, number(1, 1'000'000, "File jobs that may wait; more are refused with 503."));
  KR_OPTION(http.connections_max, number(1, 1'000'000, "Connections to one port; more wait in the kernel's queue."));
  KR_OPTION(http.header_bytes, bytes(1 * kKiB, 1 * kMiB, "A request's line and headers together; longer is 431."));
  KR_OPTION(http.header_timeout, time(kMillisecond, kHour, "A client must have sent its headers in this time."));
  KR_OPTION(http.idle_timeout, time(kMillisecond, 24 * kHour, "A connection on which nothing moves is closed after this long."));
  KR_OPTION(http.drain, time(0, kHour, "At a stop, requests under way get this long to finish."));
}

std::vector<Option<NodeConfig>> make_node_options() {
  Table<NodeConfig> table;
  KR_OPTION(node.host, text("The address every port of this node binds, and where others find it: a name or an address.", "always, outside a trial on one machine; 0.0.0.0 binds every interface, and then node.label is needed"));
  KR_OPTION(node.label, text("Which label of the hashstate this node is. Empty: the one whose host is node.host, the hostname or an address of the machine."));
  KR_OPTION(hashstate, {Kind::kHashstate, "The nodes of the cluster: host to {label, weight}. A label is a node's name for ever; its weight is its share of the bytes. Every node has the same map.", "a node is added, replaced or gets another disk"});
  KR_OPTION(cluster.hosts, list("Any nodes of the cluster, by which a client finds it. A node with a hashstate does not need it."));
  KR_OPTION(cluster.dns, text("A name that resolves to the nodes; instead of cluster.hosts."));
  table.add("cluster.static", [](auto& c) -> auto& { return c.cluster.members; },
            list("The nodes as host:port of their origins, where there is no hashstate; each label is then host:port and each weight 100, as stock has it."));
  KR_OPTION(cluster.token, {Kind::kSecret, "A word that all nodes of one cluster share, so that two clusters cannot mix by mistake.", "two clusters can reach each other"});
  KR_OPTION(hashring.max_replica, number(1, 16, "How many nodes hold each blob, or all of them if they are fewer.", "2 saves a third of the disk and still survives the loss of one"));
  KR_OPTION(hashring.hash, choice({"murmur3", "sha256", "md5"}, "The hash of the weighted rendezvous scores. The same on all nodes, for ever."));
  KR_OPTION(metainfogen.piece_lengths, {Kind::kPieceLengths, "Piece length by blob size: the entry with the largest size that is not above the blob's. One table for the cluster, or swarms split.", "a swarm of stock agents uses another table"});
  KR_OPTION(raft.port, port("Raft and snapshots, node to node."));
  KR_OPTION(raft.shards, number(1, 4096, "Raft groups the metadata is spread over, a power of two. Fixed when the cluster is born.", "512 suits more than 12 nodes"));
  KR_OPTION(raft.beat, time(kMillisecond, 10 * kSecond, "Time between a leader's heartbeats."));
  KR_OPTION(raft.election_min, time(10 * kMillisecond, 60 * kSecond, "A follower that has heard no leader for at least this long calls an election.", "nodes are far apart, or machines stall for longer"));
  KR_OPTION(raft.election_max, time(10 * kMillisecond, 120 * kSecond, "... and at most this long; the time is drawn between the two."));
  KR_OPTION(raft.adopt_after, time(100 * kMillisecond, 3600 * kSecond, "A new hashstate becomes the ring once all nodes that are up have had it for this long."));
  KR_OPTION(raft.replace, boolean("This node's empty metadata folder takes the place of the one its label had, which is gone for good; refused while that one is heard. `kraken node --replace` sets it.", "never in a file"));
  KR_OPTION(raft.log_keep_bytes, bytes(64 * kKiB, kAny, "A shard's log, once compacted, keeps its last entries up to this size, so that a node that was away for a moment needs no snapshot.", "nodes are often away for long, and disks are large"));
  KR_OPTION(raft.log_max_bytes, bytes(64 * kKiB, kAny, "A shard's log grows up to this size for a node that does not answer; beyond it, that node is sent a snapshot when it is back."));
  KR_OPTION(raft.log_max_node_bytes, bytes(1 * kMiB, kAny, "The same for the logs of all shards of this node together.", "the disk of the metadata is small"));
  KR_OPTION(raft.snapshot_rate, bytes(0, kAny, "Bytes a second of all snapshots together that this node sends to others; 0 is no limit.", "a node that comes back takes too much of the network or the disk, or too long"));
  KR_OPTION(raft.disk_stall, time(10 * kMillisecond, 60 * kSecond, "A write of the log that takes longer makes the node hand its leaderships on until it is done.", "the disk is slow by nature: at least three times its worst usual sync"));
  KR_OPTION(raft.disk_dead, time(100 * kMillisecond, kHour, "A write of the log that takes longer ends the process, for a supervisor to start it again."));
  KR_OPTION(raft.digests, time(kSecond, 24 * kHour, "How often replicas of a shard compare their state digests."));
  KR_OPTION(metadata.path, path("Folder of the replicated metadata: RocksDB with the Raft log.", "a disk of its own, with fast syncs, makes tag writes faster"));
  KR_OPTION(metadata.reserve, bytes(0, kAny, "Below this much free disk the node takes no more proposals and hands its leaderships on."));
  KR_OPTION(metadata.ballast, bytes(0, kAny, "Size of a file that only takes room and is given up when less than half of metadata.reserve is left, so that what is under way can still be written; at most a fiftieth of the disk."));
  KR_OPTION(metadata.check_tables, boolean("At start, read every table file and compare it with its checksum: about a second for 300 MB. Without it a damaged one is found when it is read, which ends the process.", "there are many gigabytes of metadata, and starts must be quick"));
  KR_OPTION(metadata.block_cache, bytes(1 * kMiB, kAny, "Memory for RocksDB's block cache.", "millions of tags"));
  KR_OPTION(metadata.write_buffers, bytes(8 * kMiB, 4 * kGiB, "Memory for the writes of all column families that are not in tables yet."));
  KR_OPTION(blobs.path, path("Folder of the blobs, named by digest."));
  KR_OPTION(blobs.uploads_path, path("Folder of uploads in progress, on the same file system. Empty: `uploads` beside blobs.path."));
  KR_OPTION(blobs.reserve, bytes(0, kAny, "Below this much free disk uploads are refused with 507; reads go on."));
  KR_OPTION(blobs.sync, boolean("Sync a blob and its folder before it is acknowledged.", "never in production: false makes a 201 mean that the kernel has the bytes, no more"));
  KR_OPTION(blobs.uploads_max, number(1, 100'000, "Uploads in progress on this node; more are refused with 429."));
  KR_OPTION(blobs.upload_ttl, time(kSecond, kAny, "An upload that nobody has touched for this long is removed."));
  KR_OPTION(blobs.scrub_interval, time(kSecond, kAny, "How often the store's files are compared with the records: files that nothing names go, named ones that are missing are fetched again."));
  KR_OPTION(blobs.scrub_records_per_second, number(1, 10'000'000, "How fast that comparison reads records.", "lower where it is seen in latencies"));
  KR_OPTION(repair.copies_max, number(1, 1000, "Blobs that this node, as leader of their shards, has copied to their owners at a time."));
  KR_OPTION(repair.bytes_per_second, bytes(0, kAny, "At most so much is copied per second by order of one node; 0 is no limit.", "lower where pulls suffer while a ring changes"));
  KR_OPTION(repair.records_per_second, number(1, 10'000'000, "How fast a leader walks its blob records."));
  KR_OPTION(repair.interval, time(kSecond, kAny, "How often the records are walked without a reason; ring changes, lost disks and `kraken repair` start a walk at once."));
  add_process(table);
  KR_OPTION(admin.port, port("Health, metrics, status, admin calls, inspect of a running node."));
  KR_OPTION(origin.port, port("Blob API, also node to node."));
  KR_OPTION(origin.peer_port, port("Peer protocol."));
  add_scheduler(table, "origin.scheduler.", [](auto& c) -> auto& { return c.origin.scheduler; });
  KR_OPTION(tracker.port, port("Announce and metainfo."));
  KR_OPTION(tracker.balanced_port, port("The tracker of the whole cluster, in place of a load balancer's; 0 is off.", true));
  KR_OPTION(tracker.trackerserver.announce_limit, number(1, 1000, "Peers in one handout, origins not counted."));
  KR_OPTION(tracker.trackerserver.announce_interval, time(10 * kMillisecond, kHour, "How often an agent announces what it downloads.", "tens of thousands of agents: longer costs the tracker less"));
  KR_OPTION(tracker.peerhandoutpolicy.priority, choice({"default", "completeness"}, "Order of a handout: as it comes, or complete agents, origins, others."));
  KR_OPTION(tracker.peerstore.local.ttl, time(kSecond, kAny, "A peer that has not announced for this long is forgotten."));
  KR_OPTION(build_index.port, port("Tag API."));
  KR_OPTION(proxy.port, port("Registry v2, push and pull."));
  KR_OPTION(proxy.balanced_port, port("The registry of the whole cluster, in place of a load balancer's, which also answers the build-index's and the origin's paths; 0 is off.", true));
  KR_OPTION(proxy.server.prefetch_min_blob_size, bytes(0, kAny, "A prefetch leaves out smaller blobs."));
  KR_OPTION(proxy.server.prefetch_max_blob_size, bytes(0, kAny, "A prefetch leaves out larger blobs."));
  return table.take();
}

std::vector<Option<AgentConfig>> make_agent_options() {
  Table<AgentConfig> table;
  KR_OPTION(agent.host, text("The address the agent's ports bind, and under which other peers reach it.", "always, outside a trial on one machine: docker pulls from localhost, peers come from other hosts"));
  KR_OPTION(agent.registry_port, port("Registry v2, pull only."));
  KR_OPTION(agent.peer_port, port("Peer protocol."));
  KR_OPTION(agent.server_port, port("Agent API, health and metrics."));
  KR_OPTION(agent.tags, choice({"strict", "stale_without_quorum"}, "What a tag read may answer while its shard has no quorum: 503, or a replica's value with its age.", "availability matters more than the newest tag"));
  KR_OPTION(agent.direct_max, bytes(0, 1 * kGiB, "Blobs up to this size are fetched from a holder over HTTP, without the swarm."));
  KR_OPTION(cluster.hosts, list("Any nodes of the cluster; the default ports are used."));
  KR_OPTION(cluster.dns, text("A name that resolves to the nodes; instead of cluster.hosts."));
  table.add("cluster.static", [](auto& c) -> auto& { return c.cluster.members; }, list("The same as cluster.hosts, under stock's name; a port is ignored."));
  KR_OPTION(cluster.token, {Kind::kSecret, "Not used by agents; accepted so that files can be shared."});
  KR_OPTION(tracker.hosts, list("Trackers as host:port, instead of those of the cluster."));
  KR_OPTION(build_index.hosts, list("Build-indexes as host:port, instead of those of the cluster."));
  KR_OPTION(store.path, path("Folder of everything the agent keeps."));
  KR_OPTION(store.download_dir, path("Folder of downloads in progress. Empty: `download` in store.path."));
  KR_OPTION(store.cache_dir, path("Folder of complete blobs, on the same file system. Empty: `cache` in store.path."));
  KR_OPTION(store.reserve, bytes(0, kAny, "Below this much free disk no download starts."));
  KR_OPTION(store.download_cleanup.ttl, time(kSecond, kAny, "A download that nobody has touched for this long is removed."));
  KR_OPTION(store.download_cleanup.interval, time(kSecond, kAny, "How often that is looked at."));
  KR_OPTION(store.cache_cleanup.ttl, time(kSecond, kAny, "A blob that nobody has read for this long is removed.", "a small disk, or images that are pulled again after weeks"));
  KR_OPTION(store.cache_cleanup.interval, time(kSecond, kAny, "How often that is looked at."));
  KR_OPTION(peer_id_factory, choice({"addr_hash", "random"}, "A peer id made from host and port, or drawn at each start."));
  const auto scheduler = [](auto& c) -> auto& { return c.scheduler; };
  add_scheduler(table, "scheduler.", scheduler);
  add_leecher(table, "scheduler.", scheduler);
  KR_OPTION(container_runtime.docker.docker_host, text("Docker's socket, for preloading."));
  KR_OPTION(container_runtime.docker.docker_version, text("Docker's API version, for preloading."));
  add_process(table);
  return table.take();
}

}  // namespace

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kBoolean: return "true or false";
    case Kind::kInteger: return "number";
    case Kind::kPort: return "port";
    case Kind::kDuration: return "time";
    case Kind::kBytes: return "size";
    case Kind::kBits: return "bits per second";
    case Kind::kText: return "text";
    case Kind::kPath: return "path";
    case Kind::kSecret: return "secret";
    case Kind::kChoice: return "one of";
    case Kind::kList: return "list";
    case Kind::kHashstate: return "map";
    case Kind::kPieceLengths: return "map of sizes";
  }
  return "text";
}

template <class C>
std::string Option<C>::range() const {
  switch (kind) {
    case Kind::kChoice: return fmt::format("{}", fmt::join(choices, ", "));
    case Kind::kInteger:
    case Kind::kPort:
    case Kind::kDuration:
    case Kind::kBytes: {
      const bool open = most == kAny || (kind == Kind::kDuration && most == kLongest);
      if (open) return least == 0 ? "" : fmt::format("at least {}", number_text(kind, least));
      return fmt::format("{} to {}", number_text(kind, least), number_text(kind, most));
    }
    default: return "";
  }
}
template struct Option<NodeConfig>;
template struct Option<AgentConfig>;

const std::vector<Option<NodeConfig>>& node_options() {
  static const std::vector<Option<NodeConfig>> table = make_node_options();
  return table;
}

const std::vector<Option<AgentConfig>>& agent_options() {
  static const std::vector<Option<AgentConfig>> table = make_agent_options();
  return table;
}

const std::vector<ForeignKey>& foreign_keys() {
  static constexpr std::string_view kSwarmDecides = "the swarm itself decides when to dial, whom to ask and how long to wait";
  static const std::vector<ForeignKey> table{
      {"zap", true, "logging is set by log.level and log.format"},
      {"*.zap", true, "logging is set by log.level and log.format"},
      {"nginx", true, "the server is built in"},
      {"*.nginx", true, "the server is built in"},
      {"localdb", true, "tasks are kept in the replicated log"},
      {"*.localdb", true, "tasks are kept in the replicated log"},
      {"metrics", true, "every process serves /metrics"},
      {"*.metrics", true, "every process serves /metrics"},
      {"verbose", true, "logging is set by log.level"},
      {"*.verbose", true, "logging is set by log.level"},
      {"registry", true, "the registry is built in"},
      {"*.registry", true, "the registry is built in"},
      {"*.registryoverride", true, "the catalogue is part of the registry"},
      {"registry_backup", true, "the registry is built in"},
      {"agentserver", true, "the port is agent.server_port"},
      {"allowed_cidrs", true, "the registry binds agent.host alone"},
      {"docker_daemon", true, "it is container_runtime.docker"},
      {"*.castore", true, "blobs are kept in blobs.path"},
      {"*.store", true, "tags are kept in the replicated log"},
      {"*.originstore", true, "holders are read from the replicated log"},
      {"*.origin", true, "roles of one cluster find each other by the hashstate"},
      {"origin.peer_id_factory", true, "a node's peer id is always made from its address, so that every tracker knows it"},
      {"*.cluster", true, "roles of one cluster find each other by the hashstate"},
      {"*.build_index", true, "roles of one cluster find each other by the hashstate"},
      {"*.tag_types", true, "a manifest's references are always followed"},
      {"*.healthcheck", true, "health is known from the replication between the nodes"},
      {"healthcheck", true, "health is known from the replication between the nodes"},
      {"*.hashring", true, "the ring is hashring at the top"},
      {"cluster.ttl", true, "names are looked up at each dial"},
      {"network_event", true, "events are in the log and in /metrics"},
      {"*.network_event", true, "events are in the log and in /metrics"},
      {"scheduler.torrentlog", true, "logging is set by log.level and log.format"},
      {"*.scheduler.torrentlog", true, "logging is set by log.level and log.format"},
      {"scheduler.log", true, "logging is set by log.level and log.format"},
      {"*.scheduler.log", true, "logging is set by log.level and log.format"},
      {"scheduler.preemption_interval", true, kSwarmDecides},
      {"*.scheduler.preemption_interval", true, kSwarmDecides},
      {"scheduler.disable_preemption", true, kSwarmDecides},
      {"*.scheduler.disable_preemption", true, kSwarmDecides},
      {"scheduler.conn_tti", true, kSwarmDecides},
      {"*.scheduler.conn_tti", true, kSwarmDecides},
      {"scheduler.conn_ttl", true, kSwarmDecides},
      {"*.scheduler.conn_ttl", true, kSwarmDecides},
      {"scheduler.dispatch", true, kSwarmDecides},
      {"*.scheduler.dispatch", true, kSwarmDecides},
      {"scheduler.connstate.max_mutual_conn", true, kSwarmDecides},
      {"*.scheduler.connstate.max_mutual_conn", true, kSwarmDecides},
      {"scheduler.conn.sender_buffer_size", true, "memory for transfers is bounded for the whole process"},
      {"*.scheduler.conn.sender_buffer_size", true, "memory for transfers is bounded for the whole process"},
      {"scheduler.conn.receiver_buffer_size", true, "memory for transfers is bounded for the whole process"},
      {"*.scheduler.conn.receiver_buffer_size", true, "memory for transfers is bounded for the whole process"},
      {"scheduler.conn.bandwidth.token_size", true, "the rate alone decides"},
      {"*.scheduler.conn.bandwidth.token_size", true, "the rate alone decides"},
      {"*.scheduler.leecher_tti", true, "a node's peer only gives"},
      {"*.scheduler.probe_timeout", true, "a node's peer only gives"},
      {"*.scheduler.connstate.disable_blacklist", true, "a node's peer only gives"},
      {"*.scheduler.connstate.blacklist_duration", true, "a node's peer only gives"},
      {"container_runtime.containerd", true, "preloading goes through docker in this version"},
      {"scheduler.emit_stats_interval", true, "every process serves /metrics"},
      {"*.scheduler.emit_stats_interval", true, "every process serves /metrics"},
      {"tls.client", true, "the processes of this version speak plain HTTP to each other"},
      {"tls.name", true, "the processes of this version speak plain HTTP to each other"},
      {"tls.cas", false, "TLS is not in this version; set tls.server.disabled: true and put a TLS proxy in front"},
      {"tls.server.cert", false, "TLS is not in this version; set tls.server.disabled: true and put a TLS proxy in front"},
      {"tls.server.key", false, "TLS is not in this version; set tls.server.disabled: true and put a TLS proxy in front"},
      {"backends", false, "storage backends are not in this version; take the section out"},
      {"*.backends", false, "storage backends are not in this version; take the section out"},
      {"backend_manager", false, "storage backends are not in this version; take the section out"},
      {"*.backend_manager", false, "storage backends are not in this version; take the section out"},
      {"auth", false, "storage backends are not in this version; take the section out"},
      {"*.auth", false, "storage backends are not in this version; take the section out"},
      {"*.writeback", false, "storage backends are not in this version; take the section out"},
      {"*.remotes", false, "replication to other clusters is not in this version; take the section out"},
      {"*.peerstore.redis", false, "there is no Redis: peers are kept by the nodes; take the section out"},
      {"peerstore.redis", false, "there is no Redis: peers are kept by the nodes; take the section out"},
  };
  return table;
}

}  // namespace kraken::config
