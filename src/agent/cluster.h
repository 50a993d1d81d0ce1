#pragma once
// The cluster as an agent sees it: any node answers anything, so each question goes to one host and, when that does not
// answer, to the next. A host that failed is asked last for a while. Threads: any loop.
//
// Times: a tag read has 2 s a host and 6 s in all (design §6); an announce 1 s a host, so that a tracker's node that is
// killed delays no pull by more than that; metainfo 2 s a host, then a second round of 4 s.

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "http/client.h"
#include "src/core/names.h"
#include "src/net/dial.h"
#include "src/p2p/announcer.h"
#include "src/registry/registry.h"

namespace kraken::agent {

class Hosts {
 public:
  /// `fixed`: as they are. Else `name` is looked up (every 30 s) and its addresses have this port.
  explicit Hosts(std::vector<net::HostPort> fixed) : hosts_(std::move(fixed)) {}
  Hosts(std::string name, std::uint16_t port) : name_(std::move(name)), port_(port) {}

  /// In the order to ask: those that work first, beginning with the one that `key` falls on, so that all agents ask the
  /// same tracker about one blob. kUnavailable if the name gives none.
  net::Task<std::vector<net::HostPort>> in_order(std::size_t key);
  void worked(const net::HostPort& host);
  void failed(const net::HostPort& host);
  bool empty() const { return hosts_.empty() && name_.empty(); }

 private:
  std::string name_;
  std::uint16_t port_ = 0;
  std::mutex mutex_;
  std::vector<net::HostPort> hosts_;
  std::vector<std::pair<std::string, MonotonicTime>> failed_;  // "host:port" -> until
  MonotonicTime looked_up_{};
};

struct ClusterHosts {
  std::unique_ptr<Hosts> trackers;
  std::unique_ptr<Hosts> build_indexes;
  std::unique_ptr<Hosts> origins;  // empty where only stock's lists are given: nothing comes straight from a holder
};

class Cluster final : public p2p::Announcer {
 public:
  Cluster(http::Client& client, ClusterHosts hosts, bool stale_without_quorum = false)
      : client_(client), hosts_(std::move(hosts)), stale_without_quorum_(stale_without_quorum) {}

  net::Task<p2p::AnnounceReply> announce(InfoHash infohash, Digest digest, PeerInfo self) override;
  net::Task<MetaInfo> metainfo(std::string ns, Digest digest) override;

  struct Tag {
    Digest digest;
    std::optional<registry::Staleness> stale;  // none: linearizable
  };
  /// Linearizable; kNotFound only where a node answered so; kUnavailable after 6 s. With stale_without_quorum: where that came to
  /// nothing, what a replica has.
  net::Task<Tag> tag(QualifiedTag tag);
  /// What a replica has. kUnavailable also where the one that was asked has none.
  net::Task<Tag> stale_tag(QualifiedTag tag);
  net::Task<std::vector<std::string>> tags(Repository repository);
  /// The whole of a small blob from a node that holds it, checked against its digest. kTooLarge beyond.
  net::Task<std::string> blob(std::string ns, Digest digest, std::uint64_t bytes_max);
  bool knows_origins() const { return !hosts_.origins->empty(); }
  /// GET /readiness of a build-index and of a tracker; the error says which is not.
  net::Task<void> build_index_ready();
  net::Task<void> tracker_ready();
  /// Grows with each announce that failed on every tracker; whoever sees it stop growing announces anew.
  std::uint64_t announces_lost() const { return announces_lost_.load(); }

 private:
  struct Answer {
    int status = 0;
    http::Headers headers;
    std::string body;
  };
  struct Ask {
    http::Method method = http::Method::kGet;
    std::string target = {};
    http::Headers headers = {};
    std::string body = {};
    std::size_t key = 0;
    std::size_t bytes_max = 1 << 20;
    Duration each = std::chrono::seconds(2);
    Duration all = std::chrono::seconds(6);
    int rounds = 1;
  };
  /// The first answer below 500 (and not 404 with a Warning, which says that a backend did not answer).
  net::Task<Answer> ask(Hosts& hosts, Ask ask);
  net::Task<Answer> ask_one(net::HostPort host, Ask ask, Duration limit);

  http::Client& client_;
  ClusterHosts hosts_;
  const bool stale_without_quorum_;
  std::atomic<std::uint64_t> announces_lost_{0};
};

}  // namespace kraken::agent
